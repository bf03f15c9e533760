//! Metrics, services, thresholds and security events.

use super::{event::events, moment::millis};
use crate::protocol::Json;
use serde::{Deserialize, Serialize};

/// Which events a kind of `subscribeToEvents(kinds)` stands for. A trailing `*` is any ending.
pub const KINDS: &[(&str, &[&str])] = &[
    ("metrics", &["metrics:update"]),
    ("services", &["service:status"]),
    ("thresholds", &["threshold:breached"]),
    ("security:events", &["security:event"]),
    ("incidents", &["incident_*"]),
    ("all", &["*"]),
];

/// Whether an event belongs to a kind. A kind that is no row of [`KINDS`] names one event.
#[must_use]
pub fn kind_has(kind: &str, event: &str) -> bool {
    let named = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => event.starts_with(start),
        None => *pattern == event,
    };
    match KINDS.iter().find(|(known, _)| *known == kind) {
        Some((_, patterns)) => patterns.iter().any(named),
        None => kind == event,
    }
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Measure {
    /// What was measured, such as `cpu`, `memory`, `disk` or `network.in`.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what, such as `%`, `B` or `B/s`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

/// What a source measured at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Metrics {
    /// The machine or service.
    #[serde(default, alias = "service", alias = "host")]
    pub source: String,
    /// CPU in use, percent of all cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Memory in use, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// Disk in use, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<f64>,
    /// Bytes received per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_in: Option<f64>,
    /// Bytes sent per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_out: Option<f64>,
    /// Everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Measure>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// How well a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub enum Health {
    /// As it should be.
    #[serde(alias = "up", alias = "online", alias = "ok")]
    Healthy,
    /// It works, not well.
    #[serde(alias = "warning")]
    Degraded,
    /// It does not work.
    #[serde(alias = "offline", alias = "unhealthy", alias = "error")]
    Down,
    /// No one knows.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A service and how it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ServiceStatus {
    /// The service.
    #[serde(alias = "name", alias = "serviceName")]
    pub service: String,
    /// How it is.
    #[serde(default)]
    pub status: Health,
    /// Words for people.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "message")]
    pub detail: Option<String>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// A value passed its threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Threshold {
    /// What was measured.
    #[serde(alias = "name")]
    pub metric: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "service")]
    pub source: Option<String>,
    /// How much it is.
    pub value: f64,
    /// How much it may be.
    pub threshold: f64,
    /// How grave; filters look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<super::alert::Severity>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// A security event and what the analysis made of it: both are the application's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct SecurityEvent {
    /// What happened.
    #[cfg_attr(feature = "tsify", tsify(type = "unknown"))]
    pub event: Json,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "tsify", tsify(type = "unknown"))]
    pub analysis: Option<Json>,
}

events! {
    /// An event of namespace `monitoring`.
    MonitoringEvent in "monitoring" {
        /// A source measured itself.
        Metrics(Metrics) = "metrics:update" | "metrics_update" | "metrics",
        /// A service tells how it is.
        Service(ServiceStatus) = "service:status" | "service_status",
        /// A value passed its threshold.
        Threshold(Threshold) = "threshold:breached" | "threshold_breached",
        /// Something happened that matters to security.
        Security(SecurityEvent) = "security:event" | "security_event",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_for_events() {
        assert!(kind_has("incidents", "incident_updated"));
        assert!(!kind_has("incidents", "incident"));
        assert!(kind_has("security:events", "security:event"));
        assert!(kind_has("service:status", "service:status"));
        assert!(!kind_has("metrics", "service:status"));
    }

    #[test]
    fn c8_a_security_event_keeps_both_its_parts() {
        let data = Json::parse(r#"{"event":{"id":1},"analysis":{"risk":0.9}}"#).unwrap();
        let event = MonitoringEvent::decode("security:event", &data);
        assert!(matches!(event, MonitoringEvent::Security(_)));
        assert_eq!(event.encode().unwrap(), ("security:event".to_owned(), data));
    }

    #[test]
    fn c8_a_health_word_no_one_knows_is_unknown() {
        let data = Json::parse(r#"{"service":"db","status":"sleepy"}"#).unwrap();
        let MonitoringEvent::Service(status) = MonitoringEvent::decode("service:status", &data)
        else {
            panic!("untyped");
        };
        assert_eq!(status.status, Health::Unknown);
    }
}
