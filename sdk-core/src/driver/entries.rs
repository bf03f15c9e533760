//! A store as a list of text entries: for hosts whose medium is that, such as IndexedDB or a file
//! a script appends to. The host keeps entries and transactions, this keeps the rules.
//!
//! ```text
//! last            the shelf bound last        owner/3        {"server","tenant","user"} of shelf 3
//! 3/p             producer                    3/l/4          "given done" of lane 4
//! 3/i/ORDER       an item                     3/x/ID         taken: an id is given once
//! 3/n/ORDER 3/s/ORDER 3/d/ORDER   its number, the code it is skipped with, its link deaths
//! 3/c/ROOM⏎NAME   a position
//! ```

use crate::{
    machine::{BatchId, NewItem, Owner, Snapshot, StoreError, StoreOp, StoredItem, StoredLane},
    model::ids::ItemId,
    protocol::{
        Code, Cursor,
        json::{hex, unhex},
        wire::{FromJson as _, Writer, push_number, whole},
    },
    table::Table,
    time::{UnixMillis, millis},
};
use std::time::Duration;

/// One transaction on the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryBatch {
    /// The generation of the lock that must still stand; none: any.
    pub lock: Option<u64>,
    /// Fails the batch where one of these keys exists, or comes twice.
    pub add: Vec<(String, String)>,
    /// Written over what is there.
    pub put: Vec<(String, String)>,
    /// Removed where they exist.
    pub remove: Vec<String>,
}

/// Reads and writes the entries of one client.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    shelf: u64,
    /// The shelf's number and owner are still to be written.
    fresh: Option<Option<Owner>>,
    shelves: Vec<(u64, Owner)>,
    orders: Table<ItemId, u64>,
    /// Items that batches under way add, and those they remove.
    under_way: Vec<(BatchId, ItemId, bool)>,
    lock: u64,
}

fn number(number: u64) -> String {
    let mut out = String::new();
    push_number(&mut out, number);
    out
}

fn id_text(id: u128, digits: u32) -> String {
    let mut out = String::new();
    hex(&mut out, id, digits);
    out
}

fn broken(key: &str) -> StoreError {
    StoreError::Io(["the store holds an entry that cannot be read: ", key].concat())
}

impl Entries {
    /// Reads what an owner has in the entries, which come in order of keys; none: the owner bound
    /// last. `lock` is the generation that this load took.
    ///
    /// # Errors
    /// An entry that was not written by this.
    pub fn load<'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        lock: u64,
        owner: Option<Owner>,
        durable: bool,
    ) -> Result<Snapshot, StoreError> {
        let (mut last, mut highest) = (0, 0);
        let mut shelves = Vec::new();
        for (key, value) in entries.clone() {
            if key == "last" {
                last = u64::from_json(value).ok_or_else(|| broken(key))?;
            } else if let Some(shelf) = key.strip_prefix("owner/") {
                let read = u64::from_json(shelf).zip(read_owner(value));
                let (shelf, owner) = read.ok_or_else(|| broken(key))?;
                highest = highest.max(shelf);
                shelves.push((shelf, owner));
            }
        }
        let shelf_of = |shelf| shelves.iter().find(|(known, _)| *known == shelf);
        let (shelf, owner) = match owner {
            None => (last, shelf_of(last).map(|(_, owner)| owner.clone())),
            Some(owner) => match shelves.iter().find(|(_, known)| *known == owner) {
                Some((shelf, _)) => (*shelf, Some(owner)),
                None => (highest + 1, Some(owner)),
            },
        };
        self.fresh = (shelf != last || shelf_of(shelf).is_none()).then(|| owner.clone());
        (self.shelf, self.shelves, self.lock) = (shelf, shelves, lock);
        let mut snapshot = Snapshot { owner, durable, lock, ..Snapshot::default() };
        let prefix = number(shelf) + "/";
        let mut notes = Vec::new();
        for (key, value) in entries {
            if let Some(own) = key.strip_prefix(&prefix) {
                read_entry(&mut snapshot, &mut notes, own, value).ok_or_else(|| broken(key))?;
            }
        }
        for note in notes {
            put_note(&mut snapshot.items, &note).ok_or_else(|| broken("a note"))?;
        }
        self.orders = snapshot.items.iter().map(|item| (item.item.id, item.order)).collect();
        Ok(snapshot)
    }

    /// What a batch of writes does to the entries.
    pub fn commit(&mut self, id: BatchId, ops: Vec<StoreOp>) -> EntryBatch {
        let mut batch = EntryBatch::default();
        if let Some(owner) = self.fresh.clone() {
            self.put_shelf(&mut batch, owner);
        }
        for op in ops {
            self.write(id, &mut batch, op);
        }
        batch
    }

    /// A batch ended. Call it for every batch.
    pub fn handle_committed(&mut self, batch: BatchId, written: bool) {
        if written {
            self.fresh = None;
        }
        let orders = &mut self.orders;
        self.under_way.retain(|(of, id, added)| {
            // Of what was not added, and of what is gone, no order is known.
            if *of == batch && *added != written {
                orders.remove(id);
            }
            *of != batch
        });
    }

    fn put_shelf(&mut self, batch: &mut EntryBatch, owner: Option<Owner>) {
        let shelf = number(self.shelf);
        if let Some(owner) = owner {
            batch.put.push((["owner/", &shelf].concat(), write_owner(&owner)));
            if !self.shelves.iter().any(|(known, _)| *known == self.shelf) {
                self.shelves.push((self.shelf, owner));
            }
        }
        batch.put.push(("last".into(), shelf));
    }

    fn key(&self, kind: &str, name: &str) -> String {
        [&number(self.shelf), "/", kind, name].concat()
    }

    fn of_id(&self, id: ItemId) -> String {
        self.key("x/", &id_text(id.0, 32))
    }

    fn of_order(&self, kind: &str, order: u64) -> String {
        self.key(kind, &id_text(order.into(), 16))
    }

    /// Notes something of an item; of one that is gone, nothing.
    fn note(&self, batch: &mut EntryBatch, kind: &str, id: ItemId, value: String) {
        if let Some(order) = self.orders.get(&id) {
            batch.put.push((self.of_order(kind, *order), value));
        }
    }

    fn write(&mut self, of: BatchId, batch: &mut EntryBatch, op: StoreOp) {
        match op {
            StoreOp::Bind(owner) => {
                batch.lock = Some(self.lock);
                let bound = self.shelves.iter().find(|(_, known)| *known == owner);
                let taken = self.shelves.iter().any(|(shelf, _)| *shelf == self.shelf);
                match bound {
                    Some((shelf, _)) => self.shelf = *shelf,
                    None if !taken => {}
                    None => {
                        let highest = self.shelves.iter().map(|(shelf, _)| *shelf).max();
                        self.shelf = highest.unwrap_or_default() + 1;
                    }
                }
                self.fresh = Some(Some(owner.clone()));
                self.put_shelf(batch, Some(owner));
            }
            StoreOp::Producer(producer) => {
                batch.lock = Some(self.lock);
                batch.put.push((self.key("p", ""), id_text(producer.0, 32)));
            }
            StoreOp::Put(item) => {
                let (id, order) = (item.item.id, item.order);
                batch.add.push((self.of_order("i/", order), write_item(&item)));
                batch.add.push((self.of_id(id), String::new()));
                if !self.orders.contains_key(&id) {
                    self.orders.insert(id, order);
                    self.under_way.push((of, id, true));
                }
            }
            StoreOp::Number(id, n) => {
                batch.lock = Some(self.lock);
                match (n, self.orders.get(&id)) {
                    (Some(n), _) => self.note(batch, "n/", id, number(n)),
                    (None, Some(order)) => batch.remove.push(self.of_order("n/", *order)),
                    (None, None) => {}
                }
            }
            StoreOp::Skip(id, code) => {
                batch.lock = Some(self.lock);
                self.note(batch, "s/", id, code.as_str().to_owned());
            }
            StoreOp::Deaths(id, deaths) => self.note(batch, "d/", id, number(deaths.into())),
            StoreOp::Remove(id) => {
                if let Some(order) = self.orders.get(&id).copied() {
                    self.under_way.push((of, id, false));
                    for kind in ["i/", "n/", "s/", "d/"] {
                        batch.remove.push(self.of_order(kind, order));
                    }
                    batch.remove.push(self.of_id(id));
                }
            }
            StoreOp::Lane(lane, StoredLane { given, done }) => {
                batch.lock = Some(self.lock);
                let value = [&number(given), " ", &number(done)].concat();
                batch.put.push((self.key("l/", &number(lane.into())), value));
            }
            StoreOp::Cursor(name, room, cursor) => {
                let mut value = Writer::new();
                value.element('{');
                value.number("seq", cursor.seq);
                value.hex("mark", cursor.mark.0.into(), 16);
                value.close('}');
                let key = self.key("c/", &[room.as_str(), "\n", &name].concat());
                batch.put.push((key, value.finish()));
            }
        }
    }
}

fn read_owner(value: &str) -> Option<Owner> {
    whole(value, |fields| Owner {
        server: fields.need("server"),
        tenant: fields.need("tenant"),
        user: fields.need("user"),
    })
}

fn write_owner(owner: &Owner) -> String {
    let mut out = Writer::new();
    out.element('{');
    out.text("server", &owner.server);
    out.text("tenant", owner.tenant.as_str());
    out.text("user", owner.user.as_str());
    out.close('}');
    out.finish()
}

fn write_item(stored: &StoredItem) -> String {
    let item = &stored.item;
    let mut out = Writer::new();
    out.element('{');
    out.id("id", item.id);
    out.number("expires", stored.expires.0);
    out.number("lane", item.lane.into());
    out.text("room", item.room.as_str());
    out.text("event", &item.event);
    if let Some(key) = &item.key {
        out.text("key", key);
    }
    if let Some(ttl) = item.ttl {
        out.number("ttl", millis(ttl));
    }
    out.flag("persist", item.persist);
    out.flag("command", item.command);
    out.raw("data", item.data.get());
    out.close('}');
    out.finish()
}

fn read_item(order: u64, value: &str) -> Option<StoredItem> {
    whole(value, |fields| {
        let item = NewItem {
            id: fields.need("id"),
            lane: fields.need("lane"),
            room: fields.need("room"),
            event: fields.need("event"),
            data: fields.data("data"),
            key: fields.maybe("key"),
            persist: fields.or_default("persist"),
            ttl: fields.maybe("ttl").map(Duration::from_millis),
            command: fields.or_default("command"),
        };
        let expires = UnixMillis(fields.need("expires"));
        StoredItem { order, item, n: None, expires, deaths: 0, skip: None }
    })
}

/// What is written of an item beside itself.
struct Note<'a> {
    order: u64,
    kind: u8,
    value: &'a str,
}

fn read_entry<'a>(
    snapshot: &mut Snapshot,
    notes: &mut Vec<Note<'a>>,
    key: &'a str,
    value: &'a str,
) -> Option<()> {
    let (kind, name) = key.split_once('/').unwrap_or((key, ""));
    match kind {
        "p" => snapshot.producer = Some(value.parse().ok()?),
        "l" => {
            let (given, done) = value.split_once(' ')?;
            let (given, done) = (u64::from_json(given)?, u64::from_json(done)?);
            snapshot.lanes.insert(u8::from_json(name)?, StoredLane { given, done });
        }
        "i" => snapshot.items.push(read_item(unhex(name)? as u64, value)?),
        "n" | "s" | "d" => {
            let order = unhex(name)? as u64;
            notes.push(Note { order, kind: kind.as_bytes()[0], value });
        }
        "c" => {
            let (room, name) = name.split_once('\n')?;
            let cursor = Cursor::from_json(value)?;
            snapshot.cursors.insert((name.to_owned(), room.parse().ok()?), cursor);
        }
        _ => {}
    }
    Some(())
}

fn put_note(items: &mut [StoredItem], note: &Note<'_>) -> Option<()> {
    // A note of an item that is gone says nothing.
    let Ok(at) = items.binary_search_by_key(&note.order, |item| item.order) else {
        return Some(());
    };
    match note.kind {
        b'n' => items[at].n = Some(u64::from_json(note.value)?),
        b's' => items[at].skip = Some(Code::from(note.value.to_owned())),
        _ => items[at].deaths = u8::from_json(note.value)?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{
        platform::{Batch, Storage},
        suite::{Shelf, storage_suite},
    };
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::{Arc, Mutex},
    };

    /// The medium, as a host gives it.
    #[derive(Default)]
    struct Medium {
        lock: u64,
        entries: BTreeMap<String, String>,
        fail: bool,
    }

    impl Medium {
        fn commit(&mut self, batch: &EntryBatch) -> Result<(), StoreError> {
            if std::mem::take(&mut self.fail) {
                return Err(StoreError::Io("planted".into()));
            }
            if batch.lock.is_some_and(|lock| lock != self.lock) {
                return Err(StoreError::NotOwner);
            }
            let mut added = BTreeSet::new();
            let is_new = |key| !self.entries.contains_key(key) && added.insert(key);
            if !batch.add.iter().map(|(key, _)| key).all(is_new) {
                return Err(StoreError::Io("the key exists".into()));
            }
            self.entries.extend(batch.add.iter().chain(&batch.put).cloned());
            for key in &batch.remove {
                self.entries.remove(key);
            }
            Ok(())
        }
    }

    #[derive(Default)]
    struct OverEntries {
        medium: Arc<Mutex<Medium>>,
        entries: Entries,
    }

    impl Storage for OverEntries {
        async fn load(&mut self, owner: Option<Owner>) -> Result<Snapshot, StoreError> {
            let mut medium = self.medium.lock().unwrap();
            medium.lock += 1;
            let entries = medium.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            self.entries.load(entries, medium.lock, owner, true)
        }

        async fn commit(&mut self, batches: Vec<Batch>) -> Vec<(BatchId, Result<(), StoreError>)> {
            let mut medium = self.medium.lock().unwrap();
            batches
                .into_iter()
                .map(|(id, ops)| {
                    let result = medium.commit(&self.entries.commit(id, ops));
                    self.entries.handle_committed(id, result.is_ok());
                    (id, result)
                })
                .collect()
        }
    }

    #[derive(Default)]
    struct Shared(Arc<Mutex<Medium>>);

    impl Shelf for Shared {
        type Storage = OverEntries;
        const DURABLE: bool = true;

        fn open(&self) -> OverEntries {
            OverEntries { medium: Arc::clone(&self.0), entries: Entries::default() }
        }

        async fn fail_next(&self, _: &mut OverEntries) {
            self.0.lock().unwrap().fail = true;
        }
    }

    storage_suite!(Shared::default());
}
