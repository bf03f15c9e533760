//! The store as a turn sees it: what is in memory, what is in the tables, and the commit under way.

use super::{
    codec::{self, LaneRow},
    engine::{Known, Memory, Room},
    store::{Commit, Store, StoreError, Table},
};
use crate::log::{
    Entry, Extent, Outcome, ProducerKey, RoomKey, Unavailable,
    retention::{KEYS, ONCE_LIFE},
    state::{self, Effect, Lane, LaneChange, Producer},
};
use std::{collections::VecDeque, sync::Arc};
use wardline::{
    model::ids::{ItemId, TenantId},
    protocol::{Cursor, limits},
};

/// Milliseconds by which the store may be behind with a producer's last use.
const USE_GRAIN: u64 = 3600 * 1000;

pub(super) struct Access<'a> {
    pub(super) store: &'a mut Store,
    pub(super) memory: &'a mut Memory,
    pub(super) commit: Commit,
    pub(super) now: u64,
}

type Result<T> = std::result::Result<T, StoreError>;

fn unavailable(error: StoreError) -> Unavailable {
    tracing::error!(%error, "the log could not read");
    Unavailable
}

impl state::Tables for Access<'_> {
    fn head(&mut self, room: &RoomKey) -> std::result::Result<Cursor, Unavailable> {
        self.room(room).map(|room| room.head).map_err(unavailable)
    }

    fn lane(
        &mut self,
        producer: &ProducerKey,
        lane: u8,
    ) -> std::result::Result<Option<&Lane>, Unavailable> {
        let known = self.producer(producer).map_err(unavailable)?;
        Ok(known.and_then(|known| known.producer.lanes.get(&lane)))
    }

    fn once(
        &mut self,
        tenant: &TenantId,
        id: ItemId,
    ) -> std::result::Result<Option<Outcome>, Unavailable> {
        self.remembered(tenant, id).map_err(unavailable)
    }
}

impl Access<'_> {
    /// A room's log. One that never had an entry has no row: where it begins follows from the epoch.
    pub(super) fn room(&mut self, key: &RoomKey) -> Result<&mut Room> {
        if self.memory.rooms.find(key).is_none() {
            let room = self.load_room(key)?;
            self.memory.rooms.insert(key, room);
        }
        let now = self.now;
        // Put in above where it was not.
        let room = self.memory.rooms.find(key).ok_or(StoreError::Closed)?;
        room.asked = now;
        Ok(room)
    }

    fn load_room(&mut self, key: &RoomKey) -> Result<Room> {
        let row = codec::room(key)?;
        let stored = self.store.get(&self.commit, Table::Heads, row.clone())?;
        let stored = stored.map(|value| codec::read_head(&value)).transpose()?;
        let head = match stored {
            Some((head, touched)) => match self.store.last_entry(&row)? {
                Some(last) if last.seq > head.seq => last.cursor(),
                // Begun anew before this epoch, and not yet swept.
                _ if head.seq == 0 && touched < self.memory.epoch_began => {
                    self.memory.epoch.start(key)
                }
                _ => head,
            },
            None => self.memory.epoch.start(key),
        };
        let ttl = self.memory.retention.of(key);
        Ok(Room { row: row.into(), head, ttl, first: None, keys: None, asked: self.now })
    }

    /// Where a room stands. Only between commits: the first entry is looked up in the tables.
    pub(super) fn extent(&mut self, key: &RoomKey) -> Result<Extent> {
        let drops = self.memory.drops;
        let room = self.room(key)?;
        let head = room.head;
        if let Some((at, first)) = room.first
            && at == drops
        {
            return Ok(Extent { first, head });
        }
        let row = room.row.clone();
        let first = self.store.first_entry(&row)?.map_or(head, |entry| entry.before());
        self.room(key)?.first = Some((drops, first));
        Ok(Extent { first, head })
    }

    /// A producer's record, if there is one.
    pub(super) fn producer(&mut self, key: &ProducerKey) -> Result<Option<&mut Known>> {
        if self.memory.producers.find(key).is_none() {
            let known = self.load_producer(key)?;
            self.memory.producers.insert(key, known);
        }
        Ok(self.memory.producers.find(key).and_then(Option::as_mut))
    }

    fn load_producer(&mut self, key: &ProducerKey) -> Result<Option<Known>> {
        let row = codec::producer(key)?;
        let Some(used) = self.store.get(&self.commit, Table::Used, row.clone())? else {
            return Ok(None);
        };
        let used = codec::read_u64(&used)?;
        let mut producer = Producer { used, ..Producer::default() };
        for (at, value) in self.store.scan(&self.commit, Table::Lanes, &row, usize::MAX)? {
            match LaneRow::read(&at)? {
                LaneRow::Base(lane) => {
                    let lane = producer.lanes.entry(lane).or_default();
                    lane.accepted = lane.accepted.max(codec::read_u64(&value)?);
                }
                LaneRow::Slot(lane, _) => {
                    let held = codec::read_held(&value)?;
                    let lane = producer.lanes.entry(lane).or_default();
                    lane.accepted = lane.accepted.max(held.n);
                    lane.outcomes.push_back(held);
                }
            }
        }
        for lane in producer.lanes.values_mut() {
            let mut outcomes: Vec<_> = lane.outcomes.drain(..).collect();
            outcomes.sort_by_key(|held| held.n);
            lane.outcomes = VecDeque::from(outcomes);
            lane.trim();
        }
        Ok(Some(Known { producer, stored: used }))
    }

    /// The accepted number of a lane, if it can be read.
    pub(super) fn accepted(&mut self, key: &ProducerKey, lane: u8) -> Option<u64> {
        let known = self.producer(key).ok()?;
        let lane = known.and_then(|known| known.producer.lanes.get(&lane));
        Some(lane.map_or(0, |lane| lane.accepted))
    }

    /// Notes that a record, if there is one, is used now.
    pub(super) fn use_producer(
        &mut self,
        key: &ProducerKey,
    ) -> std::result::Result<(), Unavailable> {
        let now = self.now;
        if let Some(known) = self.producer(key).map_err(unavailable)? {
            known.producer.used = known.producer.used.max(now);
            self.note_use(key).map_err(unavailable)?;
        }
        Ok(())
    }

    /// Tells the store of a use when it is far enough behind.
    fn note_use(&mut self, key: &ProducerKey) -> Result<()> {
        let Some(known) = self.producer(key)? else { return Ok(()) };
        let used = known.producer.used;
        if known.stored == 0 || known.stored.saturating_add(USE_GRAIN) <= used {
            known.stored = used;
            self.commit.put(Table::Used, codec::producer(key)?, codec::number(used));
        }
        Ok(())
    }

    fn remembered(&mut self, tenant: &TenantId, id: ItemId) -> Result<Option<Outcome>> {
        let key = codec::once(tenant, id)?;
        let found = match self.commit.once(&key) {
            Some(value) => Some(value.to_vec()),
            None => self.store.once(&key)?,
        };
        let Some(value) = found else { return Ok(None) };
        let (time, outcome) = codec::read_remembered(&value)?;
        Ok((self.now < time.saturating_add(ONCE_LIFE)).then_some(outcome))
    }

    /// Takes an effect over, in memory and into the commit.
    pub(super) fn apply(&mut self, effect: &Effect) -> Result<()> {
        for (key, entry) in &effect.entries {
            self.append(key, entry)?;
        }
        if let Some(change) = &effect.lane {
            self.number(change)?;
        }
        if let Some((tenant, id, outcome)) = &effect.once {
            let (key, value) = (codec::once(tenant, *id)?, codec::remembered(self.now, outcome));
            self.store.add_once(&mut self.commit, key, value, self.now)?;
        }
        Ok(())
    }

    fn append(&mut self, key: &RoomKey, entry: &Arc<Entry>) -> Result<()> {
        let room = self.room(key)?;
        let was_empty = room.first.is_some_and(|(_, first)| first == room.head);
        if was_empty && room.head.seq > 0 {
            // The first entry held may now be this one; it is looked up when next asked for.
            room.first = None;
        }
        let is_first = room.head.seq == 0;
        room.head = entry.cursor();
        let (row, ttl) = (room.row.clone(), room.ttl);
        if is_first {
            let head = codec::head(entry.cursor(), self.now);
            self.commit.put(Table::Heads, row.to_vec(), head);
        }
        self.store.add_entry(&mut self.commit, &row, entry, ttl, self.now)?;
        match &entry.key {
            Some(name) => self.replace(key, &row, entry, name, ttl),
            None => Ok(()),
        }
    }

    /// Puts an entry in the place of the newest of its key.
    fn replace(
        &mut self,
        key: &RoomKey,
        row: &[u8],
        entry: &Arc<Entry>,
        name: &str,
        ttl: u64,
    ) -> Result<()> {
        let by_key = codec::keyed(row, name);
        let at = codec::numbered(row, entry.seq);
        match self.store.get(&self.commit, Table::Keys, by_key.clone())? {
            Some(older) => {
                let older = codec::numbered(row, codec::read_u64(&older)?);
                self.commit.remove(Table::Latest, older);
            }
            None => self.count_key(key, row)?,
        }
        self.commit.put(Table::Keys, by_key, codec::number(entry.seq));
        self.commit.put(Table::Latest, at.clone(), codec::entry(entry));
        if entry.gone {
            let due = codec::due(entry.time.saturating_add(ttl), &at);
            self.commit.put(Table::Gone, due, Vec::new());
        }
        Ok(())
    }

    /// Counts a key more; where there are too many, the one changed longest ago goes.
    fn count_key(&mut self, key: &RoomKey, row: &[u8]) -> Result<()> {
        let counted = self.room(key)?.keys;
        let keys = counted.unwrap_or_else(|| self.store.count(Table::Keys, row));
        let mut left = keys + 1;
        if keys >= KEYS {
            for (at, value) in self.store.scan(&self.commit, Table::Latest, row, 1)? {
                let oldest = codec::read_entry(codec::read_number(&at)?, &value)?;
                self.commit.remove(Table::Latest, at);
                if let Some(name) = &oldest.key {
                    self.commit.remove(Table::Keys, codec::keyed(row, name));
                }
                left -= 1;
            }
        }
        self.room(key)?.keys = Some(left);
        Ok(())
    }

    fn number(&mut self, change: &LaneChange) -> Result<()> {
        let row = codec::producer(&change.key)?;
        if self.producer(&change.key)?.is_none() {
            self.make_room_for(&change.key)?;
            let known = Known { producer: Producer::default(), stored: 0 };
            self.memory.producers.insert(&change.key, Some(known));
        }
        let now = self.now;
        if let Some(known) = self.producer(&change.key)? {
            known.producer.used = known.producer.used.max(now);
            known.producer.lanes.entry(change.lane).or_default().apply(change);
        }
        match &change.held {
            Some(held) => {
                let at = LaneRow::slot(change.lane, held.n).key(&row);
                self.commit.put(Table::Lanes, at, codec::held(held));
            }
            None => {
                let at = LaneRow::Base(change.lane).key(&row);
                self.commit.put(Table::Lanes, at, codec::number(change.accepted));
            }
        }
        self.note_use(&change.key)
    }

    /// The least recently used record of a user goes when there are as many as may be (P-S6a).
    fn make_room_for(&mut self, key: &ProducerKey) -> Result<()> {
        let of_user = codec::user(&key.tenant, &key.user)?;
        let rows = self.store.scan(&self.commit, Table::Used, &of_user, usize::MAX)?;
        if rows.len() < limits::PRODUCERS {
            return Ok(());
        }
        let mut oldest: Option<(u64, ProducerKey)> = None;
        for (row, used) in rows {
            let other = codec::read_producer(&row)?;
            let in_memory = self.memory.producers.peek(&other).and_then(Option::as_ref);
            let used = match in_memory {
                Some(known) => known.producer.used,
                None => codec::read_u64(&used)?,
            };
            if oldest.as_ref().is_none_or(|(least, _)| used < *least) {
                oldest = Some((used, other));
            }
        }
        match oldest {
            Some((_, oldest)) => self.forget(&oldest),
            None => Ok(()),
        }
    }

    /// Removes a record.
    pub(super) fn forget(&mut self, key: &ProducerKey) -> Result<()> {
        let row = codec::producer(key)?;
        for at in self.store.scan(&self.commit, Table::Lanes, &row, usize::MAX)?.into_keys() {
            self.commit.remove(Table::Lanes, at);
        }
        self.commit.remove(Table::Used, row);
        self.memory.producers.insert(key, None);
        Ok(())
    }
}
