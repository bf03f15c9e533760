//! Rate limits: token buckets per user, tenant and namespace, and counts of open connections (V6).
//!
//! A bucket is one moment: the time at which it would be full again (the "theoretical arrival
//! time" of the generic cell rate algorithm). A full bucket need not be remembered, so the maps
//! hold only who spent something lately.

use super::io::Principal;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use wardline::{
    model::ids::{TenantId, UserId},
    protocol::close,
    time::{Instant, Now},
};

/// So many points in so long a time, all of which may be spent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Points.
    pub points: u32,
    /// The time in which they come back.
    pub per: Duration,
}

impl Rate {
    /// A rate.
    #[must_use]
    pub const fn new(points: u32, per: Duration) -> Self {
        Self { points, per }
    }

    /// The time one point takes to come back.
    fn interval(self) -> Duration {
        self.per / self.points.max(1)
    }
}

/// What is allowed. None: no limit.
#[derive(Clone, Debug)]
pub struct Config {
    /// Messages of a user. Default: 100 in 60 s.
    pub user: Option<Rate>,
    /// Messages of a user in namespaces that machines speak in, in place of `user`.
    pub namespaces: BTreeMap<String, Rate>,
    /// Messages of a tenant. Default: none.
    pub tenant: Option<Rate>,
    /// Messages of a `service`, in place of all others. Default: none.
    pub service: Option<Rate>,
    /// Connects of a user. Default: 100 in 60 s.
    pub connects: Option<Rate>,
    /// Open connections of a user. Default: 64.
    pub user_connections: u32,
    /// Open connections of a tenant. Default: 100,000.
    pub tenant_connections: u32,
    /// Buckets remembered. Past it those nearest to full are forgotten. Default: 100,000.
    pub buckets: usize,
}

impl Default for Config {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        let machines = Rate::new(6000, minute);
        let namespaces = ["video", "monitoring", "dispatch"];
        Self {
            user: Some(Rate::new(100, minute)),
            namespaces: namespaces.into_iter().map(|name| (name.to_owned(), machines)).collect(),
            tenant: None,
            service: None,
            connects: Some(Rate::new(100, minute)),
            user_connections: 64,
            tenant_connections: 100_000,
            buckets: 100_000,
        }
    }
}

impl Config {
    /// Whether no message is ever limited.
    fn is_free(&self) -> bool {
        self.user.or(self.tenant).or(self.service).is_none() && self.namespaces.is_empty()
    }

    /// Without any limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            user: None,
            namespaces: BTreeMap::new(),
            connects: None,
            user_connections: u32::MAX,
            tenant_connections: u32::MAX,
            ..Self::default()
        }
    }
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit; again in {after:?}")]
pub struct Limited {
    /// When it would be allowed.
    pub after: Duration,
}

/// A connection that is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many connects in the time.
    Rate(Limited),
    /// As many are open as may be.
    Count,
}

impl Refusal {
    /// The close code and its reason (P-C7).
    #[must_use]
    pub fn close(self) -> (u16, String) {
        match self {
            Self::Rate(limited) => {
                (close::RATE_LIMITED, format!("after={} connects", limited.after.as_millis()))
            }
            Self::Count => (close::CONNECTION_LIMIT, "connections".to_owned()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    User(TenantId, UserId),
    UserIn(TenantId, UserId, Arc<str>),
    Service(TenantId, UserId),
    Tenant(TenantId),
    Connects(TenantId, UserId),
}

/// The buckets and counts of one hub.
#[derive(Debug)]
pub struct Buckets {
    config: Config,
    /// When each bucket that is not full will be.
    full_at: BTreeMap<Key, Instant>,
    users: BTreeMap<(TenantId, UserId), u32>,
    tenants: BTreeMap<TenantId, u32>,
    /// Names of namespaces, so that keys share them.
    names: BTreeSet<Arc<str>>,
}

impl Buckets {
    /// All full, nobody connected.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let names = config.namespaces.keys().map(|name| Arc::from(name.as_str())).collect();
        Self {
            config,
            full_at: BTreeMap::new(),
            users: BTreeMap::new(),
            tenants: BTreeMap::new(),
            names,
        }
    }

    /// Spends `points` of every bucket that a message of `who` in `namespace` counts against, or of none.
    ///
    /// # Errors
    /// [`Limited`] with the time after which all of them allow it.
    pub fn spend(
        &mut self,
        who: &Principal,
        namespace: &str,
        points: u32,
        now: Now,
    ) -> Result<(), Limited> {
        if self.config.is_free() {
            return Ok(());
        }
        let (tenant, user) = (who.tenant.clone(), who.user.clone());
        if who.has_role("service") {
            let Some(rate) = self.config.service else { return Ok(()) };
            return self.take([Some((Key::Service(tenant, user), rate)), None], points, now);
        }
        let own = self.config.namespaces.get(namespace).copied();
        let personal = match (own, self.names.get(namespace)) {
            (Some(rate), Some(name)) => {
                Some((Key::UserIn(tenant.clone(), user, Arc::clone(name)), rate))
            }
            _ => self.config.user.map(|rate| (Key::User(tenant.clone(), user), rate)),
        };
        let shared = self.config.tenant.map(|rate| (Key::Tenant(tenant), rate));
        self.take([personal, shared], points, now)
    }

    /// Counts a connection in.
    ///
    /// # Errors
    /// [`Refusal`] with the close code; nothing was counted.
    pub fn connect(&mut self, who: &Principal, now: Now) -> Result<(), Refusal> {
        let key = (who.tenant.clone(), who.user.clone());
        let of_user = self.users.get(&key).copied().unwrap_or(0);
        let of_tenant = self.tenants.get(&key.0).copied().unwrap_or(0);
        if of_user >= self.config.user_connections || of_tenant >= self.config.tenant_connections {
            return Err(Refusal::Count);
        }
        if let Some(rate) = self.config.connects.filter(|_| !who.has_role("service")) {
            let bucket = Key::Connects(key.0.clone(), key.1.clone());
            self.take([Some((bucket, rate)), None], 1, now).map_err(Refusal::Rate)?;
        }
        self.tenants.insert(key.0.clone(), of_tenant + 1);
        self.users.insert(key, of_user + 1);
        Ok(())
    }

    /// Counts a connection out that [`Buckets::connect`] let in.
    pub fn disconnect(&mut self, who: &Principal) {
        let key = (who.tenant.clone(), who.user.clone());
        if let Some(count) = self.tenants.get_mut(&key.0) {
            *count -= 1;
            if *count == 0 {
                self.tenants.remove(&key.0);
            }
        }
        if let Some(count) = self.users.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&key);
            }
        }
    }

    /// Open connections of a tenant.
    #[must_use]
    pub fn connections(&self, tenant: &TenantId) -> u32 {
        self.tenants.get(tenant).copied().unwrap_or(0)
    }

    /// All or none.
    fn take(
        &mut self,
        buckets: [Option<(Key, Rate)>; 2],
        points: u32,
        now: Now,
    ) -> Result<(), Limited> {
        let mut after = Duration::ZERO;
        let next = buckets.map(|bucket| {
            bucket.map(|(key, rate)| {
                let empty_until = self.full_at.get(&key).map_or(now.mono, |at| (*at).max(now.mono));
                let full_at = empty_until + rate.interval() * points;
                // More points than the bucket holds may be spent when it is full.
                let most = rate.per.max(rate.interval() * points);
                after = after.max(full_at.since(now.mono).saturating_sub(most));
                (key, full_at)
            })
        });
        if after > Duration::ZERO {
            return Err(Limited { after });
        }
        for (key, full_at) in next.into_iter().flatten() {
            self.full_at.insert(key, full_at);
        }
        if self.full_at.len() > self.config.buckets {
            self.forget(now.mono);
        }
        Ok(())
    }

    /// Forgets full buckets; where that is not enough, the quarter nearest to full.
    fn forget(&mut self, now: Instant) {
        self.full_at.retain(|_, at| *at > now);
        let keep = self.config.buckets - self.config.buckets / 4;
        if self.full_at.len() > keep {
            let mut moments: Vec<_> = self.full_at.values().copied().collect();
            let surplus = moments.len() - keep;
            let (_, bound, _) = moments.select_nth_unstable(surplus - 1);
            let bound = *bound;
            let mut left = surplus;
            self.full_at.retain(|_, at| {
                let goes = left > 0 && *at <= bound;
                left -= usize::from(goes);
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline::time::UnixMillis;

    fn at(ms: u64) -> Now {
        Now { mono: Instant::new(Duration::from_millis(ms)), wall: UnixMillis(ms) }
    }

    fn who(tenant: &str, user: &str, roles: &[&str]) -> Principal {
        Principal {
            tenant: tenant.into(),
            user: user.into(),
            organization: None,
            roles: roles.iter().map(|role| Arc::from(*role)).collect(),
            token_id: None,
            issued: 0,
            expires: None,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn v6_a_user_has_100_points_in_60_s() {
        let mut buckets = Buckets::new(Config::default());
        let user = who("t", "u", &[]);
        for n in 0..100 {
            assert_eq!(buckets.spend(&user, "alerts", 1, at(0)), Ok(()), "{n}");
        }
        assert_eq!(buckets.spend(&user, "alerts", 1, at(0)), Err(Limited { after: ms(600) }));
        assert_eq!(buckets.spend(&user, "alerts", 1, at(599)), Err(Limited { after: ms(1) }));
        assert_eq!(buckets.spend(&user, "alerts", 1, at(600)), Ok(()));
        assert_eq!(buckets.spend(&who("t", "v", &[]), "alerts", 1, at(600)), Ok(()));
        assert_eq!(buckets.spend(&who("u", "u", &[]), "alerts", 1, at(600)), Ok(()));
    }

    #[test]
    fn v6_in_any_minute_at_most_twice_the_points_pass() {
        let mut buckets = Buckets::new(Config::default());
        let user = who("t", "u", &[]);
        let passed = |buckets: &mut Buckets, from: u64| {
            (from..from + 60_000)
                .step_by(10)
                .filter(|ms| buckets.spend(&user, "x", 1, at(*ms)).is_ok())
                .count()
        };
        assert_eq!(passed(&mut buckets, 0), 199);
        assert_eq!(passed(&mut buckets, 60_000), 100);
    }

    #[test]
    fn v6_namespaces_of_machines_have_their_own_bucket_and_services_none() {
        let mut buckets = Buckets::new(Config::default());
        let user = who("t", "u", &[]);
        for _ in 0..5000 {
            buckets.spend(&user, "monitoring", 1, at(0)).unwrap();
        }
        assert_eq!(buckets.spend(&user, "alerts", 1, at(0)), Ok(()));
        let service = who("t", "s", &["service"]);
        for _ in 0..50_000 {
            buckets.spend(&service, "alerts", 1, at(0)).unwrap();
        }
    }

    #[test]
    fn v6_a_refused_message_spends_nothing_anywhere() {
        let config = Config {
            user: Some(Rate::new(2, ms(1000))),
            tenant: Some(Rate::new(3, ms(1000))),
            ..Config::default()
        };
        let mut buckets = Buckets::new(config);
        let (u, v) = (who("t", "u", &[]), who("t", "v", &[]));
        assert!(buckets.spend(&u, "x", 2, at(0)).is_ok());
        for _ in 0..10 {
            assert!(buckets.spend(&u, "x", 1, at(0)).is_err());
        }
        assert!(buckets.spend(&v, "x", 1, at(0)).is_ok());
        assert!(buckets.spend(&v, "x", 1, at(0)).is_err());
        assert!(buckets.spend(&u, "x", 9, at(5000)).is_ok());
    }

    #[test]
    fn v6_connections_are_counted_per_user_and_tenant() {
        let config = Config { user_connections: 2, tenant_connections: 3, ..Config::default() };
        let mut buckets = Buckets::new(config);
        let (u, v) = (who("t", "u", &[]), who("t", "v", &[]));
        assert_eq!((buckets.connect(&u, at(0)), buckets.connect(&u, at(0))), (Ok(()), Ok(())));
        assert_eq!(buckets.connect(&u, at(0)), Err(Refusal::Count));
        assert_eq!(buckets.connect(&v, at(0)), Ok(()));
        assert_eq!(buckets.connect(&v, at(0)), Err(Refusal::Count));
        buckets.disconnect(&u);
        assert_eq!(buckets.connect(&v, at(0)), Ok(()));
        for who in [&u, &v, &v] {
            buckets.disconnect(who);
        }
        assert!(buckets.users.is_empty() && buckets.tenants.is_empty());
        assert_eq!(Refusal::Count.close().0, 4301);
    }

    #[test]
    fn v6_connects_have_a_rate() {
        let mut buckets =
            Buckets::new(Config { connects: Some(Rate::new(2, ms(1000))), ..Config::default() });
        let u = who("t", "u", &[]);
        for _ in 0..2 {
            buckets.connect(&u, at(0)).unwrap();
            buckets.disconnect(&u);
        }
        let refusal = buckets.connect(&u, at(0)).unwrap_err();
        assert_eq!(refusal.close(), (4300, "after=500 connects".to_owned()));
    }

    #[test]
    fn full_buckets_are_forgotten_and_the_map_is_bounded() {
        let mut buckets = Buckets::new(Config { buckets: 100, ..Config::default() });
        let heavy = who("t", "heavy", &[]);
        buckets.spend(&heavy, "x", 100, at(0)).unwrap();
        for n in 0..10_000 {
            buckets.spend(&who("t", &n.to_string(), &[]), "x", 1, at(0)).unwrap();
            assert!(buckets.full_at.len() <= 100);
        }
        assert!(buckets.spend(&heavy, "x", 1, at(0)).is_err(), "who spent most is remembered");
    }
}
