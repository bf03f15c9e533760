//! Cameras, streams, recordings and what is seen in them.

use super::{
    event::events,
    ids::{CameraId, RecordingId},
    moment::millis,
};
use crate::protocol::Json;
use serde::{Deserialize, Serialize};

/// The command that starts a camera's stream; data [`StartStream`], result [`StreamInfo`].
pub const START_STREAM: &str = "stream:start";
/// The command that stops it; data [`StopStream`], result [`StreamInfo`].
pub const STOP_STREAM: &str = "stream:stop";
/// The command that starts a recording; data [`StartRecording`], result [`Recording`].
pub const START_RECORDING: &str = "recording:start";
/// The command that stops it; data [`StopRecording`], result [`Recording`].
pub const STOP_RECORDING: &str = "recording:stop";

/// The room of namespace `video` in which a camera's stream is seen.
#[must_use]
pub fn camera_room(camera: &CameraId) -> String {
    format!("camera:{camera}")
}

/// How good a stream is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub enum Quality {
    /// A thumbnail's worth.
    Low,
    /// Between.
    Medium,
    /// What the camera gives.
    #[default]
    High,
    /// What the link allows.
    Auto,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Camera {
    /// Its name in rooms and commands.
    #[serde(alias = "cameraId")]
    pub id: CameraId,
    /// Its name for people.
    #[serde(default)]
    pub name: String,
    /// Where it hangs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Whether it gives pictures now.
    #[serde(default)]
    pub online: bool,
}

/// The data of [`START_STREAM`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct StartStream {
    /// The camera.
    pub camera_id: CameraId,
    /// How good.
    #[serde(default)]
    pub quality: Quality,
}

/// The data of [`STOP_STREAM`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct StopStream {
    /// The camera.
    pub camera_id: CameraId,
}

/// The data of [`START_RECORDING`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct StartRecording {
    /// The camera.
    pub camera_id: CameraId,
    /// Seconds; absent: until stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u32>,
}

/// The data of [`STOP_RECORDING`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct StopRecording {
    /// The camera.
    pub camera_id: CameraId,
    /// Which of its recordings; absent: the one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording_id: Option<RecordingId>,
}

/// A stream that started, is ready or stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct StreamInfo {
    /// The camera.
    #[serde(alias = "camera_id")]
    pub camera_id: CameraId,
    /// The stream's name, where the service names its streams.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "stream_id")]
    pub stream_id: Option<String>,
    /// Where the pictures are besides the media of this connection.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "streamUrl",
        alias = "stream_url"
    )]
    pub url: Option<String>,
    /// How good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// `jpeg`, `h264` or what the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Why it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// A recording that started or stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Recording {
    /// Its name.
    #[serde(alias = "id", alias = "recording_id")]
    pub recording_id: RecordingId,
    /// The camera.
    #[serde(alias = "camera_id")]
    pub camera_id: CameraId,
    /// Seconds: asked for at the start, measured at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Where the file is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "recordingUrl",
        alias = "recording_url"
    )]
    pub url: Option<String>,
    /// Bytes of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Pictures in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// A part of a picture, as shares of its width and height from the upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Region {
    /// Left edge, 0–1.
    pub x: f64,
    /// Upper edge, 0–1.
    pub y: f64,
    /// Width, 0–1.
    pub width: f64,
    /// Height, 0–1.
    pub height: f64,
}

/// Something moved before a camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Motion {
    /// The camera.
    #[serde(alias = "camera_id")]
    pub camera_id: CameraId,
    /// How sure, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

/// One thing that analytics found in a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Detection {
    /// What it is.
    #[serde(alias = "class", alias = "type")]
    pub label: String,
    /// How sure, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "boundingBox")]
    pub region: Option<Region>,
}

/// What analytics found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Analytics {
    /// The camera.
    #[serde(alias = "camera_id")]
    pub camera_id: CameraId,
    /// What kind of analysis.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The things found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detections: Vec<Detection>,
    /// The analysis' own data.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "results")]
    #[cfg_attr(feature = "tsify", tsify(type = "unknown"))]
    pub data: Option<Json>,
    /// ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "millis")]
    pub timestamp: Option<u64>,
}

events! {
    /// An event of namespace `video`.
    VideoEvent in "video" {
        /// A stream was started.
        StreamStarted(StreamInfo) = "stream:started" | "stream_started",
        /// A stream has pictures.
        StreamReady(StreamInfo) = "stream:ready" | "stream_ready",
        /// A stream ended.
        StreamStopped(StreamInfo) = "stream:stopped" | "stream_stopped",
        /// A recording began.
        RecordingStarted(Recording) = "recording:started" | "recording_started",
        /// A recording ended; the file is there.
        RecordingStopped(Recording) = "recording:stopped" | "recording_stopped",
        /// Something moved.
        MotionDetected(Motion) = "motion:detected" | "motion_detected",
        /// Analytics found something.
        Analytics(Analytics) = "analytics:result" | "analytics" | "analytics:update",
        /// A camera appeared or changed.
        Camera(Camera) = "camera:status" | "camera_status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c6_both_spellings_of_name_and_url_are_read_and_one_is_written() {
        let old = Json::parse(r#"{"cameraId":"7","streamUrl":"http://x/7"}"#).unwrap();
        let new = Json::parse(r#"{"cameraId":"7","url":"http://x/7"}"#).unwrap();
        let event = VideoEvent::decode("video:stream:started", &old);
        assert_eq!(event, VideoEvent::decode("stream:started", &new));
        assert!(matches!(event, VideoEvent::StreamStarted(_)));
        assert_eq!(event.encode().unwrap(), ("stream:started".to_owned(), new));
    }
}
