//! Alerts: raised, acknowledged, resolved. The server folds the room's log into their state (P-S8).

use super::{
    event::events,
    ids::{AlertId, UserId},
    moment::millis,
};
use crate::protocol::Json;
use serde::{Deserialize, Serialize};

/// The command that raises an alert; data [`NewAlert`], result [`Alert`].
pub const CREATE: &str = "alert:create";
/// The command that acknowledges an alert; data [`AlertAction`], result [`Alert`].
pub const ACKNOWLEDGE: &str = "alert:acknowledge";
/// The command that resolves an alert; data [`AlertAction`], result [`Alert`].
pub const RESOLVE: &str = "alert:resolve";

/// How grave an alert is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub enum Severity {
    /// For the record.
    Info,
    /// Some time.
    Low,
    /// Soon.
    #[default]
    #[serde(alias = "warning")]
    Medium,
    /// Now.
    #[serde(alias = "error")]
    High,
    /// Before anything else.
    #[serde(alias = "emergency")]
    Critical,
}

impl Severity {
    /// The word on the wire and in filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub enum AlertStatus {
    /// No one has answered it.
    #[default]
    #[serde(alias = "new", alias = "open")]
    Active,
    /// Someone has taken it.
    Acknowledged,
    /// Over.
    #[serde(alias = "closed")]
    Resolved,
}

/// An alert as it stands now. Every event of an alert carries the whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Alert {
    /// Its name; where the server made it, the id of the command that raised it.
    #[serde(alias = "alertId", alias = "alert_id")]
    pub id: AlertId,
    /// What kind: a word filters can name, such as `intrusion` or `fire`.
    #[serde(rename = "type", alias = "alertType", alias = "alert_type", default)]
    pub kind: String,
    /// How grave.
    #[serde(default)]
    pub severity: Severity,
    /// Where it stands.
    #[serde(default)]
    pub status: AlertStatus,
    /// One line for people.
    #[serde(default, alias = "message")]
    pub title: String,
    /// More words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What raised it: a camera, a service, a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The application's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "tsify", tsify(type = "unknown"))]
    pub metadata: Option<Json>,
    /// When it was raised, ms since 1970.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "created_at",
        alias = "timestamp",
        deserialize_with = "millis"
    )]
    pub created_at: Option<u64>,
    /// Who raised it; absent for the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "created_by")]
    pub created_by: Option<UserId>,
    /// When it last changed, ms since 1970.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "updated_at",
        deserialize_with = "millis"
    )]
    pub updated_at: Option<u64>,
    /// When it was acknowledged, ms since 1970.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "acknowledged_at",
        deserialize_with = "millis"
    )]
    pub acknowledged_at: Option<u64>,
    /// Who acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "acknowledged_by")]
    pub acknowledged_by: Option<UserId>,
    /// When it was resolved, ms since 1970.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "resolved_at",
        deserialize_with = "millis"
    )]
    pub resolved_at: Option<u64>,
    /// Who resolved it.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "resolved_by")]
    pub resolved_by: Option<UserId>,
    /// What was written with the last acknowledgement or resolution.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "resolution")]
    pub note: Option<String>,
}

/// What raises an alert: the data of [`CREATE`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct NewAlert {
    /// What kind: a word filters can name.
    #[serde(rename = "type")]
    pub kind: String,
    /// How grave.
    #[serde(default)]
    pub severity: Severity,
    /// One line for people.
    #[serde(alias = "message")]
    pub title: String,
    /// More words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What raised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The application's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "tsify", tsify(type = "unknown"))]
    pub metadata: Option<Json>,
    /// The room of namespace `alerts` it belongs to, bare; absent: the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
}

/// What acknowledges or resolves an alert: the data of [`ACKNOWLEDGE`] and [`RESOLVE`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct AlertAction {
    /// The alert.
    #[serde(alias = "id", alias = "alert_id")]
    pub alert_id: AlertId,
    /// Words to keep with it.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "resolution")]
    pub note: Option<String>,
    /// The room of namespace `alerts` it belongs to, bare; absent: the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
}

events! {
    /// An event of namespace `alerts`.
    AlertEvent in "alerts" {
        /// An alert was raised.
        Created(Alert) = "alert:created" | "alert_created" | "created",
        /// An alert changed.
        Updated(Alert) = "alert:updated" | "alert_updated" | "updated",
        /// Someone took an alert.
        Acknowledged(Alert) = "alert:acknowledged" | "alert_acknowledged" | "acknowledged",
        /// An alert is over.
        Resolved(Alert) = "alert:resolved" | "alert_resolved" | "resolved",
    }
}

impl AlertEvent {
    /// The alert, where the event is known.
    #[must_use]
    pub const fn alert(&self) -> Option<&Alert> {
        match self {
            Self::Created(alert)
            | Self::Updated(alert)
            | Self::Acknowledged(alert)
            | Self::Resolved(alert) => Some(alert),
            Self::Unknown { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_an_alert_is_read_in_old_and_new_spelling_and_written_in_one() {
        let data = Json::parse(
            r#"{"alertId":"a1","type":"fire","severity":"warning","message":"Smoke",
                "timestamp":"1970-01-01T00:00:01Z","status":"open","extra":1}"#,
        )
        .unwrap();
        let event = AlertEvent::decode("alert_created", &data);
        let AlertEvent::Created(alert) = &event else { panic!("{event:?}") };
        assert_eq!((alert.severity, alert.status), (Severity::Medium, AlertStatus::Active));
        assert_eq!((alert.title.as_str(), alert.created_at), ("Smoke", Some(1000)));
        let (name, data) = event.encode().unwrap();
        assert_eq!(name, "alert:created");
        assert_eq!(
            data.get(),
            r#"{"id":"a1","type":"fire","severity":"medium","status":"active","title":"Smoke","createdAt":1000}"#
        );
        assert_eq!(AlertEvent::decode(&name, &data), event);
    }

    #[test]
    fn c9_an_unknown_event_arrives_untyped() {
        let data = Json::parse("[1]").unwrap();
        for name in ["alert:escalated", "alert:created"] {
            let event = AlertEvent::decode(name, &data);
            assert_eq!(event, AlertEvent::Unknown { event: name.into(), data: data.clone() });
            assert_eq!(event.encode().unwrap(), (name.to_owned(), data.clone()));
        }
    }
}
