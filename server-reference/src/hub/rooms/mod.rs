//! Rooms: a head, a shared tail, views, and members at positions (P-R4).
//!
//! A room lives in memory while it has members. Its [`Feed`] says whether what the log tells can
//! be handed on:
//!
//! ```text
//!            head told                 entry does not fit             proved, log is ahead
//! Unknown ─────────────▶ Following ───────────────────────▶ Proving ─────────────────────▶ Reading
//!    │                      ▲  ▲  proved, log is no further   │ │                             │
//!    │                      │  └──────────────────────────────┘ │ not proved: lost to all     │
//!    ▼  log unavailable     └───────────────────────────────────┴─────────────────────────────┘
//! Stalled (tries again)
//! ```

mod feed;
mod joins;
mod members;
mod replay;
mod tail;
mod views;

pub(super) use feed::ticket_of;
pub(super) use joins::Answer;
pub(super) use members::Members;
use tail::Tail;
use views::View;

use super::{ConnId, numbers::NumberMap};
use crate::log::{Entry, RoomKey, Ticket};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};
use wardline::{
    model::ids::ItemId,
    protocol::{Cursor, Json, Mark, frames::RoomMode, limits::TAIL_ENTRIES},
};

/// A room in memory. Never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RoomId(pub(super) u64);

/// An event that is not kept (P-R8).
#[derive(Clone, Debug)]
pub(super) struct Ephemeral {
    /// The item it was, if any.
    pub(super) id: Option<ItemId>,
    /// ms since 1970.
    pub(super) time: u64,
    /// The user; empty for the server's own.
    pub(super) from: Arc<str>,
    /// Its name.
    pub(super) event: Arc<str>,
    /// Key in a `latest` room.
    pub(super) key: Option<Arc<str>>,
    /// One JSON text.
    pub(super) data: Json,
}

/// How a room follows its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// The head is not known yet; the request that tells it, if one is under way.
    Unknown(Option<Ticket>),
    /// Entries are handed on as they fit.
    Following,
    /// An entry did not fit: nothing is handed on until the head is proved (P-K2).
    Proving(Ticket),
    /// The head is proved and the log is ahead: read on.
    Reading(Ticket),
    /// The log cannot answer; tried again at the room's timer.
    Stalled,
}

/// A room in memory.
#[derive(Debug)]
pub(super) struct Room {
    /// Its log.
    pub(super) key: RoomKey,
    /// How it keeps its events.
    pub(super) mode: RoomMode,
    /// How it follows its log.
    pub(super) feed: Feed,
    /// The last entry handed on. Means nothing while the feed is `Unknown`.
    pub(super) head: Cursor,
    /// The newest entries.
    pub(super) tail: Tail,
    /// Slots; one without members is free.
    pub(super) views: Vec<View>,
    /// Members that are not live.
    pub(super) behind: BTreeSet<ConnId>,
    /// Joins that wait for the feed: connection and number of the answer.
    pub(super) waiting: VecDeque<(ConnId, u64)>,
    /// Entries told while the feed could not hand on, at most [`TAIL_ENTRIES`].
    pub(super) held: VecDeque<Arc<Entry>>,
    /// Some were too many to hold.
    pub(super) overflowed: bool,
    /// Memberships.
    pub(super) members: usize,
    /// Joins under way that name this room.
    pub(super) pins: usize,
    /// Tries of a log that could not answer, in a row.
    pub(super) tries: u32,
    /// The proof of the head that goes on beside the feed.
    pub(super) probe: Option<Ticket>,
}

impl Room {
    fn new(key: RoomKey, mode: RoomMode) -> Self {
        Self {
            key,
            mode,
            feed: Feed::Unknown(None),
            head: Cursor { seq: 0, mark: Mark(0) },
            tail: Tail::default(),
            views: Vec::new(),
            behind: BTreeSet::new(),
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            overflowed: false,
            members: 0,
            pins: 0,
            tries: 0,
            probe: None,
        }
    }

    /// Whether entries are handed on.
    pub(super) fn follows(&self) -> bool {
        self.feed == Feed::Following
    }

    /// Keeps an entry for when the feed can hand on again.
    fn hold(&mut self, entry: Arc<Entry>) {
        if self.held.len() < TAIL_ENTRIES {
            self.held.push_back(entry);
        } else {
            self.overflowed = true;
        }
    }
}

/// The rooms in memory.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    by_key: HashMap<RoomKey, RoomId>,
    by_id: NumberMap<RoomId, Room>,
    next: u64,
}

impl Rooms {
    /// The room of a log, if it is in memory.
    pub(super) fn find(&self, key: &RoomKey) -> Option<RoomId> {
        self.by_key.get(key).copied()
    }

    /// The room of a log, made where it is not in memory.
    pub(super) fn find_or_make(&mut self, key: RoomKey, mode: RoomMode) -> RoomId {
        if let Some(id) = self.find(&key) {
            return id;
        }
        self.next += 1;
        let id = RoomId(self.next);
        self.by_key.insert(key.clone(), id);
        self.by_id.insert(id, Room::new(key, mode));
        id
    }

    /// Borrows a room.
    pub(super) fn room(&self, id: RoomId) -> Option<&Room> {
        self.by_id.get(&id)
    }

    /// Borrows a room to change it.
    pub(super) fn room_mut(&mut self, id: RoomId) -> Option<&mut Room> {
        self.by_id.get_mut(&id)
    }

    /// Forgets a room that nothing names any more; says whether it did.
    pub(super) fn drop_unused(&mut self, id: RoomId) -> bool {
        let unused = self.room(id).is_some_and(|room| room.members == 0 && room.pins == 0);
        if unused && let Some(room) = self.by_id.remove(&id) {
            self.by_key.remove(&room.key);
        }
        unused
    }

    /// Rooms in memory.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Every room, in order of its log.
    pub(super) fn in_order(&self) -> Vec<(&RoomKey, &Room)> {
        let mut all: Vec<_> = self.by_id.values().map(|room| (&room.key, room)).collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }
}
