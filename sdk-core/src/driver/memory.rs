//! A store that ends with the process: for hosts without a durable one, and for tests.

use super::platform::{Batch, Storage};
use crate::table::Table;
use crate::{
    machine::{BatchId, Owner, Snapshot, StoreError, StoreOp, StoredItem, StoredLane},
    model::ids::{ItemId, ProducerId},
    protocol::{Address, Cursor},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a store holds of all owners. The rules every store follows, in their plainest form.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Shelf 0 has no owner yet (P-S1a).
    shelves: Vec<Shelf>,
    /// The shelf bound last.
    last: usize,
    /// The generation of the lock: each load takes it anew (P-S1).
    lock: u64,
}

#[derive(Clone, Debug, Default)]
struct Shelf {
    owner: Option<Owner>,
    producer: Option<ProducerId>,
    lanes: Table<u8, StoredLane>,
    items: BTreeMap<u64, StoredItem>,
    orders: BTreeMap<ItemId, u64>,
    cursors: Table<(String, Address), Cursor>,
}

impl Shelf {
    fn has(&self, item: &StoredItem) -> bool {
        self.items.contains_key(&item.order) || self.orders.contains_key(&item.item.id)
    }

    fn item(&mut self, id: ItemId) -> Option<&mut StoredItem> {
        self.items.get_mut(self.orders.get(&id)?)
    }
}

/// Who writes: which shelf, under which generation of the lock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holder {
    shelf: usize,
    lock: u64,
}

impl Contents {
    /// Takes the lock and reads the shelf of an owner; none: the one bound last.
    pub fn load(&mut self, owner: Option<Owner>, durable: bool) -> (Holder, Snapshot) {
        if self.shelves.is_empty() {
            self.shelves.push(Shelf::default());
        }
        let at = match owner {
            None => self.last,
            Some(owner) => {
                let known = self.shelves.iter().position(|s| s.owner.as_ref() == Some(&owner));
                known.unwrap_or_else(|| {
                    self.shelves.push(Shelf { owner: Some(owner), ..Shelf::default() });
                    self.shelves.len() - 1
                })
            }
        };
        self.lock += 1;
        self.last = at;
        let shelf = &self.shelves[at];
        let snapshot = Snapshot {
            owner: shelf.owner.clone(),
            producer: shelf.producer,
            lanes: shelf.lanes.clone(),
            items: shelf.items.values().cloned().collect(),
            cursors: shelf.cursors.clone(),
            durable,
            lock: self.lock,
        };
        (Holder { shelf: at, lock: self.lock }, snapshot)
    }

    /// Writes a batch, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::NotOwner`] when the batch gives numbers and someone took the lock since
    /// (P-S1).
    pub fn commit(&mut self, holder: &mut Holder, ops: Vec<StoreOp>) -> Result<(), StoreError> {
        let numbers = |op: &StoreOp| {
            // Who lost the lock neither binds the store, nor numbers an item, nor ends one.
            let binds = matches!(op, StoreOp::Bind(_) | StoreOp::Producer(_));
            binds || matches!(op, StoreOp::Number(..) | StoreOp::Lane(..) | StoreOp::Skip(..))
        };
        if holder.lock != self.lock && ops.iter().any(numbers) {
            return Err(StoreError::NotOwner);
        }
        let Some(shelf) = self.shelves.get(holder.shelf) else {
            return Err(StoreError::Io("written before it was loaded".into()));
        };
        let (mut orders, mut ids) = (BTreeSet::new(), BTreeSet::new());
        let puts = ops.iter().filter_map(|op| match op {
            StoreOp::Put(item) => Some(item),
            _ => None,
        });
        for item in puts {
            // Over what is there, or over another of this batch.
            if shelf.has(item) || !orders.insert(item.order) || !ids.insert(item.item.id) {
                return Err(StoreError::Io("an item would be put over another".into()));
            }
        }
        for op in ops {
            if let StoreOp::Bind(owner) = op {
                holder.shelf = self.bind(holder.shelf, owner);
                self.last = holder.shelf;
            } else {
                apply(&mut self.shelves[holder.shelf], op);
            }
        }
        Ok(())
    }

    /// A shelf without owner becomes the owner's; else the owner's own shelf is gone on with.
    fn bind(&mut self, at: usize, owner: Owner) -> usize {
        let known = self.shelves.iter().position(|s| s.owner.as_ref() == Some(&owner));
        match known {
            Some(known) => known,
            None if self.shelves[at].owner.is_none() => {
                self.shelves[at].owner = Some(owner);
                // A later load of no owner finds the last one; a new shelf 0 is not needed.
                at
            }
            None => {
                self.shelves.push(Shelf { owner: Some(owner), ..Shelf::default() });
                self.shelves.len() - 1
            }
        }
    }
}

fn apply(shelf: &mut Shelf, op: StoreOp) {
    match op {
        StoreOp::Bind(_) => {}
        StoreOp::Producer(producer) => shelf.producer = Some(producer),
        StoreOp::Put(item) => {
            shelf.orders.insert(item.item.id, item.order);
            shelf.items.insert(item.order, *item);
        }
        StoreOp::Number(id, n) => {
            if let Some(item) = shelf.item(id) {
                item.n = n;
            }
        }
        StoreOp::Skip(id, code) => {
            if let Some(item) = shelf.item(id) {
                item.skip = Some(code);
            }
        }
        StoreOp::Deaths(id, deaths) => {
            if let Some(item) = shelf.item(id) {
                item.deaths = deaths;
            }
        }
        StoreOp::Remove(id) => {
            if let Some(order) = shelf.orders.remove(&id) {
                shelf.items.remove(&order);
            }
        }
        StoreOp::Lane(lane, numbers) => {
            shelf.lanes.insert(lane, numbers);
        }
        StoreOp::Cursor(name, room, cursor) => {
            shelf.cursors.insert((name, room), cursor);
        }
    }
}

/// A [`Storage`] over [`Contents`]. Clones share the contents, as processes share a file.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    contents: Arc<Mutex<Contents>>,
    holder: Holder,
    faults: Arc<Mutex<Vec<StoreError>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryStorage {
    /// Makes the next call fail; several faults fail as many calls.
    pub fn inject(&self, fault: StoreError) {
        locked(&self.faults).push(fault);
    }

    fn fault(&self) -> Option<StoreError> {
        locked(&self.faults).pop()
    }
}

impl Storage for MemoryStorage {
    async fn load(&mut self, owner: Option<Owner>) -> Result<Snapshot, StoreError> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        let (holder, snapshot) = locked(&self.contents).load(owner, false);
        self.holder = holder;
        Ok(snapshot)
    }

    async fn commit(&mut self, batches: Vec<Batch>) -> Vec<(BatchId, Result<(), StoreError>)> {
        let fault = self.fault();
        let mut contents = locked(&self.contents);
        let mut results = Vec::with_capacity(batches.len());
        for (batch, ops) in batches {
            let result = match &fault {
                Some(fault) => Err(fault.clone()),
                None => contents.commit(&mut self.holder, ops),
            };
            results.push((batch, result));
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::suite::{Shelf, storage_suite};

    struct Shared(MemoryStorage);

    impl Shelf for Shared {
        type Storage = MemoryStorage;
        const DURABLE: bool = false;

        fn open(&self) -> MemoryStorage {
            self.0.clone()
        }

        async fn fail_next(&self, storage: &mut MemoryStorage) {
            storage.inject(StoreError::Io("planted".into()));
        }
    }

    storage_suite!(Shared(MemoryStorage::default()));
}
