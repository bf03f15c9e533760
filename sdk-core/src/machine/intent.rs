//! What the application wants of the connection, and what it is told.

use super::{
    Machine,
    attempt::check,
    connection::{Connection, Happening},
    io::{ApiEvent, CallId, Error, Output, Reason, ReplyValue, Status},
    timers::Timer,
};
use crate::{
    protocol::{Code, Token},
    time::Now,
};
use std::time::Duration;

/// How long a disconnect waits for what was submitted before it.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// What the application wants.
#[derive(Clone, Debug)]
pub(super) enum Intent {
    /// No connection.
    Down,
    /// A connection; these calls wait for the first `welcome`.
    Up {
        calls: Vec<CallId>,
        /// There has been a `welcome`.
        welcomed: bool,
    },
    /// No connection, as soon as what was submitted before is answered.
    Leaving { calls: Vec<CallId> },
}

impl Machine {
    /// Connects, and stays so.
    pub(super) fn connect(&mut self, call: CallId, now: Now) {
        let welcomed = self.connection.session().is_some();
        match &mut self.intent {
            Intent::Up { .. } if welcomed => {
                self.output.push_back(Output::Reply(call, Ok(ReplyValue::Done)));
            }
            Intent::Up { calls, .. } if calls.len() >= self.config.max_calls => {
                let text = "too many calls wait for the connection".into();
                let error = Error { code: Code::QUEUE_FULL, text };
                self.output.push_back(Output::Reply(call, Err(error)));
            }
            Intent::Up { calls, .. } => {
                calls.push(call);
                if matches!(self.connection, Connection::Unauthenticated) {
                    self.tell_trying(None, Reason { code: 0, text: "connect".into() });
                    self.advance(Happening::GoOn, now);
                }
            }
            Intent::Down => {
                if let Err(text) = check(&self.config) {
                    let error = Error { code: Code::BAD_CONFIG, text };
                    self.output.push_back(Output::Reply(call, Err(error)));
                    return;
                }
                self.intent = Intent::Up { calls: vec![call], welcomed: false };
                self.backoff.reset();
                self.tell_trying(None, Reason { code: 0, text: "connect".into() });
                self.advance(Happening::GoOn, now);
            }
            Intent::Leaving { calls } => {
                // The later wish wins; who asked to leave is not left waiting.
                let left = std::mem::take(calls);
                self.timers.stop(Timer::Flush);
                self.intent = Intent::Up { calls: Vec::new(), welcomed };
                for call in left {
                    self.output.push_back(Output::Reply(call, Ok(ReplyValue::Done)));
                }
                self.connect(call, now);
            }
        }
    }

    /// Disconnects, once what was submitted before is answered, or soon.
    pub(super) fn disconnect(&mut self, call: CallId, now: Now) {
        match &mut self.intent {
            Intent::Down => self.output.push_back(Output::Reply(call, Ok(ReplyValue::Done))),
            Intent::Leaving { calls } => calls.push(call),
            Intent::Up { .. } => {
                let reason = Reason { code: 0, text: "disconnect".into() };
                self.fail_connects(&Code::CANCELLED, &reason);
                self.intent = Intent::Leaving { calls: vec![call] };
                self.timers.set(Timer::Flush, now.mono + FLUSH_WITHIN);
            }
        }
    }

    /// Hangs up when a disconnect waits for nothing any more.
    pub(super) fn leave_if_flushed(&mut self, now: Now) {
        let Intent::Leaving { .. } = self.intent else { return };
        let hopeless = matches!(
            self.connection,
            Connection::Idle | Connection::Unauthenticated | Connection::Backoff { .. }
        );
        if hopeless || self.outbox.is_empty() {
            let reason = Reason { code: 0, text: "disconnect".into() };
            self.advance(Happening::HangUp(reason), now);
        }
    }

    /// Sets the token (P-C6).
    pub(super) fn set_token(&mut self, token: Token, now: Now) {
        let differs = self.tokens.handle_set(token);
        if differs && self.connection.session().is_some() {
            self.write_auth();
        }
        self.advance(Happening::TokenGiven { fresh: true }, now);
    }

    pub(super) fn fail_connects(&mut self, code: &Code, reason: &Reason) {
        if let Intent::Up { calls, .. } = &mut self.intent {
            for call in std::mem::take(calls) {
                let error = Error { code: code.clone(), text: reason.text.clone() };
                self.output.push_back(Output::Reply(call, Err(error)));
            }
        }
    }

    pub(super) fn tell_trying(&mut self, retry_in: Option<Duration>, reason: Reason) {
        let again = matches!(self.intent, Intent::Up { welcomed: true, .. });
        let status = if again { Status::Reconnecting } else { Status::Connecting };
        self.tell(status, reason, retry_in);
    }

    pub(super) fn tell(&mut self, status: Status, reason: Reason, retry_in: Option<Duration>) {
        if status != self.status || retry_in.is_some() {
            self.status = status;
            self.output.push_back(Output::Event(ApiEvent::Status { status, reason, retry_in }));
        }
    }
}
