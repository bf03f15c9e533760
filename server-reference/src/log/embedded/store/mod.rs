//! The store under the embedded log: tables, and what they take in one durable commit.

mod buckets;
mod rows;

use buckets::read_range;

use super::{
    codec::{self, BadRow},
    torn,
};
use crate::log::{Entry, mark::Epoch, retention::ONCE_LIFE};
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode,
};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// What the directory is stamped with. A store of another version is not touched.
const VERSION: u64 = 1;
/// Of a bucket's time to live: how long it takes entries.
const BUCKETS: u64 = 4;
const MIB: u64 = 1024 * 1024;
/// Bytes of rows after which all tables write down what they hold in memory. The engine starts a
/// new journal then if the old one is past 64 MB.
const FLUSH_BYTES: usize = 72 << 20;
/// What a row takes in the journal beside its key and value.
const ROW_BYTES: usize = 20;
/// How long the engine may take to write its journal's content into tables.
const HARDEN_WITHIN: Duration = Duration::from_secs(20);

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("another process uses this directory")]
    Locked,
    /// The directory is of another version.
    #[error("the log is of version {0}, this server writes version {VERSION}")]
    Version(u64),
    /// The engine or the disk failed.
    #[error("the store failed: {0}")]
    Engine(fjall::Error),
    /// A row is not what this version writes.
    #[error(transparent)]
    Row(#[from] Row),
    /// It failed before and is not open again.
    #[error("the store is closed")]
    Closed,
}

/// A row that is not what this version writes.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Row(BadRow);

impl From<BadRow> for StoreError {
    fn from(error: BadRow) -> Self {
        Self::Row(Row(error))
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked,
            other => Self::Engine(other),
        }
    }
}

type Result<T> = std::result::Result<T, StoreError>;

/// Tables whose rows change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Room → head, as of its first entry or of the last entry retention took; or where it begins
    /// anew.
    Heads,
    /// Producer → last use.
    Used,
    /// Producer, lane, place → outcome.
    Lanes,
    /// Room, key → number of its newest entry.
    Keys,
    /// Room, number → entry: the newest of a key.
    Latest,
    /// Moment, room, number: an entry that says its key is gone, and when it may go itself.
    Gone,
}

const TABLES: [(Table, &str); 6] = [
    (Table::Heads, "heads"),
    (Table::Used, "used"),
    (Table::Lanes, "lanes"),
    (Table::Keys, "keys"),
    (Table::Latest, "latest"),
    (Table::Gone, "gone"),
];

/// What a bucket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entries,
    Once,
}

/// A table for what was written in a span of time, dropped as a whole.
pub(super) struct Bucket {
    pub(super) kind: Kind,
    /// Milliseconds its rows are kept.
    pub(super) ttl: u64,
    /// Grows with each bucket made.
    pub(super) number: u64,
    /// ms since 1970.
    opened: u64,
    rows: Keyspace,
}

/// The tables.
pub(super) struct Store {
    db: Database,
    meta: Keyspace,
    tables: Vec<Keyspace>,
    /// Bytes since the tables were last told to write down what they hold in memory.
    unflushed: usize,
    /// In order of number.
    buckets: Vec<Bucket>,
    #[cfg(test)]
    pub(super) fault: Option<Fault>,
    #[cfg(test)]
    pub(super) commits: u64,
}

/// A failure put in by a test.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing of the commit is written.
    Before,
    /// The commit is written, and yet reported as failed.
    After,
}

/// Makes the directory, so that it is there after a crash.
fn make_directory(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let made = std::fs::create_dir_all(path).and_then(|()| match path.canonicalize()?.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    });
    Ok(made?)
}

/// One commit: rows that change, and rows that are only ever added.
pub(super) struct Commit {
    changed: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    added: WriteBatch,
    /// Ids remembered by this commit.
    once: HashMap<Vec<u8>, Vec<u8>>,
    /// Of the rows added.
    bytes: usize,
}

impl Commit {
    /// What this commit remembers of an id.
    pub(super) fn once(&self, key: &[u8]) -> Option<&[u8]> {
        self.once.get(key).map(Vec::as_slice)
    }

    pub(super) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.changed.insert((table, key), Some(value));
    }

    pub(super) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.changed.insert((table, key), None);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty()
    }
}

impl Store {
    /// Opens or makes the store in a directory.
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Self> {
        make_directory(path)?;
        let open = || {
            Database::builder(path)
                .cache_size(cache_bytes)
                .max_journaling_size(256 * MIB)
                .manual_journal_persist(true)
                .open()
        };
        let db = match open() {
            Err(fjall::Error::JournalRecovery(reason)) if torn::cut_last_batch(path)? => {
                tracing::warn!(%reason, "left out a commit that had not reached the disk as a whole");
                open()?
            }
            other => other?,
        };
        let small = || KeyspaceCreateOptions::default().max_memtable_size(16 * MIB);
        let meta = db.keyspace("meta", small)?;
        match meta.get("version")? {
            None => {
                let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&meta, "version", codec::number(VERSION));
                batch.commit()?;
            }
            Some(stamp) => match codec::read_u64(&stamp)? {
                VERSION => {}
                other => return Err(StoreError::Version(other)),
            },
        }
        let tables = TABLES
            .iter()
            .map(|(_, name)| db.keyspace(name, small))
            .collect::<std::result::Result<_, _>>()?;
        let mut buckets = Vec::new();
        for name in db.list_keyspace_names() {
            if let Some((kind, ttl, number, opened)) = Bucket::read_name(&name) {
                let rows = db.keyspace(&name, KeyspaceCreateOptions::default)?;
                buckets.push(Bucket { kind, ttl, number, opened, rows });
            }
        }
        buckets.sort_by_key(|bucket| bucket.number);
        Ok(Self {
            db,
            meta,
            tables,
            // What the journal gave back is in memory as well.
            unflushed: FLUSH_BYTES / 2,
            buckets,
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            commits: 0,
        })
    }

    /// The epoch the store is in, and when it began, ms since 1970; where there is none yet, this
    /// one begins.
    pub(super) fn epoch(&self, drawn: Epoch) -> Result<(Epoch, u64)> {
        if let Some(held) = self.meta.get("epoch")? {
            return Ok(codec::read_epoch(&held)?);
        }
        self.begin_epoch(drawn, 0)?;
        Ok((drawn, 0))
    }

    /// Begins an epoch; durable when this returns.
    pub(super) fn begin_epoch(&self, epoch: Epoch, began: u64) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, "epoch", codec::epoch(epoch, began));
        Ok(batch.commit()?)
    }

    /// Writes what the journal gave back into tables of its own, each synced. After a failed sync
    /// the kernel may hold the journal's pages as clean though the disk never had them; what was
    /// read from such pages must not count as durable.
    pub(super) fn harden(&self) -> Result<()> {
        self.flush()?;
        let deadline = Instant::now() + HARDEN_WITHIN;
        while self.all().any(|table| table.sealed_memtable_count() > 0) {
            // Fails where the engine gave up; it would let the tables wait for ever.
            self.db.persist(PersistMode::Buffer)?;
            if Instant::now() >= deadline {
                return Err(StoreError::Closed);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Keyspace> {
        let fixed = std::iter::once(&self.meta).chain(&self.tables);
        fixed.chain(self.buckets.iter().map(|bucket| &bucket.rows))
    }

    /// Tells every table to write down what it holds in memory.
    fn flush(&self) -> Result<()> {
        for table in self.all() {
            table.rotate_memtable()?;
        }
        Ok(())
    }

    pub(super) fn commit(&self) -> Commit {
        let added = self.db.batch().durability(Some(PersistMode::SyncData));
        Commit { changed: BTreeMap::new(), added, once: HashMap::new(), bytes: 0 }
    }

    /// Makes a commit durable; only then can its rows be read.
    ///
    /// # Errors
    /// [`StoreError::Engine`]: then it is not known whether it is durable, and the store takes
    /// nothing more until it is opened again.
    pub(super) fn write(&mut self, commit: Commit) -> Result<()> {
        #[cfg(test)]
        if self.fault == Some(Fault::Before) {
            return Err(fjall::Error::Poisoned.into());
        }
        let Commit { changed, mut added, mut bytes, .. } = commit;
        for ((table, key), value) in changed {
            bytes += ROW_BYTES + key.len() + value.as_ref().map_or(0, Vec::len);
            let rows = self.table(table);
            match value {
                Some(value) => added.insert(rows, key, value),
                None => added.remove(rows, key),
            }
        }
        self.unflushed += bytes;
        added.commit()?;
        // The engine lets go of its journal only when a table has grown large, and of none of it
        // before every table with rows in it has written them down. A bucket may be dropped long
        // before it is large.
        if self.unflushed >= FLUSH_BYTES {
            self.unflushed = 0;
            self.flush()?;
        }
        #[cfg(test)]
        {
            self.commits += 1;
            if self.fault == Some(Fault::After) {
                return Err(fjall::Error::Poisoned.into());
            }
        }
        Ok(())
    }
}
