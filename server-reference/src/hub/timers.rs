//! Deadlines: one ordered set, at most one moment per key.

use super::{ConnId, media::TapId, rooms::RoomId};
use std::collections::{BTreeMap, BTreeSet};
use wardline::time::Instant;

/// What a deadline belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Hello, ping, idleness, token: the connection knows which.
    Connection(ConnId),
    /// A room's proof of its head, or another try of one.
    Room(RoomId),
    /// Members whose page the log could not read are tried again.
    Stalled,
    /// The end of the drain window.
    Drain,
    /// The end of the token of a viewer without a connection.
    Tap(TapId),
    /// What a part wants done.
    Parts,
    /// The parts prove what they folded.
    PartsProof,
}

/// The deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Instant, Timer)>,
    by_key: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets a deadline; the one before it is forgotten.
    pub(super) fn arm(&mut self, timer: Timer, at: Instant) {
        match self.by_key.insert(timer, at) {
            Some(old) if old == at => return,
            Some(old) => {
                self.by_time.remove(&(old, timer));
            }
            None => {}
        }
        self.by_time.insert((at, timer));
    }

    /// Forgets a deadline.
    pub(super) fn disarm(&mut self, timer: Timer) {
        if let Some(old) = self.by_key.remove(&timer) {
            self.by_time.remove(&(old, timer));
        }
    }

    /// Whether a deadline is set.
    pub(super) fn is_armed(&self, timer: Timer) -> bool {
        self.by_key.contains_key(&timer)
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one deadline that has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        let due = self.by_time.first().filter(|(at, _)| *at <= now).copied()?;
        self.by_time.remove(&due);
        self.by_key.remove(&due.1);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_key_has_one_deadline() {
        let at = |s| Instant::new(Duration::from_secs(s));
        let mut timers = Timers::default();
        timers.arm(Timer::Drain, at(5));
        timers.arm(Timer::Stalled, at(3));
        timers.arm(Timer::Drain, at(2));
        assert_eq!(timers.next(), Some(at(2)));
        assert_eq!(timers.pop(at(4)), Some((at(2), Timer::Drain)));
        timers.disarm(Timer::Stalled);
        assert_eq!(timers.pop(at(9)), None);
    }
}
