//! The queue: what comes in, what ends here, what expires.

use super::{
    Outbox,
    item::{Entry, Put, Stage, exact_bytes},
};
use crate::{
    machine::io::{ApiEvent, CallId, NewItem, Outcome, ReplyValue, StoredItem},
    model::ids::ItemId,
    protocol::{
        Code,
        limits::{COMMAND_TTL, EVENT_BYTES, ITEM_LIFE, LANES},
    },
    time::{UnixMillis, millis},
};

/// Orders per millisecond: below 2^53 for the next eighty years.
pub(super) const ORDER_STEP: u64 = 2048;

impl Outbox {
    pub(super) fn check(&self, item: &NewItem, bytes: usize) -> Result<(), (Code, &'static str)> {
        let known = self.items.contains(item.id);
        if item.lane >= LANES {
            Err((Code::BAD_PARAMS, "a lane is 0 to 7"))
        } else if item.event.is_empty() || item.event.len() > EVENT_BYTES {
            Err((Code::BAD_EVENT, "an event's name has 1 to 128 bytes"))
        } else if known || self.early_ids.contains(&item.id) {
            Err((Code::CONFLICT, "an item of this id waits already"))
        } else if self.exceeds(item, bytes) {
            Err((Code::TOO_LARGE, "larger than the server takes"))
        } else if self.len() >= self.max_items
            || self.items.bytes() + self.early_bytes + bytes > self.max_bytes
        {
            Err((Code::QUEUE_FULL, "the outbox is full"))
        } else {
            Ok(())
        }
    }

    /// Whether an item is larger than the server takes (P-S9).
    pub(super) fn exceeds(&self, item: &NewItem, bytes: usize) -> bool {
        // A character of a name may take six bytes as JSON.
        let names = item.event.len() + item.key.as_ref().map_or(0, String::len);
        bytes + 5 * names > self.limits.message && exact_bytes(item) > self.limits.message
    }

    pub(super) fn queue(&mut self, call: CallId, item: NewItem) {
        let ttl = item.ttl.or_else(|| item.command.then_some(COMMAND_TTL)).unwrap_or(ITEM_LIFE);
        let ttl = millis(ttl.min(ITEM_LIFE));
        let expires = UnixMillis(self.wall().0.saturating_add(ttl));
        let order = self.next_order();
        let id = item.id;
        let record = StoredItem { order, item, n: None, expires, deaths: 0, skip: None };
        self.admit(Entry::new(record, Put::Due(call)));
        self.writes.puts.push_back(id);
    }

    /// The order of a new item. Those of several processes on one store fall in by time, and do not
    /// meet: each adds a tag of its own.
    fn next_order(&mut self) -> u64 {
        self.last_step = self.wall().0.max(self.last_step + 1);
        self.last_step.saturating_mul(ORDER_STEP) + self.order_tag
    }

    /// Puts an entry without a number into its lane's queue.
    pub(super) fn admit(&mut self, entry: Entry) {
        let (lane, key) = (entry.lane(), entry.key());
        self.items.insert(entry);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.waiting.insert(key);
        }
    }

    /// Drops an item from memory without a word.
    pub(super) fn forget(&mut self, id: ItemId) -> Option<Entry> {
        let entry = self.items.remove(id)?;
        let lane = self.lanes.get_mut(entry.lane())?;
        match entry.stage {
            Stage::Waiting => drop(lane.waiting.remove(&entry.key())),
            Stage::Numbering(n) | Stage::Numbered { n, .. } => lane.release(n, entry.bytes),
            Stage::Ending(_) => {}
        }
        Some(entry)
    }

    /// Ends an item: tells its outcome, once, and removes it.
    pub(super) fn finish(&mut self, id: ItemId, outcome: Outcome) {
        let Some(entry) = self.forget(id) else { return };
        if let Put::Due(call) | Put::Asked(call) = entry.put {
            self.reply(call, Ok(ReplyValue::Queued(id)));
        }
        self.writes.removes.insert(id);
        for call in entry.cancels {
            self.reply(call, Ok(ReplyValue::Outcome(outcome.clone())));
        }
        self.event(ApiEvent::Settled(id, outcome));
    }

    /// Ends an item that was never sent; told when the store knows it.
    pub(super) fn end_here(&mut self, id: ItemId, code: Code) {
        let Some(entry) = self.items.entry_mut(id) else { return };
        let (lane, key) = (entry.lane(), entry.key());
        entry.stage = Stage::Ending(code.clone());
        entry.record.skip = Some(code);
        self.lanes[lane].waiting.remove(&key);
        self.writes.marks.insert(id);
    }

    /// A numbered item is not wanted any more: it is next transmitted as `skip` (P-S5).
    pub(super) fn mark_skip(&mut self, id: ItemId, code: Code) {
        if let Some(entry) = self.items.entry_mut(id)
            && entry.record.skip.is_none()
        {
            entry.record.skip = Some(code);
            self.writes.marks.insert(id);
        }
    }

    pub(super) fn expire(&mut self) {
        let wall = self.wall();
        while let Some(id) = self.items.take_expired(wall) {
            let Some(entry) = self.items.entry(id) else { continue };
            match (&entry.stage, entry.put) {
                // Its end by time stands in the store, but the next life may read another clock,
                // and another process may hold the lock: the store learns the end first.
                (Stage::Waiting, Put::Done | Put::Asked(_)) => self.end_here(id, Code::EXPIRED),
                (Stage::Waiting, Put::Due(call)) => {
                    self.forget(id);
                    self.refuse(call, Code::EXPIRED, "its time to live ended before it was stored");
                }
                (Stage::Numbering(_) | Stage::Numbered { .. }, _) => {
                    self.mark_skip(id, Code::EXPIRED);
                }
                (Stage::Ending(_), _) => {}
            }
        }
    }
}
