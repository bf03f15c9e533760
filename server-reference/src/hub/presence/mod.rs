//! Presence: who is in a room, and how (P-P1 to P-P3).
//!
//! A member is a (room, user); under it lies one lease per connection that joined with `present`.
//! A connection's life is its lease's life: heartbeats renew it by proving the connection alive.
//! The part is pure: calls change it, [`Presence::poll_output`] drains what is to be written, and
//! [`Presence::poll_timeout`] names the next moment for [`Presence::handle_timeout`].

mod telling;
#[cfg(test)]
mod tests;

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
}
