//! Close codes and what a client does after each: one table (P-C7).

use super::wire::FromJson as _;

/// What a client does after a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseClass {
    /// Try again by the backoff of P-C5.
    Retry,
    /// Try again at the backoff's cap (20 s).
    RetryAtCap,
    /// Try again after the time the server named in the close reason (none: 10 s).
    RetryAfter,
    /// Ask the token provider, then try again at once (P-C6).
    NewToken,
    /// Stop until the application connects again.
    Stop,
    /// The same producer connected elsewhere (4001); three in a minute count as `Forked`.
    Replaced,
    /// The store of this outbox was copied (4010): settle and draw a new producer (P-S6).
    Forked,
    /// The token now names another owner (4203): reconnect with that owner's outbox, no rooms (P-S1a).
    OwnerChanged,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $class:ident, $text:literal;)+) => {
        $(#[doc = $text] pub const $name: u16 = $code;)+

        /// Every close code this version gives a meaning of its own: code, name, class, meaning.
        pub const TABLE: &[(u16, &str, CloseClass, &str)] =
            &[$(($code, stringify!($name), CloseClass::$class, $text)),+];

        /// The class of a code of the table. No look into it: its words are not a client's to carry.
        const fn class_of_known(code: u16) -> Option<CloseClass> {
            match code {
                $($code => Some(CloseClass::$class),)+
                _ => None,
            }
        }
    };
}

codes! {
    NORMAL = 1000, Retry, "A normal end. From the client: gone at once, presence too (P-P2).";
    GOING_AWAY = 1001, Retry, "The page or the server goes away.";
    PROTOCOL_ERROR = 1002, RetryAtCap, "A frame broke RFC 6455.";
    UNSUPPORTED_DATA = 1003, RetryAtCap, "A kind of data the endpoint does not take.";
    NOT_UTF8 = 1007, RetryAtCap, "A text frame was not UTF-8.";
    POLICY = 1008, RetryAtCap, "A policy of a middle box.";
    TOO_BIG = 1009, RetryAtCap, "A frame larger than the announced limit, refused at its header.";
    EXTENSION = 1010, RetryAtCap, "An extension was expected.";
    SHUTDOWN = 4000, Retry, "The server restarts or drains.";
    REPLACED = 4001, Replaced, "A newer connection of the same producer took over.";
    IDLE = 4002, Retry, "Nothing was received for twice the ping interval (P-C3).";
    SLOW = 4003, Retry, "The client did not read for too long.";
    HELLO_TIMEOUT = 4004, Retry, "No hello within 5 s of the upgrade (P-C1).";
    PROBE_FAILED = 4005, Retry, "The client's probe was not answered (P-C4). Sent by the client.";
    INTERNAL = 4009, Retry, "The server failed; nothing accepted is lost.";
    FORKED = 4010, Forked, "Two outboxes use one producer (P-S2, rule 5).";
    TOKEN_MISSING = 4100, NewToken, "No token came with hello.";
    TOKEN_INVALID = 4101, NewToken, "The token did not verify.";
    TOKEN_EXPIRED = 4102, NewToken, "The token is past its `exp`.";
    TOKEN_REVOKED = 4103, NewToken, "The token, its user or its tenant was revoked (P-C6a).";
    BAD_FRAME = 4200, Stop, "A frame is no object of this protocol (P-F2).";
    BAD_VERSION = 4201, Stop, "No common subprotocol (P-F5).";
    TENANT_INACTIVE = 4202, Stop, "The tenant is inactive (V5).";
    OWNER_CHANGED = 4203, OwnerChanged, "`auth` named another tenant or user (P-S1a).";
    HELLO_TWICE = 4204, Stop, "The first frame was no hello, or a second hello came.";
    BAD_ORIGIN = 4205, Stop, "The page's origin is not allowed (V16).";
    RATE_LIMITED = 4300, RetryAfter, "Too many connections or messages in the time allowed (V6).";
    CONNECTION_LIMIT = 4301, RetryAfter, "The user or tenant has its most connections open (V6).";
    OVERLOADED = 4302, RetryAfter, "The server takes no more connections now.";
}

/// The class of a close code. Everything unknown is worth another try (P-C7).
#[must_use]
pub fn class_of(code: u16) -> CloseClass {
    if let Some(class) = class_of_known(code) {
        return class;
    }
    match code {
        1007..=1010 => CloseClass::RetryAtCap,
        4100..=4199 => CloseClass::NewToken,
        4200..=4299 => CloseClass::Stop,
        4300..=4399 => CloseClass::RetryAfter,
        _ => CloseClass::Retry,
    }
}

/// The class of an HTTP status met instead of the upgrade (P-C7).
#[must_use]
pub fn class_of_http(status: u16) -> CloseClass {
    match status {
        401 => CloseClass::NewToken,
        429 | 503 => CloseClass::RetryAfter,
        400..=499 => CloseClass::RetryAtCap,
        _ => CloseClass::Retry,
    }
}

/// Reads `after=MS` from a close reason such as `after=5000 slow`; at most 5 min (P-C5).
#[must_use]
pub fn after_ms(reason: &str) -> Option<u64> {
    let word = reason.split(' ').find_map(|word| word.strip_prefix("after="))?;
    u64::from_json(word).map(|ms| ms.min(300_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_class_and_unknown_ones_retry() {
        assert_eq!(class_of(4102), CloseClass::NewToken);
        assert_eq!(class_of(4150), CloseClass::NewToken);
        assert_eq!(class_of(4299), CloseClass::Stop);
        assert_eq!(class_of(4099), CloseClass::Retry);
        assert_eq!(class_of(1006), CloseClass::Retry);
        assert_eq!(class_of(4999), CloseClass::Retry);
        let mut codes: Vec<_> = TABLE.iter().map(|row| row.0).collect();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
    }

    #[test]
    fn after_is_read_and_bounded() {
        assert_eq!(after_ms("after=5000 slow"), Some(5000));
        assert_eq!(after_ms("after=99999999"), Some(300_000));
        assert_eq!(after_ms("slow"), None);
    }
}
