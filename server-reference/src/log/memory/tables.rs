//! The tables of a log in memory.

use super::Change;
use crate::log::{
    Entry, Extent, Outcome, ProducerKey, Retention, RoomKey,
    mark::{Epoch, STARTS},
    retention::{HEAD_LIFE, KEYS, ONCE_LIFE},
    state::{Effect, Lane, LaneChange, PageBounds, Producer},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use wardline::{
    model::ids::{ItemId, ProducerId, TenantId},
    protocol::{Cursor, limits},
};

/// Ids remembered alone, at most.
const ONCE: usize = 1 << 20;
/// Milliseconds between two looks for heads and records past their life.
const SWEEP: u64 = 3600 * 1000;

/// Bytes of entries held, at most: past them the oldest go before their time.
const BYTES: usize = 1 << 30;

/// Rooms, producers and remembered ids.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    retention: Arc<Retention>,
    epoch: Epoch,
    /// Those that had an entry.
    rooms: BTreeMap<RoomKey, Room>,
    producers: BTreeMap<ProducerKey, Producer>,
    once: BTreeMap<(TenantId, ItemId), (u64, Outcome)>,
    once_by_age: VecDeque<(u64, TenantId, ItemId)>,
    /// By time to live: the rooms of the entries held, oldest entry first.
    ages: BTreeMap<u64, VecDeque<(u64, RoomKey)>>,
    /// Of all entries held.
    bytes: usize,
    swept: u64,
}

#[derive(Clone, Debug)]
struct Room {
    head: Cursor,
    /// Gapless up to the head.
    entries: VecDeque<Arc<Entry>>,
    /// The newest entry of each key, and by number.
    keys: BTreeMap<Arc<str>, u64>,
    latest: BTreeMap<u64, Arc<Entry>>,
    /// ms since 1970 of the last append.
    touched: u64,
}

impl Tables {
    pub(super) fn new(retention: Retention, epoch: Epoch) -> Self {
        Self {
            retention: Arc::new(retention),
            epoch,
            rooms: BTreeMap::new(),
            producers: BTreeMap::new(),
            once: BTreeMap::new(),
            once_by_age: VecDeque::new(),
            ages: BTreeMap::new(),
            bytes: 0,
            swept: 0,
        }
    }

    pub(super) fn change(&mut self, change: &Change) {
        match change {
            Change::Step(effect) => self.step(effect),
            Change::Expire(now) => self.expire(*now),
            Change::Forget(producer) => {
                self.producers.remove(producer);
            }
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.rooms.values().map(|room| room.entries.len()).sum()
    }

    pub(super) fn producers(&self) -> impl Iterator<Item = &ProducerKey> {
        self.producers.keys()
    }

    pub(super) fn extent(&self, key: &RoomKey) -> Extent {
        let Some(room) = self.rooms.get(key) else {
            let start = self.epoch.start(key);
            return Extent { first: start, head: start };
        };
        let first = room.entries.front().map_or(room.head, |entry| entry.before());
        Extent { first, head: room.head }
    }

    pub(super) fn entry(&self, room: &RoomKey, seq: u64) -> Option<&Arc<Entry>> {
        let entries = &self.rooms.get(room)?.entries;
        let index = seq.checked_sub(entries.front()?.seq)?;
        entries.get(usize::try_from(index).ok()?)
    }

    pub(super) fn page(&self, room: &RoomKey, after: u64) -> Vec<Arc<Entry>> {
        let Some(room) = self.rooms.get(room) else { return Vec::new() };
        let first = room.entries.front().map_or(0, |entry| entry.before().seq);
        let skip = usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bounds = PageBounds::default();
        let rest = room.entries.range(skip.min(room.entries.len())..);
        rest.take_while(|entry| bounds.admit(entry)).cloned().collect()
    }

    pub(super) fn keys(&self, room: &RoomKey, after: u64) -> Vec<Arc<Entry>> {
        let Some(room) = self.rooms.get(room) else { return Vec::new() };
        let mut bounds = PageBounds::default();
        let rest = room.latest.range(after.saturating_add(1)..).map(|(_, entry)| entry);
        rest.take_while(|entry| bounds.admit(entry)).cloned().collect()
    }

    pub(super) fn lane(&self, producer: &ProducerKey, lane: u8) -> Option<&Lane> {
        self.producers.get(producer)?.lanes.get(&lane)
    }

    pub(super) fn accepted(&self, producer: &ProducerKey, lane: u8) -> u64 {
        self.lane(producer, lane).map_or(0, |lane| lane.accepted)
    }

    pub(super) fn use_producer(&mut self, key: &ProducerKey, now: u64) -> Option<&Producer> {
        let producer = self.producers.get_mut(key)?;
        producer.used = producer.used.max(now);
        Some(producer)
    }

    pub(super) fn once(&self, tenant: &TenantId, id: ItemId, now: u64) -> Option<Outcome> {
        let (time, outcome) = self.once.get(&(tenant.clone(), id))?;
        (now < time.saturating_add(ONCE_LIFE)).then(|| outcome.clone())
    }

    fn step(&mut self, effect: &Effect) {
        for (key, entry) in &effect.entries {
            let room = match self.rooms.get_mut(key) {
                Some(room) => room,
                None => {
                    let room = Room::new(entry.before(), effect.time);
                    self.rooms.entry(key.clone()).or_insert(room)
                }
            };
            room.append(entry, effect.time);
            let ages = self.ages.entry(self.retention.of(key)).or_default();
            ages.push_back((effect.time, key.clone()));
            self.bytes += entry.weight();
        }
        while self.bytes > BYTES && self.drop_oldest() {}
        if let Some(change) = &effect.lane {
            self.number(change, effect.time);
        }
        if let Some((tenant, id, outcome)) = &effect.once {
            self.once.insert((tenant.clone(), *id), (effect.time, outcome.clone()));
            self.once_by_age.push_back((effect.time, tenant.clone(), *id));
            while self.once_by_age.len() > ONCE {
                self.forget_oldest_once();
            }
        }
    }

    fn number(&mut self, change: &LaneChange, now: u64) {
        if !self.producers.contains_key(&change.key) {
            self.make_room_for(&change.key);
        }
        let producer = self.producers.entry(change.key.clone()).or_default();
        producer.used = producer.used.max(now);
        producer.lanes.entry(change.lane).or_default().apply(change);
    }

    /// The least recently used record of a user goes when there are as many as may be (P-S6a).
    fn make_room_for(&mut self, key: &ProducerKey) {
        let bound = |producer| ProducerKey { producer: ProducerId(producer), ..key.clone() };
        let of_user = || self.producers.range(bound(0)..=bound(u128::MAX));
        if of_user().count() >= limits::PRODUCERS
            && let Some(oldest) = of_user().min_by_key(|(_, p)| p.used).map(|(key, _)| key.clone())
        {
            self.producers.remove(&oldest);
        }
    }

    /// Drops the oldest entry of all; returns whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.ages.values_mut().filter(|ages| !ages.is_empty());
        let oldest = oldest.min_by_key(|ages| ages.front().map(|(time, _)| *time));
        let Some((_, key)) = oldest.and_then(VecDeque::pop_front) else { return false };
        if let Some(room) = self.rooms.get_mut(&key) {
            self.bytes = self.bytes.saturating_sub(room.drop_oldest());
        }
        true
    }

    fn forget_oldest_once(&mut self) {
        if let Some((time, tenant, id)) = self.once_by_age.pop_front() {
            let key = (tenant, id);
            // Remembered anew since: then a younger place in the queue stands for it.
            if self.once.get(&key).is_some_and(|(newest, _)| *newest == time) {
                self.once.remove(&key);
            }
        }
    }

    fn expire(&mut self, now: u64) {
        for (ttl, ages) in &mut self.ages {
            while let Some((_, room)) =
                ages.pop_front_if(|(time, _)| time.saturating_add(*ttl) <= now)
            {
                if let Some(room) = self.rooms.get_mut(&room) {
                    self.bytes = self.bytes.saturating_sub(room.drop_oldest());
                }
            }
        }
        while self
            .once_by_age
            .front()
            .is_some_and(|(time, ..)| time.saturating_add(ONCE_LIFE) <= now)
        {
            self.forget_oldest_once();
        }
        if now >= self.swept.saturating_add(SWEEP) {
            self.swept = now;
            let life = self.retention.records();
            self.producers.retain(|_, producer| producer.used.saturating_add(life) > now);
            self.forget_rooms(now);
        }
    }

    /// Rooms without a use for so long lose their head, and begin anew.
    fn forget_rooms(&mut self, now: u64) {
        let mut starts = 0;
        for (key, room) in &mut self.rooms {
            let past = room.touched.saturating_add(HEAD_LIFE) <= now;
            if room.head.seq > 0 && room.entries.is_empty() && past {
                *room = Room::new(self.epoch.restart(key, room.head), now);
            }
            starts += usize::from(room.head.seq == 0);
        }
        if starts > STARTS {
            self.epoch = self.epoch.next();
            self.rooms.retain(|_, room| room.head.seq > 0);
        }
    }
}

impl Room {
    fn new(head: Cursor, now: u64) -> Self {
        Self {
            head,
            entries: VecDeque::new(),
            keys: BTreeMap::new(),
            latest: BTreeMap::new(),
            touched: now,
        }
    }

    fn append(&mut self, entry: &Arc<Entry>, now: u64) {
        self.head = entry.cursor();
        self.touched = self.touched.max(now);
        self.entries.push_back(entry.clone());
        let Some(key) = &entry.key else { return };
        if let Some(older) = self.keys.insert(key.clone(), entry.seq) {
            self.latest.remove(&older);
        } else if self.keys.len() > KEYS
            && let Some((_, oldest)) = self.latest.pop_first()
            && let Some(key) = &oldest.key
        {
            self.keys.remove(key);
        }
        self.latest.insert(entry.seq, entry.clone());
    }

    /// Retention takes the oldest entry; returns its weight. The newest value of a key stays; a key that is gone
    /// goes for good.
    fn drop_oldest(&mut self) -> usize {
        let Some(entry) = self.entries.pop_front() else { return 0 };
        if entry.gone
            && self.latest.remove(&entry.seq).is_some()
            && let Some(key) = &entry.key
        {
            self.keys.remove(key);
        }
        entry.weight()
    }
}
