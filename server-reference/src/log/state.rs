//! What a step does, decided without a store: numbers, outcomes, marks, proofs (P-S2, P-R3).
//!
//! [`step`] reads through [`Tables`] and changes nothing: it returns the [`Effect`] that a log
//! applies, writes and makes durable as a whole. So every log decides alike.

use super::{
    Entry, Intent, NewEntry, Number, Outcome, ProducerKey, Record, RoomKey, Seqs, Step, Stepped,
    Unavailable, mark,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use wardline::{
    model::ids::{ItemId, TenantId},
    planted::{Bug, planted},
    protocol::{Cursor, Mark, limits},
};

/// Bytes of a refusal's message that are remembered.
pub const MESSAGE_BYTES: usize = 256;

/// What a step must know.
pub trait Tables {
    /// Where a room's log ends; a log is made where there is none, with a random mark.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    fn head(&mut self, room: &RoomKey) -> Result<Cursor, Unavailable>;

    /// A lane of a producer's record, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    fn lane(&mut self, producer: &ProducerKey, lane: u8) -> Result<Option<&Lane>, Unavailable>;

    /// The outcome remembered for an id alone.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    fn once(&mut self, tenant: &TenantId, id: ItemId) -> Result<Option<Outcome>, Unavailable>;
}

/// One lane of a producer's record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lane {
    /// The highest number consumed.
    pub accepted: u64,
    /// The outcomes of the last [`limits::WINDOW`] numbers, in order.
    pub outcomes: VecDeque<Held>,
}

/// An outcome a record keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The number.
    pub n: u64,
    /// The item that had it.
    pub id: ItemId,
    /// How it ended.
    pub outcome: Outcome,
}

/// A producer's record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Producer {
    /// By lane.
    pub lanes: BTreeMap<u8, Lane>,
    /// ms since 1970 of the last use.
    pub used: u64,
}

/// What a step changes, as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Appended, in order.
    pub entries: Vec<(RoomKey, Arc<Entry>)>,
    /// The producer's lane.
    pub lane: Option<LaneChange>,
    /// Remembered alone.
    pub once: Option<(TenantId, ItemId, Outcome)>,
    /// ms since 1970.
    pub time: u64,
}

/// What a step changes of a producer's record.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneChange {
    /// The producer.
    pub key: ProducerKey,
    /// The lane.
    pub lane: u8,
    /// The accepted number before.
    pub before: u64,
    /// The accepted number now.
    pub accepted: u64,
    /// The new outcome; none where only `base` raised the number.
    pub held: Option<Held>,
}

/// What the rules say of a number (P-S2).
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    Next,
    Early,
    Repeated(Outcome),
    Forked,
}

impl Lane {
    /// Rules 1 to 5 of P-S2: the accepted number once `base` has raised it, and the verdict.
    fn judge(lane: Option<&Self>, number: &Number) -> (u64, Verdict) {
        let accepted = lane.map_or(0, |lane| lane.accepted).max(number.base.unwrap_or(0));
        let verdict = if number.n > accepted.saturating_add(1) {
            Verdict::Early
        } else if number.n > accepted {
            Verdict::Next
        } else {
            let same = |held: &&Held| {
                held.n == number.n && (held.id == number.id || planted(Bug::RepeatWithoutId))
            };
            match lane.and_then(|lane| lane.outcomes.iter().find(same)) {
                Some(held) => Verdict::Repeated(held.outcome.clone()),
                None => Verdict::Forked,
            }
        };
        (accepted, verdict)
    }

    /// Takes a change over.
    pub fn apply(&mut self, change: &LaneChange) {
        self.accepted = self.accepted.max(change.accepted);
        if let Some(held) = &change.held {
            self.outcomes.push_back(held.clone());
        }
        self.trim();
    }

    /// Lets go of the outcomes the window has left behind.
    pub fn trim(&mut self) {
        let accepted = self.accepted;
        while self
            .outcomes
            .front()
            .is_some_and(|held| held.n.saturating_add(limits::WINDOW) <= accepted)
        {
            self.outcomes.pop_front();
        }
    }
}

impl Producer {
    /// The record as a log tells it.
    #[must_use]
    pub fn record(&self) -> Record {
        let outcomes = self.lanes.iter().flat_map(|(number, lane)| {
            lane.outcomes.iter().map(|held| (*number, held.n, held.id, held.outcome.clone()))
        });
        Record {
            accepted: Some(self.lanes.iter().map(|(n, lane)| (*n, lane.accepted)).collect()),
            outcomes: outcomes.collect(),
        }
    }
}

/// Decides a step.
///
/// # Errors
/// [`Unavailable`] when the tables do not answer; then nothing is changed.
pub fn step<T: Tables>(
    tables: &mut T,
    step: Step,
    now: u64,
) -> Result<(Stepped, Option<Effect>), Unavailable> {
    let mut effect = Effect { entries: Vec::new(), lane: None, once: None, time: now };
    let Some(number) = step.producer else {
        if let Some((tenant, id)) = &step.once
            && let Some(outcome) = tables.once(tenant, *id)?
        {
            return Ok((Stepped::Repeated(outcome), None));
        }
        let outcome = carry_out(tables, step.intent, now, &mut effect)?;
        effect.once = step.once.map(|(tenant, id)| (tenant, id, outcome.clone()));
        let changes = !effect.entries.is_empty() || effect.once.is_some();
        return Ok((Stepped::New(outcome), changes.then_some(effect)));
    };

    let lane = tables.lane(&number.key, number.lane)?;
    let before = lane.map_or(0, |lane| lane.accepted);
    let (accepted, verdict) = Lane::judge(lane, &number);
    let Number { key, lane, n, id, .. } = number;
    let raised = |held, accepted| LaneChange { key, lane, before, accepted, held };
    if verdict == Verdict::Next {
        let outcome = carry_out(tables, step.intent, now, &mut effect)?;
        effect.lane = Some(raised(Some(Held { n, id, outcome: outcome.clone() }), n));
        return Ok((Stepped::New(outcome), Some(effect)));
    }
    if accepted > before {
        effect.lane = Some(raised(None, accepted));
    }
    let stepped = match verdict {
        Verdict::Repeated(outcome) => Stepped::Repeated(outcome),
        Verdict::Early => Stepped::Early { accepted },
        _ => Stepped::Forked,
    };
    Ok((stepped, effect.lane.is_some().then_some(effect)))
}

fn carry_out<T: Tables>(
    tables: &mut T,
    intent: Intent,
    now: u64,
    effect: &mut Effect,
) -> Result<Outcome, Unavailable> {
    let entries = match intent {
        Intent::Append(entries) => entries,
        Intent::Accept => return Ok(Outcome::Accepted(Seqs::default())),
        Intent::Refuse(code, message) => return Ok(Outcome::Refused(code, shortened(message))),
    };
    for new in entries {
        // A step may append to one room more than once: its own entries come first.
        let own = effect.entries.iter().rev().find(|(room, _)| *room == new.room);
        let head = match own {
            Some((_, entry)) => entry.cursor(),
            None => tables.head(&new.room)?,
        };
        let (room, entry) = append(head, new, now);
        effect.entries.push((room, Arc::new(entry)));
    }
    Ok(Outcome::Accepted(effect.entries.iter().map(|(_, entry)| entry.seq).collect()))
}

fn append(head: Cursor, new: NewEntry, now: u64) -> (RoomKey, Entry) {
    let mark = mark::of(head.mark, &new);
    let NewEntry { room, id, from, event, key, gone, data } = new;
    let seq = head.seq + 1;
    (room, Entry { seq, mark, prev_mark: head.mark, time: now, id, from, event, key, gone, data })
}

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
    }
    message
}

/// Whether a cursor can be resumed from (P-R3).
///
/// `at` is the mark of entry `seq` where the log holds it, `behind` the previous mark of entry
/// `seq` + 1 where it holds that.
#[must_use]
pub fn proves(cursor: Cursor, head: Cursor, at: Option<Mark>, behind: Option<Mark>) -> bool {
    if planted(Bug::ProveWithoutMark) {
        return cursor.seq == head.seq || at.is_some() || behind.is_some();
    }
    cursor == head || at == Some(cursor.mark) || behind == Some(cursor.mark)
}

/// The bounds of a page (P-R4): entries and bytes, or one entry.
#[derive(Debug, Default)]
pub struct PageBounds {
    entries: usize,
    bytes: usize,
}

impl PageBounds {
    /// Whether an entry still fits; counts it if so.
    pub fn admit(&mut self, entry: &Entry) -> bool {
        let bytes = self.bytes + entry.weight();
        let fits = self.entries < limits::READ_ENTRIES && bytes <= limits::READ_BYTES;
        if fits || self.entries == 0 {
            self.entries += 1;
            self.bytes = bytes;
            return true;
        }
        false
    }
}

impl Entry {
    /// The position behind this entry.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { seq: self.seq, mark: self.mark }
    }

    /// The position before this entry.
    #[must_use]
    pub fn before(&self) -> Cursor {
        Cursor { seq: self.seq - 1, mark: self.prev_mark }
    }

    /// The bytes an entry counts for in a page and in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        self.data.get().len() + self.event.len() + self.from.len() + key + 96
    }
}
