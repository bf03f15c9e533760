//! Presence: who is in a room, and how (P-P1 to P-P3).
//!
//! A member is a (room, user); under it lies one lease per connection that joined with `present`.
//! A connection's life is its lease's life: heartbeats renew it by proving the connection alive.
//! The part is pure: calls change it, [`Presence::poll_output`] drains what is to be written, and
//! [`Presence::poll_timeout`] names the next moment for [`Presence::handle_timeout`].

use super::{config::Namespace, io::ConnId};
use crate::log::RoomKey;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    mem,
    sync::Arc,
    time::Duration,
};
use wardline::{
    model::{ids::UserId, presence::Status},
    protocol::{
        Address, Json,
        frames::{self, Change, Member, SetStatus},
        limits::{GRACE, META_BYTES},
    },
    time::{Instant, Now},
};

/// The longest grace a room may have (P-P2).
pub const MAX_GRACE: Duration = Duration::from_secs(120);
/// Bytes of members in one page of a snapshot.
const PAGE_BYTES: usize = 64 * 1024;

/// How presence behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time from the last lease's end to `gone`. Default: 15 s.
    pub grace: Duration,
    /// Rooms with a grace of their own, at most [`MAX_GRACE`].
    pub rooms: BTreeMap<Address, Duration>,
    /// Namespaces whose rooms have a grace of their own.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Changes of a room are told together, at most this late. Default: 250 ms, at most 1 s.
    pub batch: Duration,
    /// Members in one page of a snapshot. Default: 256.
    pub page: usize,
    /// After the start nobody is known to be gone for this long. Default: 45 s.
    pub restart_grace: Duration,
    /// And for a random part of this. Default: 15 s.
    pub restart_spread: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace: GRACE,
            rooms: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            batch: Duration::from_millis(250),
            page: 256,
            restart_grace: Duration::from_secs(45),
            restart_spread: Duration::from_secs(15),
        }
    }
}

/// What a join asks of presence.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// The user appears in the room.
    pub present: bool,
    /// The connection hears who is there.
    pub watch: bool,
    /// Metadata to show.
    pub meta: Option<Json>,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed with 1000, or its permission was revoked: gone at once (P-P2).
    Left,
    /// Anything else: graced.
    Lost,
}

/// A status or metadata that breaks P-P1: error code `bad_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("presence metadata has at most {META_BYTES} bytes")]
pub struct BadStatus;

/// What is to be written, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The same bytes for each of these.
    pub to: Arc<Vec<ConnId>>,
    /// A page of a snapshot, or changes.
    pub frame: frames::Presence,
}

/// Who is in which room of this hub.
#[derive(Debug)]
pub struct Presence {
    config: Config,
    rooms: BTreeMap<RoomKey, Room>,
    connections: BTreeMap<ConnId, Connection>,
    /// When a user is gone, or (without a user) when a room's changes are told.
    deadlines: BTreeSet<(Instant, RoomKey, Option<UserId>)>,
    partial: Partial,
    out: VecDeque<Told>,
}

/// Whether a missing member may only be late (P-P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partial {
    /// For so long from the first call on.
    For(Duration),
    Until(Instant),
    Over,
}

#[derive(Debug, Default)]
struct Connection {
    hidden: bool,
    set: Option<Status>,
    meta: Option<Json>,
    /// The rooms it is in, with the user where it holds a lease.
    rooms: BTreeMap<RoomKey, Option<UserId>>,
}

#[derive(Debug, Default)]
struct Room {
    version: u64,
    members: BTreeMap<UserId, Present>,
    watchers: BTreeSet<ConnId>,
    /// Watchers that wait for their snapshot.
    fresh: BTreeSet<ConnId>,
    /// Users that changed since the last telling, with what was told of them.
    dirty: BTreeMap<UserId, Option<Shown>>,
    told_at: Option<Instant>,
    tell_at: Option<Instant>,
}

#[derive(Debug)]
struct Present {
    /// Hidden or not, by connection.
    leases: BTreeMap<ConnId, bool>,
    set: Option<Status>,
    shown: Shown,
    /// The last lease ended: gone at this moment.
    gone_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq)]
struct Shown {
    status: Status,
    meta: Option<Json>,
}

impl Present {
    /// P-P1: the last one set, else away if every lease is hidden, else online. Without a lease the
    /// user is unstable, and what was shown stays.
    fn update(&mut self) {
        if let Some(set) = self.set {
            self.shown.status = set;
        } else if !self.leases.is_empty() {
            let hidden = self.leases.values().all(|hidden| *hidden);
            self.shown.status = if hidden { Status::Away } else { Status::Online };
        }
    }
}

fn check(meta: Option<&Json>) -> Result<(), BadStatus> {
    if meta.is_some_and(|meta| meta.get().len() > META_BYTES) { Err(BadStatus) } else { Ok(()) }
}

impl Presence {
    /// Starts empty. For [`Config::restart_grace`] and a random part of [`Config::restart_spread`]
    /// from the first call on, snapshots are `partial`, since members of before a restart may still
    /// be on their way.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let spread = config.restart_spread.mul_f64(rng.f64());
        let warm = config.restart_grace + spread;
        Self {
            partial: if warm > Duration::ZERO { Partial::For(warm) } else { Partial::Over },
            config,
            rooms: BTreeMap::new(),
            connections: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// Whether a connection has a lease, watches, or told its status.
    #[must_use]
    pub fn knows(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// The members of a room, those in grace included.
    pub fn members(&self, key: &RoomKey) -> impl Iterator<Item = Member> + '_ {
        self.rooms.get(key).into_iter().flat_map(Room::snapshot)
    }

    /// Whether a missing member may only be late (P-P3).
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        !matches!(self.partial, Partial::Over)
    }

    /// A connection became a member of a room, or is one anew in another way.
    ///
    /// # Errors
    /// [`BadStatus`]: the metadata is too large; nothing changed.
    pub fn join(
        &mut self,
        conn: ConnId,
        key: &RoomKey,
        user: &UserId,
        how: Membership,
        now: Now,
    ) -> Result<(), BadStatus> {
        check(how.meta.as_ref())?;
        if !how.present {
            self.end_lease(conn, key, End::Left, now.mono);
        }
        if !how.present && !how.watch {
            self.drop_room(conn, key);
            self.settle(now.mono);
            return Ok(());
        }
        let connection = self.connections.entry(conn).or_default();
        connection.rooms.insert(key.clone(), how.present.then(|| user.clone()));
        let (hidden, set) = (connection.hidden, connection.set);
        let meta = how.meta.or_else(|| connection.meta.clone());
        let room = self.rooms.entry(key.clone()).or_default();
        if how.present {
            let (told, member) = match room.members.entry(user.clone()) {
                Entry::Occupied(slot) => {
                    let member = slot.into_mut();
                    (Some(member.shown.clone()), member)
                }
                Entry::Vacant(slot) => (
                    None,
                    slot.insert(Present {
                        leases: BTreeMap::new(),
                        set: None,
                        shown: Shown { status: Status::Online, meta: None },
                        gone_at: None,
                    }),
                ),
            };
            member.leases.insert(conn, hidden);
            member.set = set.or(member.set);
            if meta.is_some() {
                member.shown.meta = meta;
            }
            member.update();
            if let Some(at) = member.gone_at.take() {
                self.deadlines.remove(&(at, key.clone(), Some(user.clone())));
            }
            if told.as_ref() != Some(&member.shown) {
                room.dirty.entry(user.clone()).or_insert(told);
                self.schedule(key, now.mono);
            }
        }
        let room = self.rooms.entry(key.clone()).or_default();
        if how.watch {
            room.watchers.insert(conn);
            room.fresh.insert(conn);
            self.schedule(key, now.mono);
        } else {
            room.watchers.remove(&conn);
            room.fresh.remove(&conn);
        }
        self.settle(now.mono);
        Ok(())
    }

    /// The connection left the room, or was sent away: gone at once (P-P2).
    pub fn leave(&mut self, conn: ConnId, key: &RoomKey, now: Now) {
        self.end_lease(conn, key, End::Left, now.mono);
        self.drop_room(conn, key);
        self.settle(now.mono);
    }

    /// The connection ended, and with it all its leases.
    pub fn closed(&mut self, conn: ConnId, end: End, now: Now) {
        let rooms = self.connections.get_mut(&conn).map(|c| mem::take(&mut c.rooms));
        for (key, user) in rooms.unwrap_or_default() {
            if let Some(user) = user {
                self.end_lease_of(conn, &key, &user, end, now.mono);
            }
            self.forget_watcher(conn, &key);
        }
        self.connections.remove(&conn);
        self.settle(now.mono);
    }

    /// The connection's `status` frame, or the `hidden` of its `hello`. What is absent stays.
    ///
    /// # Errors
    /// [`BadStatus`]: the metadata is too large; nothing changed.
    pub fn set(&mut self, conn: ConnId, status: SetStatus, now: Now) -> Result<(), BadStatus> {
        check(status.meta.as_ref())?;
        let connection = self.connections.entry(conn).or_default();
        connection.hidden = status.hidden.unwrap_or(connection.hidden);
        connection.set = status.status.or(connection.set);
        if status.meta.is_some() {
            connection.meta.clone_from(&status.meta);
        }
        let hidden = connection.hidden;
        let leases: Vec<_> = connection
            .rooms
            .iter()
            .filter_map(|(key, user)| Some((key.clone(), user.clone()?)))
            .collect();
        for (key, user) in leases {
            let Some(room) = self.rooms.get_mut(&key) else { continue };
            let Some(member) = room.members.get_mut(&user) else { continue };
            let told = member.shown.clone();
            member.leases.insert(conn, hidden);
            member.set = status.status.or(member.set);
            if status.meta.is_some() {
                member.shown.meta.clone_from(&status.meta);
            }
            member.update();
            if member.shown != told {
                room.dirty.entry(user).or_insert(Some(told));
                self.schedule(&key, now.mono);
            }
        }
        self.settle(now.mono);
        Ok(())
    }

    /// Tells and removes what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        if matches!(self.partial, Partial::Until(until) if until <= now.mono) {
            // From the whole picture clients may now draw who did not come back.
            self.partial = Partial::Over;
            let watched: Vec<_> = self
                .rooms
                .iter_mut()
                .filter(|(_, room)| !room.watchers.is_empty())
                .map(|(key, room)| {
                    room.fresh.clone_from(&room.watchers);
                    key.clone()
                })
                .collect();
            for key in watched {
                self.schedule(&key, now.mono);
            }
        }
        self.settle(now.mono);
    }

    /// The next moment for [`Presence::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.deadlines.first().map(|(at, ..)| *at);
        let whole = match self.partial {
            Partial::Until(until) => Some(until),
            Partial::For(_) | Partial::Over => None,
        };
        due.into_iter().chain(whole).min()
    }

    /// The next thing to write.
    pub fn poll_output(&mut self) -> Option<Told> {
        self.out.pop_front()
    }

    fn grace(&self, key: &RoomKey) -> Duration {
        let namespace = || self.config.namespaces.get(key.room.namespace());
        let own = self.config.rooms.get(&key.room).copied();
        let own = own.or_else(|| namespace()?.grace(&key.room));
        own.map_or(self.config.grace, |own| own.min(MAX_GRACE))
    }

    fn end_lease(&mut self, conn: ConnId, key: &RoomKey, end: End, now: Instant) {
        let slot = self.connections.get_mut(&conn).and_then(|c| c.rooms.get_mut(key));
        if let Some(user) = slot.and_then(Option::take) {
            self.end_lease_of(conn, key, &user, end, now);
        }
    }

    fn end_lease_of(&mut self, conn: ConnId, key: &RoomKey, user: &UserId, end: End, now: Instant) {
        let grace = self.grace(key);
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(member) = room.members.get_mut(user) else { return };
        if member.leases.remove(&conn).is_none() {
            return;
        }
        if !member.leases.is_empty() {
            let told = member.shown.clone();
            member.update();
            if member.shown != told {
                room.dirty.entry(user.clone()).or_insert(Some(told));
                self.schedule(key, now);
            }
        } else if end == End::Left {
            let told = room.members.remove(user).map(|member| member.shown);
            room.dirty.entry(user.clone()).or_insert(told);
            self.schedule(key, now);
        } else {
            let at = now + grace;
            member.gone_at = Some(at);
            self.deadlines.insert((at, key.clone(), Some(user.clone())));
        }
    }

    fn drop_room(&mut self, conn: ConnId, key: &RoomKey) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.rooms.remove(key);
        }
        self.forget_watcher(conn, key);
    }

    fn forget_watcher(&mut self, conn: ConnId, key: &RoomKey) {
        if let Some(room) = self.rooms.get_mut(key) {
            room.watchers.remove(&conn);
            room.fresh.remove(&conn);
            self.forget_room(key);
        }
    }

    fn forget_room(&mut self, key: &RoomKey) {
        let idle = |room: &Room| {
            room.members.is_empty() && room.watchers.is_empty() && room.tell_at.is_none()
        };
        if self.rooms.get(key).is_some_and(idle) {
            self.rooms.remove(key);
        }
    }

    /// Names the moment to tell the room's changes: at once after quiet, else a batch after the last.
    fn schedule(&mut self, key: &RoomKey, now: Instant) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if room.tell_at.is_none() {
            let at = room.told_at.map_or(now, |told| (told + self.config.batch).max(now));
            room.tell_at = Some(at);
            self.deadlines.insert((at, key.clone(), None));
        }
    }

    fn settle(&mut self, now: Instant) {
        if let Partial::For(span) = self.partial {
            self.partial = Partial::Until(now + span);
        }
        while let Some((at, key, user)) = self.deadlines.pop_first() {
            if at > now {
                self.deadlines.insert((at, key, user));
                return;
            }
            match user {
                Some(user) => self.remove_due(&key, user, now),
                None => self.tell(&key, now),
            }
        }
    }

    fn remove_due(&mut self, key: &RoomKey, user: UserId, now: Instant) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if let Some(member) = room.members.remove(&user) {
            room.dirty.entry(user).or_insert(Some(member.shown));
            self.schedule(key, now);
        }
    }

    fn tell(&mut self, key: &RoomKey, now: Instant) {
        let partial = self.is_partial();
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.tell_at = None;
        let changes = room.take_changes();
        if !changes.is_empty() {
            room.version += 1;
        }
        let fresh = mem::take(&mut room.fresh);
        let old: Vec<_> = room.watchers.difference(&fresh).copied().collect();
        if !fresh.is_empty() || (!changes.is_empty() && !old.is_empty()) {
            room.told_at = Some(now);
        }
        let address = key.room.as_str();
        let version = room.version;
        if !changes.is_empty() && !old.is_empty() {
            let frame = frames::Presence {
                room: address.to_owned(),
                version,
                changes,
                ..Default::default()
            };
            self.out.push_back(Told { to: Arc::new(old), frame });
        }
        if !fresh.is_empty() {
            let to = Arc::new(fresh.into_iter().collect::<Vec<_>>());
            let mut pages = room.pages(self.config.page.max(1)).into_iter().peekable();
            while let Some(members) = pages.next() {
                let frame = frames::Presence {
                    room: address.to_owned(),
                    version,
                    members: Some(members),
                    more: pages.peek().is_some(),
                    partial,
                    changes: Vec::new(),
                };
                self.out.push_back(Told { to: Arc::clone(&to), frame });
            }
        }
        self.forget_room(key);
    }
}

impl Room {
    fn snapshot(&self) -> impl Iterator<Item = Member> + '_ {
        self.members.iter().map(|(user, present)| Member {
            user: user.clone(),
            status: present.shown.status,
            meta: present.shown.meta.clone(),
        })
    }

    /// At least one page, the last of which may be short.
    fn pages(&self, most: usize) -> Vec<Vec<Member>> {
        let mut pages = vec![Vec::new()];
        let mut bytes = 0;
        for member in self.snapshot() {
            let size =
                member.user.as_str().len() + member.meta.as_ref().map_or(0, |m| m.get().len());
            if let Some(page) = pages.last_mut().filter(|page: &&mut Vec<Member>| {
                page.is_empty() || (page.len() < most && bytes + size <= PAGE_BYTES)
            }) {
                bytes += size;
                page.push(member);
            } else {
                bytes = size;
                pages.push(vec![member]);
            }
        }
        pages
    }

    /// The differences between what was told and what is; what changed there and back is none.
    fn take_changes(&mut self) -> Vec<Change> {
        let changed = |(user, told): (UserId, Option<Shown>)| {
            let is = self.members.get(&user).map(|member| &member.shown);
            match (told, is) {
                (Some(_), None) => Some(Change { user, status: None, meta: None, gone: true }),
                (None, Some(is)) => Some(Change {
                    user,
                    status: Some(is.status),
                    meta: is.meta.clone(),
                    gone: false,
                }),
                (Some(told), Some(is)) if told != *is => Some(Change {
                    user,
                    status: Some(is.status),
                    meta: is.meta.clone().filter(|_| told.meta != is.meta),
                    gone: false,
                }),
                _ => None,
            }
        };
        mem::take(&mut self.dirty).into_iter().filter_map(changed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline::time::UnixMillis;

    const PRESENT: Membership = Membership { present: true, watch: false, meta: None };
    const WATCH: Membership = Membership { present: false, watch: true, meta: None };

    fn at(ms: u64) -> Now {
        Now { mono: Instant(Duration::from_millis(ms)), wall: UnixMillis(ms) }
    }

    fn key() -> RoomKey {
        RoomKey { tenant: "t".into(), room: "alerts/tenant:t".parse().unwrap() }
    }

    fn presence() -> Presence {
        let config = Config {
            restart_grace: Duration::ZERO,
            restart_spread: Duration::ZERO,
            ..Config::default()
        };
        Presence::new(config, 1)
    }

    fn drain(presence: &mut Presence) -> Vec<Told> {
        std::iter::from_fn(|| presence.poll_output()).collect()
    }

    /// The changes told to connection 9, as (user, status), `gone` as none.
    fn changes(presence: &mut Presence) -> Vec<(String, Option<Status>)> {
        let told = drain(presence).into_iter().filter(|told| told.to.contains(&ConnId(9)));
        told.flat_map(|told| told.frame.changes)
            .map(|change| (change.user.to_string(), change.status.filter(|_| !change.gone)))
            .collect()
    }

    fn joined(presence: &mut Presence, conn: u64, user: &str, now: u64) {
        presence.join(ConnId(conn), &key(), &user.into(), PRESENT, at(now)).unwrap();
    }

    fn watched() -> Presence {
        let mut presence = presence();
        presence.join(ConnId(9), &key(), &"w".into(), WATCH, at(0)).unwrap();
        assert_eq!(drain(&mut presence)[0].frame.members, Some(vec![]));
        presence
    }

    #[test]
    fn p_p1_status_is_the_last_set_else_away_if_all_are_hidden() {
        let mut p = watched();
        joined(&mut p, 1, "u", 1000);
        joined(&mut p, 2, "u", 1000);
        assert_eq!(changes(&mut p), [("u".into(), Some(Status::Online))]);
        let hidden = |hidden| SetStatus { hidden: Some(hidden), ..SetStatus::default() };
        p.set(ConnId(1), hidden(true), at(3000)).unwrap();
        assert_eq!(changes(&mut p), []);
        p.set(ConnId(2), hidden(true), at(4000)).unwrap();
        assert_eq!(changes(&mut p), [("u".into(), Some(Status::Away))]);
        let busy = SetStatus { status: Some(Status::Busy), ..SetStatus::default() };
        p.set(ConnId(1), busy, at(6000)).unwrap();
        p.set(ConnId(2), hidden(false), at(8000)).unwrap();
        assert_eq!(changes(&mut p), [("u".into(), Some(Status::Busy))]);
        p.handle_timeout(at(10_000));
        assert_eq!(changes(&mut p), []);
    }

    #[test]
    fn p_p1_metadata_has_a_bound_and_travels() {
        let mut p = watched();
        let large = Json::of(&"x".repeat(META_BYTES)).unwrap();
        let how = Membership { present: true, watch: false, meta: Some(large.clone()) };
        assert_eq!(p.join(ConnId(1), &key(), &"u".into(), how, at(1)), Err(BadStatus));
        assert_eq!(p.members(&key()).count(), 0);
        joined(&mut p, 1, "u", 1000);
        let set = |meta| SetStatus { meta: Some(meta), ..SetStatus::default() };
        assert_eq!(p.set(ConnId(1), set(large), at(2000)), Err(BadStatus));
        drain(&mut p);
        let small = Json::parse(r#"{"seat":4}"#).unwrap();
        p.set(ConnId(1), set(small.clone()), at(3000)).unwrap();
        assert_eq!(drain(&mut p)[0].frame.changes[0].meta, Some(small));
    }

    #[test]
    fn p_p1_versions_rise_by_one_and_changes_are_batched() {
        let mut p = watched();
        joined(&mut p, 1, "a", 1000);
        for n in 2..50 {
            joined(&mut p, n + 10, &format!("u{n}"), 1001 + n);
        }
        p.handle_timeout(at(1249));
        let first = drain(&mut p);
        assert_eq!((first.len(), first[0].frame.version, first[0].frame.changes.len()), (1, 1, 1));
        assert_eq!(p.poll_timeout(), Some(at(1250).mono));
        p.handle_timeout(at(1250));
        let second = drain(&mut p);
        assert_eq!(
            (second.len(), second[0].frame.version, second[0].frame.changes.len()),
            (1, 2, 48)
        );
    }

    #[test]
    fn p_p1_a_snapshot_comes_in_pages_and_changes_follow_it() {
        let mut p = presence();
        for n in 0..600 {
            joined(&mut p, n + 10, &format!("u{n:03}"), 0);
        }
        p.join(ConnId(9), &key(), &"w".into(), WATCH, at(5000)).unwrap();
        let pages = drain(&mut p);
        let sizes: Vec<_> = pages.iter().map(|t| t.frame.members.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [256, 256, 88]);
        assert_eq!(pages.iter().map(|t| t.frame.more).collect::<Vec<_>>(), [true, true, false]);
        let version = pages[0].frame.version;
        p.leave(ConnId(10), &key(), at(9000));
        assert_eq!(drain(&mut p)[0].frame.version, version + 1);
    }

    #[test]
    fn p_p1_one_who_comes_and_goes_within_a_batch_is_no_change() {
        let mut p = watched();
        joined(&mut p, 1, "a", 1000);
        drain(&mut p);
        joined(&mut p, 2, "b", 1010);
        p.leave(ConnId(2), &key(), at(1020));
        p.leave(ConnId(1), &key(), at(1030));
        joined(&mut p, 3, "a", 1040);
        p.handle_timeout(at(2000));
        assert_eq!(changes(&mut p), []);
    }

    #[test]
    fn p_p2_a_lost_lease_is_graced_and_a_return_is_silent() {
        let mut p = watched();
        joined(&mut p, 1, "u", 1000);
        drain(&mut p);
        p.closed(ConnId(1), End::Lost, at(2000));
        p.handle_timeout(at(16_999));
        assert_eq!((changes(&mut p), p.members(&key()).count()), (vec![], 1));
        joined(&mut p, 2, "u", 16_999);
        p.handle_timeout(at(60_000));
        assert_eq!(changes(&mut p), []);
        p.closed(ConnId(2), End::Lost, at(60_000));
        assert_eq!(p.poll_timeout(), Some(at(75_000).mono));
        p.handle_timeout(at(75_000));
        assert_eq!(changes(&mut p), [("u".into(), None)]);
    }

    #[test]
    fn p_p2_close_1000_leave_and_revocation_are_gone_at_once_but_only_with_the_last_lease() {
        let mut p = watched();
        for (conn, user) in [(1, "u"), (2, "u"), (3, "v")] {
            joined(&mut p, conn, user, 1000);
        }
        p.handle_timeout(at(2000));
        drain(&mut p);
        p.closed(ConnId(1), End::Left, at(3000));
        assert_eq!(changes(&mut p), []);
        p.closed(ConnId(2), End::Left, at(4000));
        assert_eq!(changes(&mut p), [("u".into(), None)]);
        p.leave(ConnId(3), &key(), at(5000));
        assert_eq!(changes(&mut p), [("v".into(), None)]);
    }

    #[test]
    fn p_p2_a_room_may_have_its_own_grace_up_to_two_minutes() {
        let mut p = watched();
        p.config.rooms.insert(key().room, Duration::from_secs(600));
        joined(&mut p, 1, "u", 1000);
        p.closed(ConnId(1), End::Lost, at(2000));
        assert_eq!(p.poll_timeout(), Some(at(122_000).mono));
    }

    #[test]
    fn p_p3_after_a_start_snapshots_are_partial_until_a_whole_one_comes() {
        for seed in 0..50 {
            let mut p = Presence::new(Config::default(), seed);
            p.join(ConnId(9), &key(), &"w".into(), WATCH, at(10)).unwrap();
            assert!(drain(&mut p)[0].frame.partial);
            let end = p.poll_timeout().unwrap();
            assert!((at(45_010).mono..=at(60_010).mono).contains(&end));
            joined(&mut p, 1, "u", 30_000);
            assert_eq!(changes(&mut p).len(), 1);
            p.handle_timeout(Now { mono: end, wall: UnixMillis(0) });
            let whole = drain(&mut p);
            assert_eq!(whole.len(), 1);
            assert!(!whole[0].frame.partial && whole[0].frame.members.as_ref().unwrap().len() == 1);
        }
    }

    #[test]
    fn a_join_replaces_the_membership_before_it() {
        let mut p = watched();
        joined(&mut p, 1, "u", 1000);
        drain(&mut p);
        p.join(ConnId(1), &key(), &"u".into(), WATCH, at(2000)).unwrap();
        assert_eq!(changes(&mut p), [("u".into(), None)]);
        p.join(ConnId(1), &key(), &"u".into(), Membership::default(), at(3000)).unwrap();
        joined(&mut p, 3, "x", 9000);
        assert!(drain(&mut p).iter().all(|told| *told.to == [ConnId(9)]));
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let mut p = presence();
        for n in 0..100 {
            joined(&mut p, n, &format!("u{n}"), 0);
            p.join(ConnId(n + 1000), &key(), &"w".into(), WATCH, at(1)).unwrap();
        }
        for n in 0..100 {
            p.closed(ConnId(n), if n % 2 == 0 { End::Left } else { End::Lost }, at(5000));
            p.closed(ConnId(n + 1000), End::Lost, at(5000));
        }
        p.handle_timeout(at(60_000));
        p.handle_timeout(at(120_000));
        assert!(p.rooms.is_empty() && p.connections.is_empty() && p.deadlines.is_empty());
    }
}
