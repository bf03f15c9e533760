//! The world of one seed: real machines opposite real hubs over the real memory log, with virtual
//! time, paths, stores and tokens between them.
//!
//! **One thing happens at a time.** [`World::run`] takes what is due, in order of time, and hands it
//! to the machine or hub it concerns; what comes out is judged, and scheduled, never handed on at
//! once. So every turn of a machine or hub is whole, and equal seeds give equal traces.

mod back_ends;
mod clients;
mod faults;
mod heal;
mod links;
mod numbers;
mod outputs;
pub mod process;
pub mod schedule;
mod server;
mod steps;

use crate::{
    clock::{WALL_START, millis},
    disk::Disk,
    hold,
    journal::Journal,
    model::Model,
    plan::{Fault, Plan},
    tokens::Tokens,
    trace::Trace,
    violation::Checked,
    wire::{LinkId, Moment, Wire},
};
use back_ends::BackEnd;
use links::Link;
use process::Process;
use schedule::{Due, Schedule};
use server::Node;
use std::{collections::BTreeMap, time::Duration};
use wardline::time::{Instant, Now, UnixMillis};
use wardline_server::log::Retention;

/// Turns at one moment before something is taken to spin.
const SPIN: u32 = 20_000;

/// Everything of one seed.
pub struct World {
    /// World time.
    pub now: Duration,
    /// How this world is.
    pub plan: Plan,
    /// The truth.
    pub model: Model,
    /// What happened.
    pub trace: Trace,
    /// Steps taken.
    pub steps: u64,
    /// The client processes.
    pub clients: Vec<Process>,
    /// Keep what applications are told.
    pub listens: bool,
    pub(crate) rng: fastrand::Rng,
    pub(crate) schedule: Schedule,
    pub(crate) disks: Vec<Disk>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) next_link: u64,
    pub(crate) journal: Journal,
    pub(crate) sync_due: bool,
    pub(crate) log_path: (Duration, Duration),
    pub(crate) tokens: Tokens,
    pub(crate) back_ends: BTreeMap<&'static str, BackEnd>,
    pub(crate) wire: Wire,
    /// Faults are over.
    pub(crate) calm: bool,
    pub(crate) next_call: u64,
    pub(crate) next_item: u64,
    pub(crate) next_sub: u64,
    pub(crate) orders: u64,
}

impl World {
    /// Makes the world of a plan; `keep` keeps the words of its trace.
    #[must_use]
    pub fn new(plan: Plan, keep: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let retention = Retention::uniform(millis(plan.retention));
        let mut world = Self {
            now: Duration::from_secs(1),
            model: Model::default(),
            trace: Trace::new(keep),
            steps: 0,
            clients: Vec::new(),
            listens: false,
            schedule: Schedule::default(),
            disks: Vec::new(),
            nodes: Vec::new(),
            links: BTreeMap::new(),
            next_link: 0,
            journal: Journal::new(rng.u64(..), retention),
            sync_due: false,
            log_path: (Duration::ZERO, Duration::ZERO),
            tokens: Tokens::default(),
            back_ends: BTreeMap::new(),
            wire: Wire::default(),
            calm: false,
            next_call: 0,
            next_item: 0,
            next_sub: 0,
            orders: 0,
            rng,
            plan,
        };
        for node in 0..world.plan.nodes {
            world.nodes.push(Node::default());
            world.server_up(node);
        }
        for index in 0..world.plan.clients.len() {
            world.disks.push(Disk::default());
            let identity = world.plan.clients[index].clone();
            world.clients.push(Process::new(index, index, identity));
        }
        world.schedule.at(world.now, Due::Expire);
        world
    }

    /// Lets time pass up to `until`.
    ///
    /// # Errors
    /// The first violation met.
    pub fn run(&mut self, until: Duration) -> Checked {
        let mut turns = 0;
        while let Some(next) = self.next_moment().filter(|next| *next <= until) {
            if next > self.now {
                self.now = next;
                turns = 0;
            }
            self.turn(&mut turns)?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Lets a span pass.
    ///
    /// # Errors
    /// The first violation met.
    pub fn pass(&mut self, span: Duration) -> Checked {
        self.run(self.now + span)
    }

    /// Runs until something holds, at most for `span`. Returns whether it came to hold.
    ///
    /// # Errors
    /// The first violation met.
    pub fn run_until(
        &mut self,
        span: Duration,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Checked<bool> {
        let end = self.now + span;
        while self.now < end {
            if holds(self) {
                return Ok(true);
            }
            let next = self.next_moment().unwrap_or(end).clamp(self.now, end);
            let slice = next.max(self.now + Duration::from_millis(1));
            self.run(slice.min(end))?;
        }
        Ok(holds(self))
    }

    fn next_moment(&self) -> Option<Duration> {
        let links = self.links.values().filter_map(Link::next);
        let clients = self.clients.iter().filter_map(Process::due);
        let nodes = self.nodes.iter().filter_map(|node| node.due);
        self.schedule.next().into_iter().chain(links).chain(clients).chain(nodes).min()
    }

    /// Everything that is due now, once.
    fn turn(&mut self, turns: &mut u32) -> Checked {
        *turns += 1;
        while let Some(due) = self.schedule.pop(self.now) {
            *turns += 1;
            hold!(*turns < SPIN, Livelock, "{turns} turns at {:?}", self.now);
            self.happen(due)?;
        }
        hold!(*turns < SPIN, Livelock, "{turns} turns at {:?}", self.now);
        let busy: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.next().is_some_and(|at| at <= self.now))
            .map(|(id, _)| *id)
            .collect();
        for id in busy {
            self.service_link(id)?;
        }
        for client in 0..self.clients.len() {
            if self.clients[client].due().is_some_and(|at| at <= self.now) {
                self.client_timeout(client)?;
            }
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].due.is_some_and(|at| at <= self.now) {
                self.hub_timeout(node)?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, due: Due) -> Checked {
        match due {
            Due::Dialled(who, generation) => self.dialled(who, generation),
            Due::Stored(who, batch) => self.stored(who, batch),
            Due::Loaded(who, owner) => self.loaded(who, owner),
            Due::Token(who, token) => self.token_ready(who, token),
            Due::Done(who, sub, seq, mark) => self.app_done(who, sub, seq, mark),
            Due::Snapshot(who, sub, head) => self.hook_done(who, sub, head),
            Due::Wake(client) => self.wake(client),
            Due::Tell(who, input) => self.tell(who, *input),
            Due::Ghost(who, generation, text) => self.ghost(who, generation, text),
            Due::ClientSees(link, close) => self.client_sees(link, close),
            Due::ServerSees(link) => self.server_sees(link),
            Due::Verified(asker, conn, link, token) => self.verified(asker, conn, link, &token),
            Due::Ask(asker, request) => self.ask_log(asker, *request),
            Due::Answer(asker, reply) => self.log_answers(asker, *reply),
            Due::Sync => self.sync_log(),
            Due::LogBack => {
                self.journal.log.set_available(true);
                Ok(())
            }
            Due::ServerUp(node) => {
                self.server_up(node);
                Ok(())
            }
            Due::ServerDown(node) => self.server_dies(node, true),
            Due::Handled(asker, tenant, room, seq) => self.handled(asker, tenant, room, seq),
            Due::Expire => self.expire(),
        }
    }

    fn expire(&mut self) -> Checked {
        let every = (self.plan.retention / 4).max(Duration::from_secs(5));
        self.journal.log.expire(self.wall());
        self.learn_trims();
        self.want_sync();
        self.schedule.at(self.now + every, Due::Expire);
        Ok(())
    }

    /// The server's wall clock, ms since 1970.
    pub(crate) fn wall(&self) -> u64 {
        WALL_START + millis(self.now)
    }

    /// Both clocks of the server.
    pub(crate) fn server_now(&self) -> Now {
        Now { mono: Instant::new(self.now), wall: UnixMillis(self.wall()) }
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { at: self.now, wall: self.wall() }
    }

    /// A random span.
    pub(crate) fn span(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.rng.u64(low..=high))
    }

    /// Whether a kind of fault may come now.
    pub(crate) fn may(&self, fault: Fault) -> bool {
        !self.calm && self.plan.has(fault)
    }

    /// True once in `of` times.
    pub(crate) fn chance(&mut self, of: u32) -> bool {
        self.rng.u32(..of) == 0
    }
}
