//! Revocations: users, tokens and tenants that are cut off (P-C6a).
//!
//! They are entries of the tenant's control log, [`ROOM`]; every node folds it and looks at the
//! fold on every `hello` and `auth`. Until a tenant's fold is live nobody of it is let in.

#[cfg(test)]
mod tests;

use super::{
    fold::{Entries, Folded},
    io::{CallId, Principal, Revocation},
    ledger::Ledger,
};
use crate::log::{Entry, NewEntry, Reply, Request, RoomKey, Stepped};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use wardline::{
    model::ids::{ItemId, TenantId, UserId},
    protocol::{Address, Json},
    time::{Instant, Now},
};

/// The control log of a tenant.
pub const ROOM: &str = "system/~control";
/// The event of a revocation's entry.
const EVENT: &str = "revoked";
/// The part's number in tickets.
pub(super) const PART: u8 = 1;
/// Revocations that may be on their way to the log at once; more calls are refused.
const MAX_WAITING: usize = 4096;

/// How revocations behave.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest life of a token: as long a revocation is kept. Default: 30 days.
    pub token_life: Duration,
    /// How often the control logs are read anew where other nodes may write them. Default: never.
    pub refresh: Option<Duration>,
    /// Users and tokens kept per tenant; past it the oldest become one for the whole tenant, which
    /// cuts more, never less. Default: 100,000.
    pub most: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { token_life: Duration::from_secs(30 * 24 * 3600), refresh: None, most: 100_000 }
    }
}

/// Whether a token lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Valid,
    /// It does not.
    Revoked,
    /// The tenant's control log is being read; [`Output::Loaded`] follows.
    Loading,
}

/// What the part wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask the log.
    Log(Request),
    /// The tenant's control log was read: check again what waited.
    Loaded(TenantId),
    /// Durable: close what it names with 4103; its members leave presence at once.
    Cut(Revocation),
    /// The revocation of this call is durable.
    Durable(CallId),
    /// The log cannot take the revocation of this call now. One it was asked for is tried again until
    /// it is durable, but nobody waits for that.
    Refused(CallId),
}

/// The revocations of the tenants this hub serves.
#[derive(Debug)]
pub struct Revocations {
    config: Config,
    room: Option<Address>,
    tenants: BTreeMap<TenantId, Tenant>,
    /// Calls that wait for their entries.
    waiting: BTreeMap<ItemId, CallId>,
    ledger: Ledger,
    refresh_at: Option<Instant>,
    rng: fastrand::Rng,
    out: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Tenant {
    was_live: bool,
    not_before: Option<u64>,
    users: BTreeMap<UserId, u64>,
    tokens: BTreeMap<Arc<str>, u64>,
    /// In order of their entries: when each may be forgotten, ms since 1970.
    ages: VecDeque<(u64, Body)>,
}

/// The data of a revocation's entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Body {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Arc<str>>,
    not_before: u64,
}

impl Tenant {
    fn apply(&mut self, body: &Body) {
        fn raise<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, not_before: u64) {
            let held = map.entry(key).or_default();
            *held = (*held).max(not_before);
        }
        match (&body.user, &body.token) {
            (_, Some(token)) => raise(&mut self.tokens, Arc::clone(token), body.not_before),
            (Some(user), None) => raise(&mut self.users, user.clone(), body.not_before),
            (None, None) => self.not_before = self.not_before.max(Some(body.not_before)),
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, body)) = self.ages.pop_front() else { return };
        // A later one for the same has its own place in the queue.
        let is = |held: Option<&u64>| held.is_some_and(|held| *held <= body.not_before);
        match (&body.user, &body.token) {
            (_, Some(token)) if is(self.tokens.get(token)) => drop(self.tokens.remove(token)),
            (Some(user), None) if is(self.users.get(user)) => drop(self.users.remove(user)),
            (None, None) if is(self.not_before.as_ref()) => self.not_before = None,
            _ => {}
        }
    }

    fn clear(&mut self) {
        self.not_before = None;
        self.users.clear();
        self.tokens.clear();
        self.ages.clear();
    }

    fn revokes(&self, who: &Principal) -> bool {
        let before = |not_before: Option<u64>| not_before.is_some_and(|at| who.issued < at);
        before(self.not_before)
            || before(self.users.get(&who.user).copied())
            || who.token_id.as_ref().is_some_and(|id| self.tokens.contains_key(id))
    }
}

/// Whether a revocation cuts this principal off: its token is the one named, or was issued before.
#[must_use]
pub fn names(revocation: &Revocation, who: &Principal) -> bool {
    let user = revocation.user.as_ref();
    revocation.tenant == who.tenant
        && match &revocation.token_id {
            Some(token) => who.token_id.as_ref() == Some(token),
            None => who.issued < revocation.not_before && user.is_none_or(|user| *user == who.user),
        }
}

impl Revocations {
    /// Knows of no tenant yet.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            room: ROOM.parse().ok(),
            tenants: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ledger: Ledger::new(PART),
            refresh_at: None,
            rng: fastrand::Rng::with_seed(seed),
            out: VecDeque::new(),
        }
    }

    /// Looks a verified token up; begins to read its tenant's control log where that is not known yet.
    pub fn check(&mut self, who: &Principal, now: Now) -> Verdict {
        self.open(&who.tenant, now);
        match self.tenants.get(&who.tenant) {
            Some(tenant) if tenant.revokes(who) => Verdict::Revoked,
            Some(tenant) if tenant.was_live => Verdict::Valid,
            _ => Verdict::Loading,
        }
    }

    /// Appends a revocation to its tenant's control log; [`Output::Cut`] follows once it is durable,
    /// and [`Output::Durable`] where a call waits for that; or [`Output::Refused`].
    pub fn revoke(&mut self, call: Option<CallId>, revocation: Revocation, now: Now) {
        if let Some(call) = call.filter(|_| self.ledger.under_way() >= MAX_WAITING) {
            self.out.push_back(Output::Refused(call));
            return;
        }
        self.open(&revocation.tenant, now);
        let Some(room) = self.room.clone() else { return };
        let body = Body {
            user: revocation.user,
            token: revocation.token_id,
            not_before: revocation.not_before,
        };
        let Ok(data) = Json::of(&body) else { return };
        let entry = NewEntry {
            room: RoomKey { tenant: revocation.tenant.clone(), room },
            id: ItemId(self.rng.u128(..)),
            from: "".into(),
            event: EVENT.into(),
            key: None,
            gone: false,
            data,
        };
        if let Some(call) = call {
            self.waiting.insert(entry.id, call);
        }
        self.ledger.append(&revocation.tenant, entry.id, vec![entry]);
    }

    /// Reads all control logs anew: after an outage of the store, before anything else (P-C6a).
    pub fn refresh(&mut self) {
        self.ledger.refresh();
    }

    /// The log told an entry of any room.
    pub fn handle_entry(&mut self, key: &RoomKey, entry: &Arc<Entry>, now: Now) {
        if Some(&key.room) == self.room.as_ref() {
            let folded = self.ledger.handle_entry(key, entry);
            self.take(&key.tenant, folded, now);
        }
    }

    /// The log's answer to one of this part's tickets.
    pub fn handle_reply(&mut self, reply: &Reply, now: Now) {
        if let Reply::Stepped(ticket, Stepped::Unavailable { .. }) = reply
            && let Some(id) = self.ledger.append_of(*ticket)
            && let Some(call) = self.waiting.remove(&id)
        {
            self.out.push_back(Output::Refused(call));
        }
        if let Some((key, folded)) = self.ledger.handle_reply(reply, now) {
            self.take(&key.tenant, folded, now);
        }
    }

    /// Tries again, reads anew and forgets what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.ledger.handle_timeout(now);
        if self.refresh_at.is_some_and(|at| at <= now.mono) {
            self.refresh_at = self.config.refresh.map(|every| now.mono + every);
            self.refresh();
        }
    }

    /// The next moment for [`Revocations::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ledger.poll_timeout().into_iter().chain(self.refresh_at).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ledger.poll_request().map(Output::Log).or_else(|| self.out.pop_front())
    }

    fn open(&mut self, id: &TenantId, now: Now) {
        if self.tenants.contains_key(id) {
            return;
        }
        self.tenants.insert(id.clone(), Tenant::default());
        if let Some(room) = self.room.clone() {
            self.ledger.open(&RoomKey { tenant: id.clone(), room }, Entries::All);
        }
        if self.refresh_at.is_none() {
            self.refresh_at = self.config.refresh.map(|every| now.mono + every);
        }
    }

    fn take(&mut self, id: &TenantId, folded: Vec<Folded>, now: Now) {
        let Some(tenant) = self.tenants.get_mut(id) else { return };
        let life = u64::try_from(self.config.token_life.as_millis()).unwrap_or(u64::MAX);
        for change in folded {
            match change {
                Folded::Reset => tenant.clear(),
                Folded::Live if tenant.was_live => {}
                Folded::Live => {
                    tenant.was_live = true;
                    self.out.push_back(Output::Loaded(id.clone()));
                }
                Folded::Entry(entry) => {
                    if let Some(call) = self.waiting.remove(&entry.id) {
                        self.out.push_back(Output::Durable(call));
                    }
                    let forget_at = entry.time.saturating_add(life);
                    let Ok(body) = entry.data.to::<Body>() else { continue };
                    if &*entry.event != EVENT || forget_at <= now.wall.0 {
                        continue;
                    }
                    tenant.apply(&body);
                    tenant.ages.push_back((forget_at, body.clone()));
                    if tenant.ages.len() > self.config.most
                        && let Some((_, oldest)) = tenant.ages.front()
                    {
                        tenant.not_before = tenant.not_before.max(Some(oldest.not_before));
                        tenant.forget_oldest();
                    }
                    let cut = Revocation {
                        tenant: id.clone(),
                        user: body.user,
                        token_id: body.token,
                        not_before: body.not_before,
                    };
                    self.out.push_back(Output::Cut(cut));
                }
            }
        }
        while tenant.ages.front().is_some_and(|(at, _)| *at <= now.wall.0) {
            tenant.forget_oldest();
        }
    }
}
