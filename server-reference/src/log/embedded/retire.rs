//! Retention: whole buckets of entries go, heads and records go 30 days after their last use.
//!
//! Done in slices between turns, so that no append waits long for it.

use super::{
    access::Access,
    codec,
    engine::Memory,
    store::{Kind, Store, StoreError, Table},
};
use crate::log::{mark::STARTS, retention::HEAD_LIFE};
use std::collections::BTreeMap;

/// Rooms or rows looked at in one slice.
const SLICE: usize = 256;
/// Milliseconds between two looks for heads and records past their life.
const PERIOD: u64 = 6 * 3600 * 1000;

/// A table being swept, and the last row seen.
type Place = (Table, Vec<u8>);

/// Where retention stands.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The bucket being emptied, and the last row seen.
    bucket: Option<(u64, Vec<u8>)>,
    /// The table being swept, and the last row seen.
    table: Option<Place>,
    /// Rooms begun anew that this sweep has met.
    starts: usize,
    /// How many of these are remembered.
    most: usize,
    /// ms since 1970 of the last sweep's start; none since the store was opened.
    swept: Option<u64>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { bucket: None, table: None, starts: 0, most: STARTS, swept: None }
    }
}

impl Sweep {
    /// Remembers fewer rooms begun anew.
    #[cfg(test)]
    pub(super) fn remember(&mut self, most: usize) {
        self.most = most;
    }

    /// Does a slice. Returns whether there may be more to do.
    pub(super) fn slice(
        &mut self,
        store: &mut Store,
        memory: &mut Memory,
        now: u64,
    ) -> Result<bool, StoreError> {
        if self.retire(store, memory, now)? {
            return Ok(true);
        }
        if let Some((table, after)) = self.table.take() {
            let (next, starts) = sweep(store, memory, now, table, after)?;
            self.starts += starts;
            let heads_done = !matches!(next, Some((Table::Heads, _)));
            if table == Table::Heads && heads_done && self.starts > self.most {
                begin_epoch(store, memory, now)?;
            }
            self.table = next;
            return Ok(true);
        }
        if due(store, now)? {
            return Ok(true);
        }
        let later = |swept: u64| swept.saturating_add(PERIOD) <= now || now < swept;
        if self.swept.is_none_or(later) {
            self.swept = Some(now);
            self.starts = 0;
            self.table = Some((Table::Heads, Vec::new()));
            return Ok(true);
        }
        Ok(false)
    }

    /// Keeps the heads of an expired bucket's rooms, then drops it.
    fn retire(
        &mut self,
        store: &mut Store,
        memory: &mut Memory,
        now: u64,
    ) -> Result<bool, StoreError> {
        let Some(bucket) = store.expired(now) else { return Ok(false) };
        let number = bucket.number;
        let after = match self.bucket.take() {
            Some((same, after)) if same == number => after,
            _ => Vec::new(),
        };
        let rooms = match bucket.kind {
            Kind::Entries => bucket.rooms_behind(&after, SLICE)?,
            Kind::Once => Vec::new(),
        };
        let mut commit = store.commit();
        for (row, last) in &rooms {
            let stored = store.get(&commit, Table::Heads, row.clone())?;
            let stored = stored.map(|value| codec::read_head(&value)).transpose()?;
            if stored.is_none_or(|(head, _)| head.seq <= last.seq) {
                commit.put(Table::Heads, row.clone(), codec::head(last.cursor(), last.time));
            }
        }
        if !commit.is_empty() {
            store.write(commit)?;
        }
        match rooms.last() {
            Some((row, _)) if rooms.len() == SLICE => {
                self.bucket = Some((number, codec::numbered(row, u64::MAX)));
            }
            _ => {
                store.drop_bucket(number)?;
                memory.drops += 1;
            }
        }
        Ok(true)
    }
}

/// Begins a new epoch; the sweeps to come take what was begun anew before it.
fn begin_epoch(store: &mut Store, memory: &mut Memory, now: u64) -> Result<(), StoreError> {
    let epoch = memory.epoch.next();
    let began = now.max(memory.epoch_began.saturating_add(1));
    store.begin_epoch(epoch, began)?;
    memory.epoch = epoch;
    memory.epoch_began = began;
    // Where rooms without a row begin is in there.
    memory.rooms.clear();
    Ok(())
}

/// Sweeps a slice of a table; returns where to go on, and how many rooms begun anew it has met.
fn sweep(
    store: &mut Store,
    memory: &mut Memory,
    now: u64,
    table: Table,
    after: Vec<u8>,
) -> Result<(Option<Place>, usize), StoreError> {
    let rows = store.rows_behind(table, &after, SLICE)?;
    let last = rows.last().map(|(row, _)| row.clone());
    let commit = store.commit();
    let mut access = Access { store, memory, commit, now };
    let full = rows.len() == SLICE;
    let mut starts = 0;
    for (row, value) in rows {
        match table {
            Table::Heads => starts += usize::from(access.sweep_head(row, &value)?),
            _ => access.sweep_record(&row, &value)?,
        }
    }
    let Access { commit, store, .. } = access;
    if !commit.is_empty() {
        store.write(commit)?;
    }
    let next = match (table, last) {
        (table, Some(last)) if full => Some((table, last)),
        (Table::Heads, _) => Some((Table::Used, Vec::new())),
        _ => None,
    };
    Ok((next, starts))
}

impl Access<'_> {
    /// Whether the row says where a room begins anew.
    fn sweep_head(&mut self, row: Vec<u8>, value: &[u8]) -> Result<bool, StoreError> {
        let (head, touched) = codec::read_head(value)?;
        let past = |at: u64| at.saturating_add(HEAD_LIFE) <= self.now;
        let stale = head.seq == 0 && touched < self.memory.epoch_began;
        if !past(touched) && !stale {
            return Ok(head.seq == 0);
        }
        let key = codec::read_room(&row)?;
        let asked = self.memory.rooms.peek(&key).map_or(0, |room| room.asked);
        if self.store.first_entry(&row)?.is_some() {
            return Ok(false);
        }
        if stale {
            self.memory.rooms.remove(&key);
            self.commit.remove(Table::Heads, row);
            return Ok(false);
        }
        if head.seq == 0 {
            return Ok(true);
        }
        if !past(asked) {
            self.commit.put(Table::Heads, row, codec::head(head, asked));
            return Ok(false);
        }
        self.memory.rooms.remove(&key);
        let latest: BTreeMap<_, _> =
            self.store.scan(&self.commit, Table::Latest, &row, crate::log::retention::KEYS)?;
        for at in latest.into_keys() {
            self.commit.remove(Table::Latest, at);
        }
        let keys = self.store.scan(&self.commit, Table::Keys, &row, crate::log::retention::KEYS)?;
        for at in keys.into_keys() {
            self.commit.remove(Table::Keys, at);
        }
        let start = self.memory.epoch.restart(&key, head);
        let touched = self.now.max(self.memory.epoch_began);
        self.commit.put(Table::Heads, row, codec::head(start, touched));
        Ok(true)
    }

    fn sweep_record(&mut self, row: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let key = codec::read_producer(row)?;
        let in_memory = self.memory.producers.peek(&key).and_then(Option::as_ref);
        let used = in_memory.map_or(0, |known| known.producer.used).max(codec::read_u64(value)?);
        if used.saturating_add(self.memory.retention.records()) <= self.now {
            self.forget(&key)?;
        }
        Ok(())
    }
}

/// Takes keys that are gone, and were told so long enough, out of the tables.
fn due(store: &mut Store, now: u64) -> Result<bool, StoreError> {
    let rows = store.rows_behind(Table::Gone, &[], SLICE)?;
    let mut commit = store.commit();
    for (row, _) in rows {
        let (at, place) = row.split_at_checked(8).unwrap_or((&row, &[]));
        if codec::read_u64(at)? > now {
            break;
        }
        if let Some(value) = store.get(&commit, Table::Latest, place.to_vec())? {
            let entry = codec::read_entry(codec::read_number(place)?, &value)?;
            commit.remove(Table::Latest, place.to_vec());
            let room = &place[..place.len().saturating_sub(8)];
            if let Some(name) = &entry.key {
                commit.remove(Table::Keys, codec::keyed(room, name));
            }
        }
        commit.remove(Table::Gone, row);
    }
    let more = !commit.is_empty();
    if more {
        store.write(commit)?;
    }
    Ok(more)
}
