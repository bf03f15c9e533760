//! Stable error codes: the words that travel in `refused`, `left`, `hold`, `reply` and the API.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// A stable error code. One page each in `docs/errors/`.
///
/// A code this version does not know is kept as it came.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

macro_rules! codes {
    ($($name:ident = $word:literal, $retryable:literal, $text:literal;)+) => {
        impl Code {
            $(#[doc = $text] pub const $name: Code = Code(Cow::Borrowed($word));)+

            /// Every code: word, whether the same call may succeed later, meaning.
            pub const TABLE: &[(&'static str, bool, &'static str)] =
                &[$(($word, $retryable, $text)),+];

            /// The same without the meanings, which no client needs.
            const RETRYABLE: &[(&'static str, bool)] = &[$(($word, $retryable)),+];
        }
    };
}

codes! {
    BAD_ROOM = "bad_room", false, "The text is no room address (P-F4).";
    BAD_DATA = "bad_data", false, "The data is no JSON text of at most 32 levels without duplicate keys (P-F1).";
    BAD_EVENT = "bad_event", false, "The event name is empty, longer than 128 bytes, or reserved for the server.";
    BAD_FILTER = "bad_filter", false, "The filter is too large or not of the form P-R10 gives.";
    BAD_STATUS = "bad_status", false, "The status is none of online, away, busy, offline, or its metadata is too large.";
    BAD_PARAMS = "bad_params", false, "The parameters of a call or command do not fit it.";
    TOO_LARGE = "too_large", false, "The item is larger than the server's limit.";
    FORBIDDEN = "forbidden", false, "The user may not do this here, or the room does not exist.";
    NOT_JOINED = "not_joined", false, "The call needs a membership of the room.";
    ROOMS = "rooms", true, "The connection has joined as many rooms as it may.";
    FILTERS = "filters", true, "The room has as many different filters as it may (64).";
    RATE = "rate", true, "A rate limit; wait as long as `after` says.";
    UNAVAILABLE = "unavailable", true, "The log cannot answer now; nothing is known to be lost.";
    ORDER = "order", true, "A number came before its predecessor (P-S2).";
    UNKNOWN_TYPE = "unknown_type", false, "The peer does not know this frame type.";
    UNKNOWN_METHOD = "unknown_method", false, "The server does not know this call.";
    NO_HANDLER = "no_handler", false, "No handler was ever registered for this command.";
    HANDLER = "handler", false, "The handler answered with an error of its own.";
    EXPIRED = "expired", false, "The time to live ended before the item was taken.";
    TIMEOUT = "timeout", true, "No answer in time; the effect is unknown.";
    CANCELLED = "cancelled", false, "The application cancelled the item before it was accepted.";
    POISON = "poison", false, "The item was under way at ten link deaths in a row (P-S9).";
    NOT_FOUND = "not_found", false, "What the command names does not exist.";
    CONFLICT = "conflict", false, "The state of the thing named does not allow the command.";
    QUEUE_FULL = "queue_full", true, "The outbox holds as many items as it may.";
    UNCERTAIN = "uncertain", false, "The server's record is gone: the item may or may not have been accepted (P-S6).";
    UNAUTHENTICATED = "unauthenticated", false, "No valid token; set one to go on.";
    DISCONNECTED = "disconnected", true, "Not connected, and the call does not wait.";
    STOPPED = "stopped", false, "The server told this client to stop, or the application disconnected it.";
    CLOSED = "closed", false, "The client handle is closed.";
    STORAGE = "storage", true, "The outbox store failed.";
    GAP = "gap", false, "Events were lost to retention or fail-over; the event tells from where to where.";
    ACCEPTED_LOST = "accepted_lost", false, "The server forgot items it had accepted; they are sent again.";
    FORKED = "forked", false, "Two outboxes use one producer, as after a copied store (P-S2).";
    BAD_CONFIG = "bad_config", false, "The configuration is not usable; the message says what and why.";
    TOKEN_MISSING = "token_missing", false, "No token was given.";
    TOKEN_INVALID = "token_invalid", false, "The token did not verify.";
    TOKEN_EXPIRED = "token_expired", false, "The token is past its end.";
    TOKEN_REVOKED = "token_revoked", false, "The token, its user or its tenant was revoked.";
    DRAINING = "draining", true, "The server is about to restart and takes nobody in; connect again.";
    UPGRADE_REQUIRED = "upgrade_required", false, "The path speaks WebSocket, version 13, and nothing else.";
    METHOD_NOT_ALLOWED = "method_not_allowed", false, "The path is not to be asked by this HTTP method.";
    INTERNAL = "internal", true, "The server failed in a way it did not foresee.";
}

impl Code {
    /// Borrows the word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the same call may succeed later without a change by the application.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        Self::RETRYABLE.iter().any(|(word, retryable)| *word == self.0 && *retryable)
    }
}

impl From<String> for Code {
    fn from(word: String) -> Self {
        Self(Cow::Owned(word))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
