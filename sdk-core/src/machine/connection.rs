//! Where the connection stands: one enum, one match of state and happening.
//!
//! ```text
//!            go on                store loaded            token given
//!   Idle ───────────▶ Loading ──────────────▶ Fetching ────────────────┐
//!    ▲                   │ store and token there already               │
//!    │ hang up,          └───────────────────────────────────────────┐ │
//!    │ stop (any state)                                              ▼ ▼
//!    │               Unauthenticated ◀── no token ── Fetching     Dialing ◀──┐
//!    │                     │ token set, connect                      │ opened│
//!    └─────────────────────┼─────────────────────────────────────────┤       │ due
//!                          ▼                                         ▼       │
//!                   Loading / Dialing        Welcomed ◀─ welcome ─ Opening   │
//!                                               │                    │       │
//!                                               └──── lost ─▶ Backoff┴───────┘
//!                               (a token refused: Fetching or Unauthenticated)
//! ```

use super::{
    Machine,
    backoff::{SETTLED_AFTER, uniform},
    io::{
        ApiEvent, CallId, Close, Config, DialError, Error, Generation, Output, Owner, Reason,
        ReplyValue, Status,
    },
    probe::{Heartbeat, LIVED_AFTER, Verdict},
    timers::Timer,
    tokens::{Purpose, refresh_after},
};
use crate::{
    planted::{Bug, planted},
    protocol::{
        ClientFrame, Code, Limits, Token,
        close::{self, CloseClass},
        frames::{Auth, Drain, Hello, Ping, SetStatus, Welcome},
        limits::{HELLO_BYTES, PATH},
    },
    time::{Instant, Now},
};
use std::time::Duration;

/// The host gives a dial up after 20 s; one that does not say so is given up here.
const DIAL_WITHIN: Duration = Duration::from_secs(25);
/// How long a disconnect waits for what was submitted before it.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);
/// Three times replaced within this time counts as a copied store (P-C7).
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
const REPLACED_TIMES: usize = 3;
/// The latest moment of a drain's window that is honoured.
const LEAVE_WITHIN_MS: u64 = 300_000;

/// The state. What is valid only in one state lives in it.
#[derive(Clone, Debug)]
pub(super) enum Connection {
    /// Neither connected nor trying.
    Idle,
    /// An attempt waits for the store.
    Loading,
    /// An attempt waits for the token provider.
    Fetching,
    /// No attempt before the application sets a token.
    Unauthenticated,
    /// The next attempt waits for [`Timer::Attempt`].
    Backoff {
        /// The server asked for the delay.
        asked: bool,
    },
    /// The host opens a transport.
    Dialing {
        /// Its name.
        generation: Generation,
    },
    /// `hello` and the joins are under way.
    Opening(Link),
    /// The server knows this client.
    Welcomed(Link, Session),
}

/// An open transport.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) generation: Generation,
    pub(super) heartbeat: Heartbeat,
    /// The token `hello` or the last `auth` carried.
    pub(super) token: Option<Token>,
    /// What was said last about being seen.
    pub(super) hidden: bool,
}

/// What `welcome` said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) limits: Limits,
    /// When the token ends.
    pub(super) expires: Option<Instant>,
}

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

/// What moves the connection.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// Something an attempt may have waited for is there: the call to connect, the store, a token.
    GoOn,
    /// A token is there for the attempt; `fresh`: not the one the server refused.
    TokenGiven { fresh: bool },
    /// The provider has no token for the attempt.
    NoToken,
    /// The delay is over.
    Due,
    /// The transport opened.
    Opened,
    /// The server said `welcome`.
    Welcomed(Box<Welcome>),
    /// The transport is gone, or is to go.
    Lost(Loss),
    /// The application disconnects, or nothing is left to wait for.
    HangUp(Reason),
}

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

impl Connection {
    /// The transport that counts.
    pub(super) fn generation(&self) -> Option<Generation> {
        match self {
            Self::Dialing { generation } => Some(*generation),
            Self::Opening(link) | Self::Welcomed(link, _) => Some(link.generation),
            _ => None,
        }
    }

    /// The open transport.
    pub(super) fn link(&self) -> Option<&Link> {
        match self {
            Self::Opening(link) | Self::Welcomed(link, _) => Some(link),
            _ => None,
        }
    }

    /// The open transport.
    pub(super) fn link_mut(&mut self) -> Option<&mut Link> {
        match self {
            Self::Opening(link) | Self::Welcomed(link, _) => Some(link),
            _ => None,
        }
    }

    /// What `welcome` said.
    pub(super) fn session(&self) -> Option<&Session> {
        match self {
            Self::Welcomed(_, session) => Some(session),
            _ => None,
        }
    }
}

impl Machine {
    /// Moves the connection. Every pair that is not named changes nothing.
    pub(super) fn advance(&mut self, happening: Happening, now: Now) {
        match (&self.connection, happening) {
            // ── Idle, Loading: an attempt begins once the store is there.
            (Connection::Idle | Connection::Loading, Happening::GoOn) => self.begin(now),

            // ── Fetching, Unauthenticated: for want of a token.
            (
                Connection::Fetching | Connection::Unauthenticated,
                Happening::TokenGiven { fresh: true },
            ) if self.tokens.refusals() < 2 => {
                self.tell_trying(None, Reason { code: 0, text: "a token is there".into() });
                self.attempt(now);
            }
            // The same token again, or one more after two were refused: a failed attempt (P-C6).
            (Connection::Fetching | Connection::Unauthenticated, Happening::TokenGiven { .. }) => {
                let text = "the server refused the last token";
                let loss = Loss::own(CloseClass::Retry, close::TOKEN_INVALID, text);
                self.wait(&loss, now);
            }
            (Connection::Fetching, Happening::NoToken) => {
                self.wait_for_token(close::TOKEN_MISSING, "the provider has no token");
            }
            (Connection::Unauthenticated, Happening::GoOn) => self.begin(now),

            // ── Backoff.
            (Connection::Backoff { .. }, Happening::Due) => self.attempt(now),

            // ── Dialing.
            (Connection::Dialing { generation }, Happening::Opened) => {
                self.open(*generation, now);
            }

            // ── Opening.
            (Connection::Opening(_), Happening::Welcomed(welcome)) => {
                self.greet(*welcome, now);
            }

            // ── A transport that ends.
            (
                Connection::Dialing { .. } | Connection::Opening(_) | Connection::Welcomed(..),
                Happening::Lost(loss),
            ) => self.lose(&loss, now),

            // ── Any state.
            (_, Happening::HangUp(reason)) => self.hang_up(reason, now),
            (_, _) => {}
        }
    }

    /// An attempt from the start: store, token, dial.
    fn begin(&mut self, now: Now) {
        if !self.outbox.is_ready() {
            self.connection = Connection::Loading;
        } else if self.tokens.is_spent() && self.tokens.has_provider() {
            self.fetch_token(Purpose::Attempt);
            self.connection = Connection::Fetching;
        } else {
            self.attempt(now);
        }
    }

    /// An attempt with the token that is there.
    fn attempt(&mut self, now: Now) {
        if !self.outbox.is_ready() {
            self.connection = Connection::Loading;
        } else if self.tokens.current().is_some() {
            if planted(Bug::ResetBackoffEarly) {
                self.backoff.reset();
            }
            self.generation += 1;
            let generation = Generation(self.generation);
            self.connection = Connection::Dialing { generation };
            self.timers.set(Timer::Dial, now.mono + DIAL_WITHIN);
            self.output.push_back(Output::Dial(generation, dial_url(&self.config.url)));
        } else if self.tokens.has_provider() {
            self.fetch_token(Purpose::Attempt);
            self.connection = Connection::Fetching;
        } else {
            self.wait_for_token(close::TOKEN_MISSING, "no token was set");
        }
    }

    /// `hello`, and the joins in the same flight (P-C1).
    fn open(&mut self, generation: Generation, now: Now) {
        self.timers.stop(Timer::Dial);
        self.timers.set(Timer::Lived, now.mono + LIVED_AFTER);
        let token = self.tokens.current().cloned();
        let hidden = self.presence.is_hidden();
        let (producer, lanes) = self.outbox.hello();
        let hello = Hello {
            token: token.clone(),
            producer,
            lanes,
            features: Vec::new(),
            client: self.config.client.clone(),
            hidden,
        };
        let heartbeat = Heartbeat::new(self.leniency, now.mono);
        self.connection = Connection::Opening(Link { generation, heartbeat, token, hidden });
        let hello = ClientFrame::from(hello).encode();
        if hello.len() > HELLO_BYTES {
            let text = "the token and the client's description are larger than hello may be";
            let loss = Loss::own(CloseClass::Stop, close::BAD_FRAME, text);
            return self.lose(&loss, now);
        }
        self.write(hello);
        // The server refuses a larger first frame unread: joins go in frames of their own.
        self.flush_flight();
        for join in self.rooms.joins_for_hello(now) {
            self.write(ClientFrame::from(join).encode());
        }
        // A limit for the answer to hello is the probe of P-C4.
    }

    /// Takes `welcome`: whose connection this is, and what follows from that.
    fn greet(&mut self, welcome: Welcome, now: Now) {
        let owner = Owner {
            server: server_of(&self.config.url),
            tenant: welcome.tenant.clone(),
            user: welcome.user.clone(),
        };
        self.tokens.handle_taken();
        if !self.outbox.handle_welcome(owner.clone(), welcome.accepted, &welcome.limits, now) {
            // Nothing of this outbox travels under another owner's token (P-S1a). The rooms stay if
            // they were never the other owner's: so at the start, or behind a close 4203.
            let text = "the token names another owner than the outbox";
            let mut loss = Loss::own(CloseClass::Retry, close::SHUTDOWN, text);
            loss.again = true;
            if self.welcomed_as.as_ref().is_some_and(|known| *known != owner) {
                loss.class = CloseClass::OwnerChanged;
            }
            return self.lose(&loss, now);
        }
        self.welcomed_as = Some(owner);
        let Connection::Opening(link) = std::mem::replace(&mut self.connection, Connection::Idle)
        else {
            return;
        };
        let expires = self.schedule_refresh(welcome.expires_in, now);
        let (carried, was_hidden) = (link.token.clone(), link.hidden);
        self.connection = Connection::Welcomed(link, Session { limits: welcome.limits, expires });
        self.timers.set(Timer::Settled, now.mono + SETTLED_AFTER);

        self.tell(Status::Connected, Reason { code: 0, text: "welcome".into() }, None);
        self.output.push_back(Output::Event(ApiEvent::Established {
            connection: welcome.connection,
            tenant: welcome.tenant,
            user: welcome.user,
            limits: welcome.limits,
        }));
        if let Intent::Up { calls, welcomed } = &mut self.intent {
            *welcomed = true;
            for call in std::mem::take(calls) {
                self.output.push_back(Output::Reply(call, Ok(ReplyValue::Done)));
            }
        }

        // What changed while hello was under way, and what each connection is told anew.
        if self.tokens.current() != carried.as_ref() {
            self.write_auth();
        }
        if let Some(status) = self.presence.retold() {
            self.write(ClientFrame::from(status).encode());
        }
        if self.presence.is_hidden() != was_hidden {
            let hidden = Some(!was_hidden);
            let status = SetStatus { hidden, ..SetStatus::default() };
            self.write(ClientFrame::from(status).encode());
        }
        for stream in self.media.handle_welcome() {
            self.write(ClientFrame::from(stream).encode());
        }
        self.calls.handle_welcome(now.mono);
    }

    /// Ends a transport and decides what follows from how it ended (P-C7).
    fn lose(&mut self, loss: &Loss, now: Now) {
        let carried = match self.connection.link() {
            Some(link) => link.token.clone(),
            None => self.tokens.current().cloned(),
        };
        self.drop_link(loss, now);
        if let Intent::Leaving { .. } = self.intent {
            return self.hang_up(loss.reason.clone(), now);
        }
        match loss.class {
            CloseClass::Stop => return self.give_up(&Code::STOPPED, loss.reason.clone()),
            CloseClass::OwnerChanged => self.handle_owner_changed(now),
            CloseClass::Forked => self.outbox.handle_forked(now),
            CloseClass::Replaced => {
                self.replaced.retain(|at| now.mono.since(*at) < REPLACED_WITHIN);
                self.replaced.push_back(now.mono);
                if self.replaced.len() >= REPLACED_TIMES {
                    self.replaced.clear();
                    self.outbox.handle_forked(now);
                }
            }
            CloseClass::NewToken => self.tokens.handle_refused(carried),
            CloseClass::Retry | CloseClass::RetryAtCap | CloseClass::RetryAfter => {}
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
                self.fetch_token(Purpose::Attempt);
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
    fn wait(&mut self, loss: &Loss, now: Now) {
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
    fn wait_for_token(&mut self, code: u16, text: &str) {
        self.connection = Connection::Unauthenticated;
        let reason = Reason { code, text: text.to_owned() };
        self.fail_connects(&code_of(code), &reason);
        self.calls.fail_all(&Error { code: Code::UNAUTHENTICATED, text: reason.text.clone() });
        self.tell(Status::Unauthenticated, reason, None);
    }

    /// Ends all attempts until the application connects again.
    fn give_up(&mut self, code: &Code, reason: Reason) {
        self.connection = Connection::Idle;
        self.timers.stop(Timer::Attempt);
        self.fail_connects(code, &reason);
        self.intent = Intent::Down;
        self.calls.fail_all(&Error { code: code.clone(), text: reason.text.clone() });
        self.tell(Status::Disconnected, reason, None);
    }

    /// Disconnects by the application's wish.
    fn hang_up(&mut self, reason: Reason, now: Now) {
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
    fn drop_link(&mut self, loss: &Loss, now: Now) {
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
    fn handle_owner_changed(&mut self, now: Now) {
        self.welcomed_as = None;
        self.rooms.handle_owner_changed(now);
        self.presence.handle_owner_changed();
        self.media.handle_owner_changed();
        self.calls.forget_commands();
        let text = "the token names another user now".into();
        self.calls.fail_all(&Error { code: Code::DISCONNECTED, text });
    }

    // What the application and the host ask of the connection.

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
            Verdict::Ping => self.write(ClientFrame::from(Ping::default()).encode()),
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
                    self.fetch_token(Purpose::Refresh);
                }
            }
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

    /// Writes `auth` with the token that is there.
    pub(super) fn write_auth(&mut self) {
        let Some(token) = self.tokens.current().cloned() else { return };
        if let Some(link) = self.connection.link_mut() {
            link.token = Some(token.clone());
            self.write(ClientFrame::from(Auth { token }).encode());
        }
    }

    fn fetch_token(&mut self, purpose: Purpose) {
        if self.tokens.ask(purpose) {
            self.output.push_back(Output::FetchToken);
        }
    }

    fn fail_connects(&mut self, code: &Code, reason: &Reason) {
        if let Intent::Up { calls, .. } = &mut self.intent {
            for call in std::mem::take(calls) {
                let error = Error { code: code.clone(), text: reason.text.clone() };
                self.output.push_back(Output::Reply(call, Err(error)));
            }
        }
    }

    fn tell_trying(&mut self, retry_in: Option<Duration>, reason: Reason) {
        let again = matches!(self.intent, Intent::Up { welcomed: true, .. });
        let status = if again { Status::Reconnecting } else { Status::Connecting };
        self.tell(status, reason, retry_in);
    }

    fn tell(&mut self, status: Status, reason: Reason, retry_in: Option<Duration>) {
        if status != self.status || retry_in.is_some() {
            self.status = status;
            self.output.push_back(Output::Event(ApiEvent::Status { status, reason, retry_in }));
        }
    }
}

/// The url with the default path where it has none.
pub(super) fn dial_url(url: &str) -> String {
    let rest = url.find("://").map_or(0, |at| at + 3);
    let end = url[rest..].find(['/', '?', '#']).map_or(url.len(), |at| rest + at);
    let (host, tail) = url.split_at(end);
    match tail.strip_prefix('/').unwrap_or(tail) {
        query if query.is_empty() || query.starts_with(['?', '#']) => {
            format!("{host}{PATH}{query}")
        }
        _ => url.to_owned(),
    }
}

/// The server an outbox belongs to: the url without its query, which may hold secrets.
fn server_of(url: &str) -> String {
    let url = dial_url(url);
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
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

/// Whether the configuration can be used; the text says what is wrong.
fn check(config: &Config) -> Result<(), String> {
    let rest = ["ws://", "wss://"].iter().find_map(|scheme| config.url.strip_prefix(scheme));
    match rest {
        None => Err("the url does not begin with ws:// or wss://".into()),
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => {
            Err("the url names no host".into())
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_one() {
        for (url, dialled) in [
            ("ws://host", "ws://host/wardline"),
            ("ws://host:9001/", "ws://host:9001/wardline"),
            ("wss://host?x=1", "wss://host/wardline?x=1"),
            ("wss://host/?x=1", "wss://host/wardline?x=1"),
            ("wss://host/live", "wss://host/live"),
        ] {
            assert_eq!(dial_url(url), dialled);
        }
        assert_eq!(server_of("wss://host?token=s3cret"), "wss://host/wardline");
    }
}
