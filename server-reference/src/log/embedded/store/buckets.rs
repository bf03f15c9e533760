//! Buckets: entries of one time to live, dropped as a whole when the last of them is past it.

use super::*;

impl Store {
    pub(super) fn bucket(&mut self, kind: Kind, ttl: u64, now: u64) -> Result<&Keyspace> {
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
    pub(in super::super) fn expired(&self, now: u64) -> Option<&Bucket> {
        self.buckets.iter().enumerate().find_map(|(place, bucket)| {
            let same = |next: &&Bucket| next.kind == bucket.kind && next.ttl == bucket.ttl;
            let next = self.buckets[place + 1..].iter().find(same);
            let closed = next.map_or(bucket.full(), |next| next.opened.min(bucket.full()));
            (closed.saturating_add(bucket.ttl) <= now).then_some(bucket)
        })
    }

    /// Drops a bucket and gives its space back.
    pub(in super::super) fn drop_bucket(&mut self, number: u64) -> Result<()> {
        if let Some(place) = self.buckets.iter().position(|bucket| bucket.number == number) {
            self.db.delete_keyspace(self.buckets[place].rows.clone())?;
            self.buckets.remove(place);
        }
        Ok(())
    }

    /// The bytes the store takes on disk.
    pub(in super::super) fn disk_bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }

    /// How many buckets there are.
    #[cfg(test)]
    pub(in super::super) fn bucket_count(&self) -> usize {
        self.buckets.len()
    }
}

impl Bucket {
    pub(super) fn name(kind: Kind, ttl: u64, number: u64, opened: u64) -> String {
        let kind = match kind {
            Kind::Entries => 'e',
            Kind::Once => 'o',
        };
        format!("{kind}-{ttl}-{number}-{opened}")
    }

    pub(super) fn read_name(name: &str) -> Option<(Kind, u64, u64, u64)> {
        let mut parts = name.split('-');
        let kind = match parts.next()? {
            "e" => Kind::Entries,
            "o" => Kind::Once,
            _ => return None,
        };
        let mut number = || parts.next()?.parse().ok();
        Some((kind, number()?, number()?, number()?))
    }

    pub(super) fn span(&self) -> u64 {
        (self.ttl / BUCKETS).max(1)
    }

    /// The moment from which it takes no more rows.
    pub(super) fn full(&self) -> u64 {
        self.opened.saturating_add(self.span())
    }

    pub(super) fn range<'a>(
        &self,
        room: &'a [u8],
        after: u64,
    ) -> impl Iterator<Item = Result<Arc<Entry>>> + use<'a> {
        read_range(&self.rows, room, after)
    }

    pub(super) fn last_entry(&self, room: &[u8]) -> Result<Option<Arc<Entry>>> {
        match self.rows.prefix(room).next_back() {
            None => Ok(None),
            Some(row) => {
                let (key, value) = row.into_inner()?;
                Ok(Some(codec::read_entry(codec::read_number(&key)?, &value)?))
            }
        }
    }

    /// The rooms behind `after` that have entries here, at most `most`, each with its newest.
    pub(in super::super) fn rooms_behind(
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

pub(super) fn read_range<'a>(
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
