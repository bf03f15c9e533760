//! Every room's log as the model saw it grow, including what a fail-over took away.

use super::passes;
use crate::{hold, violation::Checked};
use std::{collections::BTreeMap, sync::Arc};
use wardline::protocol::{Cursor, Filter, Mark};
use wardline_server::log::{Entry, RoomKey};

/// All rooms.
#[derive(Debug, Default)]
pub struct Rooms(BTreeMap<RoomKey, Room>);

/// One room's log.
#[derive(Debug, Default)]
pub struct Room {
    /// Every entry that was ever durable, by mark.
    ever: BTreeMap<Mark, Arc<Entry>>,
    /// The marks of the log as it stands: `line[0]` is the empty log's, if known.
    line: Vec<Option<Mark>>,
    /// Position before the first entry still held.
    first: u64,
    /// Tails lost so far.
    pub tails_lost: u32,
}

/// What stands between two positions of a room.
#[derive(Debug, PartialEq, Eq)]
pub enum Span {
    /// The later position follows from the earlier; these numbers of the view stand between.
    Follows(Vec<u64>),
    /// The earlier position is not in the later one's past.
    Foreign,
}

impl Rooms {
    /// A room, if it ever had an entry or was asked for.
    #[must_use]
    pub fn get(&self, key: &RoomKey) -> Option<&Room> {
        self.0.get(key)
    }

    /// All rooms.
    pub fn iter(&self) -> impl Iterator<Item = (&RoomKey, &Room)> {
        self.0.iter()
    }

    /// An entry is durable. Returns false where it was known.
    ///
    /// # Errors
    /// It does not stand behind the head.
    pub fn append(&mut self, key: &RoomKey, entry: &Arc<Entry>) -> Checked<bool> {
        let room = self.0.entry(key.clone()).or_default();
        let at = usize::try_from(entry.seq).unwrap_or(usize::MAX);
        if room.line.get(at) == Some(&Some(entry.mark)) {
            return Ok(false);
        }
        if room.line.is_empty() {
            room.line.push(Some(entry.prev_mark));
        }
        hold!(
            room.line.len() == at,
            MarkDisagreement,
            "{key:?}: entry {} behind head {}",
            entry.seq,
            room.line.len() - 1
        );
        let head = room.line.last().copied().flatten();
        hold!(
            head.is_none_or(|mark| mark == entry.prev_mark),
            MarkDisagreement,
            "{key:?}: entry {} chained from {}, head is {head:?}",
            entry.seq,
            entry.prev_mark
        );
        room.line.push(Some(entry.mark));
        room.ever.insert(entry.mark, entry.clone());
        Ok(true)
    }

    /// The log now ends at this head. Returns the entries that went.
    pub fn truncate(&mut self, key: &RoomKey, head: Cursor) -> Vec<Arc<Entry>> {
        let Cursor { seq, mark } = head;
        let room = self.0.entry(key.clone()).or_default();
        let keep = usize::try_from(seq).unwrap_or(usize::MAX).saturating_add(1);
        let mut gone: Vec<_> = Vec::new();
        if room.line.len() > keep {
            gone = room.line.split_off(keep).into_iter().flatten().collect();
        }
        if room.line.last().copied().flatten() != Some(mark) {
            // The whole log went; the one that follows has another beginning.
            gone.extend(room.line.drain(..).flatten());
            room.line.push(Some(mark));
            room.first = 0;
            room.tails_lost += 1;
        } else if !gone.is_empty() {
            room.tails_lost += 1;
        }
        gone.iter().filter_map(|mark| room.ever.get(mark).cloned()).collect()
    }

    /// The log tells where the room begins.
    pub fn trimmed(&mut self, key: &RoomKey, first: Cursor) {
        let room = self.0.entry(key.clone()).or_default();
        if room.line.is_empty() && first.seq == 0 {
            room.line.push(Some(first.mark));
        }
        room.first = room.first.max(first.seq);
    }

    /// The entry of a mark, whether or not a fail-over took it away.
    #[must_use]
    pub fn ever(&self, key: &RoomKey, mark: Mark) -> Option<&Arc<Entry>> {
        self.0.get(key)?.ever.get(&mark)
    }
}

impl Room {
    /// The head's number.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.line.len().saturating_sub(1) as u64
    }

    /// The mark at a number of the log as it stands.
    #[must_use]
    pub fn mark(&self, seq: u64) -> Option<Mark> {
        self.line.get(usize::try_from(seq).ok()?).copied().flatten()
    }

    /// The head as a cursor.
    #[must_use]
    pub fn head_cursor(&self) -> Option<Cursor> {
        let seq = self.head();
        self.mark(seq).map(|mark| Cursor { seq, mark })
    }

    /// Position before the first entry still held, as far as the model was told.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Whether a cursor stands on the log as it is.
    #[must_use]
    pub fn stands(&self, cursor: Cursor) -> bool {
        self.mark(cursor.seq) == Some(cursor.mark)
    }

    /// The newest entry of each key.
    #[must_use]
    pub fn newest(&self) -> BTreeMap<Arc<str>, Arc<Entry>> {
        let mut newest = BTreeMap::new();
        for entry in self.line.iter().flatten().filter_map(|mark| self.ever.get(mark)) {
            if let Some(key) = &entry.key {
                newest.insert(key.clone(), entry.clone());
            }
        }
        newest
    }

    /// Every entry that was ever durable.
    pub fn ever(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.ever.values()
    }

    /// Entries of the log as it stands, in order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.line.iter().flatten().filter_map(|mark| self.ever.get(mark))
    }

    /// Whether the entry of this mark was ever durable.
    #[must_use]
    pub fn had(&self, mark: Mark) -> bool {
        self.ever.contains_key(&mark) || self.line.first() == Some(&Some(mark))
    }

    /// What stands between `from` (not counted) and `to` (not counted) in a view. A `from` of
    /// number only is taken to be in `to`'s past.
    #[must_use]
    pub fn between(&self, from: u64, from_mark: Option<Mark>, to: Mark, filter: &Filter) -> Span {
        let mut passed = Vec::new();
        let Some(mut entry) = self.ever.get(&to) else { return Span::Follows(passed) };
        loop {
            if entry.seq <= from + 1 {
                let foreign =
                    entry.seq == from + 1 && from_mark.is_some_and(|mark| mark != entry.prev_mark);
                return if foreign { Span::Foreign } else { Span::Follows(passed) };
            }
            let Some(before) = self.ever.get(&entry.prev_mark) else {
                return Span::Follows(passed);
            };
            entry = before;
            if passes(filter, entry) {
                passed.push(entry.seq);
            }
        }
    }
}
