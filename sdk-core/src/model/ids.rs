//! Identifiers: newtypes over text for names the application chooses, over 128 random bits for
//! names the SDK draws.

use crate::protocol::json::unhex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::Arc};

macro_rules! text_ids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Borrows the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    )+};
}

text_ids! {
    /// A tenant, as the verified token names it. Never taken from anything else (P-F4).
    TenantId,
    /// A user within a tenant.
    UserId,
    /// An organization within a tenant.
    OrganizationId,
    /// A connection, as the server names it in `welcome`.
    ConnectionId,
    /// A camera.
    CameraId,
    /// An alert.
    AlertId,
    /// A recording.
    RecordingId,
    /// A radio channel, asset, incident or task of the dispatch namespace.
    DispatchId,
}

macro_rules! random_ids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        ///
        /// On the wire: 32 lower-case hex digits. A UUID with hyphens is read as well.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                parse_hex_128(text).map(Self).ok_or(BadId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

random_ids! {
    /// The id of a sent item and of the event it becomes (P-S1).
    ItemId,
    /// The producer: one per outbox store, made with it (P-S1).
    ProducerId,
}

/// A text that is not 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hex digits")]
pub struct BadId;

fn parse_hex_128(text: &str) -> Option<u128> {
    if text.len() == 36 {
        let hyphens =
            text.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23));
        return if hyphens { parse_hex_128(&text.replace('-', "")) } else { None };
    }
    if text.len() == 32 { unhex(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_wire_and_a_uuid_is_read() {
        let id = ItemId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("01234567-89ab-cdef-0011-223344556677".parse(), Ok(id));
        assert_eq!("+1234567-89ab-cdef-0011-223344556677".parse::<ItemId>(), Err(BadId));
        assert_eq!("0123".parse::<ItemId>(), Err(BadId));
    }
}
