//! Rows by key, entries by number: what is read and added.

use super::*;

impl Store {
    pub(super) fn table(&self, table: Table) -> &Keyspace {
        // `tables` is made from `TABLES`, which lists them in the order of the enum.
        &self.tables[table as usize]
    }

    /// The row, as the commit will leave it.
    pub(in super::super) fn get(
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
    pub(in super::super) fn scan(
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
    pub(in super::super) fn rows_behind(
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
    pub(in super::super) fn count(&self, table: Table, prefix: &[u8]) -> usize {
        self.table(table).prefix(prefix).count()
    }

    /// Adds an entry to the bucket that takes entries of this time to live now.
    pub(in super::super) fn add_entry(
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
    pub(in super::super) fn add_once(
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
    pub(in super::super) fn once(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        for bucket in self.buckets.iter().rev().filter(|bucket| bucket.kind == Kind::Once) {
            if let Some(value) = bucket.rows.get(key)? {
                return Ok(Some(value.to_vec()));
            }
        }
        Ok(None)
    }

    pub(super) fn entry_buckets(&self) -> impl DoubleEndedIterator<Item = &Bucket> {
        self.buckets.iter().filter(|bucket| bucket.kind == Kind::Entries)
    }

    /// An entry, if it is still held.
    pub(in super::super) fn entry(&self, room: &[u8], seq: u64) -> Result<Option<Arc<Entry>>> {
        let key = codec::numbered(room, seq);
        for bucket in self.entry_buckets().rev() {
            if let Some(value) = bucket.rows.get(&key)? {
                return Ok(Some(codec::read_entry(seq, &value)?));
            }
        }
        Ok(None)
    }

    /// The newest entry held.
    pub(in super::super) fn last_entry(&self, room: &[u8]) -> Result<Option<Arc<Entry>>> {
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
    pub(in super::super) fn first_entry(&self, room: &[u8]) -> Result<Option<Arc<Entry>>> {
        self.entries(room, 0)?.next().transpose()
    }

    /// The entries behind `after`, in order, over all buckets.
    pub(in super::super) fn entries<'a>(
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
    pub(in super::super) fn latest<'a>(
        &'a self,
        room: &'a [u8],
        after: u64,
    ) -> impl Iterator<Item = Result<Arc<Entry>>> + use<'a> {
        read_range(self.table(Table::Latest), room, after)
    }
}
