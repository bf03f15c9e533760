//! How a connection ends, and what follows from that (P-C5, P-C7).

use super::{
    Machine,
    connection::{Connection, Happening},
    intent::Intent,
    io::{ApiEvent, Close, DialError, Error, Output, Reason, ReplyValue, Status},
    timers::Timer,
    tokens::Purpose,
};
use crate::{
    protocol::{
        Code,
        close::{self, CloseClass},
    },
    time::Now,
};
use std::time::Duration;

/// Three times replaced within this time counts as a copied store (P-C7).
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
const REPLACED_TIMES: usize = 3;

/// How a connection was lost.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) class: CloseClass,
    pub(super) reason: Reason,
    pub(super) after: Option<Duration>,
    /// This client ends it: the transport still has to be closed.
    pub(super) own: bool,
    /// Not by a close that has another reason than what was sent (P-S9).
    pub(super) died: bool,
    /// The connection was good but for this client's own affairs: it goes on even where a loss
    /// ends it.
    pub(super) again: bool,
}

impl Loss {
    /// The transport closed.
    pub(super) fn closed(code: u16, text: String, after: Option<Duration>) -> Self {
        let class = close::class_of(code);
        let told = matches!(code, 1000 | 1001 | close::SHUTDOWN | close::IDLE)
            || !matches!(class, CloseClass::Retry | CloseClass::RetryAtCap | CloseClass::Stop);
        Self { class, reason: Reason { code, text }, after, own: false, died: !told, again: false }
    }

    /// The dial came to nothing.
    pub(super) fn dial(error: &DialError, text: String) -> Self {
        let class = error.status.map_or(CloseClass::Retry, close::class_of_http);
        let code = match class {
            CloseClass::NewToken => close::TOKEN_INVALID,
            _ => 1006,
        };
        let reason = Reason { code, text };
        Self { class, reason, after: error.retry_after, own: false, died: false, again: false }
    }

    /// The outbox needs a `hello` of its own: another producer, or another owner's store.
    pub(super) fn renewed() -> Self {
        let loss = Self::own(CloseClass::Retry, close::SHUTDOWN, "the outbox changed");
        Self { again: true, ..loss }
    }

    /// This client closes.
    pub(super) fn own(class: CloseClass, code: u16, text: &str) -> Self {
        let reason = Reason { code, text: text.to_owned() };
        Self { class, reason, after: None, own: true, died: false, again: false }
    }
}

impl Machine {
    /// Ends a transport and decides what follows from how it ended (P-C7).
    pub(super) fn lose(&mut self, loss: &Loss, now: Now) {
        let carried = match self.connection.link() {
            Some(link) => link.token.clone(),
            None => self.tokens.current().cloned(),
        };
        self.drop_link(loss, now);
        // Also behind a disconnect: what is connected next would find the last owner's rooms.
        if matches!(loss.class, CloseClass::OwnerChanged) {
            self.handle_owner_changed(now);
        }
        if let Intent::Leaving { .. } = self.intent {
            return self.hang_up(loss.reason.clone(), now);
        }
        match loss.class {
            CloseClass::Stop => return self.give_up(&Code::STOPPED, loss.reason.clone()),
            CloseClass::Forked => self.outbox.handle_forked(now),
            CloseClass::Replaced => {
                self.outbox.handle_replaced(now);
                self.replaced.retain(|at| now.mono.since(*at) < REPLACED_WITHIN);
                self.replaced.push_back(now.mono);
                if self.replaced.len() >= REPLACED_TIMES {
                    self.replaced.clear();
                    self.outbox.handle_forked(now);
                }
            }
            CloseClass::NewToken => self.tokens.handle_refused(carried),
            CloseClass::OwnerChanged
            | CloseClass::Retry
            | CloseClass::RetryAtCap
            | CloseClass::RetryAfter => {}
        }
        let code = match loss.class {
            CloseClass::NewToken => code_of(loss.reason.code),
            _ => Code::DISCONNECTED,
        };
        let again = self.config.auto_reconnect
            || loss.again
            || loss.class == CloseClass::OwnerChanged
            || (loss.class == CloseClass::NewToken && self.tokens.refusals() < 2);
        if !again {
            return self.give_up(&code, loss.reason.clone());
        }
        match loss.class {
            CloseClass::NewToken if !self.tokens.is_spent() => {
                // The application set another token meanwhile.
                self.connection = Connection::Fetching;
                self.advance(Happening::TokenGiven { fresh: true }, now);
            }
            CloseClass::NewToken if self.tokens.has_provider() => {
                self.fetch_token(Purpose::Attempt, now);
                self.tell_trying(None, loss.reason.clone());
                self.connection = Connection::Fetching;
            }
            CloseClass::NewToken => {
                self.wait_for_token(loss.reason.code, &loss.reason.text);
            }
            _ => self.wait(loss, now),
        }
    }

    /// Waits for the next attempt (P-C5).
    pub(super) fn wait(&mut self, loss: &Loss, now: Now) {
        if self.config.max_attempts.is_some_and(|max| self.backoff.attempts() >= max) {
            return self.give_up(&Code::DISCONNECTED, loss.reason.clone());
        }
        let delay = self.backoff.next(loss.class, loss.after, &mut self.rng);
        self.connection = Connection::Backoff { asked: delay.asked };
        self.timers.set(Timer::Attempt, now.mono + delay.span);
        self.tell_trying(Some(delay.span), loss.reason.clone());
    }

    /// The host says that an attempt may succeed now.
    pub(super) fn shorten_backoff(&mut self, now: Now) {
        let Connection::Backoff { asked: false } = self.connection else { return };
        let Some(at) = self.timers.at(Timer::Attempt) else { return };
        let Some(span) = self.backoff.shorten(now.mono, &mut self.rng) else { return };
        if now.mono + span < at {
            self.timers.set(Timer::Attempt, now.mono + span);
            let reason = Reason { code: 0, text: "the host says the network is there".into() };
            self.tell_trying(Some(span), reason);
        }
    }

    /// Waits until the application sets a token.
    pub(super) fn wait_for_token(&mut self, code: u16, text: &str) {
        self.connection = Connection::Unauthenticated;
        let reason = Reason { code, text: text.to_owned() };
        self.fail_connects(&code_of(code), &reason);
        self.calls.fail_all(&Error { code: Code::UNAUTHENTICATED, text: reason.text.clone() });
        self.tell(Status::Unauthenticated, reason, None);
    }

    /// Ends all attempts until the application connects again.
    pub(super) fn give_up(&mut self, code: &Code, reason: Reason) {
        self.connection = Connection::Idle;
        self.timers.stop(Timer::Attempt);
        self.fail_connects(code, &reason);
        self.intent = Intent::Down;
        self.calls.fail_all(&Error { code: code.clone(), text: reason.text.clone() });
        self.tell(Status::Disconnected, reason, None);
    }

    /// Disconnects by the application's wish.
    pub(super) fn hang_up(&mut self, reason: Reason, now: Now) {
        let code = if reason.code == 0 { close::NORMAL } else { reason.code };
        self.drop_link(&Loss::own(CloseClass::Retry, code, "the application disconnects"), now);
        for timer in [Timer::Attempt, Timer::Flush] {
            self.timers.stop(timer);
        }
        self.connection = Connection::Idle;
        self.fail_connects(&Code::CANCELLED, &reason);
        if let Intent::Leaving { calls } = std::mem::replace(&mut self.intent, Intent::Down) {
            for call in calls {
                self.output.push_back(Output::Reply(call, Ok(ReplyValue::Done)));
            }
        }
        self.calls.fail_all(&Error { code: Code::DISCONNECTED, text: "disconnected".into() });
        self.tell(Status::Disconnected, reason, None);
    }

    /// Closes the transport where this client ends it, and tells every part.
    pub(super) fn drop_link(&mut self, loss: &Loss, now: Now) {
        let Some(generation) = self.connection.generation() else { return };
        if loss.own {
            self.flush_flight();
            let close = Close { code: loss.reason.code, reason: loss.reason.text.clone() };
            self.output.push_back(Output::Close(generation, close));
        }
        self.flight.clear();
        let was_open = self.connection.link().is_some();
        self.connection = Connection::Idle;
        for timer in Timer::OF_LINK {
            self.timers.stop(timer);
        }
        if was_open {
            self.outbox.handle_link_down(loss.died, now);
            self.rooms.handle_link_down(now);
            self.presence.handle_link_down();
            self.calls.handle_link_down();
            for stream in self.media.handle_link_down() {
                self.output.push_back(Output::Event(ApiEvent::Stream(stream)));
            }
        }
    }

    /// Nothing of the last owner stays but its store (P-S1a).
    pub(super) fn handle_owner_changed(&mut self, now: Now) {
        self.welcomed_as = None;
        self.rooms.handle_owner_changed(now);
        self.presence.handle_owner_changed();
        self.media.handle_owner_changed();
        self.calls.forget_commands();
        let text = "the token names another user now".into();
        self.calls.fail_all(&Error { code: Code::DISCONNECTED, text });
    }
}

/// The stable code of a close that ended an attempt for want of a token.
fn code_of(close_code: u16) -> Code {
    match close_code {
        close::TOKEN_MISSING => Code::TOKEN_MISSING,
        close::TOKEN_INVALID => Code::TOKEN_INVALID,
        close::TOKEN_EXPIRED => Code::TOKEN_EXPIRED,
        close::TOKEN_REVOKED => Code::TOKEN_REVOKED,
        _ => Code::UNAUTHENTICATED,
    }
}
