//! The items: by id, by expiry, counted in bytes.

use super::Listed;
use crate::table::{Set, Table};
use crate::{
    machine::io::{CallId, NewItem, Outcome, StoredItem},
    model::ids::ItemId,
    protocol::{Code, frames::Send},
    time::UnixMillis,
};

/// Link deaths after which an item travels alone, and after which it is skipped (P-S9).
pub(super) const SUSPECT_DEATHS: u8 = 5;
pub(super) const POISON_DEATHS: u8 = 10;
/// Cancellations that may wait for one item's answer.
pub(super) const MAX_CANCELS: usize = 16;
/// What the envelope of a `send` takes at most beside its texts.
const ENVELOPE: usize = 224;

/// Whether the item is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// To be written by the next batch.
    Due(CallId),
    /// In the batch under way.
    Asked(CallId),
    /// There.
    Done,
}

/// Where an item stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Without a number, in its lane's queue.
    Waiting,
    /// The batch under way gives it this number: not to be sent yet.
    Numbering(u64),
    /// It has a number.
    Numbered {
        /// The number.
        n: u64,
        /// Whether it may have been sent under it: it was, or it came with the number from the store.
        sent: bool,
    },
    /// Over without having been sent; the store learns it before the application does.
    Ending(Code),
}

/// An item and what this process knows of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As the store has it; its `n` is not kept up here.
    pub(super) record: StoredItem,
    /// What it takes on the wire, about.
    pub(super) bytes: usize,
    pub(super) put: Put,
    pub(super) stage: Stage,
    /// Calls that wait for its end.
    pub(super) cancels: Vec<CallId>,
}

impl Entry {
    pub(super) fn new(record: StoredItem, put: Put) -> Self {
        let bytes = wire_bytes(&record.item);
        let stage = match record.n {
            Some(n) => Stage::Numbered { n, sent: true },
            None => Stage::Waiting,
        };
        Self { record, bytes, put, stage, cancels: Vec::new() }
    }

    pub(super) fn listed(&self) -> Listed<'_> {
        let stage = match self.stage {
            Stage::Waiting => "waiting",
            Stage::Numbering(_) | Stage::Numbered { sent: false, .. } => "numbered",
            Stage::Numbered { sent: true, .. } => "sent",
            Stage::Ending(_) => "ending",
        };
        let StoredItem { item, expires, order, .. } = &self.record;
        Listed { item, expires: *expires, order: *order, stage }
    }

    pub(super) fn lane(&self) -> usize {
        usize::from(self.record.item.lane)
    }

    pub(super) fn key(&self) -> (u64, ItemId) {
        (self.record.order, self.record.item.id)
    }

    /// Sent alone, to find out whether it is the one that kills the link (P-S9).
    pub(super) fn is_suspect(&self) -> bool {
        self.record.deaths >= SUSPECT_DEATHS && self.record.skip.is_none()
    }
}

/// The bytes of an item's `send`, at most a few too many.
pub(super) fn wire_bytes(item: &NewItem) -> usize {
    let key = item.key.as_ref().map_or(0, |key| key.len() + 9);
    ENVELOPE + item.data.get().len() + item.room.as_str().len() + item.event.len() + key
}

/// The exact bytes of an item's longest `send`.
pub(super) fn exact_bytes(item: &NewItem) -> usize {
    let number = 1 << 53;
    let send = Send {
        lane: item.lane,
        n: number,
        id: item.id,
        base: Some(number),
        room: item.room.as_str().to_owned(),
        event: item.event.clone(),
        key: item.key.clone(),
        ttl: item.ttl.map(|_| number),
        persist: item.persist,
        data: item.data.clone(),
    };
    send.encode().len()
}

/// What a code of `refused` means for the application.
pub(super) fn outcome_of(code: Code, message: String) -> Outcome {
    if code == Code::CANCELLED {
        Outcome::Cancelled
    } else if code == Code::EXPIRED {
        Outcome::Expired
    } else {
        Outcome::Refused(code, message)
    }
}

/// All items that are not settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Items {
    entries: Table<ItemId, Box<Entry>>,
    /// Items whose end by time is still to be acted on.
    expiry: Set<(u64, ItemId)>,
    bytes: usize,
}

impl Items {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|entry| &**entry)
    }

    pub(super) fn contains(&self, id: ItemId) -> bool {
        self.entries.contains_key(&id)
    }

    pub(super) fn entry(&self, id: ItemId) -> Option<&Entry> {
        self.entries.get(&id).map(|entry| &**entry)
    }

    pub(super) fn entry_mut(&mut self, id: ItemId) -> Option<&mut Entry> {
        self.entries.get_mut(&id).map(|entry| &mut **entry)
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let id = entry.record.item.id;
        self.bytes += entry.bytes;
        self.expiry.insert((entry.record.expires.0, id));
        self.entries.insert(id, Box::new(entry));
    }

    pub(super) fn remove(&mut self, id: ItemId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.bytes;
        self.expiry.remove(&(entry.record.expires.0, id));
        Some(*entry)
    }

    /// When the next item expires.
    pub(super) fn next_expiry(&self) -> Option<UnixMillis> {
        self.expiry.first().map(|(at, _)| UnixMillis(*at))
    }

    /// Takes the next item that expired from the index; the item itself stays.
    pub(super) fn take_expired(&mut self, now: UnixMillis) -> Option<ItemId> {
        let (at, id) = *self.expiry.first()?;
        if at > now.0 {
            return None;
        }
        self.expiry.remove(&(at, id));
        Some(id)
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.bytes = 0;
        self.expiry.clear();
        std::mem::take(&mut self.entries).into_values().map(|entry| *entry)
    }
}
