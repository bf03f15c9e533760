//! Presence: who is in a room, and how (P-P).

use super::ids::UserId;
use crate::protocol::Json;
use serde::{Deserialize, Serialize};

/// How a user is present.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum), uniffi(name = "PresenceStatus"))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub enum Status {
    /// There, and visible.
    #[default]
    Online,
    /// There, but no one looks.
    Away,
    /// There, and not to be disturbed.
    Busy,
    /// Shown as not there.
    Offline,
}

/// One user present in a room. Nobody is there twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct PresenceInfo {
    /// The user.
    #[serde(alias = "user")]
    pub user_id: UserId,
    /// How.
    #[serde(default)]
    pub status: Status,
    /// The user's own data.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "meta")]
    #[cfg_attr(feature = "tsify", tsify(type = "unknown"))]
    pub metadata: Option<Json>,
}

/// Presence of a room: everyone once, then differences (P-P1).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", content = "data", rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub enum PresenceEvent {
    /// All who are there.
    #[serde(rename = "presence:update")]
    Everyone(Vec<PresenceInfo>),
    /// Someone came.
    #[serde(rename = "presence:join")]
    Joined(PresenceInfo),
    /// Someone's status or metadata changed.
    #[serde(rename = "presence:change")]
    Updated(PresenceInfo),
    /// Someone left.
    #[serde(rename = "presence:leave")]
    Left(UserId),
}
