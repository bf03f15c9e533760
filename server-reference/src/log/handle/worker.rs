//! The log's thread: turns of steps and questions, and between them what is past its time.

use super::{PAGE_WEIGHT, Shared, Sink, unix_millis, weight};
use crate::log::{
    MemoryLog, Reply, Request,
    embedded::engine::{Asked, Engine, Told},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// Requests of one turn, and so of one fsync.
const TURN: usize = 4096;
/// Bytes of one turn.
const TURN_BYTES: usize = 8 << 20;
/// Pages read in one turn: what a step waits for at most.
const PAGES: usize = 32;
/// Time between two looks for what is past its time.
const TICK: Duration = Duration::from_secs(1);
/// Slices of retention between two turns.
const SLICES: usize = 4;

/// A log that is open but answers nothing yet.
#[must_use = "a log answers once it is started"]
pub struct Opened {
    pub(super) jobs: Receiver<Asked>,
    /// Pages asked for; steps go before them. Bounded with all that waits.
    pub(super) pages: VecDeque<Asked>,
    pub(super) backend: Backend,
    pub(super) shared: Arc<Shared>,
}

/// What the thread owns.
pub(super) enum Backend {
    Memory(Box<MemoryLog>),
    Disk(Box<Engine>),
}

impl Opened {
    pub(super) fn run(mut self, sink: &Sink) {
        let mut next_tick = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_tick && !self.tick() {
                next_tick = now + TICK;
            }
            let idle = next_tick.saturating_duration_since(now);
            let wait = if self.pages.is_empty() { idle } else { Duration::ZERO };
            match self.jobs.recv_timeout(wait) {
                Ok(first) => self.turn(Some(first), sink),
                Err(RecvTimeoutError::Disconnected) if self.pages.is_empty() => return,
                Err(_) if !self.pages.is_empty() => self.turn(None, sink),
                Err(_) => {}
            }
        }
    }

    /// Takes all that waits, up to the bounds of a turn.
    fn turn(&mut self, first: Option<Asked>, sink: &Sink) {
        let mut bytes = 0;
        let mut asked = Vec::new();
        let mut next = first;
        while let Some(job) = next {
            if matches!(job.1, Request::Read(..) | Request::Keys(..)) {
                self.pages.push_back(job);
            } else {
                bytes += weight(&job.1);
                asked.push(job);
            }
            let full = asked.len() >= TURN || bytes >= TURN_BYTES;
            next = if full { None } else { self.jobs.try_recv().ok() };
        }
        let pages = self.pages.len().min(PAGES);
        asked.extend(self.pages.drain(..pages));
        bytes += pages * PAGE_WEIGHT;
        let count = asked.len();
        let began = Instant::now();
        let now = unix_millis();
        self.shared.turn_began.store(now, Relaxed);
        let told = self.backend.turn(asked, now);
        self.shared.turn_began.store(0, Relaxed);
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.busy_micros.fetch_add(micros, Relaxed);
        self.shared.waiting.fetch_sub(count, Relaxed);
        self.shared.waiting_bytes.fetch_sub(bytes, Relaxed);
        self.shared.answered.fetch_add(count as u64, Relaxed);
        self.shared.turns.fetch_add(1, Relaxed);
        let mut entries = 0;
        let replies = told.into_iter().map(|(to, reply)| match reply {
            entry @ Reply::Entry(..) => {
                entries += 1;
                (None, entry)
            }
            other => (Some(to), other),
        });
        let replies: Vec<_> = replies.collect();
        self.shared.entries.fetch_add(entries, Relaxed);
        self.shared.unavailable.store(!self.backend.is_available(), Relaxed);
        sink(replies);
    }

    /// Drops what is past its time; returns whether there is more to drop.
    fn tick(&mut self) -> bool {
        let now = unix_millis();
        match &mut self.backend {
            Backend::Memory(log) => {
                log.expire(now);
                false
            }
            Backend::Disk(engine) => {
                let more = (0..SLICES).all(|_| engine.expire(now));
                if !more {
                    self.shared.disk_bytes.store(engine.disk_bytes(), Relaxed);
                    self.shared.unavailable.store(!engine.is_available(), Relaxed);
                }
                more
            }
        }
    }
}

impl Backend {
    fn turn(&mut self, asked: Vec<Asked>, now: u64) -> Vec<Told> {
        match self {
            Self::Memory(log) => asked
                .into_iter()
                .flat_map(|(to, request)| {
                    log.handle_request(request, now).into_iter().map(move |reply| (to, reply))
                })
                .collect(),
            Self::Disk(engine) => engine.turn(asked, now),
        }
    }

    fn is_available(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Disk(engine) => engine.is_available(),
        }
    }
}
