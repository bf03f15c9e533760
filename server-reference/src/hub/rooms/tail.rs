//! The newest entries of an active room, shared by all its members (P-R4).

use super::super::encode::Encoded;
use crate::log::Entry;
use std::{collections::VecDeque, sync::Arc};
use wardline::protocol::{
    Cursor, Mark,
    limits::{TAIL_BYTES, TAIL_ENTRIES},
};

/// An entry, and its bytes once someone needed them.
#[derive(Clone, Debug)]
pub(in super::super) struct Kept {
    /// The entry.
    pub(in super::super) entry: Arc<Entry>,
    /// Its bytes.
    pub(in super::super) encoded: Option<Encoded>,
}

/// At most [`TAIL_ENTRIES`] and [`TAIL_BYTES`] of chained entries that end at the room's head.
#[derive(Debug, Default)]
pub(in super::super) struct Tail {
    kept: VecDeque<Kept>,
    bytes: usize,
}

fn weight(entry: &Entry) -> usize {
    entry.data.get().len() + 200
}

impl Tail {
    /// Appends the entry that became the head.
    pub(super) fn push(&mut self, entry: Arc<Entry>, encoded: Option<Encoded>) {
        self.bytes += weight(&entry);
        self.kept.push_back(Kept { entry, encoded });
        while self.kept.len() > TAIL_ENTRIES || (self.bytes > TAIL_BYTES && self.kept.len() > 1) {
            self.pop_front();
        }
    }

    /// Puts a page in front, or in a tail that is empty, as far as it chains to what is there and
    /// there is space.
    pub(super) fn adopt(&mut self, page: &[Arc<Entry>], head: Cursor) {
        for entry in page.iter().rev() {
            let chains = match self.kept.front() {
                None => entry.seq == head.seq && entry.mark == head.mark,
                Some(first) => {
                    entry.seq + 1 == first.entry.seq && entry.mark == first.entry.prev_mark
                }
            };
            if chains {
                if self.kept.len() == TAIL_ENTRIES || self.bytes + weight(entry) > TAIL_BYTES {
                    return;
                }
                self.bytes += weight(entry);
                self.kept.push_front(Kept { entry: Arc::clone(entry), encoded: None });
            } else if !self.kept.is_empty() {
                return;
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.bytes = 0;
    }

    /// Forgets what is older than a moment, ms since 1970.
    pub(super) fn trim(&mut self, before: u64) {
        while self.kept.front().is_some_and(|first| first.entry.time < before) {
            self.pop_front();
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    fn pop_front(&mut self) {
        if let Some(old) = self.kept.pop_front() {
            self.bytes -= weight(&old.entry);
        }
    }

    /// The mark of a number, where head or tail know it.
    pub(super) fn mark_of(&self, seq: u64, head: Cursor) -> Option<Mark> {
        if seq == head.seq {
            return Some(head.mark);
        }
        let first = self.kept.front()?;
        if seq.checked_add(1) == Some(first.entry.seq) {
            return Some(first.entry.prev_mark);
        }
        self.at(seq).map(|kept| kept.entry.mark)
    }

    /// Borrows the entry with this number.
    pub(super) fn at(&self, seq: u64) -> Option<&Kept> {
        let first = self.kept.front()?.entry.seq;
        self.kept.get(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    /// Borrows the entry with this number, to keep its bytes.
    pub(super) fn at_mut(&mut self, seq: u64) -> Option<&mut Kept> {
        let first = self.kept.front()?.entry.seq;
        self.kept.get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline::{model::ids::ItemId, protocol::Json};

    fn entry(seq: u64, size: usize) -> Arc<Entry> {
        Arc::new(Entry {
            seq,
            mark: Mark(seq * 10),
            prev_mark: Mark((seq - 1) * 10),
            time: seq,
            id: ItemId(1),
            from: "".into(),
            event: "e".into(),
            key: None,
            gone: false,
            data: Json::parse(&format!("\"{}\"", "x".repeat(size))).unwrap(),
        })
    }

    #[test]
    fn p_r4_the_tail_is_bounded_in_entries_and_bytes() {
        let mut tail = Tail::default();
        for seq in 1..=1000 {
            tail.push(entry(seq, 10), None);
        }
        assert!(tail.at(744).is_none() && tail.at(745).is_some() && tail.at(1000).is_some());
        for seq in 1001..=1010 {
            tail.push(entry(seq, 100_000), None);
        }
        assert!(tail.at(1008).is_none() && tail.at(1009).is_some());
        tail.push(entry(1011, 1_000_000), None);
        assert!(tail.at(1010).is_none() && tail.at(1011).is_some());
    }

    #[test]
    fn p_r3_marks_are_known_from_one_before_the_first_to_the_head() {
        let mut tail = Tail::default();
        let head = Cursor { seq: 5, mark: Mark(50) };
        assert_eq!(tail.mark_of(5, head), Some(Mark(50)));
        assert_eq!(tail.mark_of(4, head), None);
        tail.adopt(&[entry(2, 1), entry(4, 1), entry(5, 1)], head);
        assert_eq!(tail.mark_of(3, head), Some(Mark(30)));
        assert_eq!(tail.mark_of(2, head), None);
        tail.trim(5);
        assert_eq!(tail.mark_of(3, head), None);
    }
}
