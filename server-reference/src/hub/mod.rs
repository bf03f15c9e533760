//! The server's protocol as a pure hub: connections, rooms, producers, presence, permissions.
//!
//! **The contract: feed one [`Input`] with the time, then take outputs until
//! [`Output::Timeout`].** Nothing in here reads a clock, draws a random number of its own, waits,
//! or touches a socket or disk; same inputs and seed, same outputs.
//!
//! 1. `hub.handle_input(input, now)`.
//! 2. `hub.poll_output()`: write, close, verify, ask the log, tell the hooks.
//! 3. At `Timeout(at)`: come back with the next input, or with [`Input::Timeout`] at `at`. A
//!    moment that is not after `now` means: at once, after what was written was counted
//!    ([`Input::Unsent`]).
//!
//! The hub never numbers an event: it asks the log, and hands an event on when the log tells it,
//! iff it fits the head of its room (P-K2).

pub mod alerts;
pub mod buckets;
mod calls;
pub mod commands;
pub mod config;
mod connections;
mod encode;
pub mod fold;
mod hello;
mod inbox;
mod intake;
pub mod io;
pub mod ledger;
mod liveness;
pub mod media;
mod numbers;
pub mod parts;
pub mod permissions;
pub mod presence;
mod publish;
pub mod revocations;
mod rooms;
mod sends;
mod stats;
mod taps;
#[cfg(test)]
mod tests;
mod timers;
mod wiring;

pub use config::{HubConfig, Namespace, RoomStrategy};
#[cfg(feature = "serve")]
pub(crate) use intake::taken;
pub use io::*;
#[cfg(feature = "serve")]
#[cfg(feature = "serve")]
pub(crate) use sends::is_number;
pub use stats::Stats;

use crate::log::{Reply, Request, RoomKey, Ticket};
use connections::Connections;
use liveness::Draining;
use numbers::NumberMap;
use parts::Parts;
use publish::Publishes;
use rooms::{RoomId, Rooms};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
};
use taps::Taps;
use timers::{Timer, Timers};
use wardline::{
    model::ids::TenantId,
    protocol::{Address, Code},
    time::Now,
};

/// The hub. See the [module](self) for its contract.
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    rng: fastrand::Rng,
    now: Now,
    /// Wall minus monotonic clock, in ms, as last noticed.
    clock: i128,
    outputs: VecDeque<Output>,
    connections: Connections,
    rooms: Rooms,
    timers: Timers,
    waiting: NumberMap<Ticket, Waiting>,
    next_ticket: u64,
    publishes: Publishes,
    drain: Option<Draining>,
    taps: Taps,
    parts: Parts,
    /// Tokens whose tenant's revocations are being read.
    unchecked: BTreeMap<TenantId, Vec<(ConnId, Principal)>>,
    /// Connections with more to replay, left for the next turn.
    again: VecDeque<ConnId>,
    /// Connections whose page the log could not read.
    stalled: BTreeSet<ConnId>,
}

/// Who waits for a reply of the log.
#[derive(Debug)]
enum Waiting {
    /// A client, for a step.
    Step(Box<sends::Sent>),
    /// The server's own code, for a step.
    Publish,
    /// A `hello`, for its record.
    Producer(ConnId),
    /// A join, for the proof of its cursor.
    Join { conn: ConnId, number: u64 },
    /// A room, for its head.
    Head(RoomId),
    /// A room, for what it was not told.
    Feed(RoomId),
    /// A room, for the proof beside its feed.
    Probe(RoomId),
    /// A member, for what it is behind.
    Replay { conn: ConnId, room: RoomId, after: u64 },
    /// A `history`, for where the log stands.
    HistoryExtent(Box<calls::History>),
    /// A `history`, for its page.
    HistoryPage(Box<calls::History>),
}

impl Hub {
    /// Makes a hub without connections. The seed is drawn by the host, never a constant in
    /// production.
    #[must_use]
    pub fn new(config: HubConfig, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let parts = Parts::new(config.parts_config(), rng.u64(..));
        Self {
            config,
            rng,
            now: Now::default(),
            clock: 0,
            outputs: VecDeque::new(),
            connections: Connections::default(),
            rooms: Rooms::default(),
            timers: Timers::default(),
            waiting: NumberMap::default(),
            next_ticket: 0,
            publishes: Publishes::default(),
            drain: None,
            taps: Taps::new(),
            parts,
            unchecked: BTreeMap::new(),
            again: VecDeque::new(),
            stalled: BTreeSet::new(),
        }
    }

    /// How this hub behaves.
    #[must_use]
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// Takes one input. Then take outputs until [`Output::Timeout`].
    pub fn handle_input(&mut self, input: Input, now: Now) {
        self.now = now;
        self.notice_clock();
        for conn in mem::take(&mut self.again) {
            self.pump(conn);
        }
        match input {
            Input::Open(conn, _)
            | Input::Text(conn, _)
            | Input::Binary(conn, _)
            | Input::Progress(conn)
            | Input::Closed(conn, _) => self.handle_connection(conn, input),
            Input::Verified(conn, verified) => self.handle_verified(conn, verified),
            Input::Unsent(conn, bytes) => self.handle_unsent(conn, bytes),
            Input::Log(reply) => self.handle_log(reply),
            Input::Publish(call, publish) => self.handle_publish(call, publish),
            Input::Answer(room, tenant, seq, outcome) => {
                let key = RoomKey { tenant, room };
                // Not found: another answer, or its time, came first.
                let _ = self.parts.answer_in_process(&key, seq, outcome);
            }
            Input::Revoke(call, revocation) => self.parts.revoke(call, revocation, self.now),
            Input::Tap(tap, what) => self.handle_tap(tap, what),
            Input::Drain { spread, reason } => self.handle_drain(spread, reason),
            Input::Timeout => {}
        }
        while let Some((due, timer)) = self.timers.pop(now.mono) {
            self.handle_timer(timer, due);
        }
        self.run_parts();
    }

    /// The next output; at the end, and from then on, [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let at = if self.again.is_empty() { self.timers.next() } else { Some(self.now.mono) };
        Output::Timeout(at)
    }

    fn handle_timer(&mut self, timer: Timer, due: wardline::time::Instant) {
        match timer {
            Timer::Connection(conn) => self.handle_connection_timer(conn, due),
            Timer::Room(room) => self.handle_room_timer(room),
            Timer::Stalled => self.handle_stalled(),
            Timer::Drain => self.handle_drain_timer(),
            Timer::Tap(tap) => self.handle_tap_timer(tap),
            Timer::Parts => self.parts.handle_timeout(self.now),
            Timer::PartsProof => self.parts.refresh(),
        }
    }

    fn handle_log(&mut self, reply: Reply) {
        if let Reply::Entry(key, entry) = reply {
            self.handle_entry(&key, Arc::clone(&entry));
            self.parts.handle_entry(&key, &entry, self.now);
            return;
        }
        let Some(ticket) = rooms::ticket_of(&reply) else { return };
        if Parts::owns(ticket) {
            self.parts.handle_reply(&reply, self.now);
            return;
        }
        let Some(waiting) = self.waiting.remove(&ticket) else { return };
        match (waiting, reply) {
            (Waiting::Step(sent), Reply::Stepped(_, stepped)) => {
                self.handle_stepped(*sent, stepped);
            }
            (Waiting::Publish, Reply::Stepped(_, stepped)) => {
                self.handle_published(ticket, &stepped);
            }
            (Waiting::Producer(conn), Reply::Producer(_, record)) => {
                self.handle_producer(ticket, conn, record);
            }
            (Waiting::Join { conn, number }, Reply::Proved(_, proved)) => {
                self.handle_join_proved(ticket, (conn, number), proved);
            }
            (Waiting::Head(room), Reply::Proved(_, proved)) => {
                self.handle_head(ticket, room, proved);
            }
            (Waiting::Probe(room), Reply::Proved(_, proved)) => self.handle_probe(room, proved),
            (Waiting::Feed(room), Reply::Page(_, page)) => self.handle_feed(ticket, room, page),
            (Waiting::Replay { conn, room, after }, Reply::Page(_, page)) => {
                self.handle_replay(ticket, (conn, room, after), page);
            }
            (Waiting::HistoryExtent(history), Reply::Proved(_, proved)) => {
                self.handle_history_extent(history, proved);
            }
            (Waiting::HistoryPage(history), Reply::Page(_, page)) => {
                self.handle_history_page(*history, page);
            }
            // A reply of another kind than was asked for: the log broke its contract.
            _ => debug_assert!(false, "a reply fits its request"),
        }
    }

    /// A ticket, and who waits for its reply.
    fn ticket(&mut self, waiting: Waiting) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.waiting.insert(ticket, waiting);
        ticket
    }

    fn ask(&mut self, request: Request) {
        self.outputs.push_back(Output::Log(request));
    }

    fn hook(&mut self, hook: Hook) {
        self.outputs.push_back(Output::Hook(hook));
    }

    fn hook_refused(&mut self, conn: ConnId, code: Code) {
        let who = self.session(conn).map(|session| Arc::clone(&session.principal));
        self.hook(Hook::Refused(conn, who, code));
    }

    fn hook_joined(&mut self, conn: ConnId, room: Address) {
        if let Some(session) = self.session(conn) {
            let who = Arc::clone(&session.principal);
            self.hook(Hook::Joined(conn, who, room));
        }
    }

    fn hook_left(&mut self, conn: ConnId, room: Address) {
        if let Some(session) = self.session(conn) {
            let who = Arc::clone(&session.principal);
            self.hook(Hook::Left(conn, who, room));
        }
    }

    /// Requests the log has not answered.
    #[must_use]
    pub fn log_requests(&self) -> usize {
        self.waiting.len()
    }
}
