//! When to try again (P-C5).
//!
//! Attempt k waits uniform(50 ms, min(20 s, 0.5 s × 2^k)); the jitter is drawn from the machine's own
//! seeded generator.

use crate::{
    protocol::close::{CloseClass, after_ms},
    time::{Instant, micros},
};
use fastrand::Rng;
use std::time::Duration;

/// The shortest delay.
pub(super) const FLOOR: Duration = Duration::from_millis(50);
/// The longest delay that no server asked for.
pub(super) const CAP: Duration = Duration::from_secs(20);
/// After this long with a `welcome` the series begins anew.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// The longest `after` that is honoured.
const AFTER_CAP: Duration = Duration::from_secs(300);
/// `after` where the server named none.
const AFTER_DEFAULT: Duration = Duration::from_secs(10);
/// The longest delay once the host says the network or the user is back.
const SHORTENED: Duration = Duration::from_secs(1);
/// Delays are shortened at most once in this time.
const SHORTEN_EVERY: Duration = Duration::from_secs(10);

/// What the series doubles.
const BASE: Duration = Duration::from_millis(500);
/// Past this k the series stands at its cap.
const SERIES_END: u32 = 8;

/// How long to wait, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delay {
    /// The time to the next attempt.
    pub(super) span: Duration,
    /// The server asked for it, so nothing shortens it.
    pub(super) asked: bool,
}

/// The delays between attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    /// k of the last attempt; 0: none failed yet.
    attempt: u32,
    shortened: Option<Instant>,
}

impl Backoff {
    /// How many attempts were delayed since the last reset.
    pub(super) fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Begins anew at k = 1.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Draws the delay before the next attempt, after a loss of this class.
    pub(super) fn next(
        &mut self,
        class: CloseClass,
        after: Option<Duration>,
        rng: &mut Rng,
    ) -> Delay {
        self.attempt = self.attempt.saturating_add(1);
        let default = (class == CloseClass::RetryAfter).then_some(AFTER_DEFAULT);
        if let Some(after) = after.or(default) {
            let after = after.min(AFTER_CAP);
            let more = uniform(rng, Duration::ZERO, (after / 2).max(Duration::from_secs(1)));
            return Delay { span: after + more, asked: true };
        }
        let span = match class {
            // A peer that does not speak the protocol is not asked again within seconds.
            CloseClass::RetryAtCap => uniform(rng, CAP / 2, CAP),
            _ => uniform(rng, FLOOR, cap(self.attempt)),
        };
        Delay { span, asked: false }
    }

    /// The delay of an attempt that waits while the host says that it may succeed now; none: this
    /// was done less than 10 s ago.
    pub(super) fn shorten(&mut self, now: Instant, rng: &mut Rng) -> Option<Duration> {
        if self.shortened.is_some_and(|last| now.since(last) < SHORTEN_EVERY) {
            return None;
        }
        self.shortened = Some(now);
        Some(uniform(rng, FLOOR, SHORTENED))
    }
}

/// `after=…` of a close reason.
pub(super) fn after_of(reason: &str) -> Option<Duration> {
    after_ms(reason).map(Duration::from_millis)
}

/// The longest delay of attempt k.
pub(super) fn cap(k: u32) -> Duration {
    (BASE * (1 << k.clamp(1, SERIES_END))).min(CAP)
}

/// Draws a span, both ends included.
pub(super) fn uniform(rng: &mut Rng, from: Duration, to: Duration) -> Duration {
    let (from, to) = (micros(from), micros(to));
    Duration::from_micros(from + up_to(rng, to.saturating_sub(from)))
}

/// Draws a number, both 0 and `most` included. The remainder favours low numbers by less than one in
/// 2^30 for any span here; ranges of the generator bring formatted panics into a page's download.
pub(super) fn up_to(rng: &mut Rng, most: u64) -> u64 {
    rng.u64(..) % most.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_c5_the_series_doubles_to_its_cap() {
        let caps: Vec<u128> = (1..=7).map(|k| cap(k).as_millis()).collect();
        assert_eq!(caps, [1000, 2000, 4000, 8000, 16000, 20000, 20000]);
        assert_eq!(cap(u32::MAX), CAP);
    }

    #[test]
    fn p_c5_delays_fill_their_range_and_never_leave_it() {
        for k in 1..=7 {
            let mut seen = Vec::new();
            for seed in 0..400 {
                let mut backoff = Backoff { attempt: k - 1, shortened: None };
                let delay = backoff.next(CloseClass::Retry, None, &mut Rng::with_seed(seed));
                assert!(!delay.asked && delay.span >= FLOOR && delay.span <= cap(k));
                seen.push(delay.span);
            }
            let (low, high) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
            assert!(*low < cap(k) / 10 && *high > cap(k) * 9 / 10, "k {k}: {low:?}..{high:?}");
        }
    }

    #[test]
    fn p_c5_after_is_followed_by_up_to_half_of_it_and_bounded() {
        for (after, low, high) in [(None, 10, 15), (Some(1), 1, 2), (Some(9999), 300, 450)] {
            for seed in 0..100 {
                let delay = Backoff::default().next(
                    CloseClass::RetryAfter,
                    after.map(Duration::from_secs),
                    &mut Rng::with_seed(seed),
                );
                assert!(delay.asked);
                assert!((low * 1000..=high * 1000).contains(&delay.span.as_millis()));
            }
        }
    }

    #[test]
    fn p_c5_shortening_happens_once_in_ten_seconds() {
        let mut rng = Rng::with_seed(1);
        let mut backoff = Backoff::default();
        let at = |seconds| Instant::new(Duration::from_secs(seconds));
        assert!(backoff.shorten(at(5), &mut rng).is_some_and(|span| span <= SHORTENED));
        assert_eq!(backoff.shorten(at(14), &mut rng), None);
        assert!(backoff.shorten(at(15), &mut rng).is_some());
    }
}
