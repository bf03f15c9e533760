//! A client's store with its faults: failing commits, slow commits, rollback, wipe, and a lock that
//! another process may take.

use std::time::Duration;
use wardline::machine::{Owner, Snapshot, StoreError, StoreOp};

/// What a process holds of a store: which outbox it opened, and under which lock generation.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The outbox it opened: it stays the same when another process binds it to an owner.
    shelf: usize,
    /// The lock generation it got.
    pub lock: u64,
}

/// Everything durable of one store.
#[derive(Clone, Debug, Default)]
struct Content {
    /// The outbox without an owner yet, or the one it became, and those of other owners.
    shelves: Vec<Snapshot>,
    /// The one bound last.
    last: usize,
}

impl Content {
    fn shelf_of(&self, owner: &Owner) -> Option<usize> {
        self.shelves.iter().position(|shelf| shelf.owner.as_ref() == Some(owner))
    }

    fn add(&mut self, owner: Option<Owner>) -> usize {
        self.shelves.push(Snapshot { owner, ..Snapshot::default() });
        self.shelves.len() - 1
    }
}

/// One store, shared by the processes that open it.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    content: Content,
    backup: Option<Content>,
    lock: u64,
    /// Operations that fail from now on, one each.
    pub failures: u32,
    /// Extra time each operation takes.
    pub slow: Duration,
    /// How often the content was rolled back, wiped or copied: excuses what P-S6 calls uncertain.
    pub disturbed: u32,
}

impl Disk {
    /// Opens the outbox of an owner, or the one last bound, and takes the lock.
    ///
    /// # Errors
    /// [`StoreError::Io`] by injected fault.
    pub fn load(
        &mut self,
        owner: Option<Owner>,
        session: &mut Session,
    ) -> Result<Snapshot, StoreError> {
        self.fault()?;
        if self.content.shelves.is_empty() {
            self.content.last = self.content.add(None);
        }
        let shelf = match owner {
            None => self.content.last,
            Some(owner) => match self.content.shelf_of(&owner) {
                Some(shelf) => shelf,
                None => self.content.add(Some(owner)),
            },
        };
        self.content.last = shelf;
        self.lock += 1;
        *session = Session { shelf, lock: self.lock };
        let part = &self.content.shelves[shelf];
        Ok(Snapshot { durable: true, lock: self.lock, ..part.clone() })
    }

    /// Commits a batch: all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::NotOwner`] when it binds, numbers or ends items and the lock is gone;
    /// [`StoreError::Io`] by fault.
    pub fn commit(&mut self, session: &mut Session, ops: &[StoreOp]) -> Result<(), StoreError> {
        self.fault()?;
        if session.lock == 0 {
            return Err(StoreError::Io("written before it was loaded".into()));
        }
        let owned = |op: &StoreOp| {
            let numbers = matches!(op, StoreOp::Number(..) | StoreOp::Lane(..) | StoreOp::Skip(..));
            numbers || matches!(op, StoreOp::Bind(_) | StoreOp::Producer(_))
        };
        if ops.iter().any(owned) && session.lock != self.lock {
            return Err(StoreError::NotOwner);
        }
        for op in ops {
            self.apply(session, op);
        }
        Ok(())
    }

    /// What is durable for the outbox a session opened.
    #[must_use]
    pub fn view(&self, session: &Session) -> Option<&Snapshot> {
        self.content.shelves.get(session.shelf)
    }

    /// Whose outbox a session writes to.
    #[must_use]
    pub fn owner(&self, session: &Session) -> Option<&Owner> {
        self.view(session)?.owner.as_ref()
    }

    /// Every outbox on the disk.
    pub fn parts(&self) -> impl Iterator<Item = &Snapshot> {
        self.content.shelves.iter()
    }

    /// Whether a session still holds the lock.
    #[must_use]
    pub fn holds(&self, session: &Session) -> bool {
        session.lock == self.lock
    }

    /// Remembers the content for a later [`Disk::roll_back`].
    pub fn back_up(&mut self) {
        self.backup = Some(self.content.clone());
    }

    /// Puts the remembered content back. Returns whether there was any.
    pub fn roll_back(&mut self) -> bool {
        let Some(backup) = self.backup.clone() else { return false };
        self.content = backup;
        self.disturbed += 1;
        true
    }

    /// Forgets everything.
    pub fn wipe(&mut self) {
        self.content = Content::default();
        self.disturbed += 1;
    }

    fn fault(&mut self) -> Result<(), StoreError> {
        if self.failures == 0 {
            return Ok(());
        }
        self.failures -= 1;
        Err(StoreError::Io("injected".into()))
    }

    fn apply(&mut self, session: &mut Session, op: &StoreOp) {
        if let StoreOp::Bind(owner) = op {
            self.bind(session, owner);
            return;
        }
        let part = &mut self.content.shelves[session.shelf];
        let item_of = |part: &mut Snapshot, id| part.items.iter().position(|i| i.item.id == id);
        match op {
            StoreOp::Bind(_) => {}
            StoreOp::Producer(producer) => part.producer = Some(*producer),
            StoreOp::Put(item) => match item_of(part, item.item.id) {
                Some(at) => part.items[at] = (**item).clone(),
                None => part.items.push((**item).clone()),
            },
            StoreOp::Number(id, n) => {
                if let Some(at) = item_of(part, *id) {
                    part.items[at].n = *n;
                }
            }
            StoreOp::Skip(id, code) => {
                if let Some(at) = item_of(part, *id) {
                    part.items[at].skip = Some(code.clone());
                }
            }
            StoreOp::Deaths(id, deaths) => {
                if let Some(at) = item_of(part, *id) {
                    part.items[at].deaths = *deaths;
                }
            }
            StoreOp::Remove(id) => part.items.retain(|item| item.item.id != *id),
            StoreOp::Lane(lane, numbers) => {
                part.lanes.insert(*lane, *numbers);
            }
            StoreOp::Cursor(name, room, cursor) => {
                part.cursors.insert((name.clone(), room.clone()), *cursor);
            }
        }
    }

    /// What has no owner yet becomes the owner's; else the owner's own is gone on with.
    fn bind(&mut self, session: &mut Session, owner: &Owner) {
        let shelf = match self.content.shelf_of(owner) {
            Some(shelf) => shelf,
            None if self.content.shelves[session.shelf].owner.is_none() => {
                self.content.shelves[session.shelf].owner = Some(owner.clone());
                session.shelf
            }
            None => self.content.add(Some(owner.clone())),
        };
        session.shelf = shelf;
        self.content.last = shelf;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline::model::ids::{ItemId, ProducerId};

    #[test]
    fn numbering_needs_the_lock_and_a_failed_batch_leaves_nothing() {
        let mut disk = Disk::default();
        let (mut one, mut two) = (Session::default(), Session::default());
        disk.load(None, &mut one).unwrap();
        let ops = [StoreOp::Producer(ProducerId(1)), StoreOp::Number(ItemId(1), Some(1))];
        disk.load(None, &mut two).unwrap();
        assert_eq!(disk.commit(&mut one, &ops), Err(StoreError::NotOwner));
        assert_eq!(disk.view(&one).unwrap().producer, None);
        disk.failures = 1;
        assert!(disk.commit(&mut two, &ops).is_err());
        disk.commit(&mut two, &ops).unwrap();
        assert_eq!(disk.view(&two).unwrap().producer, Some(ProducerId(1)));
    }

    #[test]
    fn a_roll_back_brings_the_older_content() {
        let mut disk = Disk::default();
        let mut session = Session::default();
        disk.load(None, &mut session).unwrap();
        assert!(!disk.roll_back());
        disk.back_up();
        disk.commit(&mut session, &[StoreOp::Producer(ProducerId(1))]).unwrap();
        assert!(disk.roll_back());
        assert_eq!(disk.load(None, &mut session).unwrap().producer, None);
    }
}
