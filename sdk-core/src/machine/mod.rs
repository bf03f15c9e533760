//! The client's protocol as a sans-IO state machine.
//!
//! **Give it an input with both clocks, then take outputs until [`Output::Timeout`]; do what each
//! says, in order. Nothing here reads a clock, draws from a global generator, locks, waits or
//! blocks: the same inputs with the same [`Config::seed`] give the same outputs.**
//!
//! 1. Wait for the first of: a command of the application, a report of the transport, the end of a
//!    write to the store, an answer of the token provider, a signal of the host, the moment the last
//!    [`Output::Timeout`] named (that is [`Input::Timeout`]).
//! 2. [`Machine::handle_input`] with it.
//! 3. [`Machine::poll_output`] and do what it says; again, until it says [`Output::Timeout`].
//! 4. Go to 1. Begin at 3: the first output asks for the store.
//!
//! ```text
//!            commands                     frames, timeouts
//!               │                               │
//!   ┌───────────▼───────────────────────────────▼──────────┐
//!   │ Machine: one Connection, its Timers, Backoff, Tokens │
//!   │ ┌────────┐ ┌───────┐ ┌───────┐ ┌──────────┐ ┌───────┐ │
//!   │ │ Outbox │ │ Rooms │ │ Calls │ │ Presence │ │ Media │ │
//!   │ └────────┘ └───────┘ └───────┘ └──────────┘ └───────┘ │
//!   └───────────┬───────────────────────────────┬──────────┘
//!               ▼                               ▼
//!      replies, events, writes         dial, frames, close
//! ```

mod attempt;
mod backoff;
mod calls;
mod commands;
mod connection;
mod due;
mod inbound;
mod intent;
pub mod io;
mod loss;
mod media;
pub mod outbox;
mod presence;
mod probe;
pub mod rooms;
mod timers;
mod tokens;

#[cfg(test)]
mod tests;

use crate::time::millis;
pub use crate::time::{Instant, Now, UnixMillis};
pub use io::*;

use crate::fifo::Fifo;
use crate::protocol::{codec, limits::REPLAY_BYTES};
use crate::table::Table;
use backoff::{Backoff, after_of};
use calls::{Calls, CallsOutput};
use connection::{Connection, Happening};
use fastrand::Rng;
use intent::Intent;
use loss::Loss;
use media::Media;
use outbox::{Outbox, OutboxOutput, Ticket};
use presence::{Presence, PresenceOutput};
use probe::Leniency;
use rooms::{Rooms, RoomsOutput};
use std::time::Duration;
use timers::{Timer, Timers};
use tokens::{Answer, Tokens};

/// A deadline noticed this much too late says that the process was not running (P-C4).
const LATE: Duration = Duration::from_secs(2);
/// The clocks may part by this much before it says the same.
const JUMP_MS: u64 = 5_000;

/// Which part asked for a batch of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Outbox,
    Rooms,
}

/// A client: everything but the clock, the network, the store and the application.
#[derive(Clone, Debug)]
pub struct Machine {
    config: Config,
    rng: Rng,
    intent: Intent,
    connection: Connection,
    /// The last transport's name.
    generation: u64,
    /// As last told.
    status: Status,
    /// Whose the rooms are.
    welcomed_as: Option<Owner>,
    tokens: Tokens,
    backoff: Backoff,
    leniency: probe::Leniency,
    /// When another connection of this producer took over, lately.
    replaced: Fifo<Instant>,
    timers: Timers,
    outbox: Outbox,
    rooms: Rooms,
    calls: Calls,
    presence: Presence,
    media: Media,
    /// Commands whose item is not stored yet.
    submitting: Table<CallId, crate::model::ids::ItemId>,
    /// Writes under way, in order. At most one of each part.
    stores: Fifo<(BatchId, Writer, Ticket)>,
    next_batch: u64,
    /// Objects that share the next frames.
    flight: Vec<String>,
    output: Fifo<Output>,
    /// The clocks at the last input.
    clocks: Option<Now>,
    /// The moment last asked for.
    announced: Option<Instant>,
    /// Frames and messages passed over.
    ignored: u64,
}

impl Machine {
    /// Makes a client that is not connected. Nothing happens before the first
    /// [`Machine::poll_output`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut rng = Rng::with_seed(config.seed);
        Self {
            intent: Intent::Down,
            connection: Connection::Idle,
            generation: 0,
            status: Status::Disconnected,
            welcomed_as: None,
            tokens: Tokens::new(config.token.clone(), config.has_token_provider),
            backoff: Backoff::default(),
            leniency: Leniency::default(),
            replaced: Fifo::new(),
            timers: Timers::default(),
            outbox: Outbox::new(&config),
            rooms: Rooms::new(&config),
            calls: Calls::new(config.max_calls),
            presence: Presence::new(rng.fork()),
            media: Media::default(),
            submitting: Table::new(),
            stores: Fifo::new(),
            next_batch: 1,
            flight: Vec::new(),
            output: Fifo::new(),
            clocks: None,
            announced: None,
            ignored: 0,
            rng,
            config,
        }
    }

    // Getters.

    /// Where the connection stands, as the application was told.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether there has been a `welcome` on the transport that counts.
    #[must_use]
    pub fn is_welcomed(&self) -> bool {
        self.connection.session().is_some()
    }

    /// The transport that counts.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.connection.generation()
    }

    /// The outbox.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The rooms.
    #[must_use]
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Queries without an answer.
    #[must_use]
    pub fn pending_calls(&self) -> usize {
        self.calls.len()
    }

    /// Rooms whose presence is mirrored.
    #[must_use]
    pub fn mirrored_rooms(&self) -> usize {
        self.presence.len()
    }

    /// Media chunks dropped, outgoing and incoming.
    #[must_use]
    pub fn dropped_chunks(&self) -> u64 {
        self.media.dropped()
    }

    /// Frames that were unknown or out of place (P-F2).
    #[must_use]
    pub fn ignored_frames(&self) -> u64 {
        self.ignored
    }

    /// Attempts since the backoff began anew (P-C5).
    #[must_use]
    pub fn failed_attempts(&self) -> u32 {
        self.backoff.attempts()
    }

    // Input.

    /// Takes an input. Follow it with [`Machine::poll_output`] until [`Output::Timeout`].
    pub fn handle_input(&mut self, input: Input, now: Now) {
        let late = self.announced.is_some_and(|at| now.mono.since(at) > LATE);
        if late || self.clocks_parted(now) {
            self.suspect(now);
        }
        match input {
            Input::Command(command) => self.handle_command(command, now),
            Input::Signal(signal) => self.handle_signal(signal, now),
            Input::Opened(generation) => {
                if self.is_current(generation) {
                    self.advance(Happening::Opened, now);
                }
            }
            Input::Text(generation, text) => {
                if self.is_current(generation) {
                    self.handle_text(&text, now);
                }
            }
            Input::Binary(generation, message) => {
                if self.is_current(generation) {
                    self.handle_binary(&message, now);
                }
            }
            Input::Closed(generation, close) => {
                if self.is_current(generation) {
                    let text = self.tokens.scrub(&close.reason);
                    let loss = Loss::closed(close.code, text, after_of(&close.reason));
                    self.advance(Happening::Lost(loss), now);
                }
            }
            Input::DialFailed(generation, error) => {
                if self.is_current(generation) {
                    let text = self.tokens.scrub(&error.message);
                    self.advance(Happening::Lost(Loss::dial(&error, text)), now);
                }
            }
            Input::Unsent(generation, unsent) => {
                if self.is_current(generation)
                    && let Some(link) = self.connection.link_mut()
                {
                    link.heartbeat.handle_unsent(unsent, now.mono);
                }
            }
            Input::Stored(batch, result) => self.handle_stored(batch, &result, now),
            Input::Loaded(loaded) => self.handle_loaded(loaded, now),
            Input::Poked => self.outbox.handle_poked(now),
            Input::Token(token) => self.handle_token(token, now),
            Input::Timeout => {}
        }
        if self.announced.is_some_and(|at| at <= now.mono) {
            self.handle_timeout(late, now);
        }
    }

    /// Whether the wall clock moved against the monotonic one: a sleep one of them did not notice.
    fn clocks_parted(&mut self, now: Now) -> bool {
        let Some(last) = self.clocks.replace(now) else { return false };
        let expected = last.wall.0.saturating_add(millis(now.mono.since(last.mono)));
        now.wall.0.abs_diff(expected) > JUMP_MS
    }

    fn handle_timeout(&mut self, late: bool, now: Now) {
        self.announced = None;
        while let Some(timer) = self.timers.poll_due(now.mono) {
            self.handle_due(timer, now);
        }
        if let Some(link) = self.connection.link_mut() {
            let verdict = link.heartbeat.handle_timeout(late, now.mono);
            self.follow(verdict, now);
        }
        self.outbox.handle_timeout(now);
        self.rooms.handle_timeout(now);
        self.calls.handle_timeout(now.mono);
        self.presence.handle_timeout(now.mono);
    }

    fn handle_stored(&mut self, batch: BatchId, result: &Result<(), StoreError>, now: Now) {
        let asked = self.stores.remove_first(|(known, ..)| *known == batch);
        let Some((_, writer, ticket)) = asked else { return };
        match writer {
            Writer::Outbox => self.outbox.handle_stored(ticket, result.clone(), now),
            Writer::Rooms => self.rooms.handle_stored(ticket, result.clone(), now),
        }
    }

    fn handle_loaded(&mut self, loaded: Result<Box<Snapshot>, StoreError>, now: Now) {
        let overtaken = self.outbox.is_overtaken();
        let loaded = loaded.map(|mut snapshot| {
            if overtaken {
                return *snapshot;
            }
            self.rooms.handle_loaded(std::mem::take(&mut snapshot.cursors), now);
            for stored in snapshot.items.iter().filter(|stored| stored.item.command) {
                self.calls.expect_result(stored.item.id);
            }
            *snapshot
        });
        // A store that does not load is asked again: a durable subscription that began without its
        // cursor would pass over events in silence.
        self.outbox.handle_loaded(loaded, now);
    }

    fn handle_token(&mut self, token: Option<crate::protocol::Token>, now: Now) {
        use tokens::Purpose::{Attempt, Refresh};
        self.timers.stop(Timer::Token);
        match self.tokens.handle_answer(token) {
            Answer::Unwanted => {}
            Answer::New(Refresh) if self.connection.session().is_some() => self.write_auth(),
            Answer::New(Refresh | Attempt) => {
                self.advance(Happening::TokenGiven { fresh: true }, now);
            }
            Answer::Same(Attempt) => self.advance(Happening::TokenGiven { fresh: false }, now),
            Answer::Nothing(Attempt) => self.advance(Happening::NoToken, now),
            Answer::Same(Refresh) | Answer::Nothing(Refresh) => self.refresh_later(now),
        }
    }

    // Output.

    /// Says the next thing to do; last of all, when to come back.
    pub fn poll_output(&mut self, now: Now) -> Output {
        loop {
            if let Some(output) = self.output.pop_front() {
                return output;
            }
            self.pump(now);
            if self.output.is_empty() {
                self.announced = self.deadline();
                return Output::Timeout(self.announced);
            }
        }
    }

    /// Lets every part speak, then fills the socket.
    fn pump(&mut self, now: Now) {
        loop {
            while self.drain_parts(now) {}
            if matches!(self.connection, Connection::Loading) && self.outbox.is_ready() {
                self.advance(Happening::GoOn, now);
            }
            self.leave_if_flushed(now);
            if !self.transmit(now) {
                break;
            }
        }
        let any = self.outbox.unanswered_since().is_some();
        if let Connection::Welcomed(link, _) = &mut self.connection {
            link.heartbeat.handle_in_flight(any, now.mono);
        }
        self.flush_flight();
    }

    fn drain_parts(&mut self, now: Now) -> bool {
        let outbox = self.drain_outbox(now);
        let rooms = self.drain_rooms(now);
        let calls = self.drain_calls(now);
        let presence = self.drain_presence(now);
        outbox || rooms || calls || presence
    }

    fn drain_outbox(&mut self, now: Now) -> bool {
        let mut any = false;
        while let Some(output) = self.outbox.poll_output() {
            any = true;
            match output {
                OutboxOutput::Load(owner) => self.output.push_back(Output::Load(owner)),
                OutboxOutput::Store(ticket, ops) => self.store(Writer::Outbox, ticket, ops),
                OutboxOutput::Reply(call, result) => {
                    if let Some(id) = self.submitting.remove(&call)
                        && result.is_err()
                    {
                        self.calls.handle_settled(id, false, now.mono);
                    }
                    self.output.push_back(Output::Reply(call, result));
                }
                OutboxOutput::Event(event) => {
                    if let ApiEvent::Settled(id, outcome) = &event {
                        let accepted = matches!(outcome, Outcome::Accepted(_));
                        self.calls.handle_settled(*id, accepted, now.mono);
                    }
                    self.output.push_back(Output::Event(event));
                }
                OutboxOutput::Reconnect => self.advance(Happening::Lost(Loss::renewed()), now),
            }
        }
        any
    }

    fn drain_rooms(&mut self, _now: Now) -> bool {
        let mut any = false;
        while let Some(output) = self.rooms.poll_output() {
            any = true;
            match output {
                RoomsOutput::Send(frame) => self.write(frame.encode()),
                RoomsOutput::Store(ticket, ops) => self.store(Writer::Rooms, ticket, ops),
                RoomsOutput::Reply(call, result) => {
                    self.output.push_back(Output::Reply(call, result));
                }
                RoomsOutput::Event(event) => self.output.push_back(Output::Event(event)),
            }
        }
        any
    }

    fn drain_calls(&mut self, now: Now) -> bool {
        let mut any = false;
        while let Some(output) = self.calls.poll_output() {
            any = true;
            match output {
                CallsOutput::Send(call) => self.write(call.encode()),
                CallsOutput::Reply(call, result) => {
                    self.output.push_back(Output::Reply(call, result));
                }
                CallsOutput::Result(id, result) => {
                    self.output.push_back(Output::Event(ApiEvent::Result(id, result)));
                }
                CallsOutput::Presence(room, answer) => {
                    let watchers = self.rooms.watchers(room.as_str());
                    self.presence.handle_members(&room, answer, &watchers, now.mono);
                }
            }
        }
        any
    }

    fn drain_presence(&mut self, now: Now) -> bool {
        let mut any = false;
        while let Some(output) = self.presence.poll_output() {
            any = true;
            match output {
                PresenceOutput::Change(sub, change) => {
                    self.output.push_back(Output::Event(ApiEvent::Presence(sub, change)));
                }
                PresenceOutput::Ask(room) => self.calls.ask_presence(&room, now.mono),
            }
        }
        any
    }

    /// Fills the socket, lowest lane first, up to 64 KiB unsent (P-S10).
    fn transmit(&mut self, now: Now) -> bool {
        let mut any = false;
        while self.is_welcomed() && self.unsent() < REPLAY_BYTES {
            let budget = REPLAY_BYTES - self.unsent();
            let Some(object) = self.outbox.poll_transmit(now, budget) else { break };
            self.write(object);
            any = true;
        }
        any
    }

    /// One ordered sequence of batches for all parts.
    fn store(&mut self, writer: Writer, ticket: Ticket, ops: Vec<StoreOp>) {
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        self.stores.push_back((batch, writer, ticket));
        self.output.push_back(Output::Store(batch, ops));
    }

    /// Adds an object to the next frames of the open transport; without one it is dropped.
    fn write(&mut self, object: String) {
        if let Some(link) = self.connection.link_mut() {
            link.heartbeat.handle_written(object.len() + 1);
            self.flight.push(object);
        }
    }

    /// Hands the gathered objects to the transport, in frames of at most 64 KiB (P-F1).
    fn flush_flight(&mut self) {
        let objects = std::mem::take(&mut self.flight);
        let Some(generation) = self.connection.generation() else { return };
        for frame in codec::batches(objects.iter().map(String::as_str)) {
            self.output.push_back(Output::Text(generation, frame));
        }
    }

    fn unsent(&self) -> usize {
        self.connection.link().map_or(0, |link| link.heartbeat.unsent())
    }

    fn deadline(&self) -> Option<Instant> {
        let heartbeat = self.connection.link().map(|link| link.heartbeat.deadline());
        [
            self.timers.deadline(),
            heartbeat,
            self.outbox.deadline(),
            self.rooms.deadline(),
            self.calls.deadline(),
            self.presence.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
