//! The embedded log without its thread: a turn takes requests and gives answers.
//!
//! A turn does all its steps, makes them durable in one commit, and then answers the questions:
//! so one fsync serves every request that came meanwhile, and no answer runs ahead of it.

use super::{
    access::Access,
    cache::Cache,
    retire::Sweep,
    store::{Store, StoreError},
};
use crate::log::{
    Entry, Extent, Number, ProducerKey, Record, Reply, Request, Retention, RoomKey, Step, Stepped,
    Unavailable,
    mark::Epoch,
    state::{self, PageBounds, Producer, Tables as _},
};
use std::{collections::HashMap, path::PathBuf, sync::Arc};
use wardline::protocol::Cursor;

/// Milliseconds between two attempts to open a store that failed.
const RETRY: u64 = 1000;

/// Whom an answer is for.
pub(crate) type Origin = usize;

/// What a turn is asked, and by whom.
pub(crate) type Asked = (Origin, Request);

/// What a turn answers. The origin of [`Reply::Entry`] means nothing.
pub(crate) type Told = (Origin, Reply);

/// Where the store is and what it keeps.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    pub(crate) retention: Retention,
    /// Bytes of the store's block cache.
    pub(crate) cache_bytes: u64,
    /// Rooms, and as many producers, kept in memory.
    pub(crate) cached: usize,
    pub(crate) seed: u64,
}

/// A room in memory. What it says is durable, or in the commit under way.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) row: Arc<[u8]>,
    pub(super) head: Cursor,
    pub(super) ttl: u64,
    /// The position before the first entry held, as of the drop of that many buckets.
    pub(super) first: Option<(u64, Cursor)>,
    /// Keys of a `latest` room, once counted.
    pub(super) keys: Option<usize>,
    /// ms since 1970.
    pub(super) asked: u64,
}

/// A producer in memory.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) producer: Producer,
    /// The last use as the store has it.
    pub(super) stored: u64,
}

/// What is in memory of the store.
pub(super) struct Memory {
    pub(super) retention: Retention,
    pub(super) rooms: Cache<RoomKey, Room>,
    /// None: the store has no record.
    pub(super) producers: Cache<ProducerKey, Option<Known>>,
    pub(super) epoch: Epoch,
    /// ms since 1970 when the epoch began: where rooms began anew before that is forgotten.
    pub(super) epoch_began: u64,
    /// Buckets dropped since the store was opened.
    pub(super) drops: u64,
}

/// A lane of a producer.
type LaneOf = (ProducerKey, u8);

/// Per lane the accepted number before the commit under way.
type Befores = HashMap<LaneOf, u64>;

/// What a turn has done so far.
#[derive(Default)]
struct Work {
    /// Answers that are true once the commit is durable, each with the lane it is about.
    steps: Vec<(Origin, Option<LaneOf>, Reply)>,
    questions: Vec<Asked>,
    before: Befores,
}

/// The embedded log.
pub(crate) struct Engine {
    settings: Settings,
    /// None: it failed, and is opened again at `retry`.
    pub(super) store: Option<Store>,
    pub(super) memory: Memory,
    pub(super) sweep: Sweep,
    retry: u64,
}

impl Engine {
    /// Opens or makes the log in its directory.
    pub(crate) fn open(settings: Settings) -> Result<Self, StoreError> {
        let store = Store::open(&settings.path, settings.cache_bytes)?;
        let drawn = Epoch(fastrand::Rng::with_seed(settings.seed).u128(..));
        let (epoch, epoch_began) = store.epoch(drawn)?;
        let memory = Memory {
            retention: settings.retention.clone(),
            rooms: Cache::new(settings.cached),
            producers: Cache::new(settings.cached),
            epoch,
            epoch_began,
            drops: 0,
        };
        Ok(Self { settings, store: Some(store), memory, sweep: Sweep::default(), retry: 0 })
    }

    /// Takes requests at `now`, ms since 1970; everything answered is durable.
    pub(crate) fn turn(&mut self, asked: Vec<Asked>, now: u64) -> Vec<Told> {
        if !self.reopen(now) {
            return asked.iter().map(|(to, request)| (*to, self.refusal(request))).collect();
        }
        let mut work = Work::default();
        let mut told = Vec::new();
        match self.steps(asked, now, &mut work) {
            Ok(()) => {
                told.extend(work.steps.into_iter().map(|(to, _, reply)| (to, reply)));
                for (to, question) in work.questions {
                    told.push((to, self.answer(question, now)));
                }
            }
            Err(error) => {
                tracing::error!(%error, "the log could not make a commit durable");
                self.fail(now, &work.before);
                for (to, lane, reply) in work.steps {
                    if let Reply::Stepped(ticket, _) = reply {
                        let accepted = lane.and_then(|lane| work.before.get(&lane)).copied();
                        let stepped = Stepped::Unavailable { accepted: accepted.unwrap_or(0) };
                        told.push((to, Reply::Stepped(ticket, stepped)));
                    }
                }
                told.extend(work.questions.iter().map(|(to, asked)| (*to, self.refusal(asked))));
            }
        }
        self.memory.rooms.trim();
        self.memory.producers.trim();
        told
    }

    /// Does all steps in one commit. On an error the answers noted so far are not true.
    fn steps(&mut self, asked: Vec<Asked>, now: u64, work: &mut Work) -> Result<(), StoreError> {
        let mut access = self.access(now)?;
        let mut failed = None;
        for (to, request) in asked {
            match request {
                Request::Step(ticket, step) => {
                    let lane =
                        step.producer.as_ref().map(|number| (number.key.clone(), number.lane));
                    let guess = guessed(&step);
                    let before = lane.as_ref().and_then(|(key, lane)| access.accepted(key, *lane));
                    if let Some(lane) = &lane {
                        work.before.entry(lane.clone()).or_insert(before.unwrap_or(guess));
                    }
                    let Ok((stepped, effect)) = state::step(&mut access, step, now) else {
                        let accepted = before.unwrap_or(guess);
                        let stepped = Stepped::Unavailable { accepted };
                        work.steps.push((to, lane, Reply::Stepped(ticket, stepped)));
                        continue;
                    };
                    if let Some(effect) = effect {
                        failed = failed.or(access.apply(&effect).err());
                        let entries = effect.entries.into_iter();
                        let told = entries.map(|(room, entry)| Reply::Entry(room, entry));
                        work.steps.extend(told.map(|reply| (to, None, reply)));
                    }
                    work.steps.push((to, lane, Reply::Stepped(ticket, stepped)));
                }
                question => {
                    // What a question changes is part of the commit before it. If the store does
                    // not answer here, the question will find so too.
                    let _ = match &question {
                        Request::Producer(_, key) => access.use_producer(key),
                        Request::Prove(_, room, _)
                        | Request::Read(_, room, _)
                        | Request::Keys(_, room, _) => access.head(room).map(|_| ()),
                        Request::Step(..) => Ok(()),
                    };
                    work.questions.push((to, question));
                }
            }
        }
        let Access { commit, store, .. } = access;
        match failed {
            Some(error) => Err(error),
            None if commit.is_empty() => Ok(()),
            None => store.write(commit),
        }
    }

    fn answer(&mut self, question: Request, now: u64) -> Reply {
        match question {
            Request::Step(ticket, step) => {
                let accepted = guessed(&step);
                Reply::Stepped(ticket, Stepped::Unavailable { accepted })
            }
            Request::Producer(ticket, key) => Reply::Producer(ticket, told(self.record(&key, now))),
            Request::Prove(ticket, room, cursor) => {
                Reply::Proved(ticket, told(self.prove(&room, cursor, now)))
            }
            Request::Read(ticket, room, after) => {
                Reply::Page(ticket, told(self.page(&room, after, false, now)))
            }
            Request::Keys(ticket, room, after) => {
                Reply::Page(ticket, told(self.page(&room, after, true, now)))
            }
        }
    }

    /// The store and what is in memory of it, with an empty commit.
    fn access(&mut self, now: u64) -> Result<Access<'_>, StoreError> {
        let store = self.store.as_mut().ok_or(StoreError::Closed)?;
        let commit = store.commit();
        Ok(Access { store, memory: &mut self.memory, commit, now })
    }

    fn record(&mut self, key: &ProducerKey, now: u64) -> Result<Record, StoreError> {
        let mut access = self.access(now)?;
        let known = access.producer(key)?;
        Ok(known.map_or_else(Record::default, |known| known.producer.record()))
    }

    fn prove(
        &mut self,
        room: &RoomKey,
        cursor: Option<Cursor>,
        now: u64,
    ) -> Result<(Extent, bool), StoreError> {
        let mut access = self.access(now)?;
        let extent = access.extent(room)?;
        let Some(cursor) = cursor.filter(|cursor| *cursor != extent.head) else {
            return Ok((extent, true));
        };
        let row = access.room(room)?.row.clone();
        let held = |seq: Option<u64>| match seq {
            Some(seq) if (1..=extent.head.seq).contains(&seq) => access.store.entry(&row, seq),
            _ => Ok(None),
        };
        let at = held(Some(cursor.seq))?.map(|entry| entry.mark);
        let behind = held(cursor.seq.checked_add(1))?.map(|entry| entry.prev_mark);
        Ok((extent, state::proves(cursor, extent.head, at, behind)))
    }

    fn page(
        &mut self,
        room: &RoomKey,
        after: u64,
        keys: bool,
        now: u64,
    ) -> Result<(Vec<Arc<Entry>>, Extent), StoreError> {
        let mut access = self.access(now)?;
        let extent = access.extent(room)?;
        let row = access.room(room)?.row.clone();
        let entries = if keys {
            bounded(access.store.latest(&row, after))?
        } else if after >= extent.head.seq {
            Vec::new()
        } else {
            bounded(access.store.entries(&row, after)?)?
        };
        Ok((entries, extent))
    }

    /// Drops a slice of what is past its time at `now`. Returns whether there may be more.
    pub(crate) fn expire(&mut self, now: u64) -> bool {
        if !self.reopen(now) {
            return false;
        }
        let Some(store) = &mut self.store else { return false };
        match self.sweep.slice(store, &mut self.memory, now) {
            Ok(more) => more,
            Err(error) => {
                tracing::error!(%error, "retention failed");
                self.fail(now, &HashMap::new());
                false
            }
        }
    }

    /// Whether the store answers, as far as known.
    pub(crate) fn is_available(&self) -> bool {
        self.store.is_some()
    }

    /// The bytes the store takes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.store.as_ref().map_or(0, Store::disk_bytes)
    }

    /// Lets go of the store. What is in memory is no longer true, but for the accepted numbers
    /// that were durable: they are kept until the store is open again.
    fn fail(&mut self, now: u64, befores: &Befores) {
        for ((key, lane), before) in befores {
            if let Some(Some(known)) = self.memory.producers.find(key)
                && let Some(lane) = known.producer.lanes.get_mut(lane)
            {
                lane.accepted = *before;
            }
        }
        self.memory.rooms.clear();
        self.sweep = Sweep::default();
        self.store = None;
        self.retry = now.saturating_add(RETRY);
    }

    /// Opens the store again if it failed a while ago. Whether there is one now.
    fn reopen(&mut self, now: u64) -> bool {
        if self.store.is_some() {
            return true;
        }
        // A clock that was set back must not keep the log closed.
        if now < self.retry && self.retry <= now.saturating_add(RETRY) {
            return false;
        }
        self.retry = now.saturating_add(RETRY);
        let opened = Store::open(&self.settings.path, self.settings.cache_bytes);
        let opened = opened.and_then(|store| {
            store.harden()?;
            let epoch = store.epoch(self.memory.epoch)?;
            Ok((store, epoch))
        });
        match opened {
            Ok((store, (epoch, began))) => {
                self.memory.epoch = epoch;
                self.memory.epoch_began = began;
                tracing::info!("the log is open again");
                self.memory.rooms.clear();
                self.memory.producers.clear();
                self.store = Some(store);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the log cannot be opened again yet");
                false
            }
        }
    }

    fn refusal(&self, request: &Request) -> Reply {
        let accepted = match request {
            Request::Step(_, step) => step
                .producer
                .as_ref()
                .and_then(|number| self.memory.accepted(&number.key, number.lane))
                .unwrap_or_else(|| guessed(step)),
            _ => 0,
        };
        refusal(request, accepted)
    }
}

/// The answer of a log that cannot answer.
pub(crate) fn refusal(request: &Request, accepted: u64) -> Reply {
    match request {
        Request::Step(ticket, _) => Reply::Stepped(*ticket, Stepped::Unavailable { accepted }),
        Request::Producer(ticket, _) => Reply::Producer(*ticket, Err(Unavailable)),
        Request::Prove(ticket, ..) => Reply::Proved(*ticket, Err(Unavailable)),
        Request::Read(ticket, ..) | Request::Keys(ticket, ..) => {
            Reply::Page(*ticket, Err(Unavailable))
        }
    }
}

/// The accepted number to tell where the record cannot be read: what the producer itself says is
/// answered, or what stands in the pipeline before this step. Too low would tell the client that
/// accepted items were lost.
pub(crate) fn guessed(step: &Step) -> u64 {
    let below = |number: &Number| number.base.unwrap_or(number.n.saturating_sub(1));
    step.producer.as_ref().map_or(0, below)
}

impl Memory {
    /// The accepted number of a lane, if the record is in memory.
    pub(super) fn accepted(&self, key: &ProducerKey, lane: u8) -> Option<u64> {
        let known = self.producers.peek(key)?;
        let lane = known.as_ref().and_then(|known| known.producer.lanes.get(&lane));
        Some(lane.map_or(0, |lane| lane.accepted))
    }
}

fn told<T>(result: Result<T, StoreError>) -> Result<T, Unavailable> {
    result.map_err(|error| {
        tracing::error!(%error, "the log could not answer");
        Unavailable
    })
}

fn bounded(
    entries: impl Iterator<Item = Result<Arc<Entry>, StoreError>>,
) -> Result<Vec<Arc<Entry>>, StoreError> {
    let mut bounds = PageBounds::default();
    let mut page = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !bounds.admit(&entry) {
            break;
        }
        page.push(entry);
    }
    Ok(page)
}
