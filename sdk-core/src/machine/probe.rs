//! Whether the link lives (P-C3, P-C4).
//!
//! Any frame proves life. Suspicion never closes, a failed probe does: a `ping` whose limit starts
//! when the socket's send buffer is empty.

use crate::time::Instant;
use std::time::Duration;

/// Silence after which the link is probed.
const SILENCE: Duration = Duration::from_secs(10);
/// Time after which an unanswered item makes the link suspect.
const UNANSWERED: Duration = Duration::from_secs(3);
/// The limit after silence or an unanswered item.
const LIMIT: Duration = Duration::from_secs(5);
/// The limit after a wake, a change of the network or a deadline noticed late.
const QUICK: Duration = Duration::from_secs(2);
/// The longest limit.
const LIMIT_CAP: Duration = Duration::from_secs(60);
/// A link that lived this long ends the doubling of limits.
pub(super) const LIVED_AFTER: Duration = Duration::from_secs(60);
/// Time without any progress of a write after which a probe behind it has failed too: a stalled
/// buffer never becomes empty, so the limit would never start.
const STALLED: Duration = Duration::from_secs(20);

/// How lenient probes are: limits double after each link that died by one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leniency {
    deaths: u32,
}

impl Leniency {
    /// A link died by a probe.
    pub(super) fn handle_death(&mut self) {
        self.deaths = self.deaths.saturating_add(1);
    }

    /// A link lived 60 s.
    pub(super) fn handle_lived(&mut self) {
        self.deaths = 0;
    }

    fn of(self, limit: Duration) -> Duration {
        limit.saturating_mul(1 << self.deaths.min(5)).min(LIMIT_CAP)
    }
}

/// What a deadline came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to do.
    Fine,
    /// Write a `ping`.
    Ping,
    /// The probe failed: close.
    Dead,
}

/// A probe under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// None.
    None,
    /// The `ping` waits in the send buffer, which last moved at this moment.
    Queued { limit: Duration, moved: Instant },
    /// The `ping` is out.
    Out { until: Instant, renewed: bool },
}

/// The life of one link.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat {
    leniency: Leniency,
    heard: Instant,
    /// Since when an item waits for its answer and nothing was heard.
    waiting: Option<Instant>,
    probe: Probe,
    unsent: usize,
}

impl Heartbeat {
    /// A link that just opened.
    pub(super) fn new(leniency: Leniency, now: Instant) -> Self {
        Self { leniency, heard: now, waiting: None, probe: Probe::None, unsent: 0 }
    }

    /// Bytes the network has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    /// Bytes were written to the socket.
    pub(super) fn handle_written(&mut self, bytes: usize) {
        self.unsent = self.unsent.saturating_add(bytes);
    }

    /// The socket tells its unsent bytes.
    pub(super) fn handle_unsent(&mut self, unsent: usize, now: Instant) {
        let moved = unsent < self.unsent;
        self.unsent = unsent;
        match self.probe {
            Probe::Queued { limit, .. } if unsent == 0 => {
                self.probe = Probe::Out { until: now + limit, renewed: false };
            }
            Probe::Queued { limit, .. } if moved => {
                self.probe = Probe::Queued { limit, moved: now };
            }
            _ => {}
        }
    }

    /// A frame came: the link lives.
    pub(super) fn handle_frame(&mut self, now: Instant) {
        self.heard = now;
        self.probe = Probe::None;
        self.waiting = self.waiting.map(|_| now);
    }

    /// The link lived long enough for the limits to be normal again.
    pub(super) fn handle_lived(&mut self) {
        self.leniency.handle_lived();
    }

    /// Items wait for their answers, or none does any more.
    pub(super) fn handle_in_flight(&mut self, any: bool, now: Instant) {
        self.waiting = any.then(|| self.waiting.unwrap_or(now));
    }

    /// Something makes the link suspect: a wake, a change of the network, a late deadline.
    pub(super) fn suspect(&mut self, now: Instant) -> Verdict {
        self.begin(QUICK, now)
    }

    /// The next moment something is due.
    pub(super) fn deadline(&self) -> Instant {
        match self.probe {
            Probe::Queued { moved, .. } => moved + self.leniency.of(STALLED).max(STALLED),
            Probe::Out { until, .. } => until,
            Probe::None => {
                let silence = self.heard + SILENCE;
                self.waiting.map_or(silence, |since| silence.min(since + UNANSWERED))
            }
        }
    }

    /// A deadline may be due. `late`: this process slept through deadlines, so answers may wait
    /// unread, and a probe gets one more chance.
    pub(super) fn handle_timeout(&mut self, late: bool, now: Instant) -> Verdict {
        if now < self.deadline() {
            return Verdict::Fine;
        }
        match self.probe {
            Probe::None => self.begin(LIMIT, now),
            Probe::Out { renewed: false, .. } if late => {
                let until = now + self.leniency.of(QUICK);
                self.probe = Probe::Out { until, renewed: true };
                Verdict::Ping
            }
            Probe::Queued { limit, .. } if late => {
                self.probe = Probe::Queued { limit, moved: now };
                Verdict::Fine
            }
            Probe::Out { .. } | Probe::Queued { .. } => Verdict::Dead,
        }
    }

    fn begin(&mut self, limit: Duration, now: Instant) -> Verdict {
        let limit = self.leniency.of(limit);
        match &mut self.probe {
            // What is under way is already as strict, or becomes so.
            Probe::Out { until, .. } if *until <= now + limit => Verdict::Fine,
            Probe::Out { until, .. } => {
                *until = now + limit;
                Verdict::Ping
            }
            Probe::Queued { limit: old, .. } => {
                *old = limit.min(*old);
                Verdict::Fine
            }
            Probe::None => {
                // Queued even with an empty buffer: the ping itself has to leave it first. The
                // machine says so at once where the socket took it.
                self.probe = Probe::Queued { limit, moved: now };
                Verdict::Ping
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::new(Duration::from_millis(millis))
    }

    fn link() -> Heartbeat {
        Heartbeat::new(Leniency::default(), at(0))
    }

    /// Lets the ping leave the buffer at once.
    fn take_ping(heartbeat: &mut Heartbeat, now: Instant) {
        heartbeat.handle_written(15);
        heartbeat.handle_unsent(0, now);
    }

    #[test]
    fn p_c4_silence_is_probed_after_10_s_and_kills_after_5_more() {
        let mut link = link();
        assert_eq!(link.handle_timeout(false, at(9_999)), Verdict::Fine);
        assert_eq!(link.deadline(), at(10_000));
        assert_eq!(link.handle_timeout(false, at(10_000)), Verdict::Ping);
        take_ping(&mut link, at(10_000));
        assert_eq!(link.deadline(), at(15_000));
        assert_eq!(link.handle_timeout(false, at(15_000)), Verdict::Dead);
    }

    #[test]
    fn p_c4_any_frame_answers_a_probe() {
        let mut link = link();
        assert_eq!(link.handle_timeout(false, at(10_000)), Verdict::Ping);
        take_ping(&mut link, at(10_000));
        link.handle_frame(at(14_000));
        assert_eq!(link.handle_timeout(false, at(15_000)), Verdict::Fine);
        assert_eq!(link.deadline(), at(24_000));
    }

    #[test]
    fn p_c4_an_unanswered_item_is_probed_after_3_s() {
        let mut link = link();
        link.handle_in_flight(true, at(1_000));
        link.handle_in_flight(true, at(2_000));
        assert_eq!(link.handle_timeout(false, at(4_000)), Verdict::Ping);
        take_ping(&mut link, at(4_000));
        assert_eq!(link.handle_timeout(false, at(9_000)), Verdict::Dead);
    }

    #[test]
    fn p_c4_an_answered_item_is_not() {
        let mut link = link();
        link.handle_in_flight(true, at(1_000));
        link.handle_in_flight(false, at(1_500));
        assert_eq!(link.handle_timeout(false, at(4_000)), Verdict::Fine);
    }

    #[test]
    fn p_c4_the_limit_starts_when_the_buffer_is_empty() {
        let mut link = link();
        link.handle_written(60_000);
        assert_eq!(link.handle_timeout(false, at(10_000)), Verdict::Ping);
        for second in 11..60 {
            link.handle_unsent(60_000 - second as usize, at(second * 1000));
            assert_eq!(link.handle_timeout(false, at(second * 1000)), Verdict::Fine);
        }
        link.handle_unsent(0, at(60_000));
        assert_eq!(link.deadline(), at(65_000));
    }

    #[test]
    fn a_buffer_that_never_moves_kills() {
        let mut link = link();
        link.handle_written(60_000);
        assert_eq!(link.handle_timeout(false, at(10_000)), Verdict::Ping);
        assert_eq!(link.handle_timeout(false, at(29_999)), Verdict::Fine);
        assert_eq!(link.handle_timeout(false, at(30_000)), Verdict::Dead);
    }

    #[test]
    fn p_c4_suspicion_shortens_a_probe_to_2_s_and_never_lengthens_it() {
        let mut link = link();
        assert_eq!(link.handle_timeout(false, at(10_000)), Verdict::Ping);
        take_ping(&mut link, at(10_000));
        assert_eq!(link.suspect(at(10_500)), Verdict::Ping);
        assert_eq!(link.deadline(), at(12_500));
        assert_eq!(link.suspect(at(11_000)), Verdict::Fine);
        assert_eq!(link.deadline(), at(12_500));
    }

    #[test]
    fn p_c4_limits_double_after_a_death_by_probe_up_to_60_s() {
        let mut leniency = Leniency::default();
        let limits: Vec<u64> = (0..6)
            .map(|_| {
                let limit = leniency.of(LIMIT).as_secs();
                leniency.handle_death();
                limit
            })
            .collect();
        assert_eq!(limits, [5, 10, 20, 40, 60, 60]);
        leniency.handle_lived();
        assert_eq!(leniency.of(QUICK), QUICK);
    }

    #[test]
    fn p_c4_a_probe_slept_through_gets_one_more_chance() {
        let mut link = link();
        assert_eq!(link.handle_timeout(false, at(10_000)), Verdict::Ping);
        take_ping(&mut link, at(10_000));
        assert_eq!(link.handle_timeout(true, at(100_000)), Verdict::Ping);
        assert_eq!(link.deadline(), at(102_000));
        assert_eq!(link.handle_timeout(true, at(105_000)), Verdict::Dead);
    }
}
