//! What time does to connections: hello, ping, idleness, token, drain, revocation (P-C).

use super::{AuthError, ConnId, Hub, Principal, connections::State, timers::Timer};
use std::{sync::Arc, time::Duration};
use wardline::{
    planted::{Bug, planted},
    protocol::{
        close,
        frames::{Drain as DrainFrame, Head, Ping},
        limits::HELLO_WITHIN,
    },
    time::Instant,
};

/// An expired token is cut so long after its end: what was under way may arrive (P-C6: ≤ 5 s).
const CUT_AFTER: Duration = Duration::from_secs(1);
/// Time for steps under way to be answered after the drain window's end.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// A deadline noticed so late says that this process slept, not that the client did.
const SLEPT: Duration = Duration::from_secs(5);

/// A restart that was announced.
#[derive(Debug)]
pub(super) struct Draining {
    /// When connections without steps under way are closed.
    until: Instant,
}

impl Hub {
    /// Sets a connection's next deadline.
    pub(super) fn rearm(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get(conn) else { return };
        let at = match &connection.state {
            State::Awaiting { .. } => connection.heard + HELLO_WITHIN,
            State::Verifying(greeting) | State::Settling(greeting, ..) => greeting.until,
            State::Ready(session) => {
                let idle = connection.heard + self.idle_after(session.hidden);
                let cut = self.cut_at(&session.principal).unwrap_or(idle);
                session.ping.min(idle).min(cut)
            }
        };
        self.timers.arm(Timer::Connection(conn), at);
    }

    fn idle_after(&self, hidden: bool) -> Duration {
        let visible = self.config.idle.unwrap_or(2 * self.config.ping);
        if hidden { visible.max(self.config.hidden_idle) } else { visible }
    }

    /// When a token that ends is cut.
    pub(super) fn cut_at(&self, principal: &Principal) -> Option<Instant> {
        let left = principal.expires?.saturating_sub(self.now.wall.0);
        Some(self.now.mono + Duration::from_millis(left) + CUT_AFTER)
    }

    /// A connection's moment.
    pub(super) fn handle_connection_timer(&mut self, conn: ConnId, due: Instant) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if now.mono.since(due) > SLEPT && matches!(connection.state, State::Ready(_)) {
            // Its frames may wait unread: it gets one more interval.
            let before = Instant::new(now.mono.since_start().saturating_sub(self.config.ping));
            connection.heard = connection.heard.max(before);
        }
        let heard = connection.heard;
        match &mut connection.state {
            State::Awaiting { .. } => self.close(conn, close::HELLO_TIMEOUT, "no hello within 5 s"),
            State::Verifying(_) | State::Settling(..) => {
                let after = Duration::from_secs(1);
                self.close_after(conn, close::OVERLOADED, after, "not settled in time");
            }
            State::Ready(session) => {
                let hidden = session.hidden;
                let principal = Arc::clone(&session.principal);
                let ping = session.ping <= now.mono;
                if ping {
                    session.ping = now.mono + self.config.ping;
                }
                if self.is_expired(&principal) {
                    self.close_unauthorized(conn, AuthError::Expired);
                } else if now.mono.since(heard) >= self.idle_after(hidden) {
                    self.close(conn, close::IDLE, "nothing heard");
                } else if ping {
                    self.ping(conn);
                }
                self.rearm(conn);
            }
        }
    }

    /// Whether nothing may be delivered under this token any more. The one place that says so.
    pub(super) fn is_expired(&self, principal: &Principal) -> bool {
        if planted(Bug::DeliverAfterExpiry) {
            return false;
        }
        principal.expires.is_some_and(|end| end <= self.now.wall.0)
    }

    /// `ping`, with the heads that moved since this member was told (P-R7).
    fn ping(&mut self, conn: ConnId) {
        let Some(session) = self.connections.session_mut(conn) else { return };
        let mut heads = Vec::new();
        for (id, member) in session.members.iter_mut() {
            let Some(room) = self.rooms.room(id) else { continue };
            if let Some(last) = member.last_if_live(room)
                && room.follows()
                && room.head.seq != member.told
            {
                member.told = room.head.seq;
                heads.push(Head {
                    room: room.key.room.to_string(),
                    last,
                    seq: room.head.seq,
                    mark: room.head.mark,
                });
            }
        }
        self.write(conn, &Ping { heads }.into());
    }

    /// Two clocks drifted apart: deadlines by the wall clock stand elsewhere.
    pub(super) fn notice_clock(&mut self) {
        let since = |now: wardline::time::Now| {
            i128::from(now.wall.0)
                - i128::try_from(now.mono.since_start().as_millis()).unwrap_or_default()
        };
        let jump = since(self.now) - self.clock;
        if jump.abs() > 1000 {
            self.clock = since(self.now);
            for conn in self.connections.ids() {
                self.rearm(conn);
            }
            self.rearm_taps();
        }
    }

    /// Announces a restart (P-C8).
    pub(super) fn handle_drain(&mut self, spread: [u64; 2], reason: String) {
        let until = self.now.mono + Duration::from_millis(spread[1]);
        self.drain = Some(Draining { until });
        let ready: Vec<_> =
            self.connections.ids().into_iter().filter(|c| self.session(*c).is_some()).collect();
        self.write_many(Arc::new(ready), &DrainFrame { spread, reason }.into());
        self.timers.arm(Timer::Drain, until);
    }

    /// The window ended: who remains is closed, once what was accepted is answered.
    pub(super) fn handle_drain_timer(&mut self) {
        let Some(drain) = &self.drain else { return };
        let last = drain.until + DRAIN_GRACE;
        let over = self.now.mono >= last;
        for conn in self.connections.ids() {
            if over || self.session(conn).is_none_or(|session| session.in_flight() == 0) {
                self.close(conn, close::SHUTDOWN, "the server restarts");
            }
        }
        if !over {
            self.timers.arm(Timer::Drain, last);
        }
    }

    /// Closes a connection whose last step was answered after the drain window's end.
    pub(super) fn close_if_drained(&mut self, conn: ConnId) {
        let ended = self.drain.as_ref().is_some_and(|drain| self.now.mono >= drain.until);
        if ended && self.session(conn).is_some_and(|session| session.in_flight() == 0) {
            self.close(conn, close::SHUTDOWN, "the server restarts");
        }
    }
}
