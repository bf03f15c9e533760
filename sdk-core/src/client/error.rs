//! Errors as the application meets them: one variant for each thing it can do about them.

use crate::{
    machine,
    protocol::{Code, address::BadRoom, filter::BadFilter, frames::ErrorBody, json::JsonError},
};

/// What went wrong with a call (C14).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[cfg_attr(feature = "uniffi", derive(uniffi::Error))]
pub enum Error {
    /// The call itself is wrong; the same call will never succeed.
    #[error("{code}: {reason}")]
    Invalid {
        /// The stable code.
        code: Code,
        /// Words for a developer.
        reason: String,
    },
    /// The server, or the handler of a command, said no. For good, unless something changes there.
    #[error("{code}: {reason}")]
    Refused {
        /// The stable code.
        code: Code,
        /// Words for a developer.
        reason: String,
    },
    /// It did not work now; the same call may work later.
    #[error("{code}: {reason}")]
    Later {
        /// The stable code.
        code: Code,
        /// Words for a developer.
        reason: String,
    },
    /// The client has no valid token: set one.
    #[error("{code}: {reason}")]
    Unauthenticated {
        /// The stable code.
        code: Code,
        /// Words for a developer.
        reason: String,
    },
    /// Whether it took effect is not known: look before doing it again (P-S6, P-S8).
    #[error("{code}: {reason}")]
    Uncertain {
        /// The stable code.
        code: Code,
        /// Words for a developer.
        reason: String,
    },
    /// The client has ended or was stopped: make or connect one.
    #[error("{code}: {reason}")]
    Closed {
        /// The stable code.
        code: Code,
        /// Words for a developer.
        reason: String,
    },
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Sorts a code into its variant.
    #[must_use]
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self::sorted(code, reason.into())
    }

    fn sorted(code: Code, reason: String) -> Self {
        match code.as_str() {
            "bad_room" | "bad_data" | "bad_event" | "bad_filter" | "bad_status" | "bad_params"
            | "bad_config" | "too_large" | "unknown_type" | "unknown_method" | "not_joined" => {
                Self::Invalid { code, reason }
            }
            "unauthenticated" | "token_missing" | "token_invalid" | "token_expired"
            | "token_revoked" => Self::Unauthenticated { code, reason },
            "uncertain" | "timeout" | "poison" => Self::Uncertain { code, reason },
            "closed" | "stopped" => Self::Closed { code, reason },
            _ if code.is_retryable() => Self::Later { code, reason },
            _ => Self::Refused { code, reason },
        }
    }

    /// The stable code; `docs/errors/` has a page for each.
    #[must_use]
    pub const fn code(&self) -> &Code {
        match self {
            Self::Invalid { code, .. }
            | Self::Refused { code, .. }
            | Self::Later { code, .. }
            | Self::Unauthenticated { code, .. }
            | Self::Uncertain { code, .. }
            | Self::Closed { code, .. } => code,
        }
    }

    /// Words for a developer.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Invalid { reason, .. }
            | Self::Refused { reason, .. }
            | Self::Later { reason, .. }
            | Self::Unauthenticated { reason, .. }
            | Self::Uncertain { reason, .. }
            | Self::Closed { reason, .. } => reason,
        }
    }

    /// Whether the same call may succeed later although nothing is changed. Never for
    /// [`Error::Uncertain`]: doing it again may do it twice.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Later { .. } => true,
            Self::Invalid { .. }
            | Self::Refused { .. }
            | Self::Unauthenticated { .. }
            | Self::Uncertain { .. }
            | Self::Closed { .. } => false,
        }
    }

    pub(crate) fn closed() -> Self {
        Self::new(Code::CLOSED, "the client has ended")
    }
}

impl From<machine::Error> for Error {
    fn from(error: machine::Error) -> Self {
        Self::new(error.code, error.text)
    }
}

impl From<ErrorBody> for Error {
    fn from(error: ErrorBody) -> Self {
        Self::new(error.code, error.message)
    }
}

impl From<BadRoom> for Error {
    fn from(error: BadRoom) -> Self {
        Self::new(Code::BAD_ROOM, error.to_string())
    }
}

impl From<BadFilter> for Error {
    fn from(error: BadFilter) -> Self {
        Self::new(Code::BAD_FILTER, error.to_string())
    }
}

impl From<JsonError> for Error {
    fn from(error: JsonError) -> Self {
        Self::new(Code::BAD_DATA, error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Code::BAD_DATA, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c14_every_code_has_its_variant_and_only_later_is_tried_again() {
        for (word, retryable, _) in Code::TABLE {
            let error = Error::new(Code::from((*word).to_owned()), "");
            let effect_unknown = matches!(error, Error::Uncertain { .. });
            assert_eq!(error.is_retryable(), *retryable && !effect_unknown, "{word}");
            assert_eq!(error.code().as_str(), *word);
        }
    }
}
