//! The hub's parts behind one face: presence, media, rate limits, revocations, commands, alerts.
//!
//! The hub calls [`Parts`] where something happens and takes [`Parts::poll`] until nothing is left,
//! once per turn. Where it calls:
//!
//! | when | call |
//! | --- | --- |
//! | a token was verified | [`Parts::check`]; on `Loading` keep it until [`Act::Loaded`] |
//! | welcomed | [`Parts::welcomed`] |
//! | a send or cast | [`Parts::spend`]; to a commands' room [`Parts::admit`] too |
//! | a membership began, ended | [`Parts::joined`], [`Parts::left`] (not between a join and the one it replaces) |
//! | a connection ended | [`Parts::closed`], before its memberships are ended |
//! | the log tells an entry | [`Parts::handle_entry`], after the room handed it on |
//! | the log answers a ticket of [`Parts::owns`] | [`Parts::handle_reply`] |

use super::{
    alerts::{self, Alerts},
    buckets::{self, Buckets, Limited, Refusal},
    commands::{self, Admission, Commands},
    fold::Tickets,
    io::{CallId, ConnId, Hook, Output, Principal, Revocation, To},
    media::{self, Media, Picture, TapId},
    presence::{self, End, Membership, Presence},
    revocations::{self, Revocations, Verdict},
};
use crate::log::{Entry, NewEntry, Reply, RoomKey, Ticket};
use bytes::Bytes;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use wardline::{
    model::ids::{ItemId, TenantId, UserId},
    protocol::{
        Address, Code, Cursor, Json, ServerFrame, close,
        frames::{Answer, CommandResult, ErrorBody, Member, SetStatus},
    },
    time::{Instant, Now},
};

/// How the parts behave.
#[derive(Clone, Debug, Default)]
pub struct PartsConfig {
    /// Presence.
    pub presence: presence::Config,
    /// Media.
    pub media: media::Config,
    /// Rate limits.
    pub buckets: buckets::Config,
    /// Revocations.
    pub revocations: revocations::Config,
    /// Commands.
    pub commands: commands::Config,
    /// Alerts.
    pub alerts: alerts::Config,
}

/// Result of `call results`: what is known, by id.
#[derive(Serialize)]
struct Results {
    results: BTreeMap<String, Body>,
}

/// Either of them.
#[derive(Serialize)]
struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

/// What the parts want the hub to do.
#[derive(Clone, Debug)]
pub enum Act {
    /// As it is.
    Output(Output),
    /// Write a frame to a connection.
    Write(ConnId, ServerFrame),
    /// Answer a call that was under way.
    Reply(ConnId, u64, Json),
    /// Close whom this cuts off, with 4103.
    Cut(Revocation),
    /// A tenant's revocations are known: look again at the tokens that waited.
    Loaded(TenantId),
    /// Give a tap its next picture.
    Picture(TapId, Arc<Picture>),
}

/// The parts of one hub.
#[derive(Debug)]
pub struct Parts {
    presence: Presence,
    media: Media,
    buckets: Buckets,
    revocations: Revocations,
    commands: Commands,
    alerts: Alerts,
    /// Commands for the built-in handler of alerts; at most one per tenant is under way.
    for_alerts: VecDeque<(RoomKey, Arc<Entry>)>,
    users: BTreeMap<(TenantId, UserId), BTreeSet<ConnId>>,
    owners: BTreeMap<ConnId, (TenantId, UserId)>,
    acts: VecDeque<Act>,
    /// Something was called since the last poll.
    touched: bool,
}

impl Parts {
    /// Fresh parts.
    #[must_use]
    pub fn new(config: PartsConfig, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            presence: Presence::new(config.presence, rng.u64(..)),
            media: Media::new(config.media),
            buckets: Buckets::new(config.buckets),
            revocations: Revocations::new(config.revocations, rng.u64(..)),
            commands: Commands::new(config.commands, rng.u64(..)),
            alerts: Alerts::new(config.alerts),
            for_alerts: VecDeque::new(),
            users: BTreeMap::new(),
            owners: BTreeMap::new(),
            acts: VecDeque::new(),
            touched: false,
        }
    }

    /// Whether a verified token lets in (P-C6a).
    pub fn check(&mut self, who: &Principal, now: Now) -> Verdict {
        self.touched = true;
        self.revocations.check(who, now)
    }

    /// Cuts a user, token or tenant off; [`Act::Cut`] follows once that is durable.
    pub fn revoke(&mut self, call: Option<CallId>, revocation: Revocation, now: Now) {
        self.touched = true;
        self.revocations.revoke(call, revocation, now);
    }

    /// A connection was welcomed.
    pub fn welcomed(&mut self, conn: ConnId, who: &Principal, hidden: bool, now: Now) {
        self.touched = true;
        self.commands.open(&who.tenant);
        self.alerts.open(&who.tenant);
        let owner = (who.tenant.clone(), who.user.clone());
        self.users.entry(owner.clone()).or_default().insert(conn);
        self.owners.insert(conn, owner);
        if hidden {
            let hidden = SetStatus { hidden: Some(true), ..SetStatus::default() };
            // Only metadata can be refused.
            let _ = self.presence.set(conn, hidden, now);
        }
    }

    /// A connection ended, with the client's close code or the server's.
    pub fn closed(&mut self, conn: ConnId, code: u16, now: Now) {
        self.touched = true;
        let at_once = matches!(code, close::NORMAL | close::TOKEN_REVOKED);
        let end = if at_once { End::Left } else { End::Lost };
        self.presence.closed(conn, end, now);
        self.media.closed(conn);
        self.commands.closed(conn, now);
        if let Some(owner) = self.owners.remove(&conn)
            && let Some(conns) = self.users.get_mut(&owner)
        {
            conns.remove(&conn);
            if conns.is_empty() {
                self.users.remove(&owner);
            }
        }
    }

    /// Counts a connection in (V6).
    ///
    /// # Errors
    /// [`Refusal`] with the close code; nothing was counted.
    pub fn connect(&mut self, who: &Principal, now: Now) -> Result<(), Refusal> {
        self.buckets.connect(who, now)
    }

    /// Counts a connection out that [`Parts::connect`] let in.
    pub fn disconnect(&mut self, who: &Principal) {
        self.buckets.disconnect(who);
    }

    /// Spends a point of the buckets that count a message (V6).
    ///
    /// # Errors
    /// [`Limited`]: how long to wait.
    pub fn spend(&mut self, who: &Principal, namespace: &str, now: Now) -> Result<(), Limited> {
        self.buckets.spend(who, namespace, 1, now)
    }

    /// A membership began, or replaced the one before it.
    ///
    /// # Errors
    /// `bad_status`: the metadata is too large; presence does not know of the membership.
    pub fn joined(
        &mut self,
        conn: ConnId,
        key: &RoomKey,
        user: &UserId,
        how: Membership,
        now: Now,
    ) -> Result<(), Code> {
        if how.present || how.watch || self.presence.knows(conn) {
            self.touched = true;
            let place = self.presence_key(conn, key);
            self.presence.join(conn, &place, user, how, now).map_err(|_| Code::BAD_STATUS)?;
        }
        if self.media.concerns(key.room.namespace()) {
            self.touched = true;
            self.media.join(conn, key);
        }
        Ok(())
    }

    /// A membership ended.
    pub fn left(&mut self, conn: ConnId, key: &RoomKey, now: Now) {
        if self.presence.knows(conn) || self.media.concerns(key.room.namespace()) {
            self.touched = true;
            let place = self.presence_key(conn, key);
            self.presence.leave(conn, &place, now);
            self.media.leave(conn, key);
        }
    }

    /// `status` (P-P1).
    ///
    /// # Errors
    /// `bad_status`: the metadata is too large.
    pub fn status(&mut self, conn: ConnId, status: SetStatus, now: Now) -> Result<(), Code> {
        self.touched = true;
        self.presence.set(conn, status, now).map_err(|_| Code::BAD_STATUS)
    }

    /// Who of a tenant is in a room, and whether who is missing may only be late: `call presence`.
    #[must_use]
    pub fn members(&self, tenant: &TenantId, room: &Address) -> (Vec<Member>, bool) {
        let place = RoomKey { tenant: tenant.clone(), room: room.clone() };
        (self.presence.members(&place).collect(), self.presence.is_partial())
    }

    /// Where a connection's presence in a room is kept. A public room belongs to every tenant, but its
    /// people are those of one's own: a user's name says who somebody is only within a tenant.
    fn presence_key(&self, conn: ConnId, key: &RoomKey) -> RoomKey {
        let tenant = self.owners.get(&conn).map_or(&key.tenant, |(tenant, _)| tenant);
        RoomKey { tenant: tenant.clone(), room: key.room.clone() }
    }

    /// Reads what must be known of a tenant before an entry of the server's own code goes to this
    /// room: nobody of the tenant need be connected.
    pub fn prepare(&mut self, key: &RoomKey) {
        if self.commands.is_commands(&key.room) || key.room.namespace() == alerts::NAMESPACE {
            self.touched = true;
            self.commands.open(&key.tenant);
            self.alerts.open(&key.tenant);
        }
    }

    /// Whether a room carries commands: joins, sends and leaves go through here.
    #[must_use]
    pub fn is_commands(&self, room: &Address) -> bool {
        self.commands.is_commands(room)
    }

    /// What becomes of a command, and the room its sender must be allowed to send to as well.
    #[must_use]
    pub fn admit(&self, key: &RoomKey, event: &str, data: &Json) -> (Admission, Option<Address>) {
        let concerns = (key.room.namespace() == alerts::NAMESPACE)
            .then(|| self.alerts.concerns(&key.tenant, event, data))
            .flatten();
        (self.commands.admit(key, event), concerns)
    }

    /// What to append for an entry in one step: itself, and what goes with a command or, from a
    /// back end, with an alert.
    #[must_use]
    pub fn entries(&self, entry: NewEntry, ttl: Option<u64>, back_end: bool) -> Vec<NewEntry> {
        if self.commands.is_commands(&entry.room.room) {
            return self.commands.entries(entry, ttl);
        }
        let companion = if back_end { self.alerts.companion(&entry) } else { None };
        std::iter::once(entry).chain(companion).collect()
    }

    /// A `service` joins a commands' room; the answer follows.
    pub fn join_commands(
        &mut self,
        conn: ConnId,
        key: &RoomKey,
        join: (u64, Option<Cursor>),
        now: Now,
    ) {
        self.touched = true;
        self.commands.join(conn, key, join, now);
    }

    /// A `service` leaves a commands' room.
    pub fn leave_commands(&mut self, conn: ConnId, key: &RoomKey, now: Now) {
        self.touched = true;
        self.commands.leave(conn, key, now);
    }

    /// The commands' rooms a connection joined.
    pub fn commands_of(&self, conn: ConnId) -> impl Iterator<Item = &RoomKey> {
        self.commands.rooms_of(conn)
    }

    /// `answer` (P-S8).
    ///
    /// # Errors
    /// `not_joined`, `not_found`, `bad_room`.
    pub fn answer(&mut self, conn: ConnId, tenant: &TenantId, answer: Answer) -> Result<(), Code> {
        self.touched = true;
        let room: Address = answer.room.parse().map_err(|_| Code::BAD_ROOM)?;
        self.commands.answer(conn, tenant, &room, answer)
    }

    /// An in-process handler answers.
    ///
    /// # Errors
    /// `not_found`: no such command waits.
    pub fn answer_in_process(
        &mut self,
        key: &RoomKey,
        seq: u64,
        outcome: Result<Json, ErrorBody>,
    ) -> Result<(), Code> {
        self.touched = true;
        self.commands.answer_in_process(key, seq, outcome, Vec::new())
    }

    /// `call results {ids}`; [`Act::Reply`] follows.
    pub fn ask_results(&mut self, conn: ConnId, call: u64, who: &Principal, ids: Vec<ItemId>) {
        self.touched = true;
        self.commands.ask_results(conn, call, &who.tenant, &who.user, ids);
    }

    /// The streams, viewers and pictures.
    pub fn media(&mut self) -> &mut Media {
        self.touched = true;
        &mut self.media
    }

    /// The last picture of a room, where one is kept.
    #[must_use]
    pub fn snapshot(&self, key: &RoomKey) -> Option<Arc<Picture>> {
        self.media.snapshot(key)
    }

    /// Proves every fold anew: after an outage of the store, and once per proof interval (P-K2).
    pub fn refresh(&mut self) {
        self.touched = true;
        self.revocations.refresh();
        self.commands.refresh();
        self.alerts.refresh();
    }

    /// Whether a ticket is one of the parts'.
    #[must_use]
    pub fn owns(ticket: Ticket) -> bool {
        Tickets::part(ticket).is_some()
    }

    /// The log told an entry of any room.
    pub fn handle_entry(&mut self, key: &RoomKey, entry: &Arc<Entry>, now: Now) {
        let room = key.room.room();
        if room == "commands" || room.starts_with('~') {
            self.touched = true;
            self.revocations.handle_entry(key, entry, now);
            self.alerts.handle_entry(key, entry, now);
            self.commands.handle_entry(key, entry, now);
        }
    }

    /// The log's answer to one of the parts' tickets.
    pub fn handle_reply(&mut self, reply: &Reply, now: Now) {
        let ticket = match reply {
            Reply::Stepped(ticket, _)
            | Reply::Producer(ticket, _)
            | Reply::Proved(ticket, _)
            | Reply::Page(ticket, _) => *ticket,
            Reply::Entry(..) => return,
        };
        self.touched = true;
        match Tickets::part(ticket) {
            Some(revocations::PART) => self.revocations.handle_reply(reply, now),
            Some(commands::PART) => self.commands.handle_reply(reply, now),
            Some(alerts::PART) => self.alerts.handle_reply(reply, now),
            _ => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.touched = true;
        self.presence.handle_timeout(now);
        self.revocations.handle_timeout(now);
        self.commands.handle_timeout(now);
        self.alerts.handle_timeout(now);
    }

    /// The next moment for [`Parts::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let moments = [
            self.presence.poll_timeout(),
            self.revocations.poll_timeout(),
            self.commands.poll_timeout(),
            self.alerts.poll_timeout(),
        ];
        moments.into_iter().flatten().min()
    }

    /// Whether anything was called since nothing was left to do.
    #[must_use]
    pub const fn is_touched(&self) -> bool {
        self.touched
    }

    /// The next thing to do; none: nothing until the next call.
    pub fn poll(&mut self) -> Option<Act> {
        if !self.touched {
            return None;
        }
        loop {
            if let Some(act) = self.acts.pop_front() {
                return Some(act);
            }
            if !self.collect() {
                self.touched = false;
                return None;
            }
        }
    }

    /// Collects what one part has to say; false: none has anything.
    fn collect(&mut self) -> bool {
        if let Some(output) = self.revocations.poll_output() {
            self.acts.push_back(match output {
                revocations::Output::Log(request) => Act::Output(Output::Log(request)),
                revocations::Output::Loaded(tenant) => Act::Loaded(tenant),
                revocations::Output::Cut(revocation) => Act::Cut(revocation),
                revocations::Output::Durable(call) => {
                    Act::Output(Output::Published(call, Ok(Vec::new())))
                }
                revocations::Output::Refused(call) => {
                    let message = "the log cannot take it now; ask again".to_owned();
                    let refused = ErrorBody { code: Code::UNAVAILABLE, message };
                    Act::Output(Output::Published(call, Err(refused)))
                }
            });
        } else if let Some(request) = self.alerts.poll_request() {
            self.acts.push_back(Act::Output(Output::Log(request)));
        } else if let Some(output) = self.commands.poll_output() {
            self.collect_command(output);
        } else if let Some(told) = self.presence.poll_output() {
            let bytes = Bytes::from(ServerFrame::from(told.frame).encode());
            self.acts.push_back(Act::Output(Output::Text(To::Many(told.to), bytes)));
        } else if let Some(output) = self.media.poll_output() {
            self.acts.push_back(match output {
                media::Output::Stream(conn, stream) => Act::Write(conn, stream.into()),
                media::Output::Demand(conn, demand) => Act::Write(conn, demand.into()),
                media::Output::Chunk(conn, bytes) => Act::Output(Output::Media(conn, bytes)),
                media::Output::Picture(tap, picture) => Act::Picture(tap, picture),
            });
        } else {
            return self.handle_alert();
        }
        true
    }

    fn collect_command(&mut self, output: commands::Output) {
        match output {
            commands::Output::Log(request) => {
                self.acts.push_back(Act::Output(Output::Log(request)))
            }
            commands::Output::Frame(conn, frame) => self.acts.push_back(Act::Write(conn, frame)),
            commands::Output::Result(tenant, user, result) => {
                let conns = self.users.get(&(tenant, user)).into_iter().flatten().copied();
                let to: Vec<_> = conns.collect();
                if !to.is_empty() {
                    let bytes = Bytes::from(ServerFrame::from(result).encode());
                    self.acts.push_back(Act::Output(Output::Text(To::Many(Arc::new(to)), bytes)));
                }
            }
            commands::Output::Handle(key, entry) if key.room.namespace() == alerts::NAMESPACE => {
                self.for_alerts.push_back((key, entry));
            }
            commands::Output::Handle(key, entry) => {
                let hook = Hook::Command(key.tenant, key.room, entry);
                self.acts.push_back(Act::Output(Output::Hook(hook)));
            }
            commands::Output::Results(conn, call, results) => {
                let by_id =
                    |CommandResult { id, result, error }| (id.to_string(), Body { result, error });
                let results = results.into_iter().map(by_id).collect();
                let json = Json::envelope(&Results { results }).unwrap_or_else(|_| Json::null());
                self.acts.push_back(Act::Reply(conn, call, json));
            }
        }
    }

    /// Handles a command of alerts whose tenant's alerts are known.
    fn handle_alert(&mut self) -> bool {
        let ready = |(key, _): &(RoomKey, Arc<Entry>)| self.alerts.is_ready(&key.tenant);
        let Some(at) = self.for_alerts.iter().position(ready) else { return false };
        let Some((key, entry)) = self.for_alerts.remove(at) else { return false };
        let alerts::Handled { answer, effects } = self.alerts.handle(&key.tenant, &entry);
        // Not found: it was answered or lost meanwhile; then nothing of it may happen either.
        let _ = self.commands.answer_in_process(&key, entry.seq, answer, effects);
        true
    }
}
