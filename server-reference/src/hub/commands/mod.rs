//! Commands: sends that a handler answers (P-S8).
//!
//! A namespace's commands are the log `<namespace>/commands`. Its handlers form a group: the
//! server's own code, or `service` connections that joined the room. One live handler at a time is
//! fed in order; what it left unanswered goes to the next. Answers are entries of the internal log
//! `<namespace>/~answers`, so position and results are a fold, and the first answer in that log is
//! the answer on every node.

mod config;
mod feeding;
mod group;
mod results;
#[cfg(test)]
mod tests;

pub use config::{Config, Namespace};
use feeding::internal;
pub(super) use group::derived_id;

use super::{
    fold::{Entries, Folded},
    io::ConnId,
    ledger::Ledger,
};
use crate::log::{Entry, NewEntry, Reply, Request, RoomKey};
use group::{Group, Handler, Member, OwnTtl, REGISTERED, TTL};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use wardline::{
    model::ids::{ItemId, TenantId, UserId},
    protocol::{
        Address, Code, Cursor, Json, ServerFrame,
        frames::{Answer, CommandResult, ErrorBody, Event, Joined, Live, Lost, RoomMode},
        limits::{COMMAND_TIMEOUT, COMMAND_TTL, WINDOW},
    },
    time::{Instant, Now},
};

/// The part's number in tickets.
pub(super) const PART: u8 = 2;
/// The room of a namespace that carries its commands.
const COMMANDS: &str = "commands";
/// The internal room of a namespace that carries the answers.
const ANSWERS: &str = "~answers";

/// How long a command is asked to wait for its tenant's group to be read.
const LOADING: Duration = Duration::from_millis(50);

/// What becomes of a send to a commands' room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Append [`Commands::entries`].
    Take,
    /// Refused for good.
    Refuse(Code, &'static str),
    /// Not now.
    Hold(Code, Option<Duration>),
}

/// What the part wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask the log.
    Log(Request),
    /// Write to a connection, in order.
    Frame(ConnId, ServerFrame),
    /// Write to every connection of a user.
    Result(TenantId, UserId, CommandResult),
    /// The server's own code handles this command; [`Commands::answer_in_process`] follows.
    Handle(RoomKey, Arc<Entry>),
    /// The results a `call results` asked for, in the order asked.
    Results(ConnId, u64, Vec<CommandResult>),
}

/// The groups of the tenants this hub serves.
#[derive(Debug)]
pub struct Commands {
    config: Config,
    groups: BTreeMap<RoomKey, Group>,
    /// Answers' logs to commands' logs.
    by_answers: BTreeMap<RoomKey, RoomKey>,
    tenants: BTreeMap<TenantId, Tenant>,
    conns: BTreeMap<ConnId, BTreeSet<RoomKey>>,
    /// When commands end unanswered; a moment may be out of date, never too late.
    deadlines: BTreeSet<(Instant, RoomKey, u64)>,
    ledger: Ledger,
    rng: fastrand::Rng,
    out: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Tenant {
    groups: Vec<RoomKey>,
    /// `call results` that wait for the logs to be read.
    asked: Vec<(ConnId, u64, UserId, Vec<ItemId>)>,
}

impl Commands {
    /// Knows of no tenant yet.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            by_answers: BTreeMap::new(),
            tenants: BTreeMap::new(),
            conns: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ledger: Ledger::new(PART),
            rng: fastrand::Rng::with_seed(seed),
            out: VecDeque::new(),
        }
    }

    /// Whether a room carries the commands of a namespace that has any.
    #[must_use]
    pub fn is_commands(&self, room: &Address) -> bool {
        room.room() == COMMANDS && self.config.namespaces.contains_key(room.namespace())
    }

    /// Someone of a tenant is here: its groups are read, and what waits in them goes on.
    pub fn open(&mut self, tenant: &TenantId) {
        if self.tenants.contains_key(tenant) {
            return;
        }
        let mut groups = Vec::new();
        for (namespace, spec) in &self.config.namespaces {
            let room = |room| {
                let room = Address::new(namespace, room).ok()?;
                Some(RoomKey { tenant: tenant.clone(), room })
            };
            let (Some(key), Some(answers)) = (room(COMMANDS), room(ANSWERS)) else { continue };
            self.ledger.open(&answers, Entries::All);
            self.ledger.open(&key, Entries::All);
            self.by_answers.insert(answers.clone(), key.clone());
            self.groups.insert(key.clone(), Group::new(answers, Arc::clone(spec)));
            groups.push(key);
        }
        self.tenants.insert(tenant.clone(), Tenant { groups, asked: Vec::new() });
    }

    /// What becomes of a send to a commands' room. The sender's permission was checked.
    #[must_use]
    pub fn admit(&self, key: &RoomKey, event: &str) -> Admission {
        let Some(spec) = self.config.namespaces.get(key.room.namespace()) else {
            return Admission::Refuse(Code::NO_HANDLER, "the namespace has no commands");
        };
        if !spec.declares(event) {
            return Admission::Refuse(Code::BAD_EVENT, "no command of this namespace");
        }
        let Some(group) = self.groups.get(key).filter(|group| group.ready) else {
            // The log was asked as soon as someone of the tenant was here, so this is about the
            // time one read takes; where it is an outage, the ledger tries again less often.
            let after = self.ledger.poll_timeout().is_none().then_some(LOADING);
            return Admission::Hold(Code::UNAVAILABLE, after);
        };
        if !spec.in_process && !group.registered && group.members.is_empty() {
            return Admission::Refuse(Code::NO_HANDLER, "no handler was ever there");
        }
        if group.pending.len() >= self.config.pending || group.bytes >= self.config.pending_bytes {
            return Admission::Hold(Code::RATE, Some(Duration::from_secs(1)));
        }
        Admission::Take
    }

    /// What to append for an admitted command: itself, and a note where its time to live (ms) is
    /// another than the default.
    #[must_use]
    pub fn entries(&self, command: NewEntry, ttl: Option<u64>) -> Vec<NewEntry> {
        let default = u64::try_from(self.config.ttl.as_millis()).ok();
        let own = ttl.filter(|_| ttl != default);
        let group = self.groups.get(&command.room);
        let note = own.zip(group).and_then(|(ttl, group)| {
            let data = Json::of(&OwnTtl { id: command.id, ttl }).ok()?;
            Some(internal(&group.answers, ItemId(command.id.0 ^ 1), TTL, data))
        });
        std::iter::once(command).chain(note).collect()
    }

    /// A `service` joins a group: `joined` and `live` follow once the logs are read, then what is
    /// unanswered, when it is this member's turn. Whatever cursor it names, it begins at the group's
    /// position.
    pub fn join(
        &mut self,
        conn: ConnId,
        key: &RoomKey,
        (id, cursor): (u64, Option<Cursor>),
        now: Now,
    ) {
        self.open(&key.tenant);
        self.leave(conn, key, now);
        let Some(group) = self.groups.get_mut(key) else { return };
        let last = cursor.map_or(u64::MAX, |cursor| cursor.seq);
        group.members.push_back(Member { conn, join: Some(id), last });
        self.conns.entry(conn).or_default().insert(key.clone());
        self.pump(key, now);
    }

    /// A member left: the next one is fed from the group's position.
    pub fn leave(&mut self, conn: ConnId, key: &RoomKey, now: Now) {
        let Some(rooms) = self.conns.get_mut(&conn) else { return };
        if rooms.remove(key) {
            if rooms.is_empty() {
                self.conns.remove(&conn);
            }
            self.remove_member(conn, key, now);
        }
    }

    /// The commands' rooms a connection joined.
    pub fn rooms_of(&self, conn: ConnId) -> impl Iterator<Item = &RoomKey> {
        self.conns.get(&conn).into_iter().flatten()
    }

    /// A connection ended.
    pub fn closed(&mut self, conn: ConnId, now: Now) {
        for key in self.conns.remove(&conn).unwrap_or_default() {
            self.remove_member(conn, &key, now);
        }
        for tenant in self.tenants.values_mut().filter(|tenant| !tenant.asked.is_empty()) {
            tenant.asked.retain(|(asker, ..)| *asker != conn);
        }
    }

    /// A member answers. The first answer in the log is the answer.
    ///
    /// # Errors
    /// `not_joined`: the connection is no member; `not_found`: no such command waits.
    pub fn answer(
        &mut self,
        conn: ConnId,
        tenant: &TenantId,
        room: &Address,
        answer: Answer,
    ) -> Result<(), Code> {
        let key = RoomKey { tenant: tenant.clone(), room: room.clone() };
        if !self.conns.get(&conn).is_some_and(|rooms| rooms.contains(&key)) {
            return Err(Code::NOT_JOINED);
        }
        let outcome = match answer.error {
            Some(error) => Err(error),
            None => Ok(answer.result.unwrap_or_else(Json::null)),
        };
        self.answer_in_process(&key, answer.seq, outcome, Vec::new())
    }

    /// The server's own code answers. `effects` are appended in the same step, before the answer:
    /// all happens once, or nothing.
    ///
    /// # Errors
    /// `not_found`: no such command waits.
    pub fn answer_in_process(
        &mut self,
        key: &RoomKey,
        seq: u64,
        outcome: Result<Json, ErrorBody>,
        effects: Vec<NewEntry>,
    ) -> Result<(), Code> {
        let group = self.groups.get_mut(key).ok_or(Code::NOT_FOUND)?;
        let pending = group.pending.get(&seq).ok_or(Code::NOT_FOUND)?;
        if pending.answering {
            return Err(Code::NOT_FOUND);
        }
        let entry = group.answer_entry(pending, outcome).ok_or(Code::BAD_DATA)?;
        if let Some(pending) = group.pending.get_mut(&seq) {
            pending.answering = true;
        }
        let id = entry.id;
        let entries = effects.into_iter().chain([entry]).collect();
        self.ledger.append(&key.tenant, id, entries);
        Ok(())
    }

    /// `call results {ids}`: [`Output::Results`] follows, once the logs are read.
    pub fn ask_results(
        &mut self,
        conn: ConnId,
        call: u64,
        tenant: &TenantId,
        user: &UserId,
        ids: Vec<ItemId>,
    ) {
        self.open(tenant);
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.asked.push((conn, call, user.clone(), ids));
        }
        self.tell_results(tenant);
    }

    /// Proves everything anew: after an outage of the store (P-K2).
    pub fn refresh(&mut self) {
        self.ledger.refresh();
    }

    /// The log told an entry of any room.
    pub fn handle_entry(&mut self, key: &RoomKey, entry: &Arc<Entry>, now: Now) {
        if matches!(key.room.room(), COMMANDS | ANSWERS) {
            let folded = self.ledger.handle_entry(key, entry);
            self.take(key, folded, now);
        }
    }

    /// The log's answer to one of this part's tickets.
    pub fn handle_reply(&mut self, reply: &Reply, now: Now) {
        if let Some((key, folded)) = self.ledger.handle_reply(reply, now) {
            self.take(&key, folded, now);
        }
    }

    /// Ends what is overdue and tries again.
    pub fn handle_timeout(&mut self, now: Now) {
        self.ledger.handle_timeout(now);
        while self.deadlines.first().is_some_and(|(at, ..)| *at <= now.mono) {
            let Some((_, key, seq)) = self.deadlines.pop_first() else { return };
            let Some(group) = self.groups.get(&key).filter(|group| group.ready) else { continue };
            let Some(pending) = group.pending.get(&seq).filter(|p| !p.answering) else { continue };
            let deadline = pending.deadline(self.config.timeout);
            if deadline > now.mono {
                self.deadlines.insert((deadline, key, seq));
                continue;
            }
            let error = pending.overdue();
            // It waits unanswered, or there were nothing to end.
            let _ = self.answer_in_process(&key, seq, Err(error), Vec::new());
        }
    }

    /// The next moment for [`Commands::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, ..)| *at);
        self.ledger.poll_timeout().into_iter().chain(deadline).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ledger.poll_request().map(Output::Log).or_else(|| self.out.pop_front())
    }

    fn remove_member(&mut self, conn: ConnId, key: &RoomKey, now: Now) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.members.retain(|member| member.conn != conn);
        for pending in group.pending.values_mut() {
            if pending.with == Some(Handler::Conn(conn)) {
                pending.with = None;
            }
        }
        self.pump(key, now);
    }
}
