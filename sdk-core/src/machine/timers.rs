//! Deadlines: one row each.

use crate::time::Instant;

/// What a deadline is for. At most one of each is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The dial came to nothing and the host did not say so.
    Dial,
    /// The next attempt (P-C5).
    Attempt,
    /// The connection lived long enough for the backoff to begin anew (P-C5).
    Settled,
    /// The link lived long enough for the probes' limits to be normal again (P-C4).
    Lived,
    /// The token is to be refreshed (P-C6).
    Refresh,
    /// The token provider took too long (P-C6).
    Token,
    /// The moment of a drain's window at which this client leaves (P-C8).
    Leave,
    /// A disconnect waited long enough for what was submitted before it.
    Flush,
}

impl Timer {
    const ALL: [Self; 8] = [
        Self::Dial,
        Self::Attempt,
        Self::Settled,
        Self::Lived,
        Self::Refresh,
        Self::Token,
        Self::Leave,
        Self::Flush,
    ];

    /// Those that end with their link.
    pub(super) const OF_LINK: [Self; 5] =
        [Self::Dial, Self::Settled, Self::Lived, Self::Refresh, Self::Leave];
}

/// The pending deadlines.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    table: [Option<Instant>; Timer::ALL.len()],
}

impl Timers {
    /// The moment of a deadline.
    pub(super) fn at(&self, timer: Timer) -> Option<Instant> {
        self.table[timer as usize]
    }

    /// The earliest moment.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.table.iter().flatten().min().copied()
    }

    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.table[timer as usize] = Some(at);
    }

    /// Forgets a deadline.
    pub(super) fn stop(&mut self, timer: Timer) {
        self.table[timer as usize] = None;
    }

    /// Takes the earliest deadline that is due.
    pub(super) fn poll_due(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = Timer::ALL
            .into_iter()
            .filter_map(|timer| Some((self.at(timer).filter(|at| *at <= now)?, timer)))
            .min()?;
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant::new(Duration::from_secs(seconds))
    }

    #[test]
    fn deadlines_come_once_each_in_their_order() {
        let mut timers = Timers::default();
        for (timer, seconds) in [(Timer::Flush, 3), (Timer::Dial, 9), (Timer::Refresh, 1)] {
            timers.set(timer, at(seconds));
        }
        timers.set(Timer::Dial, at(5));
        assert_eq!(timers.deadline(), Some(at(1)));
        assert_eq!(timers.poll_due(at(0)), None);
        assert_eq!(timers.poll_due(at(4)), Some(Timer::Refresh));
        assert_eq!(timers.poll_due(at(4)), Some(Timer::Flush));
        assert_eq!(timers.poll_due(at(4)), None);
        assert_eq!(timers.deadline(), Some(at(5)));
        timers.stop(Timer::Dial);
        assert_eq!(timers.poll_due(at(9)), None);
    }
}
