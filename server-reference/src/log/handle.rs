//! The log as a server holds it: one thread that owns it, requests in, replies out in order.

use super::{
    MemoryLog, Reply, Request, Retention,
    embedded::{
        StoreError,
        engine::{Asked, Engine, Settings, Told, guessed, refusal},
    },
};
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Requests that may wait for the thread.
const QUEUE: usize = 1 << 16;
/// Bytes of requests that may wait for the thread.
const QUEUE_BYTES: usize = 64 << 20;
/// Requests of one turn, and so of one fsync.
const TURN: usize = 4096;
/// Bytes of one turn.
const TURN_BYTES: usize = 8 << 20;
/// Pages read in one turn: what a step waits for at most.
const PAGES: usize = 32;
/// Bytes a request that carries no entry counts for.
const PAGE_WEIGHT: usize = 128;
/// Time between two looks for what is past its time.
const TICK: Duration = Duration::from_secs(1);
/// A turn that takes so long hangs: its clients were told long ago that their time was over.
const STUCK_MILLIS: u64 = 10_000;
/// Slices of retention between two turns.
const SLICES: usize = 4;

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

/// A log that is open but answers nothing yet.
#[must_use = "a log answers once it is started"]
pub struct Opened {
    jobs: Receiver<Asked>,
    /// Pages asked for; steps go before them. Bounded with all that waits.
    pages: VecDeque<Asked>,
    backend: Backend,
    shared: Arc<Shared>,
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

enum Backend {
    Memory(Box<MemoryLog>),
    Disk(Box<Engine>),
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

impl Opened {
    fn run(mut self, sink: &Sink) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{
        Stepped, Ticket,
        suite::{number, producer, room, send},
    };

    fn collecting() -> (Sink, mpsc::Receiver<(Option<usize>, Reply)>) {
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        let sink: Sink = Arc::new(move |replies| {
            replies.into_iter().for_each(|reply| sender.lock().unwrap().send(reply).unwrap());
        });
        (sink, receiver)
    }

    fn steps(log: &Log, shard: usize, from: u64, to: u64) -> Vec<Reply> {
        let key = producer(shard as u128 + 1);
        let step = |n| Request::Step(Ticket(n), send(&room("a"), number(&key, 0, n, n.into())));
        log.submit(shard, (from..=to).map(step).collect())
    }

    #[test]
    fn replies_come_in_order_to_the_shard_that_asked_and_closing_answers_what_waits() {
        let directory = tempfile::tempdir().unwrap();
        for level in [Level::Memory, Level::Fsync(directory.path().to_owned())] {
            let (log, opened) = Log::open(Options::new(level, 1)).unwrap();
            let (sink, told) = collecting();
            assert_eq!(steps(&log, 0, 1, 300), []);
            log.start(opened, sink).unwrap();
            assert_eq!(steps(&log, 1, 1, 300), []);
            log.close();
            let told: Vec<_> = told.try_iter().collect();
            let mut next = [1, 1];
            let mut seq = 0;
            for (shard, reply) in told {
                match (shard, reply) {
                    (None, Reply::Entry(_, entry)) => {
                        seq += 1;
                        assert_eq!(entry.seq, seq);
                    }
                    (Some(shard), Reply::Stepped(Ticket(n), Stepped::New(_))) => {
                        assert_eq!(n, next[shard]);
                        next[shard] += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((next, seq), ([301, 301], 600));
            assert_eq!(log.figures().answered, 600);
            let late = steps(&log, 0, 301, 301);
            let no = Stepped::Unavailable { accepted: 300 };
            assert_eq!(late, [Reply::Stepped(Ticket(301), no)]);
        }
    }

    #[test]
    fn what_the_queue_cannot_hold_is_refused_at_once() {
        let (log, opened) = Log::open(Options::new(Level::Memory, 1)).unwrap();
        let refused = steps(&log, 0, 1, QUEUE as u64 + 10);
        assert_eq!(refused.len(), 10);
        assert_eq!(log.figures().overrun, 10);
        let (sink, told) = collecting();
        log.start(opened, sink).unwrap();
        log.close();
        assert_eq!(told.try_iter().count(), 2 * QUEUE);
    }

    #[test]
    fn many_pages_are_all_read_and_closing_waits_for_them() {
        let (log, opened) = Log::open(Options::new(Level::Memory, 1)).unwrap();
        let page = |ticket| Request::Read(Ticket(ticket), room("a"), 0);
        assert_eq!(log.submit(3, (0..100).map(page).collect()), []);
        assert_eq!(steps(&log, 0, 1, 1), []);
        let (sink, told) = collecting();
        log.start(opened, sink).unwrap();
        log.close();
        let told: Vec<_> = told.try_iter().collect();
        assert_eq!(told.len(), 102);
        assert!(matches!(told[0], (None, Reply::Entry(..))), "a step goes before pages");
        let full = told.iter().filter(
            |(_, reply)| matches!(reply, Reply::Page(_, Ok((entries, _))) if entries.len() == 1),
        );
        assert_eq!(full.count(), 100);
    }

    #[test]
    fn a_full_disk_holds_appends_back_and_nothing_else() {
        let (log, opened) = Log::open(Options::new(Level::Memory, 1)).unwrap();
        assert_eq!(steps(&log, 0, 1, 1), []);
        log.set_full(true);
        assert_eq!(log.figures().trouble(), Some("disk full"));
        let no = Reply::Stepped(Ticket(2), Stepped::Unavailable { accepted: 1 });
        assert_eq!(steps(&log, 0, 2, 2), [no]);
        assert_eq!(log.submit(0, vec![Request::Read(Ticket(9), room("a"), 0)]), []);
        log.set_full(false);
        assert_eq!(log.figures().trouble(), None);
        assert_eq!(steps(&log, 0, 2, 2), []);
        let (sink, told) = collecting();
        log.start(opened, sink).unwrap();
        log.close();
        let entries = told.try_iter().filter(|(_, reply)| matches!(reply, Reply::Entry(..)));
        assert_eq!(entries.count(), 2);
    }

    #[test]
    fn a_turn_that_hangs_is_trouble() {
        let well = Figures { available: true, turn_millis: 9_999, ..Figures::default() };
        assert_eq!(well.trouble(), None);
        let hangs = Figures { turn_millis: 10_000, ..well };
        assert_eq!(hangs.trouble(), Some("log stuck"));
        assert_eq!(Figures { available: false, ..well }.trouble(), Some("log unavailable"));
    }

    #[test]
    fn a_directory_in_use_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(Level::Fsync(directory.path().to_owned()), 1);
        let _first = Log::open(options.clone()).unwrap();
        let second = Log::open(options).err().map(|error| error.to_string());
        assert!(second.is_some_and(|text| text.contains("another process")));
    }
}
