//! One room: its membership on the wire and the subscriptions that share it.

use super::sub::{Place, Sub};
use crate::fifo::Fifo;
use crate::table::Table;
use crate::{
    machine::io::{CallId, SubId},
    protocol::{
        Address, Cursor, Filter, Json,
        frames::{Join, RoomMode, Start},
    },
    time::Instant,
};

/// How the membership stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Wire {
    /// None on this connection, or one that does not count.
    #[default]
    Out,
    /// Asked for. The room's events mean nothing until the answer (P-R1).
    Joining { id: u64, from: Option<Cursor> },
    /// A member; events follow from `start`.
    In { start: u64, live: bool },
    /// To be asked for again at a time.
    Waiting { at: Instant },
    /// Refused until the token changes (P-C6).
    Forbidden,
    /// Being given up.
    Leaving { id: u64 },
}

/// What a membership asks for beside its position.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wish {
    pub(super) filter: Filter,
    pub(super) meta: Option<Json>,
    pub(super) present: bool,
    pub(super) watch: bool,
}

/// A `page` that waits for its credit: per subscription how many it had been handed (P-R5).
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) seq: u64,
    pub(super) handed: Vec<(SubId, u64)>,
}

/// A room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) address: Address,
    pub(super) wire: Wire,
    pub(super) wish: Wish,
    pub(super) mode: RoomMode,
    /// The wire's position: everything of the view up to here came.
    pub(super) last: Cursor,
    /// The newest head known.
    pub(super) head: Cursor,
    /// In a `latest` room: the highest number that came.
    pub(super) high: u64,
    pub(super) owed: Fifo<Owed>,
    pub(super) subs: Table<SubId, Sub>,
    /// Calls that wait for the end of the membership.
    pub(super) leaving: Vec<CallId>,
    /// Refusals in a row.
    pub(super) refusals: u32,
    /// Holes in a row, and when the last one was.
    pub(super) holes: u32,
    pub(super) last_hole: Option<Instant>,
}

impl Room {
    pub(super) fn new(address: Address) -> Self {
        let nowhere = Cursor { seq: 0, mark: crate::protocol::Mark(0) };
        Self {
            address,
            wire: Wire::Out,
            wish: Wish::default(),
            mode: RoomMode::Log,
            last: nowhere,
            head: nowhere,
            high: 0,
            owed: Fifo::new(),
            subs: Table::new(),
            leaving: Vec::new(),
            refusals: 0,
            holes: 0,
            last_hole: None,
        }
    }

    pub(super) fn is_in(&self) -> bool {
        matches!(self.wire, Wire::In { .. })
    }

    /// Forgets the connection.
    pub(super) fn unlink(&mut self) {
        self.wire = Wire::Out;
        self.owed.clear();
        for sub in self.subs.values_mut() {
            sub.unlink();
        }
        if self.address.room() == "commands" {
            // Where a handler goes on is its group's position (P-S8): what it was handed and did not
            // answer comes again.
            for sub in self.subs.values_mut() {
                sub.begin_anew();
            }
        }
    }

    /// What all its subscriptions together ask for.
    pub(super) fn wanted(&self) -> Wish {
        let mut filters = self.subs.values().map(|sub| &sub.filter);
        let first = filters.next().cloned().unwrap_or_default();
        // A union past the bounds of a filter becomes "everything".
        let filter = filters.fold(first, |all, one| all.union(one).unwrap_or_default());
        Wish {
            filter,
            meta: self.subs.values().find_map(|sub| sub.meta.clone()),
            present: self.subs.values().any(|sub| sub.present),
            watch: self.subs.values().any(|sub| sub.watch),
        }
    }

    /// The smallest position among those that are proved, or among those that are not.
    fn smallest(&self, wanted: bool) -> Option<Cursor> {
        let places = self.subs.values().filter_map(|sub| match sub.place {
            Place::At { last, proved } if proved == wanted => Some(last),
            _ => None,
        });
        places.min()
    }

    fn starts(&self, wanted: Start) -> bool {
        self.subs.values().any(|sub| sub.place == Place::Start(wanted))
    }

    /// Where the next join has to begin; none: none is needed.
    pub(super) fn next_start(&self) -> Option<Begin> {
        if let Some(cursor) = self.smallest(false) {
            return Some(Begin::Cursor(cursor));
        }
        let fresh = self.starts(Start::First)
            || (self.mode == RoomMode::Latest && self.is_in() && self.starts(Start::Live));
        if fresh {
            return Some(Begin::Start(Start::First));
        }
        let proved = self.smallest(true);
        match (&self.wire, proved) {
            (Wire::In { start, .. }, Some(last)) if last.seq < *start => Some(Begin::Cursor(last)),
            (Wire::In { .. }, _) if self.wanted() == self.wish => None,
            (_, Some(last)) => Some(Begin::Cursor(last)),
            (Wire::In { .. }, None) if !self.starts(Start::Live) => None,
            (_, None) => self.starts(Start::Live).then_some(Begin::Start(Start::Live)),
        }
    }

    pub(super) fn join(&self, id: u64, begin: &Begin) -> Join {
        let (cursor, from) = match begin {
            Begin::Cursor(cursor) => (Some(*cursor), None),
            Begin::Start(start) => (None, Some(*start)),
        };
        Join {
            id,
            room: self.address.as_str().to_owned(),
            cursor,
            from,
            filter: self.wish.filter.clone(),
            meta: self.wish.meta.clone(),
            present: self.wish.present,
            watch: self.wish.watch,
        }
    }
}

/// Where a join begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Cursor(Cursor),
    Start(Start),
}
