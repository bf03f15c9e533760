//! Time as an argument: nothing below the driver reads a clock.

use std::{ops, time::Duration};

/// A moment on the monotonic clock, counted from the client's start.
///
/// Microseconds in one number: moments are compared and kept everywhere, and one number is the least
/// code for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment this long after the start; what is less than a microsecond is cut off.
    #[must_use]
    pub const fn new(since_start: Duration) -> Self {
        Self(micros(since_start))
    }

    /// The moment this many microseconds after the start.
    #[must_use]
    pub const fn from_micros(since_start: u64) -> Self {
        Self(since_start)
    }

    /// The microseconds since the start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time since the start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// The time since `earlier`, or zero.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

/// A span in whole milliseconds. [`Duration::as_millis`] counts in 128 bits, which a client in a
/// browser would have to carry.
#[must_use]
pub const fn millis(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1000).saturating_add(span.subsec_millis() as u64)
}

/// A span in whole microseconds, likewise.
#[must_use]
pub const fn micros(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000).saturating_add(span.subsec_micros() as u64)
}

/// Milliseconds since 1970 on the wall clock. Only for deadlines that outlive the process, and to
/// notice a jump; orders nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic.
    pub mono: Instant,
    /// Wall.
    pub wall: UnixMillis,
}
