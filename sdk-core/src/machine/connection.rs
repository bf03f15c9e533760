//! Where the connection stands: one enum, one match of state and happening.
//!
//! ```text
//!                     connect
//!         Idle ───────────────────┐
//!                                 ▼
//!   ┌── store not loaded ── an attempt begins ── no token ──┐
//!   ▼                             │                          ▼
//! Loading ─────── loaded ────────▶│◀───── token ───────── Fetching ─ none ─▶ Unauthenticated
//!                                 ▼                          ▲                  │       ▲
//!                              Dialing ◀─────────────────────┼──── token set ───┘       │
//!                   ┌─── due ───▶ │ opened: hello, joins     │                          │
//!                   │             ▼                          │ token refused            │ and no
//!                Backoff       Opening ──────────────────────┤                          │ provider
//!                   ▲             │ welcome                  │                          │
//!                   │             ▼                          │                          │
//!                   └─ lost ── Welcomed ─────────────────────┴──────────────────────────┘
//!
//! From any state: hang up, a code of class stop, attempts used up ──▶ Idle.
//! The same token again, two refused in a row, or no answer of the provider: from Fetching to Backoff.
//! ```

use super::{
    Machine,
    io::{Generation, Reason},
    loss::Loss,
    probe::Heartbeat,
};
use crate::{
    protocol::{
        Limits, Token,
        close::{self, CloseClass},
        frames::Welcome,
    },
    time::{Instant, Now},
};

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
    /// The next attempt waits for `Timer::Attempt`.
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

/// What moves the connection.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// Something an attempt may have waited for is there: the call to connect, the store, a token.
    GoOn,
    /// A token is there for the attempt; `fresh`: not the one the server refused.
    TokenGiven { fresh: bool },
    /// The provider has no token for the attempt.
    NoToken,
    /// The provider did not answer in time.
    TokenLate,
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
            // Not the same as having none: the next attempt asks again.
            (Connection::Fetching, Happening::TokenLate) => {
                let text = "the token provider did not answer in time";
                let loss = Loss::own(CloseClass::Retry, close::TOKEN_MISSING, text);
                self.wait(&loss, now);
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
}
