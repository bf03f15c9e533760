//! Text frames to objects and back (P-F1, P-F2).

use super::{json::Json, limits::BATCH_BYTES};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An object whose envelope does not parse: close with `BAD_FRAME`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an object of this protocol: {0}")]
pub struct BadFrame(pub String);

impl BadFrame {
    /// Words for a developer, as [`std::fmt::Display`] gives them.
    #[must_use]
    pub fn words(&self) -> String {
        ["not an object of this protocol: ", &self.0].concat()
    }
}

#[derive(Deserialize)]
pub(super) struct HeadOf<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(default, borrow)]
    pub(super) id: Option<&'a RawValue>,
}

/// The body of an object of unknown type.
#[derive(Serialize)]
pub(super) struct OnlyId<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a Json>,
}

pub(super) fn head(text: &str) -> Result<HeadOf<'_>, BadFrame> {
    serde_json::from_str(text).map_err(|error| BadFrame(error.to_string()))
}

pub(super) fn body<T: DeserializeOwned>(text: &str) -> Result<T, BadFrame> {
    serde_json::from_str(text).map_err(|error| BadFrame(error.to_string()))
}

/// Writes `{"type":kind,` in front of the body's own fields.
pub(super) fn splice<T: Serialize>(kind: &str, body: &T) -> String {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"type\":");
    // Writing to memory does not fail, and no frame holds a map with keys that are no text.
    let _ = serde_json::to_writer(&mut out, kind);
    let comma = out.len();
    let _ = serde_json::to_writer(&mut out, body);
    if out.get(comma + 1) == Some(&b'}') {
        out.truncate(comma);
        out.push(b'}');
    } else if comma < out.len() {
        out[comma] = b',';
    }
    // serde_json writes UTF-8 only.
    String::from_utf8(out).unwrap_or_default()
}

/// The objects of one text frame (P-F1): separated by LF, blank lines passed over.
pub fn objects(frame: &str) -> impl Iterator<Item = &str> {
    frame.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty())
}

/// Joins objects into text frames of at most 64 KiB, or one object (P-F1).
#[must_use]
pub fn batches<'a>(objects: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for object in objects {
        match out.last_mut() {
            Some(last) if last.len() + 1 + object.len() <= BATCH_BYTES => {
                last.push('\n');
                last.push_str(object);
            }
            _ => out.push(object.to_owned()),
        }
    }
    out
}
