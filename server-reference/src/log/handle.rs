//! The log as a server holds it: one thread that owns it, requests in, replies out in order.

#[cfg(test)]
mod tests;
mod worker;

pub use worker::Opened;

use super::{
    MemoryLog, Reply, Request, Retention,
    embedded::{
        StoreError,
        engine::{Asked, Engine, Settings, guessed, refusal},
    },
};
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};
use worker::Backend;

/// Requests that may wait for the thread.
const QUEUE: usize = 1 << 16;
/// Bytes of requests that may wait for the thread.
const QUEUE_BYTES: usize = 64 << 20;
/// Bytes a request that carries no entry counts for.
const PAGE_WEIGHT: usize = 128;
/// A turn that takes so long hangs: its clients were told long ago that their time was over.
const STUCK_MILLIS: u64 = 10_000;

/// What "durable" means (P-S3a).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// As long as the process lives.
    Memory,
    /// Once the disk has it; the log is in this directory.
    Fsync(PathBuf),
}

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// What "durable" means.
    pub level: Level,
    /// How long entries are kept.
    pub retention: Retention,
    /// Bytes of the disk's blocks kept in memory.
    pub cache_bytes: u64,
    /// Rooms, and as many producers, whose state is kept in memory.
    pub cached: usize,
    /// Seeds the random marks. Take it from the system's randomness.
    pub seed: u64,
}

impl Options {
    /// The defaults at a level: an hour of entries, 32 MiB of blocks, 65,536 rooms.
    #[must_use]
    pub fn new(level: Level, seed: u64) -> Self {
        Self {
            level,
            retention: Retention::default(),
            cache_bytes: 32 << 20,
            cached: 1 << 16,
            seed,
        }
    }
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store in the directory.
    #[error("the log in {path} does not open: {error}")]
    Store {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        error: StoreError,
    },
    /// The thread.
    #[error("no thread for the log: {0}")]
    Thread(std::io::Error),
}

/// Takes the log's replies, in order: each with the shard that asked, or none for
/// [`Reply::Entry`], which is for whoever serves the room's tenant. Called on the log's thread,
/// and what it takes long for, the next fsync waits for.
pub type Sink = Arc<dyn Fn(Vec<(Option<usize>, Reply)>) + Send + Sync>;

/// Figures of a log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests answered.
    pub answered: u64,
    /// Entries told.
    pub entries: u64,
    /// Turns: at level fsync, at most one fsync each.
    pub turns: u64,
    /// Microseconds spent in turns.
    pub busy_micros: u64,
    /// Requests answered with "unavailable" because too much waited.
    pub overrun: u64,
    /// Requests that wait now.
    pub waiting: usize,
    /// Bytes on disk, as of the last look.
    pub disk_bytes: u64,
    /// Whether the store answers, as far as known.
    pub available: bool,
    /// Milliseconds the turn under way has taken; a long time says that the disk hangs.
    pub turn_millis: u64,
    /// Nothing is appended, by [`Log::set_full`].
    pub full: bool,
}

impl Figures {
    /// Why nobody should be sent here now; none: all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        if self.full {
            Some("disk full")
        } else if self.turn_millis >= STUCK_MILLIS {
            Some("log stuck")
        } else if !self.available {
            Some("log unavailable")
        } else {
            None
        }
    }
}

/// A log with its thread. Dropping it does what waits, then closes it.
#[derive(Debug)]
pub struct Log {
    /// None: closed.
    jobs: Mutex<Option<Sender<Asked>>>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    answered: AtomicU64,
    entries: AtomicU64,
    turns: AtomicU64,
    busy_micros: AtomicU64,
    overrun: AtomicU64,
    disk_bytes: AtomicU64,
    unavailable: AtomicBool,
    full: AtomicBool,
    /// ms since 1970 when the turn under way began; 0: none is.
    turn_began: AtomicU64,
}

impl Log {
    /// Opens a log; [`Log::start`] then makes it answer. Requests may be submitted meanwhile.
    ///
    /// # Errors
    /// [`OpenError::Store`] where the directory is in use, of another version or not readable.
    pub fn open(options: Options) -> Result<(Self, Opened), OpenError> {
        let Options { level, retention, cache_bytes, cached, seed } = options;
        let backend = match level {
            Level::Memory => Backend::Memory(Box::new(MemoryLog::new(seed, retention))),
            Level::Fsync(path) => {
                let settings =
                    Settings { path: path.clone(), retention, cache_bytes, cached, seed };
                let engine =
                    Engine::open(settings).map_err(|error| OpenError::Store { path, error })?;
                Backend::Disk(Box::new(engine))
            }
        };
        let (sender, jobs) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let log = Self {
            jobs: Mutex::new(Some(sender)),
            shared: shared.clone(),
            thread: Mutex::new(None),
        };
        Ok((log, Opened { jobs, pages: VecDeque::new(), backend, shared }))
    }

    /// Starts the log's thread.
    ///
    /// # Errors
    /// [`OpenError::Thread`] where the system has none left.
    pub fn start(&self, opened: Opened, sink: Sink) -> Result<(), OpenError> {
        let thread = std::thread::Builder::new()
            .name("wardline-log".into())
            .spawn(move || opened.run(&sink))
            .map_err(OpenError::Thread)?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Submits what a shard asks, in order. Never waits: returns the replies to what the log has
    /// no room for, all of them "unavailable"; the others come to the sink.
    pub fn submit(&self, shard: usize, requests: Vec<Request>) -> Vec<Reply> {
        let mut refused = Vec::new();
        let full = self.shared.full.load(Relaxed);
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        for request in requests {
            let bytes = weight(&request);
            if full && appends(&request) {
                refused.push(unavailable(&request));
                continue;
            }
            let room = self.shared.waiting.load(Relaxed) < QUEUE
                && self.shared.waiting_bytes.load(Relaxed) + bytes <= QUEUE_BYTES;
            let Some(jobs) = jobs.as_ref().filter(|_| room) else {
                self.shared.overrun.fetch_add(1, Relaxed);
                refused.push(unavailable(&request));
                continue;
            };
            self.shared.waiting.fetch_add(1, Relaxed);
            self.shared.waiting_bytes.fetch_add(bytes, Relaxed);
            if let Err(mpsc::SendError((_, request))) = jobs.send((shard, request)) {
                refused.push(unavailable(&request));
            }
        }
        refused
    }

    /// Refuses what would append, or takes it again. An engine whose disk is full may wait for space
    /// for ever, and everything behind it; reading and forgetting go on.
    pub fn set_full(&self, full: bool) {
        self.shared.full.store(full, Relaxed);
    }

    /// The log's figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let shared = &self.shared;
        let began = shared.turn_began.load(Relaxed);
        Figures {
            answered: shared.answered.load(Relaxed),
            entries: shared.entries.load(Relaxed),
            turns: shared.turns.load(Relaxed),
            busy_micros: shared.busy_micros.load(Relaxed),
            overrun: shared.overrun.load(Relaxed),
            waiting: shared.waiting.load(Relaxed),
            disk_bytes: shared.disk_bytes.load(Relaxed),
            available: !shared.unavailable.load(Relaxed),
            full: shared.full.load(Relaxed),
            turn_millis: if began == 0 { 0 } else { unix_millis().saturating_sub(began) },
        }
    }

    /// Does what waits, tells the replies, and closes the log. Later requests are unavailable.
    pub fn close(&self) {
        // The thread ends once it has taken all that was sent.
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Whoever lets go of the log last may be the sink; the thread then ends by itself.
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the log's thread ended by a panic");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

fn unavailable(request: &Request) -> Reply {
    let accepted = match request {
        Request::Step(_, step) => guessed(step),
        _ => 0,
    };
    refusal(request, accepted)
}

fn appends(request: &Request) -> bool {
    matches!(request, Request::Step(_, super::Step { intent: super::Intent::Append(_), .. }))
}

/// The bytes a request counts for.
fn weight(request: &Request) -> usize {
    let entries = match request {
        Request::Step(_, super::Step { intent: super::Intent::Append(entries), .. }) => entries,
        _ => return PAGE_WEIGHT,
    };
    let of = |entry: &super::NewEntry| {
        entry.data.get().len() + entry.key.as_ref().map_or(0, |key| key.len()) + 128
    };
    entries.iter().map(of).sum::<usize>() + PAGE_WEIGHT
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
