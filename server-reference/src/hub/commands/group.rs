//! The handlers of one namespace in one tenant, and what they have not answered.

use super::{Config, Namespace, results::Results};
use crate::{
    hub::{intake::taken, io::ConnId},
    log::{Entry, NewEntry, RoomKey},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use wardline::{
    model::ids::ItemId,
    protocol::{
        Code, Json,
        frames::{CommandResult, ErrorBody},
        limits::{EVENT_BYTES, RESULT_BYTES},
    },
    time::{Instant, Now},
};

/// The event of an answer in the answers' log.
pub(super) const ANSWER: &str = "answer";
/// The event that tells a command's own time to live.
pub(super) const TTL: &str = "ttl";
/// The event that tells that a group was registered.
pub(super) const REGISTERED: &str = "registered";
/// Answers and notes remembered for commands that were not read yet.
const EARLY: usize = 100_000;

/// The data of [`ANSWER`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    /// The command's number in its log.
    seq: u64,
    /// The command's item.
    id: ItemId,
    /// Who sent it.
    user: Arc<str>,
    /// All up to here were answered before.
    done: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

/// The data of [`TTL`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct OwnTtl {
    pub(super) id: ItemId,
    /// Milliseconds.
    pub(super) ttl: u64,
}

/// Who handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handler {
    /// The server's own code.
    InProcess,
    /// A `service` connection.
    Conn(ConnId),
}

/// A `service` connection of the group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) conn: ConnId,
    /// The `id` of its join, until that is answered.
    pub(super) join: Option<u64>,
    /// The number it was handed last; at first the position it joined at, or its own if lower.
    pub(super) last: u64,
}

/// A command without an answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) entry: Arc<Entry>,
    /// Its time to live ends.
    expires: Instant,
    /// When it was first handed to a handler of this life of the server.
    taken: Option<Instant>,
    /// Who has it.
    pub(super) with: Option<Handler>,
    /// Its answer is on its way to the log.
    pub(super) answering: bool,
    /// It was there when the log was read: an earlier life may have handed it out.
    recovered: bool,
}

impl Pending {
    /// When it ends without an answer.
    pub(super) fn deadline(&self, timeout: Duration) -> Instant {
        self.taken.map_or(self.expires, |taken| taken + timeout)
    }

    /// What its end without an answer is called: only what surely no handler saw is `expired`.
    pub(super) fn overdue(&self) -> ErrorBody {
        if self.taken.is_none() && !self.recovered {
            ErrorBody { code: Code::EXPIRED, message: "no handler took it in time".into() }
        } else {
            ErrorBody { code: Code::TIMEOUT, message: "no answer in time; effect unknown".into() }
        }
    }

    /// Hands it out.
    pub(super) fn take(&mut self, handler: Handler, now: Instant) {
        self.with = Some(handler);
        self.taken.get_or_insert(now);
    }
}

/// The handlers of one namespace in one tenant.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) answers: RoomKey,
    pub(super) spec: Arc<Namespace>,
    /// In the order they joined; the first is fed.
    pub(super) members: VecDeque<Member>,
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) bytes: usize,
    pub(super) results: Results,
    /// A group was there once.
    pub(super) registered: bool,
    /// Both logs were read to their heads once: what comes now is new.
    pub(super) ready: bool,
    /// All up to here are answered, as the answers' log tells.
    done: u64,
    /// Answers to commands that were not read yet.
    early: BTreeMap<u64, ItemId>,
    /// Times to live of commands that were not read yet.
    ttls: BTreeMap<ItemId, u64>,
}

impl Group {
    pub(super) fn new(answers: RoomKey, spec: Arc<Namespace>) -> Self {
        Self {
            answers,
            spec,
            members: VecDeque::new(),
            pending: BTreeMap::new(),
            bytes: 0,
            results: Results::default(),
            registered: false,
            ready: false,
            done: 0,
            early: BTreeMap::new(),
            ttls: BTreeMap::new(),
        }
    }

    /// Forgets what the logs told; the members stay.
    pub(super) fn reset(&mut self) {
        let members = std::mem::take(&mut self.members);
        *self = Self { members, ..Self::new(self.answers.clone(), Arc::clone(&self.spec)) };
    }

    /// Who is fed now.
    pub(super) fn active(&self) -> Option<Handler> {
        if self.spec.in_process {
            return Some(Handler::InProcess);
        }
        let joined = self.members.iter().find(|member| member.join.is_none());
        joined.map(|member| Handler::Conn(member.conn))
    }

    /// Takes over an entry of the commands' log.
    pub(super) fn command(&mut self, entry: &Arc<Entry>, config: &Config, now: Now) {
        let own = self.ttls.remove(&entry.id);
        if entry.seq <= self.done || self.early.remove(&entry.seq) == Some(entry.id) {
            return;
        }
        let ttl = own.map_or(config.ttl, Duration::from_millis).min(config.result_life);
        let age = Duration::from_millis(now.wall.0.saturating_sub(entry.time));
        let pending = Pending {
            entry: Arc::clone(entry),
            expires: now.mono + ttl.saturating_sub(age),
            taken: None,
            with: None,
            answering: false,
            recovered: !self.ready,
        };
        self.bytes += entry.weight();
        self.pending.insert(entry.seq, pending);
    }

    /// Takes over a note about a command's time to live; the command's number, if it waits.
    pub(super) fn note(&mut self, entry: &Entry, config: &Config, now: Now) -> Option<u64> {
        let note = entry.data.to::<OwnTtl>().ok()?;
        let held = self.pending.iter_mut().find(|(_, held)| held.entry.id == note.id);
        let Some((seq, held)) = held else {
            if self.ttls.len() < EARLY {
                self.ttls.insert(note.id, note.ttl);
            }
            return None;
        };
        let end = held.entry.time.saturating_add(note.ttl);
        let left = Duration::from_millis(end.saturating_sub(now.wall.0));
        held.expires = now.mono + left.min(config.result_life);
        Some(*seq)
    }

    /// Takes over an entry of the answers' log; the first answer of a command, for its sender.
    pub(super) fn answer(
        &mut self,
        entry: &Arc<Entry>,
        config: &Config,
        now: Now,
    ) -> Option<(Arc<str>, CommandResult)> {
        match &*entry.event {
            REGISTERED => self.registered = true,
            ANSWER => {
                let body = entry.data.to::<Answered>().ok()?;
                self.done = self.done.max(body.done);
                self.early.retain(|seq, _| *seq > body.done);
                match self.pending.get(&body.seq) {
                    Some(held) if held.entry.id == body.id => {
                        self.bytes -= held.entry.weight();
                        self.pending.remove(&body.seq);
                    }
                    _ if self.early.len() < EARLY && !self.ready => {
                        self.early.insert(body.seq, body.id);
                    }
                    _ => {}
                }
                let life = u64::try_from(config.result_life.as_millis()).unwrap_or(u64::MAX);
                let until = entry.time.saturating_add(life);
                let Answered { id, user, result, error, .. } = body;
                let told = CommandResult { id, result, error };
                let first = until > now.wall.0 && self.results.keep(&user, told.clone(), until);
                self.results.trim(now.wall.0, config.results, config.result_bytes);
                return first.then_some((user, told));
            }
            _ => {}
        }
        None
    }

    /// Makes the entry that answers a pending command.
    pub(super) fn answer_entry(
        &self,
        pending: &Pending,
        outcome: Result<Json, ErrorBody>,
    ) -> Option<NewEntry> {
        let command = &pending.entry;
        let handler = |message: String| ErrorBody { code: Code::HANDLER, message };
        let outcome = outcome.and_then(|json| {
            taken(&json).map_err(|error| handler(format!("the handler's result: {error}")))
        });
        let (result, error) = match outcome {
            Ok(json) if json.get().len() > RESULT_BYTES => {
                let words = format!("the result is larger than {RESULT_BYTES} bytes");
                (None, Some(handler(words)))
            }
            Ok(json) => (Some(json), None),
            Err(mut error) => {
                if error.message.len() > RESULT_BYTES {
                    error.message = "the message was too long".into();
                }
                if !(1..=EVENT_BYTES).contains(&error.code.as_str().len()) {
                    error.code = Code::HANDLER;
                }
                (None, Some(error))
            }
        };
        let first = self.pending.keys().next().copied().unwrap_or(command.seq);
        let body = Answered {
            seq: command.seq,
            id: command.id,
            user: Arc::clone(&command.from),
            done: first - 1,
            result,
            error,
        };
        Some(NewEntry {
            room: self.answers.clone(),
            id: derived_id(command, 1),
            from: "".into(),
            event: ANSWER.into(),
            key: None,
            gone: false,
            data: Json::envelope(&body).ok()?,
        })
    }
}

/// An id that follows from an entry: the same however often the entry is handled, and another for
/// an entry that took its number after a lost tail.
pub(in super::super) fn derived_id(entry: &Entry, salt: u64) -> ItemId {
    let low = entry.seq ^ (entry.id.0 as u64) ^ salt.rotate_left(56);
    ItemId((u128::from(entry.mark.0) << 64) | u128::from(low))
}
