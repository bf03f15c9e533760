//! Stored positions: only of durable names, only of what is done (P-R11).

use super::{Rooms, RoomsOutput, Ticket};
use crate::table::{Set, Table};
use crate::{
    machine::io::{StoreOp, SubId},
    protocol::{Address, Cursor},
    time::Instant,
};
use std::time::Duration;

/// The shortest time between two writes.
const EVERY: Duration = Duration::from_millis(250);
/// The wait after a write that failed.
const RETRY: Duration = Duration::from_secs(1);

type Name = (String, Address);

/// The stored positions and those to be stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursors {
    /// None until loaded.
    stored: Option<Table<Name, Cursor>>,
    dirty: Set<SubId>,
    /// Of subscriptions that ended, and of writes that failed.
    orphans: Table<Name, Cursor>,
    flight: Option<(Ticket, Table<Name, Cursor>)>,
    next_ticket: u64,
    /// The next write may not come before.
    not_before: Instant,
}

impl Cursors {
    pub(super) fn is_loaded(&self) -> bool {
        self.stored.is_some()
    }

    /// Takes what the store holds, once: a subscription that begins later resumes from what this
    /// process knew and wrote, not from what another process on the store moved meanwhile.
    pub(super) fn load(&mut self, cursors: Table<Name, Cursor>) {
        if self.stored.is_none() {
            self.stored = Some(cursors);
        }
    }

    pub(super) fn stored_at(&self, name: &str, room: &Address) -> Option<Cursor> {
        let name = (name.to_owned(), room.clone());
        let moved = self.flight.as_ref().and_then(|(_, writes)| writes.get(&name));
        let stored = || self.stored.as_ref().and_then(|stored| stored.get(&name));
        self.orphans.get(&name).or(moved).or_else(stored).copied()
    }

    /// Lets the next write come at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.not_before = now;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = !self.dirty.is_empty() || !self.orphans.is_empty();
        (due && self.flight.is_none()).then_some(self.not_before)
    }

    pub(super) fn stored(&mut self, ticket: Ticket, good: bool, now: Instant) {
        if self.flight.as_ref().is_none_or(|(flying, _)| *flying != ticket) {
            return;
        }
        let Some((_, writes)) = self.flight.take() else { return };
        if good {
            self.stored.get_or_insert_default().extend(writes);
        } else {
            self.not_before = now + RETRY;
            for (name, cursor) in writes {
                self.orphans.or_insert_with(name, || cursor);
            }
        }
    }
}

impl Rooms {
    /// Whether a subscription already keeps its position under this name.
    pub(super) fn is_taken(&self, name: &str, room: &Address) -> bool {
        let subs = self.rooms.get(room.as_str()).into_iter().flat_map(|room| room.subs.values());
        subs.filter_map(|sub| sub.durable.as_deref()).any(|taken| taken == name)
    }

    /// Notes that a subscription's position may have moved.
    pub(super) fn touch(&mut self, key: &str, sub: SubId) {
        let durable = self.rooms.get(key).and_then(|room| room.subs.get(&sub));
        if durable.is_some_and(|entry| entry.durable.is_some() && entry.done().is_some()) {
            self.cursors.dirty.insert(sub);
        }
    }

    pub(super) fn touch_all(&mut self, key: &str) {
        let Some(room) = self.rooms.get(key) else { return };
        let durable = room.subs.iter().filter(|(_, sub)| sub.durable.is_some());
        self.cursors.dirty.extend(durable.map(|(id, _)| *id));
    }

    /// Keeps the last position of a subscription that ends.
    pub(super) fn keep_cursor(&mut self, key: &str, sub: SubId) {
        if !self.cursors.dirty.remove(&sub) {
            return;
        }
        let Some(room) = self.rooms.get(key) else { return };
        let Some(entry) = room.subs.get(&sub) else { return };
        if let (Some(name), Some(done)) = (&entry.durable, entry.done()) {
            self.cursors.orphans.insert((name.clone(), room.address.clone()), done);
        }
    }

    /// Writes the positions that moved, at most every 250 ms.
    pub(super) fn flush_if_due(&mut self) {
        if self.cursors.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        let mut writes = std::mem::take(&mut self.cursors.orphans);
        for sub in std::mem::take(&mut self.cursors.dirty) {
            let Some(room) = self.subs.get(&sub).and_then(|key| self.rooms.get(key.as_str()))
            else {
                continue;
            };
            let Some(entry) = room.subs.get(&sub) else { continue };
            if let (Some(name), Some(done)) = (&entry.durable, entry.done()) {
                writes.insert((name.clone(), room.address.clone()), done);
            }
        }
        if let Some(stored) = &self.cursors.stored {
            writes.retain(|name, cursor| stored.get(name) != Some(cursor));
        }
        if writes.is_empty() {
            return;
        }
        let ops = writes
            .iter()
            .map(|((name, room), cursor)| StoreOp::Cursor(name.clone(), room.clone(), *cursor));
        let ticket = Ticket(self.cursors.next_ticket);
        self.output.push_back(RoomsOutput::Store(ticket, ops.collect()));
        self.cursors.next_ticket += 1;
        self.cursors.not_before = self.now + EVERY;
        self.cursors.flight = Some((ticket, writes));
    }
}
