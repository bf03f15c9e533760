//! Client processes: start, crash, sleep, and the host's side of what a machine asks for.

use super::{
    World,
    process::{Call, Positions},
    schedule::{Due, Who},
};
use crate::{
    clock::{Clock, millis},
    disk::Session,
    hold,
    model::items::Item,
    plan::Fault,
    violation::Checked,
    wire::LinkId,
};
use std::{collections::BTreeMap, time::Duration};
use wardline::{
    machine::{
        BatchId, CallId, Close, Command, Config, Input, Machine, Output, Owner, Signal, Status,
        StoreOp, SubId,
    },
    protocol::{Cursor, Mark, Token, frames::ClientInfo},
};

/// Outputs of one turn before a machine is taken to spin.
const OUTPUTS: u32 = 50_000;

impl World {
    /// Starts a process: a new machine over what its store holds.
    ///
    /// # Errors
    /// The first violation met.
    pub fn start(&mut self, client: usize) -> Checked {
        let seed = self.rng.u64(..);
        let token = self.issue(client);
        let skew = self.rng.i64(-3_000..3_000);
        let now = self.now;
        let process = &mut self.clients[client];
        process.life += 1;
        process.clock = Clock::started(now, skew);
        process.token = Some(token.clone());
        process.status = Some(Status::Disconnected);
        process.bound = None;
        process.store_free = now;
        process.session = Session::default();
        process.cursors = None;
        process.pace = crate::pace::Pace::default();
        process.app = crate::app::App::default();
        let config = Config {
            url: "wss://server.example/wardline".into(),
            client: ClientInfo::default(),
            auto_reconnect: true,
            max_attempts: None,
            has_token_provider: true,
            token: Some(token),
            max_items: 400,
            max_bytes: 8 * 1024 * 1024,
            stop_lanes: vec![super::outputs::STOP_LANE],
            max_calls: 64,
            seed,
        };
        process.machine = Some(Machine::new(config));
        self.trace.note(now, || format!("client {client} starts"));
        self.client_input(client, Input::Timeout)?;
        if self.clients[client].wants_connection {
            self.command(client, Call::Connect, Command::Connect)?;
        }
        Ok(())
    }

    /// A process dies: what its store had committed stays, with some of what was on its way.
    ///
    /// # Errors
    /// The first violation met.
    pub fn crash_client(&mut self, client: usize) -> Checked {
        let applied = {
            let pending = self.clients[client].batches.len();
            self.rng.usize(..=pending)
        };
        for _ in 0..applied {
            let who = self.clients[client].who();
            if let Some((batch, _)) = self.clients[client].batches.front() {
                let batch = *batch;
                let _ = self.apply_batch(who, batch)?;
            }
        }
        let process = &mut self.clients[client];
        process.machine = None;
        process.life += 1;
        process.batches.clear();
        process.calls.clear();
        process.inbox.clear();
        process.asleep = None;
        process.timer = None;
        process.status = None;
        process.producer = None;
        process.durables.clear();
        let links: Vec<_> =
            process.transports.values().filter_map(|transport| transport.link).collect();
        process.transports.clear();
        for id in links {
            let seen = self.span(0, 500);
            if let Some(link) = self.links.get_mut(&id) {
                link.client_ended = true;
                self.schedule.at(self.now + seen, Due::ServerSees(id));
            }
        }
        self.trace.note(self.now, || format!("client {client} dies, {applied} batches on disk"));
        Ok(())
    }

    /// Gives a command to a machine and remembers the call.
    ///
    /// # Errors
    /// The first violation met.
    pub fn command(
        &mut self,
        client: usize,
        call: Call,
        command: impl FnOnce(CallId) -> Command,
    ) -> Checked {
        self.next_call += 1;
        let id = CallId(self.next_call);
        let process = &mut self.clients[client];
        if process.machine.is_none() {
            return Ok(());
        }
        process.calls.insert(id, call);
        let input = Input::Command(command(id));
        if process.asleep.is_some() {
            process.inbox.push_back(input);
            return Ok(());
        }
        self.client_input(client, input)
    }

    /// One whole turn of a machine.
    pub(super) fn client_input(&mut self, client: usize, input: Input) -> Checked {
        let Some(mut machine) = self.clients[client].machine.take() else { return Ok(()) };
        if !matches!(input, Input::Text(..) | Input::Timeout) {
            self.trace.note(self.now, || format!("client {client} ⇐ {}", words(&input)));
        }
        self.note_end(client, &input);
        let process = &mut self.clients[client];
        match &input {
            Input::Command(Command::Connect(_)) => {
                process.wants_connection = true;
                process.pace.wanted();
            }
            Input::Command(Command::SetToken(_)) => process.pace.wanted(),
            Input::Command(Command::Disconnect(_)) => process.wants_connection = false,
            _ => {}
        }
        let now = self.clients[client].clock.now(self.now);
        machine.handle_input(input, now);
        let mut count = 0;
        let timeout = loop {
            match machine.poll_output(now) {
                Output::Timeout(timeout) => break timeout,
                output => self.client_output(client, output)?,
            }
            count += 1;
            hold!(count < OUTPUTS, Livelock, "client {client}: {count} outputs in one turn");
        };
        let late = if self.may(Fault::LateTimers) && self.chance(8) {
            self.span(0, 5_000)
        } else {
            Duration::ZERO
        };
        let process = &mut self.clients[client];
        if std::mem::take(&mut process.owner_changed) {
            // The subscriptions of the owner before ended; which these are the machine knows.
            for (id, sub) in &mut process.app.subs {
                sub.wanted &= machine.rooms().room_of(*id).is_some();
            }
        }
        process.timer = timeout.map(|instant| process.clock.world(instant).max(self.now) + late);
        if late > Duration::ZERO {
            process.lateness = process.lateness.max(late);
            process.disturbed = Some(self.now + late);
        }
        process.machine = Some(machine);
        let links: Vec<_> = self.clients[client]
            .transports
            .values()
            .filter(|transport| !transport.ended)
            .filter_map(|transport| transport.link)
            .collect();
        for link in links {
            self.feed_back(link)?;
        }
        Ok(())
    }

    /// The machine is about to learn that a transport ended.
    fn note_end(&mut self, client: usize, input: &Input) {
        let (generation, close) = match input {
            Input::Closed(generation, close) => (generation, Some(close.code)),
            Input::DialFailed(generation, _) => (generation, None),
            _ => return,
        };
        let process = &mut self.clients[client];
        let Some(transport) = process.transports.get_mut(generation) else { return };
        if std::mem::replace(&mut transport.ended, true) {
            return;
        }
        let late = process.lateness;
        process.pace.ended(self.now, close, late);
        if let Input::DialFailed(_, error) = input
            && error.status.is_some()
        {
            process.pace.excuse();
        }
    }

    pub(super) fn client_timeout(&mut self, client: usize) -> Checked {
        self.clients[client].timer = None;
        self.trace.mix(self.now, &[1, client as u8]);
        self.client_input(client, Input::Timeout)
    }

    /// A batch reaches the store, and the machine learns how it went.
    pub(super) fn stored(&mut self, who: Who, batch: BatchId) -> Checked {
        if self.clients[who.client].life != who.life {
            return Ok(());
        }
        let result = self.apply_batch(who, batch)?;
        if let Err(error) = &result {
            self.trace.note(self.now, || format!("client {} store: {error}", who.client));
        }
        self.tell(who, Input::Stored(batch, result))
    }

    fn apply_batch(
        &mut self,
        who: Who,
        batch: BatchId,
    ) -> Checked<Result<(), wardline::machine::StoreError>> {
        let process = &mut self.clients[who.client];
        let Some((first, ops)) = process.batches.pop_front() else { return Ok(Ok(())) };
        hold!(first == batch, Livelock, "batches out of order in the harness");
        let disk = process.disk;
        let result = self.disks[disk].commit(&mut process.session, &ops);
        let owner = self.disks[disk].owner(&process.session).cloned();
        if result.is_ok() {
            let mut added = false;
            for op in &ops {
                match op {
                    StoreOp::Put(item) => {
                        added = true;
                        if let Some(item) = self.model.items.get_mut(item.item.id) {
                            item.owner.clone_from(&owner);
                        }
                    }
                    StoreOp::Cursor(name, room, cursor) => {
                        if let Some(known) = &mut self.clients[who.client].cursors {
                            known.at.insert((name.clone(), room.clone()), *cursor);
                        }
                    }
                    StoreOp::Bind(owner) => {
                        if let Some(known) = &mut self.clients[who.client].cursors {
                            known.owner = Some(owner.clone());
                        }
                        let view = self.disks[disk].view(&self.clients[who.client].session);
                        for stored in view.iter().flat_map(|view| &view.items) {
                            if let Some(item) = self.model.items.get_mut(stored.item.id)
                                && item.owner.as_ref().is_some_and(|before| before != owner)
                            {
                                // Rolled back to before its binding: now two outboxes hold it.
                                item.copied = true;
                            }
                        }
                        for (_, item) in self.model.items.iter_mut() {
                            if item.disk == disk && item.owner.is_none() {
                                item.owner = Some(owner.clone());
                            }
                        }
                    }
                    _ => {}
                }
            }
            if added {
                self.poke(who.client, disk);
            }
        }
        Ok(result)
    }

    /// Whoever holds the lock of a store learns that another process added items.
    fn poke(&mut self, writer: usize, disk: usize) {
        for index in 0..self.clients.len() {
            let other = &self.clients[index];
            let holds = self.disks[disk].holds(&other.session);
            if index != writer && other.disk == disk && other.machine.is_some() && holds {
                let at = self.now + self.span(0, 50);
                let who = self.clients[index].who();
                self.schedule.at(at, Due::Tell(who, Box::new(Input::Poked)));
            }
        }
    }

    pub(super) fn loaded(&mut self, who: Who, owner: Option<Owner>) -> Checked {
        let process = &mut self.clients[who.client];
        if process.life != who.life {
            return Ok(());
        }
        let disk = process.disk;
        let result = self.disks[disk].load(owner, &mut process.session).map(Box::new);
        if let Ok(snapshot) = &result {
            let owner = &snapshot.owner;
            match &mut process.cursors {
                // Another process bound the store.
                Some(known) => known.owner = known.owner.take().or_else(|| owner.clone()),
                // What other processes store from now on a machine learns at its next start.
                None => {
                    let stored = snapshot.cursors.iter();
                    let at = stored.map(|(name, at)| (name.clone(), *at)).collect();
                    process.cursors = Some(Positions { owner: owner.clone(), at });
                }
            }
        }
        self.tell(who, Input::Loaded(result))
    }

    pub(super) fn token_ready(&mut self, who: Who, token: Option<Token>) -> Checked {
        let process = &mut self.clients[who.client];
        if process.life != who.life {
            return Ok(());
        }
        process.pace.excuse();
        if token.is_some() {
            process.token.clone_from(&token);
        }
        self.tell(who, Input::Token(token))
    }

    /// The application is done with events up to a number.
    pub(super) fn app_done(&mut self, who: Who, sub: SubId, seq: u64, mark: Mark) -> Checked {
        let process = &mut self.clients[who.client];
        if process.life != who.life {
            return Ok(());
        }
        if process.asleep.is_some() {
            let later = self.now + Duration::from_secs(1);
            self.schedule.at(later, Due::Done(who, sub, seq, mark));
            return Ok(());
        }
        let Some(known) = process.app.subs.get_mut(&sub).filter(|sub| sub.wanted) else {
            return Ok(());
        };
        if !known.finish(seq, mark) {
            return Ok(());
        }
        self.tell(who, Input::Command(Command::Done(sub, seq)))
    }

    /// The snapshot hook answers: the application's state as of some position at or behind `head`.
    pub(super) fn hook_done(&mut self, who: Who, sub: SubId, head: Cursor) -> Checked {
        let process = &self.clients[who.client];
        if process.life != who.life {
            return Ok(());
        }
        let Some(known) = process.app.subs.get(&sub).filter(|sub| sub.wanted) else {
            return Ok(());
        };
        let newest = known
            .key
            .as_ref()
            .and_then(|key| self.model.rooms.get(key))
            .and_then(|room| room.head_cursor())
            .filter(|cursor| cursor.seq >= head.seq);
        let result = match self.rng.u8(..6) {
            0 if !self.calm => Err("the back end is away".to_owned()),
            1 | 2 => Ok(None),
            _ => Ok(newest),
        };
        if let Ok(cursor) = &result {
            self.clients[who.client].app.restart_at(sub, cursor.unwrap_or(head));
        }
        self.tell(who, Input::Command(Command::Snapshot(sub, result)))
    }

    /// Puts a process to sleep: it takes nothing until it wakes.
    pub(crate) fn sleep(&mut self, client: usize, span: Duration) {
        let process = &mut self.clients[client];
        if process.machine.is_none() || process.asleep.is_some() {
            return;
        }
        process.asleep = Some(self.now);
        self.schedule.at(self.now + span, Due::Wake(client));
    }

    pub(super) fn wake(&mut self, client: usize) -> Checked {
        let Some(since) = self.clients[client].asleep.take() else { return Ok(()) };
        let slept = self.now.saturating_sub(since);
        let misses = self.rng.bool();
        let signals = self.rng.bool();
        let frames_first = self.rng.bool();
        let process = &mut self.clients[client];
        process.disturbed = Some(self.now);
        process.lateness = process.lateness.max(slept);
        process.pace.excuse();
        if misses {
            process.clock.miss(slept);
            if let Some(timer) = &mut process.timer {
                *timer += slept;
            }
        }
        let inbox = std::mem::take(&mut process.inbox);
        self.trace.note(self.now, || format!("client {client} wakes after {slept:?}"));
        if !frames_first {
            if signals {
                self.signal(client, Signal::Woke)?;
            }
            self.client_input(client, Input::Timeout)?;
        }
        for input in inbox {
            self.client_input(client, input)?;
        }
        if frames_first && signals {
            self.signal(client, Signal::Woke)?;
        }
        Ok(())
    }

    /// The host notices something.
    ///
    /// # Errors
    /// The first violation met.
    pub fn signal(&mut self, client: usize, signal: Signal) -> Checked {
        let process = &mut self.clients[client];
        if matches!(
            signal,
            Signal::Online | Signal::Visible | Signal::Woke | Signal::NetworkChanged
        ) {
            process.pace.excuse();
        }
        let who = process.who();
        self.tell(who, Input::Signal(signal))
    }

    /// A token for who the process is.
    pub(crate) fn issue(&mut self, client: usize) -> Token {
        let ttl = if self.calm { None } else { self.plan.token_ttl.map(millis) };
        let wall = self.wall();
        self.tokens.issue(&self.clients[client].identity.clone(), wall, ttl)
    }

    /// Remembers a submit.
    pub(crate) fn note_submit(&mut self, id: wardline::model::ids::ItemId, item: Item) {
        self.model.items.insert(id, item);
    }

    /// The close a machine may give by itself.
    pub(super) fn judge_close(
        &self,
        client: usize,
        link: Option<LinkId>,
        close: &Close,
        impaired: bool,
    ) -> Checked {
        use wardline::protocol::close;
        if close.code != close::PROBE_FAILED || impaired {
            return Ok(());
        }
        // Before `welcome` the server reads nothing, and a slow log keeps it from welcoming.
        if link.and_then(|link| self.wire.conn(link)).is_none_or(|conn| !conn.is_live()) {
            return Ok(());
        }
        let process = &self.clients[client];
        let recently = process
            .disturbed
            .is_some_and(|at| self.now.saturating_sub(at) < Duration::from_secs(30));
        let server_calm = self.nodes.iter().all(|node| {
            node.hub.is_some()
                && node
                    .quiet_since
                    .is_none_or(|at| self.now.saturating_sub(at) > Duration::from_secs(30))
        });
        hold!(
            recently || !server_calm,
            NeedlessClose,
            "client {client} closes a transport that was never disturbed: {close:?}"
        );
        Ok(())
    }

    /// All calls of a life that wait, by kind, for reports.
    pub(crate) fn waiting_calls(&self, client: usize) -> BTreeMap<CallId, Call> {
        self.clients[client].calls.clone()
    }
}

/// An input in few words, without data.
fn words(input: &Input) -> String {
    match input {
        Input::Loaded(Ok(snapshot)) => format!(
            "Loaded owner {:?} producer {:?} lanes {:?} items {:?} cursors {:?} lock {}",
            snapshot.owner,
            snapshot.producer,
            snapshot.lanes,
            snapshot.items.iter().map(|item| (item.item.id, item.n)).collect::<Vec<_>>(),
            snapshot.cursors,
            snapshot.lock
        ),
        Input::Binary(generation, bytes) => format!("Binary {generation:?} {}", bytes.len()),
        other => format!("{other:?}"),
    }
}
