//! Time as an argument: nothing below the driver reads a clock.

use std::{ops, time::Duration};

/// A moment on the monotonic clock, counted from the client's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub Duration);

impl Instant {
    /// The time since `earlier`, or zero.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
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
