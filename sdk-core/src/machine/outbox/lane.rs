//! One lane: its numbers, its queue and how far this connection is with it.

use super::item::Entry;
use crate::table::{Set, Table};
use crate::{
    model::ids::ItemId,
    planted::{Bug, planted},
    protocol::limits::{WINDOW, WINDOW_BYTES},
    time::{Instant, millis},
};
use std::time::Duration;

/// The first wait after a `hold` that names none, and the longest (P-S4).
const HOLD_FIRST: Duration = Duration::from_secs(1);
const HOLD_MOST: Duration = Duration::from_secs(30);

/// How a lane stands with the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flow {
    /// No connection, or none that may carry this outbox.
    #[default]
    Closed,
    /// Outcomes up to `accepted` follow `welcome`; known without a gap up to `known` (P-S6).
    Settling { accepted: u64, known: u64 },
    /// Numbers from `next` on are to be sent; the first frame carries `base`.
    Open { next: u64, base_due: bool },
    /// The server said `hold`.
    Held { until: Instant },
}

/// A frame of this connection without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flying {
    pub(super) at: Instant,
    pub(super) bytes: usize,
}

/// A lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    /// The highest number ever given.
    pub(super) given: u64,
    /// Items with a number and no answer.
    pub(super) numbered: Table<u64, ItemId>,
    pub(super) numbered_bytes: usize,
    /// Items without a number, in order of submit.
    pub(super) waiting: Set<(u64, ItemId)>,
    pub(super) flow: Flow,
    /// Frames of this connection without an answer.
    pub(super) flight: Table<u64, Flying>,
    pub(super) flight_bytes: usize,
    /// Holds in a row.
    holds: u32,
    /// One item in flight at a time, and none after a refusal (P-S4 `stop`).
    pub(super) stop: bool,
    pub(super) stopped: bool,
    /// Items in the queue up to this order came from the store and were not settled since (P-S6).
    pub(super) loaded_upto: Option<u64>,
    /// The loss that was told last.
    lost_told: Option<(u64, u64)>,
    /// The highest number sent; only a planted bug looks at it.
    pub(super) highest: u64,
}

impl Lane {
    /// The number below the first unanswered item (P-S2).
    pub(super) fn done(&self) -> u64 {
        if planted(Bug::DoneHighest) {
            return self.highest.max(self.contiguous());
        }
        self.contiguous()
    }

    fn contiguous(&self) -> u64 {
        self.numbered.first_key_value().map_or(self.given, |(n, _)| n - 1)
    }

    /// Whether one more item of this size may get a number.
    pub(super) fn may_number(&self, bytes: usize) -> bool {
        let window = if self.stop { 1 } else { WINDOW };
        matches!(self.flow, Flow::Open { .. })
            && !self.stopped
            && self.given - self.contiguous() < window
            && (self.numbered.is_empty() || self.numbered_bytes + bytes <= WINDOW_BYTES)
    }

    /// Whether one more frame of this size may be in flight.
    pub(super) fn may_send(&self, bytes: usize) -> bool {
        self.flight.is_empty()
            || (!self.stop
                && (self.flight.len() as u64) < WINDOW
                && self.flight_bytes + bytes <= WINDOW_BYTES)
    }

    /// Notes a frame that was written.
    pub(super) fn sent(&mut self, n: u64, flying: Flying) {
        self.flight_bytes += flying.bytes;
        self.flight.insert(n, flying);
        self.flow = Flow::Open { next: n + 1, base_due: false };
        self.highest = self.highest.max(n);
    }

    /// An empty lane of the same policy.
    pub(super) fn emptied(&self) -> Self {
        Self { stop: self.stop, stopped: self.stopped, ..Self::default() }
    }

    /// Forgets a number: answered, or taken away.
    pub(super) fn release(&mut self, n: u64, bytes: usize) {
        if self.numbered.remove(&n).is_some() {
            self.numbered_bytes -= bytes;
        }
        self.landed(n);
    }

    /// Notes the answer to a frame of this connection, if it is one.
    pub(super) fn landed(&mut self, n: u64) {
        if let Some(flying) = self.flight.remove(&n) {
            self.flight_bytes -= flying.bytes;
        }
    }

    pub(super) fn number(&mut self, n: u64, entry: &Entry) {
        self.numbered.insert(n, entry.record.item.id);
        self.numbered_bytes += entry.bytes;
        self.given = self.given.max(n);
    }

    /// Begins to send, from the first unanswered item, with `base`.
    pub(super) fn open(&mut self) {
        self.clear_flight();
        self.flow = Flow::Open { next: self.contiguous() + 1, base_due: true };
    }

    /// Stops sending for a time the server or the series names, plus up to half of it (P-S4).
    pub(super) fn hold(&mut self, after: Option<Duration>, now: Instant, rng: &mut fastrand::Rng) {
        let wait = after
            .unwrap_or_else(|| HOLD_FIRST.saturating_mul(1 << self.holds.min(5)).min(HOLD_MOST));
        self.holds = self.holds.saturating_add(1);
        let half = millis(wait) / 2;
        self.clear_flight();
        self.flow = Flow::Held {
            until: now + wait + Duration::from_millis(crate::machine::backoff::up_to(rng, half)),
        };
    }

    /// An answer came: the server takes this lane.
    pub(super) fn thaw(&mut self) {
        if !matches!(self.flow, Flow::Held { .. }) {
            self.holds = 0;
        }
        self.lost_told = None;
    }

    pub(super) fn close(&mut self) {
        self.clear_flight();
        self.flow = Flow::Closed;
    }

    fn clear_flight(&mut self) {
        self.flight.clear();
        self.flight_bytes = 0;
    }

    /// The numbers the server forgot, unless they were told already (P-S6).
    pub(super) fn newly_lost(&mut self, accepted: u64) -> Option<(u64, u64)> {
        let range = (accepted.saturating_add(1), self.contiguous());
        if range.0 > range.1 || self.lost_told == Some(range) {
            return None;
        }
        self.lost_told = Some(range);
        Some(range)
    }
}
