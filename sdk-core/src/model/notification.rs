//! Notifications: what reaches one user on all of the user's connections (C12).

use super::{alert::Severity, event::events, moment::millis};
use crate::protocol::Json;
use serde::{Deserialize, Serialize};

/// The one event of a notification.
pub const NOTIFICATION: &str = "notification";

/// A notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Notification {
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What kind; `subscribe_to_notifications(types)` filters by it.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// More words.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "message")]
    pub body: Option<String>,
    /// How grave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The application's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "tsify", tsify(type = "unknown"))]
    pub data: Option<Json>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

events! {
    /// An event of a user's own room.
    NotificationEvent in "default" {
        /// A notification.
        Notification(Notification) = "notification" | "notification:new",
    }
}
