//! One subscription: what it wants, what it was handed, what the application is done with.

use crate::fifo::Fifo;
use crate::table::Table;
use crate::{
    machine::io::{CallId, Subscribe},
    planted::{Bug, planted},
    protocol::{Cursor, Filter, Json, frames::Start},
};

/// Events handed over and not done past which a server that ignores credit is held off.
pub(super) const MAX_HANDED: usize = 8192;

/// Where a subscription stands in the room's log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// The stored cursors are not loaded.
    Unresolved,
    /// Not begun.
    Start(Start),
    /// Everything of its filter up to `last` was handed over. `proved`: a join of this connection
    /// showed that the log goes on from there (P-R3).
    At { last: Cursor, proved: bool },
    /// Lost; the snapshot hook is to give a state not older than `head` (P-R6).
    Snapshot { head: Cursor },
}

/// A subscription.
#[derive(Clone, Debug)]
pub(super) struct Sub {
    pub(super) filter: Filter,
    pub(super) start: Start,
    pub(super) cursor: Option<Cursor>,
    pub(super) durable: Option<String>,
    pub(super) meta: Option<Json>,
    pub(super) present: bool,
    pub(super) watch: bool,
    pub(super) hook: bool,
    /// The call that waits for the first answer.
    pub(super) call: Option<CallId>,
    pub(super) place: Place,
    /// `Live` was told since the last reconnect or loss.
    pub(super) live_told: bool,
    /// `Left` was told since it was last in.
    pub(super) left_told: bool,
    /// In a `latest` room: each key's number (P-R9).
    pub(super) keys: Table<String, u64>,
    /// Keys that have no value any more, until they cannot come again.
    gone: Vec<(String, u64)>,
    /// In a `latest` room: every key is on its way; the position says nothing before `live`.
    pub(super) syncing: bool,
    /// Handed over and not done, in order of handing over.
    handed: Fifo<Cursor>,
    /// The last that is done.
    done: Option<Cursor>,
    /// How many were handed over, and how many of them are done.
    pub(super) handed_total: u64,
    pub(super) done_total: u64,
}

impl Sub {
    pub(super) fn new(call: CallId, subscribe: Subscribe, filter: Filter) -> Self {
        Self {
            filter,
            start: subscribe.from,
            cursor: subscribe.cursor,
            durable: subscribe.durable,
            meta: subscribe.meta,
            present: subscribe.present,
            watch: subscribe.watch,
            hook: subscribe.hook,
            call: Some(call),
            place: Place::Unresolved,
            live_told: false,
            left_told: false,
            keys: Table::new(),
            gone: Vec::new(),
            syncing: false,
            handed: Fifo::new(),
            done: None,
            handed_total: 0,
            done_total: 0,
        }
    }

    /// The position, if it has one.
    pub(super) fn last(&self) -> Option<Cursor> {
        match self.place {
            Place::At { last, .. } => Some(last),
            _ => None,
        }
    }

    /// Whether it takes what a membership that began at `start` brings.
    pub(super) fn is_attached(&self, start: u64) -> bool {
        matches!(self.place, Place::At { last, proved: true } if last.seq >= start)
    }

    /// Moves the position forward.
    pub(super) fn advance(&mut self, to: Cursor) {
        if let Place::At { last, .. } = &mut self.place
            && to.seq > last.seq
        {
            *last = to;
        }
    }

    pub(super) fn hand(&mut self, cursor: Cursor) {
        self.handed.push_back(cursor);
        self.handed_total += 1;
    }

    pub(super) fn see_key(&mut self, key: &str, seq: u64, gone: bool) {
        self.keys.insert(key.to_owned(), seq);
        if gone {
            self.gone.push((key.to_owned(), seq));
        }
    }

    /// Forgets keys without a value that the position has passed.
    pub(super) fn forget_gone(&mut self, upto: u64) {
        let keys = &mut self.keys;
        self.gone.retain(|(key, seq)| {
            if *seq <= upto && keys.get(key) == Some(seq) {
                keys.remove(key);
            }
            *seq > upto
        });
    }

    /// Begins a `latest` room anew.
    pub(super) fn forget_keys(&mut self) {
        self.keys.clear();
        self.gone.clear();
    }

    /// Forgets the connection.
    pub(super) fn unlink(&mut self) {
        self.live_told = false;
        if std::mem::take(&mut self.syncing) {
            // Every key comes again; what was handed over of them is not handed over twice.
            self.place = Place::Start(self.start);
        }
        self.doubt();
    }

    /// Goes on from a state that the application took: what it was handed before is part of it, so
    /// nobody waits for that to be done (P-R5, P-R6).
    pub(super) fn restart(&mut self, at: Cursor) {
        self.place = Place::At { last: at, proved: false };
        self.handed.clear();
        self.done_total = self.handed_total;
        self.done = Some(at);
    }

    /// Forgets the position: the next membership begins where the server says.
    pub(super) fn begin_anew(&mut self) {
        if matches!(self.place, Place::At { .. }) {
            self.place = Place::Start(Start::Live);
        }
    }

    /// The position is to be proved again.
    pub(super) fn doubt(&mut self) {
        if let Place::At { proved, .. } = &mut self.place {
            *proved = false;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.handed.len() >= MAX_HANDED
    }

    /// Notes that everything handed over up to `seq` is done. False: nothing changed.
    pub(super) fn take_done(&mut self, seq: u64) -> bool {
        // The number itself first: after a loss numbers may begin again lower.
        let count = match self.handed.iter().position(|cursor| cursor.seq == seq) {
            Some(at) => at + 1,
            None => self.handed.iter().take_while(|cursor| cursor.seq < seq).count(),
        };
        for _ in 0..count {
            self.done = self.handed.pop_front();
        }
        self.done_total += count as u64;
        count > 0
    }

    /// The position that may be stored: everything up to it is done (P-R11).
    pub(super) fn done(&self) -> Option<Cursor> {
        if self.syncing {
            return None;
        }
        if self.handed.is_empty() || planted(Bug::CursorBeforeDone) {
            return self.last().or(self.done);
        }
        self.done
    }
}
