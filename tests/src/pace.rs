//! Watches the pace of a client's attempts to connect: bounds, distribution, silence (P-C5, P-C7).

use crate::{hold, violation::Checked};
use std::time::Duration;
use wardline::protocol::close::{CloseClass, class_of};

/// The least delay.
const LEAST: Duration = Duration::from_millis(50);
/// The cap of the exponential series.
const CAP: Duration = Duration::from_secs(20);
/// A connection that lived so long after `welcome` starts the series again.
const PROVEN: Duration = Duration::from_secs(10);
/// How unlikely a run of short delays may be.
const IMPROBABLE: f64 = 1e-9;

/// One client's attempts.
#[derive(Debug, Default)]
pub struct Pace {
    failures: u32,
    welcomed: Option<Duration>,
    ended: Option<Duration>,
    /// Something other than the series decides the next attempt.
    excused: bool,
    silent: Option<String>,
    /// Sum of −ln of each delay's place within its bounds, and how many there were.
    surprise: (f64, u32),
}

impl Pace {
    /// `welcome` came.
    pub fn welcomed(&mut self, now: Duration) {
        self.welcomed = Some(now);
    }

    /// A transport ended or a dial failed; `none` for a dial.
    /// Timers of this client may have been late by `late`.
    pub fn ended(&mut self, now: Duration, close: Option<u16>, late: Duration) {
        let lived = self.welcomed.take().map(|at| now.saturating_sub(at));
        if lived.is_some_and(|lived| lived >= PROVEN) {
            self.surprise = (0.0, 0);
            // Just at the end of the time: its own clock decides.
            if lived.is_some_and(|lived| lived > PROVEN + late) {
                self.failures = 0;
            }
        }
        self.failures += 1;
        self.ended = Some(now);
        match close.map_or(CloseClass::Retry, class_of) {
            CloseClass::Retry | CloseClass::Replaced => self.excused = false,
            CloseClass::Stop => {
                self.silent = Some(format!("close {close:?} at {now:?}"));
            }
            CloseClass::RetryAtCap
            | CloseClass::RetryAfter
            | CloseClass::NewToken
            | CloseClass::Forked
            | CloseClass::OwnerChanged => self.excused = true,
        }
    }

    /// The host or the application changed something: the next delay is not of the series.
    pub fn excuse(&mut self) {
        self.excused = true;
    }

    /// The application wants to be connected.
    pub fn wanted(&mut self) {
        if self.silent.take().is_some() {
            self.surprise = (0.0, 0);
        }
        self.excused = true;
    }

    /// The client said that it stops.
    pub fn stopped(&mut self, why: &str) {
        self.silent = Some(why.to_owned());
    }

    /// An attempt.
    ///
    /// # Errors
    /// It comes when the client must be silent, too early, too late, or the delays of the run are
    /// too short to be drawn from the series.
    pub fn dialled(&mut self, now: Duration, late: Duration) -> Checked {
        if let Some(why) = &self.silent {
            hold!(false, NotSilent, "dials at {now:?} after {why}");
        }
        let Some(ended) = self.ended.take() else { return Ok(()) };
        if std::mem::take(&mut self.excused) {
            return Ok(());
        }
        let delay = now.saturating_sub(ended);
        let bound = bound(self.failures);
        hold!(
            delay + Duration::from_millis(1) >= LEAST,
            Backoff,
            "attempt {} after {delay:?}",
            self.failures
        );
        hold!(
            delay <= bound + late + Duration::from_millis(50),
            Backoff,
            "attempt {} after {delay:?}, at most {bound:?}",
            self.failures
        );
        let place = (delay.saturating_sub(LEAST)).as_secs_f64() / (bound - LEAST).as_secs_f64();
        self.surprise.0 -= place.clamp(1e-6, 1.0).ln();
        self.surprise.1 += 1;
        let tail = tail(self.surprise.0, self.surprise.1);
        hold!(
            tail.total_cmp(&IMPROBABLE).is_ge(),
            Backoff,
            "{} attempts in a row too short for the series (p = {tail:e})",
            self.surprise.1
        );
        Ok(())
    }
}

fn bound(attempt: u32) -> Duration {
    Duration::from_millis(500).saturating_mul(1 << attempt.min(10)).min(CAP)
}

/// The chance that `count` uniform draws give a sum of −ln of at least `sum`.
fn tail(sum: f64, count: u32) -> f64 {
    let mut term = (-sum).exp();
    let mut total = 0.0;
    for i in 0..count {
        total += term;
        term *= sum / f64::from(i + 1);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bound_of: impl Fn(u32) -> Duration) -> Checked {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut pace = Pace::default();
        let mut now = Duration::from_secs(1);
        for attempt in 1..40 {
            pace.ended(now, Some(1006), Duration::ZERO);
            now += LEAST + (bound_of(attempt) - LEAST).mul_f64(rng.f64());
            pace.dialled(now, Duration::ZERO)?;
        }
        Ok(())
    }

    #[test]
    fn the_series_passes_and_one_that_starts_again_does_not() {
        run(bound).unwrap();
        assert!(run(|_| Duration::from_secs(1)).is_err());
        assert!(run(|_| Duration::from_secs(25)).is_err());
    }

    #[test]
    fn a_stopped_client_is_silent_until_it_is_wanted() {
        let mut pace = Pace::default();
        pace.ended(Duration::ZERO, Some(4200), Duration::ZERO);
        assert!(pace.dialled(Duration::from_secs(9), Duration::ZERO).is_err());
        pace.wanted();
        assert!(pace.dialled(Duration::from_secs(9), Duration::ZERO).is_ok());
    }
}
