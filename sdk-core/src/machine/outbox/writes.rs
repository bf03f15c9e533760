//! What is to be written, and the batch under way: one at a time, so that writes share commits.
//!
//! What is to be written is kept as sets of items, not as a list of writes: a store that fails for
//! days makes nothing grow.

use super::{
    Outbox, OutboxOutput, Ticket,
    item::{Entry, Put, Stage, outcome_of},
    lane::Lane,
};
use crate::fifo::Fifo;
use crate::table::list;
use crate::table::{Set, Table};
use crate::{
    machine::io::{Error, Outcome, Owner, ReplyValue, StoreError, StoreOp, StoredLane},
    model::ids::ItemId,
    protocol::{Code, limits::LANES},
    time::{Instant, Now},
};
use std::time::Duration;

/// Writes of one kind in one batch.
const BATCH: usize = 1024;
/// Items whose failed write is undone once the store works again.
const MAX_UNDONE: usize = 4096;
/// Owners whose removals are kept while others are here.
const MAX_PARKED: usize = 16;
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// What a connection waits for: the store's word, given after its `hello`, that the lock is still
/// ours. Else it would settle and send what another process settled and sent already (P-S1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing is asked, or it is proved.
    #[default]
    Given,
    /// The next batch asks.
    Wanted,
    /// This batch asks.
    Asked(Ticket),
}

/// What waits for the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes {
    pub(super) puts: Fifo<ItemId>,
    pub(super) removes: Set<ItemId>,
    /// Removals that were not written when their owner left: they wait for him.
    parked: Table<Owner, Set<ItemId>>,
    /// Items whose skip or deaths changed.
    pub(super) marks: Set<ItemId>,
    /// Items whose number is gone.
    pub(super) unnumbered: Set<ItemId>,
    pub(super) producer: bool,
    /// A write that needs the lock is wanted, whatever it says.
    pub(super) verify: bool,
    /// Whether the lock was still ours after the last `hello`.
    pub(super) proof: Proof,
    pub(super) bind: Option<Owner>,
    pub(super) flight: Option<Flight>,
    next_ticket: u64,
    failures: u32,
    /// After a failure: only puts, whose callers wait, go before this moment.
    pub(super) retry_at: Option<Instant>,
}

/// The batch under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Flight {
    ticket: Ticket,
    puts: Vec<ItemId>,
    removes: Vec<ItemId>,
    marks: Vec<ItemId>,
    unnumbered: Vec<ItemId>,
    numbers: Vec<(usize, u64, ItemId)>,
    /// Per lane: the highest number before and with this batch.
    given: Vec<(usize, u64, u64)>,
    producer: bool,
    bind: Option<Owner>,
}

impl Writes {
    fn has_rest(&self) -> bool {
        !self.removes.is_empty()
            || !self.marks.is_empty()
            || !self.unnumbered.is_empty()
            || self.producer
            || self.verify
            || self.proof != Proof::Given
            || self.bind.is_some()
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_none() && self.puts.is_empty() && !self.has_rest()
    }

    /// Another owner's store is opened: what was told there is not to be told again.
    pub(super) fn change_owner(&mut self, before: Option<&Owner>, next: Option<&Owner>) {
        let removes = std::mem::take(&mut self.removes);
        if let Some(before) = before
            && !removes.is_empty()
            && self.parked.len() < MAX_PARKED
        {
            self.parked.insert(before.clone(), removes);
        }
        self.removes = next.and_then(|next| self.parked.remove(next)).unwrap_or_default();
    }

    fn back_off(&mut self, now: Instant) {
        let wait = RETRY_FIRST.saturating_mul(1 << self.failures.min(6)).min(RETRY_MOST);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + wait);
    }
}

fn take_some(set: &mut Set<ItemId>) -> Vec<ItemId> {
    if set.len() <= BATCH {
        return list(std::mem::take(set).into_iter());
    }
    list((0..BATCH).filter_map(|_| set.pop_first()))
}

impl Outbox {
    /// Makes the next batch, unless one is under way or there is nothing to write.
    pub(super) fn form_batch(&mut self) -> Option<OutboxOutput> {
        if self.writes.flight.is_some() || self.is_loading() {
            return None;
        }
        if self.elsewhere {
            while let Some(id) = self.writes.puts.pop_front() {
                self.put_failed(id, "the store does not load");
            }
            return None;
        }
        let backing_off = self.writes.retry_at.is_some();
        if backing_off && self.writes.puts.is_empty() {
            return None;
        }
        let mut ops = Vec::new();
        let mut flight = Flight { ticket: Ticket(self.writes.next_ticket), ..Flight::default() };
        if (self.is_ours() || self.is_switching())
            && let Some(owner) = self.writes.bind.take()
        {
            ops.push(StoreOp::Bind(owner.clone()));
            flight.bind = Some(owner);
        }
        if self.is_ours() {
            self.form_owned(&mut flight, &mut ops);
        }
        flight.removes = take_some(&mut self.writes.removes);
        ops.extend(flight.removes.iter().map(|id| StoreOp::Remove(*id)));
        self.form_puts(&mut flight, &mut ops);
        self.form_marks(&mut flight, &mut ops);
        if self.is_ours() && !backing_off {
            self.form_numbers(&mut flight, &mut ops);
        }
        if ops.is_empty() {
            return None;
        }
        self.writes.next_ticket += 1;
        let ticket = flight.ticket;
        self.writes.flight = Some(flight);
        Some(OutboxOutput::Store(ticket, ops))
    }

    fn form_owned(&mut self, flight: &mut Flight, ops: &mut Vec<StoreOp>) {
        let verify = std::mem::take(&mut self.writes.verify);
        if self.writes.proof == Proof::Wanted {
            self.writes.proof = Proof::Asked(flight.ticket);
        }
        if verify || self.writes.proof != Proof::Given {
            ops.push(StoreOp::Lane(0, self.stored_lane(0)));
        }
        flight.unnumbered = take_some(&mut self.writes.unnumbered);
        ops.extend(flight.unnumbered.iter().map(|id| StoreOp::Number(*id, None)));
        if self.writes.unnumbered.is_empty() && std::mem::take(&mut self.writes.producer) {
            flight.producer = true;
            ops.push(StoreOp::Producer(self.producer));
            ops.extend((0..LANES).map(|lane| StoreOp::Lane(lane, self.stored_lane(lane))));
        }
    }

    fn stored_lane(&self, lane: u8) -> StoredLane {
        let lane = &self.lanes[usize::from(lane)];
        StoredLane { given: lane.given, done: lane.done() }
    }

    fn form_puts(&mut self, flight: &mut Flight, ops: &mut Vec<StoreOp>) {
        while flight.puts.len() < BATCH
            && let Some(id) = self.writes.puts.pop_front()
        {
            let Some(entry) = self.items.entry_mut(id) else { continue };
            if let Put::Due(call) = entry.put {
                entry.put = Put::Asked(call);
                flight.puts.push(id);
                ops.push(StoreOp::Put(Box::new(entry.record.clone())));
            }
        }
    }

    fn form_marks(&mut self, flight: &mut Flight, ops: &mut Vec<StoreOp>) {
        for id in take_some(&mut self.writes.marks) {
            let Some(entry) = self.items.entry(id) else { continue };
            if matches!(entry.put, Put::Due(_)) {
                self.writes.marks.insert(id);
                continue;
            }
            flight.marks.push(id);
            if let Stage::Ending(code) = &entry.stage {
                ops.push(StoreOp::Skip(id, code.clone()));
                continue;
            }
            if let Some(code) = &entry.record.skip {
                ops.push(StoreOp::Skip(id, code.clone()));
            }
            if entry.record.deaths > 0 {
                ops.push(StoreOp::Deaths(id, entry.record.deaths));
            }
        }
    }

    /// Gives numbers to what may be sent next (P-S1).
    fn form_numbers(&mut self, flight: &mut Flight, ops: &mut Vec<StoreOp>) {
        if self.forked || !self.writes.unnumbered.is_empty() || self.writes.producer {
            return;
        }
        for index in 0..self.lanes.len() {
            let before = self.lanes[index].given;
            while let Some(&(order, id)) = self.lanes[index].waiting.first() {
                let Some(entry) = self.items.entry(id) else {
                    self.lanes[index].waiting.pop_first();
                    continue;
                };
                if matches!(entry.put, Put::Due(_)) || !self.lanes[index].may_number(entry.bytes) {
                    break;
                }
                if self.is_too_large(entry) {
                    if matches!(entry.put, Put::Done) {
                        self.end_here(id, Code::TOO_LARGE);
                        continue;
                    }
                    break;
                }
                let lane = &mut self.lanes[index];
                lane.waiting.remove(&(order, id));
                let n = lane.given + 1;
                lane.number(n, entry);
                if let Some(entry) = self.items.entry_mut(id) {
                    entry.stage = Stage::Numbering(n);
                }
                flight.numbers.push((index, n, id));
                ops.push(StoreOp::Number(id, Some(n)));
            }
            let after = self.lanes[index].given;
            if after > before {
                flight.given.push((index, before, after));
                // The lane's number is below 8.
                let number = u8::try_from(index).unwrap_or(LANES - 1);
                ops.push(StoreOp::Lane(number, self.stored_lane(number)));
            }
        }
    }

    fn is_too_large(&self, entry: &Entry) -> bool {
        self.exceeds(&entry.record.item, entry.bytes)
    }

    /// Takes the end of the batch under way.
    pub(super) fn batch_ended(&mut self, ticket: Ticket, result: Result<(), StoreError>, now: Now) {
        if self.writes.flight.as_ref().is_none_or(|flight| flight.ticket != ticket) {
            return;
        }
        let Some(flight) = self.writes.flight.take() else { return };
        let asked = self.writes.proof == Proof::Asked(ticket);
        if asked {
            self.writes.proof = if result.is_ok() { Proof::Given } else { Proof::Wanted };
        }
        match result {
            Ok(()) => {
                self.batch_stored(flight);
                if asked {
                    self.take_deferred();
                }
            }
            Err(StoreError::NotOwner) => self.batch_foreign(flight, now),
            Err(StoreError::Io(text)) => self.batch_failed(flight, &text, now),
        }
    }

    fn batch_stored(&mut self, flight: Flight) {
        self.writes.failures = 0;
        self.writes.retry_at = None;
        for id in flight.puts {
            let Some(entry) = self.items.entry_mut(id) else { continue };
            if let Put::Asked(call) = entry.put {
                entry.put = Put::Done;
                self.reply(call, Ok(ReplyValue::Queued(id)));
            }
            if !self.is_ours() {
                // Whoever holds the store sends it and tells its end; here it is out of sight.
                for call in self.forget(id).into_iter().flat_map(|entry| entry.cancels) {
                    self.refuse(call, Code::STORAGE, "the item waits in another outbox");
                }
            }
        }
        for (_, n, id) in flight.numbers {
            match self.items.entry_mut(id) {
                Some(entry) if entry.stage == Stage::Numbering(n) => {
                    entry.stage = Stage::Numbered { n, sent: false };
                }
                // Meanwhile the number was taken away again.
                Some(entry) if !matches!(entry.stage, Stage::Numbered { .. }) => {
                    self.writes.unnumbered.insert(id);
                }
                _ => {}
            }
        }
        for id in flight.marks {
            let Some(entry) = self.items.entry(id) else { continue };
            if let Stage::Ending(code) = &entry.stage {
                let outcome = outcome_of(code.clone(), String::new());
                self.finish(id, outcome);
            }
        }
    }

    /// Nothing was written, as far as the store can tell: so what is not known to be undone is undone.
    fn batch_failed(&mut self, flight: Flight, text: &str, now: Now) {
        self.writes.back_off(now.mono);
        self.take_numbers_back(&flight);
        for id in flight.puts {
            self.put_failed(id, text);
            if self.writes.removes.len() < MAX_UNDONE.max(self.items.len()) {
                self.writes.removes.insert(id);
            }
        }
        for (_, _, id) in flight.numbers {
            if self.items.contains(id) {
                self.writes.unnumbered.insert(id);
            }
        }
        self.writes.unnumbered.extend(flight.unnumbered);
        self.writes.removes.extend(flight.removes);
        self.writes.marks.extend(flight.marks);
        self.writes.producer |= flight.producer;
        if self.writes.bind.is_none() {
            self.writes.bind = flight.bind;
        }
    }

    /// Another process holds the store: what needs its lock is forgotten, the rest is written again.
    fn batch_foreign(&mut self, flight: Flight, now: Now) {
        self.take_numbers_back(&flight);
        self.writes.removes.extend(flight.removes);
        if !self.is_ours() {
            for id in flight.puts {
                self.put_failed(id, "another process holds the outbox");
            }
            return self.writes.back_off(now.mono);
        }
        self.writes.bind = self.writes.bind.take().or(flight.bind);
        for id in flight.puts.into_iter().rev() {
            let Some(entry) = self.items.entry_mut(id) else { continue };
            if let Put::Asked(call) = entry.put {
                entry.put = Put::Due(call);
                self.writes.puts.push_front(id);
            }
        }
        self.become_foreign(now);
    }

    fn take_numbers_back(&mut self, flight: &Flight) {
        for (index, n, id) in flight.numbers.iter().rev() {
            let Some(entry) = self.items.entry(*id) else { continue };
            if entry.stage == Stage::Numbering(*n) {
                self.unnumber(*index, *n, *id);
            }
        }
        for (index, before, after) in &flight.given {
            let lane: &mut Lane = &mut self.lanes[*index];
            if lane.given == *after {
                lane.given = *before;
            }
        }
    }

    fn put_failed(&mut self, id: ItemId, text: &str) {
        let Some(entry) = self.forget(id) else { return };
        if let Put::Asked(call) | Put::Due(call) = entry.put {
            self.reply(call, Err(Error { code: Code::STORAGE, text: text.to_owned() }));
        }
        for call in entry.cancels {
            self.reply(call, Ok(ReplyValue::Outcome(Outcome::Cancelled)));
        }
    }
}
