//! The store under the embedded log: tables, and what they take in one durable commit.

use super::{
    codec::{self, BadRow},
    torn,
};
use crate::log::{Entry, retention::ONCE_LIFE};
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
    /// Room → head, as of the room's making or of the last entry retention took.
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

    fn table(&self, table: Table) -> &Keyspace {
        // `tables` is made from `TABLES`, which lists them in the order of the enum.
        &self.tables[table as usize]
    }

    /// The row, as the commit will leave it.
    pub(super) fn get(
        &self,
        commit: &Commit,
        table: Table,
        key: Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        let place = (table, key);
        if let Some(value) = commit.changed.get(&place) {
            return Ok(value.clone());
        }
        Ok(self.table(table).get(&place.1)?.map(|value| value.to_vec()))
    }

    /// The rows that begin with `prefix`, at most `most`, as the commit will leave them.
    pub(super) fn scan(
        &self,
        commit: &Commit,
        table: Table,
        prefix: &[u8],
        most: usize,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut found = BTreeMap::new();
        for row in self.table(table).prefix(prefix) {
            let (key, value) = row.into_inner()?;
            if !commit.changed.contains_key(&(table, key.to_vec())) {
                found.insert(key.to_vec(), value.to_vec());
                if found.len() >= most {
                    break;
                }
            }
        }
        let changed = commit.changed.range((table, prefix.to_vec())..);
        for ((_, key), value) in
            changed.take_while(|((t, key), _)| *t == table && key.starts_with(prefix))
        {
            if let Some(value) = value {
                found.insert(key.clone(), value.clone());
            }
        }
        while found.len() > most {
            found.pop_last();
        }
        Ok(found)
    }

    /// Committed rows behind `after`, at most `most`.
    pub(super) fn rows_behind(
        &self,
        table: Table,
        after: &[u8],
        most: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let rows = self.table(table).range::<&[u8], _>(behind).take(most);
        rows.map(|row| {
            let (key, value) = row.into_inner()?;
            Ok((key.to_vec(), value.to_vec()))
        })
        .collect()
    }

    /// How many committed rows begin with `prefix`.
    pub(super) fn count(&self, table: Table, prefix: &[u8]) -> usize {
        self.table(table).prefix(prefix).count()
    }

    /// Adds an entry to the bucket that takes entries of this time to live now.
    pub(super) fn add_entry(
        &mut self,
        commit: &mut Commit,
        room: &[u8],
        entry: &Entry,
        ttl: u64,
        now: u64,
    ) -> Result<()> {
        let rows = self.bucket(Kind::Entries, ttl, now)?;
        let (key, value) = (codec::numbered(room, entry.seq), codec::entry(entry));
        commit.bytes += ROW_BYTES + key.len() + value.len();
        commit.added.insert(rows, key, value);
        Ok(())
    }

    /// Adds an id remembered alone.
    pub(super) fn add_once(
        &mut self,
        commit: &mut Commit,
        key: Vec<u8>,
        value: Vec<u8>,
        now: u64,
    ) -> Result<()> {
        let rows = self.bucket(Kind::Once, ONCE_LIFE, now)?;
        commit.bytes += ROW_BYTES + key.len() + value.len();
        commit.added.insert(rows, key.clone(), value.clone());
        commit.once.insert(key, value);
        Ok(())
    }

    /// What is remembered of an id, the newest first.
    pub(super) fn once(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        for bucket in self.buckets.iter().rev().filter(|bucket| bucket.kind == Kind::Once) {
            if let Some(value) = bucket.rows.get(key)? {
                return Ok(Some(value.to_vec()));
            }
        }
        Ok(None)
    }

    fn entry_buckets(&self) -> impl DoubleEndedIterator<Item = &Bucket> {
        self.buckets.iter().filter(|bucket| bucket.kind == Kind::Entries)
    }

    /// An entry, if it is still held.
    pub(super) fn entry(&self, room: &[u8], seq: u64) -> Result<Option<Arc<Entry>>> {
        let key = codec::numbered(room, seq);
        for bucket in self.entry_buckets().rev() {
            if let Some(value) = bucket.rows.get(&key)? {
                return Ok(Some(codec::read_entry(seq, &value)?));
            }
        }
        Ok(None)
    }

    /// The newest entry held.
    pub(super) fn last_entry(&self, room: &[u8]) -> Result<Option<Arc<Entry>>> {
        let mut last: Option<Arc<Entry>> = None;
        for bucket in self.entry_buckets() {
            if let Some(entry) = bucket.last_entry(room)?
                && last.as_ref().is_none_or(|last| last.seq < entry.seq)
            {
                last = Some(entry);
            }
        }
        Ok(last)
    }

    /// The oldest entry held.
    pub(super) fn first_entry(&self, room: &[u8]) -> Result<Option<Arc<Entry>>> {
        self.entries(room, 0)?.next().transpose()
    }

    /// The entries behind `after`, in order, over all buckets.
    pub(super) fn entries<'a>(
        &'a self,
        room: &'a [u8],
        after: u64,
    ) -> Result<impl Iterator<Item = Result<Arc<Entry>>> + use<'a>> {
        let mut runs = Vec::new();
        for bucket in self.entry_buckets() {
            let mut run = bucket.range(room, after).peekable();
            let first = match run.peek() {
                Some(Ok(entry)) => entry.seq,
                Some(Err(_)) => 0,
                None => continue,
            };
            runs.push((first, run));
        }
        // A room's entries stand in its buckets one span after the other.
        runs.sort_by_key(|(first, _)| *first);
        Ok(runs.into_iter().flat_map(|(_, run)| run))
    }

    /// The newest entry of each key, behind `after`, in order.
    pub(super) fn latest<'a>(
        &'a self,
        room: &'a [u8],
        after: u64,
    ) -> impl Iterator<Item = Result<Arc<Entry>>> + use<'a> {
        read_range(self.table(Table::Latest), room, after)
    }

    fn bucket(&mut self, kind: Kind, ttl: u64, now: u64) -> Result<&Keyspace> {
        let open = self.buckets.iter().rposition(|bucket| bucket.kind == kind && bucket.ttl == ttl);
        let open = open.filter(|place| {
            let bucket = &self.buckets[*place];
            // A clock that was far ahead when the bucket was made is not waited for.
            now < bucket.full() && bucket.opened <= now.saturating_add(bucket.span())
        });
        let place = match open {
            Some(place) => place,
            None => {
                let number = self.buckets.last().map_or(1, |bucket| bucket.number + 1);
                let name = Bucket::name(kind, ttl, number, now);
                let rows = self.db.keyspace(&name, KeyspaceCreateOptions::default)?;
                self.buckets.push(Bucket { kind, ttl, number, opened: now, rows });
                self.buckets.len() - 1
            }
        };
        Ok(&self.buckets[place].rows)
    }

    /// The oldest bucket all of whose rows are past their time.
    pub(super) fn expired(&self, now: u64) -> Option<&Bucket> {
        self.buckets.iter().enumerate().find_map(|(place, bucket)| {
            let same = |next: &&Bucket| next.kind == bucket.kind && next.ttl == bucket.ttl;
            let next = self.buckets[place + 1..].iter().find(same);
            let closed = next.map_or(bucket.full(), |next| next.opened.min(bucket.full()));
            (closed.saturating_add(bucket.ttl) <= now).then_some(bucket)
        })
    }

    /// Drops a bucket and gives its space back.
    pub(super) fn drop_bucket(&mut self, number: u64) -> Result<()> {
        if let Some(place) = self.buckets.iter().position(|bucket| bucket.number == number) {
            self.db.delete_keyspace(self.buckets[place].rows.clone())?;
            self.buckets.remove(place);
        }
        Ok(())
    }

    /// The bytes the store takes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }

    /// How many buckets there are.
    #[cfg(test)]
    pub(super) fn bucket_count(&self) -> usize {
        self.buckets.len()
    }
}

impl Bucket {
    fn name(kind: Kind, ttl: u64, number: u64, opened: u64) -> String {
        let kind = match kind {
            Kind::Entries => 'e',
            Kind::Once => 'o',
        };
        format!("{kind}-{ttl}-{number}-{opened}")
    }

    fn read_name(name: &str) -> Option<(Kind, u64, u64, u64)> {
        let mut parts = name.split('-');
        let kind = match parts.next()? {
            "e" => Kind::Entries,
            "o" => Kind::Once,
            _ => return None,
        };
        let mut number = || parts.next()?.parse().ok();
        Some((kind, number()?, number()?, number()?))
    }

    fn span(&self) -> u64 {
        (self.ttl / BUCKETS).max(1)
    }

    /// The moment from which it takes no more rows.
    fn full(&self) -> u64 {
        self.opened.saturating_add(self.span())
    }

    fn range<'a>(
        &self,
        room: &'a [u8],
        after: u64,
    ) -> impl Iterator<Item = Result<Arc<Entry>>> + use<'a> {
        read_range(&self.rows, room, after)
    }

    fn last_entry(&self, room: &[u8]) -> Result<Option<Arc<Entry>>> {
        match self.rows.prefix(room).next_back() {
            None => Ok(None),
            Some(row) => {
                let (key, value) = row.into_inner()?;
                Ok(Some(codec::read_entry(codec::read_number(&key)?, &value)?))
            }
        }
    }

    /// The rooms behind `after` that have entries here, at most `most`, each with its newest.
    pub(super) fn rooms_behind(
        &self,
        after: &[u8],
        most: usize,
    ) -> Result<Vec<(Vec<u8>, Arc<Entry>)>> {
        let mut rooms = Vec::new();
        let mut at = after.to_vec();
        while rooms.len() < most {
            let behind = (Bound::Excluded(at.as_slice()), Bound::Unbounded);
            let Some(row) = self.rows.range::<&[u8], _>(behind).next() else { break };
            let key = row.key()?;
            let room = key[..key.len().saturating_sub(8)].to_vec();
            // The row just found is one of the room's, so there is a last one.
            let Some(last) = self.last_entry(&room)? else { break };
            at = codec::numbered(&room, u64::MAX);
            rooms.push((room, last));
        }
        Ok(rooms)
    }
}

fn read_range<'a>(
    rows: &Keyspace,
    room: &'a [u8],
    after: u64,
) -> impl Iterator<Item = Result<Arc<Entry>>> + use<'a> {
    let first = codec::numbered(room, after.saturating_add(1));
    let last = codec::numbered(room, u64::MAX);
    rows.range(first..=last).map(|row| {
        let (key, value) = row.into_inner()?;
        Ok(codec::read_entry(codec::read_number(&key)?, &value)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_survive_and_tables_stand_in_order() {
        let name = Bucket::name(Kind::Once, 600_000, 7, 1_700_000_000_000);
        assert_eq!(Bucket::read_name(&name), Some((Kind::Once, 600_000, 7, 1_700_000_000_000)));
        assert_eq!(Bucket::read_name("heads"), None);
        for (place, (table, _)) in TABLES.iter().enumerate() {
            assert_eq!(*table as usize, place);
        }
    }
}
