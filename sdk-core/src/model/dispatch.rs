//! Radio dispatch: transmissions, transcriptions, incidents, tasks and assets.
//!
//! Event names are those of the radio fleet's clients (`incident_created`); the names of its Kafka
//! records (`incident.created`) and fields in snake case are read as well.

use super::{
    alert::{Alert, Severity},
    event::events,
    ids::{DispatchId, UserId},
    moment::millis,
};
use crate::protocol::Json;
use serde::{Deserialize, Serialize};

/// A radio transmission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Transmission {
    /// Its name.
    #[serde(alias = "transmissionId", alias = "transmission_id")]
    pub id: DispatchId,
    /// The radio channel.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "channel_id")]
    pub channel_id: Option<DispatchId>,
    /// The incident it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "incident_id")]
    pub incident_id: Option<DispatchId>,
    /// The asset that spoke.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "asset_id")]
    pub asset_id: Option<DispatchId>,
    /// Seconds, once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// What it was marked with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where the sound is.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "audio_url")]
    pub audio_url: Option<String>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// What was said in a transmission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Transcription {
    /// The transmission.
    #[serde(alias = "transmission_id")]
    pub transmission_id: DispatchId,
    /// The words.
    #[serde(default, alias = "transcript")]
    pub text: String,
    /// How sure, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The language, such as `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The radio channel.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "channel_id")]
    pub channel_id: Option<DispatchId>,
    /// The incident it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "incident_id")]
    pub incident_id: Option<DispatchId>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// A place on earth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Place {
    /// Degrees north.
    #[serde(alias = "lat")]
    pub latitude: f64,
    /// Degrees east.
    #[serde(alias = "lon", alias = "lng")]
    pub longitude: f64,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Incident {
    /// Its name.
    #[serde(alias = "incidentId", alias = "incident_id")]
    pub id: DispatchId,
    /// What kind.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it stands, in the dispatcher's words.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "new_status")]
    pub status: Option<String>,
    /// How grave; filters look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The system's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "tsify", tsify(type = "unknown"))]
    pub metadata: Option<Json>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// A task of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Task {
    /// Its name.
    #[serde(alias = "taskId", alias = "task_id")]
    pub id: DispatchId,
    /// The incident.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "incident_id")]
    pub incident_id: Option<DispatchId>,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "assigned_to")]
    pub assigned_to: Option<UserId>,
    /// The asset that does it.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "asset_id")]
    pub asset_id: Option<DispatchId>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// Where an asset is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct AssetPosition {
    /// The asset.
    #[serde(alias = "id", alias = "asset_id")]
    pub asset_id: DispatchId,
    /// Degrees north.
    #[serde(alias = "lat")]
    pub latitude: f64,
    /// Degrees east.
    #[serde(alias = "lon", alias = "lng")]
    pub longitude: f64,
    /// Degrees clockwise from north.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heading: Option<f64>,
    /// Metres per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// The incident it is assigned to.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "incident_id")]
    pub incident_id: Option<DispatchId>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// What an asset does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct AssetStatus {
    /// The asset.
    #[serde(alias = "id", alias = "asset_id")]
    pub asset_id: DispatchId,
    /// In the dispatcher's words, such as `available` or `en_route`.
    #[serde(alias = "new_status")]
    pub status: String,
    /// The incident it is assigned to.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "incident_id")]
    pub incident_id: Option<DispatchId>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

events! {
    /// An event of namespace `dispatch` (REQUIREMENTS 4).
    DispatchEvent in "dispatch" {
        /// Someone began to speak.
        TransmissionStarted(Transmission) = "transmission_started" | "transmission.started" | "transmission:started",
        /// Someone ended.
        TransmissionCompleted(Transmission) = "transmission_completed" | "transmission.completed" | "transmission:completed",
        /// A transmission was marked.
        TransmissionTagged(Transmission) = "transmission_tagged" | "transmission.tagged" | "transmission:tagged",
        /// The words of a transmission are there.
        TranscriptionCompleted(Transcription) = "transcription_completed" | "transcription.completed" | "transcription:completed",
        /// An incident was opened.
        IncidentCreated(Incident) = "incident_created" | "incident.created" | "incident:created",
        /// An incident changed.
        IncidentUpdated(Incident) = "incident_updated" | "incident.updated" | "incident:updated",
        /// An incident stands elsewhere now.
        IncidentStatusChanged(Incident) = "incident_status_changed" | "incident.status_changed" | "incident:status_changed",
        /// A task was given to someone.
        TaskAssigned(Task) = "task_assigned" | "task.assigned" | "task:assigned",
        /// A task is done.
        TaskCompleted(Task) = "task_completed" | "task.completed" | "task:completed",
        /// A task changed.
        TaskUpdated(Task) = "task_updated" | "task.updated" | "task:updated",
        /// An asset moved.
        AssetPositionUpdated(AssetPosition) = "asset_position_updated" | "asset.position_updated" | "asset:position_updated",
        /// An asset does something else now.
        AssetStatusChanged(AssetStatus) = "asset_status_changed" | "asset.status_changed" | "asset:status_changed",
        /// An alert of the organization was raised.
        AlertCreated(Alert) = "alert_created" | "alert.created" | "alert:created",
        /// Someone took it.
        AlertAcknowledged(Alert) = "alert_acknowledged" | "alert.acknowledged" | "alert:acknowledged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c13_client_and_kafka_spellings_are_one_event() {
        let data = Json::parse(r#"{"asset_id":"e7","lat":1.5,"lon":2.25}"#).unwrap();
        let event = DispatchEvent::decode("asset.position_updated", &data);
        let (name, data) = event.encode().unwrap();
        assert_eq!(name, "asset_position_updated");
        assert_eq!(data.get(), r#"{"assetId":"e7","latitude":1.5,"longitude":2.25}"#);
        assert_eq!(DispatchEvent::decode(&name, &data), event);
    }
}
