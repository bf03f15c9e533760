//! What comes with time: probes, deadlines, drains, refreshes.

use super::{
    Machine,
    backoff::uniform,
    connection::Happening,
    io::{ApiEvent, Output, Reason},
    loss::Loss,
    probe::Verdict,
    timers::Timer,
    tokens::{Purpose, refresh_after},
};
use crate::{
    protocol::{
        close::{self, CloseClass},
        frames::{Drain, Ping},
    },
    time::{Instant, Now},
};
use std::time::Duration;

/// The latest moment of a drain's window that is honoured.
const LEAVE_WITHIN_MS: u64 = 300_000;

impl Machine {
    /// Something makes the link suspect (P-C4).
    pub(super) fn suspect(&mut self, now: Now) {
        let Some(link) = self.connection.link_mut() else { return };
        let verdict = link.heartbeat.suspect(now.mono);
        self.follow(verdict, now);
    }

    /// Does what a heartbeat says.
    pub(super) fn follow(&mut self, verdict: Verdict, now: Now) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Ping => self.write(Ping::default().encode()),
            Verdict::Dead => {
                self.leniency.handle_death();
                let text = "the probe was not answered";
                let mut loss = Loss::own(CloseClass::Retry, close::PROBE_FAILED, text);
                loss.died = true;
                self.advance(Happening::Lost(loss), now);
            }
        }
    }

    /// Does what a deadline of the connection is for.
    pub(super) fn handle_due(&mut self, timer: Timer, now: Now) {
        match timer {
            Timer::Dial => {
                let text = "the dial took too long";
                let loss = Loss::own(CloseClass::Retry, close::GOING_AWAY, text);
                self.advance(Happening::Lost(loss), now);
            }
            Timer::Attempt => self.advance(Happening::Due, now),
            Timer::Settled => self.backoff.reset(),
            Timer::Lived => {
                self.leniency.handle_lived();
                if let Some(link) = self.connection.link_mut() {
                    link.heartbeat.handle_lived();
                }
            }
            Timer::Refresh => {
                if self.tokens.has_provider() {
                    self.fetch_token(Purpose::Refresh, now);
                }
            }
            Timer::Token => match self.tokens.handle_silence() {
                Some(Purpose::Attempt) => self.advance(Happening::TokenLate, now),
                Some(Purpose::Refresh) => self.refresh_later(now),
                None => {}
            },
            Timer::Leave => {
                let loss = Loss::own(CloseClass::Retry, close::SHUTDOWN, "the server restarts");
                self.advance(Happening::Lost(loss), now);
            }
            Timer::Flush => {
                let text = "disconnect, with items unanswered".into();
                self.advance(Happening::HangUp(Reason { code: 0, text }), now);
            }
        }
    }

    /// Takes `drain`: leaves at a random moment of the window (P-C8).
    pub(super) fn handle_drain(&mut self, drain: &Drain, now: Now) {
        let [from, to] = drain.spread.map(|ms| Duration::from_millis(ms.min(LEAVE_WITHIN_MS)));
        let reconnect_in = uniform(&mut self.rng, from.min(to), to);
        let at = now.mono + reconnect_in;
        let at = self.timers.at(Timer::Leave).map_or(at, |earlier| earlier.min(at));
        self.timers.set(Timer::Leave, at);
        let reason = self.tokens.scrub(&drain.reason);
        self.output.push_back(Output::Event(ApiEvent::Restart { reason, reconnect_in }));
    }

    /// Plans the refresh of a token that ends then. Returns when it ends.
    pub(super) fn schedule_refresh(&mut self, life_ms: Option<u64>, now: Now) -> Option<Instant> {
        self.timers.stop(Timer::Refresh);
        let life = Duration::from_millis(life_ms?);
        self.timers.set(Timer::Refresh, now.mono + refresh_after(life, &mut self.rng));
        Some(now.mono + life)
    }

    /// A refresh gave no new token: asks again halfway to the token's end.
    pub(super) fn refresh_later(&mut self, now: Now) {
        let expires = self.connection.session().and_then(|session| session.expires);
        let Some(left) = expires.map(|at| at.since(now.mono)) else { return };
        if left > Duration::from_secs(2) {
            self.timers.set(Timer::Refresh, now.mono + left / 2);
        }
    }
}
