//! Virtual time: the world's one clock, and what each participant makes of it.

use std::time::Duration;
use wardline::time::{Instant, Now, UnixMillis};

/// The wall clock when a world begins, ms since 1970.
pub const WALL_START: u64 = 1_800_000_000_000;

/// One participant's view of the world's time: its monotonic clock may miss sleep, its wall clock
/// may be wrong and may jump.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Time the monotonic clock did not count: before the process began, or asleep.
    missed: Duration,
    /// How far the wall clock is off, in ms.
    skew: i64,
}

impl Clock {
    /// A clock of a process that starts at world time `at`.
    #[must_use]
    pub fn started(at: Duration, skew: i64) -> Self {
        Self { missed: at, skew }
    }

    /// Both readings at world time `at`.
    #[must_use]
    pub fn now(&self, at: Duration) -> Now {
        let wall = WALL_START.saturating_add(millis(at)).saturating_add_signed(self.skew);
        Now { mono: Instant::new(at.saturating_sub(self.missed)), wall: UnixMillis(wall) }
    }

    /// The world time at which the monotonic clock reads `instant`.
    #[must_use]
    pub fn world(&self, instant: Instant) -> Duration {
        instant.since_start().saturating_add(self.missed)
    }

    /// The wall clock jumps.
    pub fn jump(&mut self, ms: i64) {
        self.skew = self.skew.saturating_add(ms);
    }

    /// The monotonic clock stood still for a while, as some do in sleep.
    pub fn miss(&mut self, span: Duration) {
        self.missed += span;
    }

    /// How far the wall clock is off, in ms.
    #[must_use]
    pub fn skew(&self) -> i64 {
        self.skew
    }
}

/// Whole milliseconds of a duration.
#[must_use]
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A part of a span, in whole microseconds as all times of a world: what the clocks of its
/// participants count in.
#[must_use]
pub fn part(span: Duration, share: f64) -> Duration {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    Duration::from_micros((micros as f64 * share) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_and_jumps_move_one_clock_each() {
        let mut clock = Clock::started(Duration::from_secs(5), 0);
        assert_eq!(clock.now(Duration::from_secs(7)).mono, Instant::new(Duration::from_secs(2)));
        clock.jump(-1000);
        clock.miss(Duration::from_secs(1));
        let now = clock.now(Duration::from_secs(7));
        assert_eq!(now.mono, Instant::new(Duration::from_secs(1)));
        assert_eq!(now.wall, UnixMillis(WALL_START + 6000));
        assert_eq!(clock.world(now.mono), Duration::from_secs(7));
    }
}
