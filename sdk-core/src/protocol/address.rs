//! Room addresses: `namespace/room`, never normalised (P-F4).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::Arc};

/// The longest address, in bytes.
pub const MAX_ADDRESS: usize = 200;
/// The longest part of a room name, in bytes.
pub const MAX_PART: usize = 96;
/// The reserved tenant that holds `public:` rooms.
pub const PUBLIC_TENANT: &str = "~public";

/// A checked address such as `alerts/tenant:123`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

/// A text that is no address: error code `bad_room`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a room address: namespace \"/\" parts joined by \":\", at most 200 bytes")]
pub struct BadRoom;

impl Address {
    /// Checks and joins a namespace and a room name.
    ///
    /// # Errors
    /// [`BadRoom`] when either breaks P-F4.
    pub fn new(namespace: &str, room: &str) -> Result<Self, BadRoom> {
        [namespace, "/", room].concat().parse()
    }

    /// No room: what stands where an address could not be read.
    pub(crate) fn nowhere() -> Self {
        Self("".into())
    }

    /// Borrows the whole address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the slash.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The part behind the slash.
    #[must_use]
    pub fn room(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, room)| room)
    }

    /// The room's parts, in order. Compare whole parts, never prefixes.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.room().split(':')
    }
}

fn is_namespace(text: &str) -> bool {
    let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 32
        && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && text.bytes().all(tail)
}

fn is_part(text: &str) -> bool {
    (1..=MAX_PART).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~@|+=-".contains(&b))
}

impl FromStr for Address {
    type Err = BadRoom;

    fn from_str(text: &str) -> Result<Self, BadRoom> {
        let (namespace, room) = text.split_once('/').ok_or(BadRoom)?;
        let good =
            text.len() <= MAX_ADDRESS && is_namespace(namespace) && room.split(':').all(is_part);
        if good { Ok(Self(text.into())) } else { Err(BadRoom) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_p_f4() {
        for good in
            ["alerts/tenant:123", "video/camera:7", "a-1/x", "dispatch/incident:789:org:456"]
        {
            assert_eq!(good.parse::<Address>().unwrap().as_str(), good);
        }
        let long = format!("a/{}", "x".repeat(97));
        for bad in
            ["", "alerts", "Alerts/x", "1a/x", "a/", "a/x:", "a/:x", "a/x y", "a/b/c", "a/ü", &long]
        {
            assert_eq!(bad.parse::<Address>(), Err(BadRoom), "{bad}");
        }
    }
}
