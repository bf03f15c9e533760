//! The two clocks, read in one place.

use std::time::Duration;
use wardline::time::{Instant, Now, UnixMillis};

/// Counts from the server's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(tokio::time::Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: Instant::new(self.0.elapsed()), wall: UnixMillis(crate::auth::unix_ms()) }
    }

    /// The moment on tokio's clock.
    pub(crate) fn at(&self, moment: Instant) -> tokio::time::Instant {
        self.0 + moment.since_start().min(Duration::from_secs(365 * 24 * 3600))
    }
}
