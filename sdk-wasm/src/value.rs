//! What crosses: JSON text one way and the other, and errors with a code.

use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;
use wardline::{
    client::{Error, Event, Incoming, Outcome},
    model::{
        AlertEvent, DispatchEvent, MonitoringEvent, NotificationEvent, PresenceEvent, VideoEvent,
    },
    protocol::{Code, Cursor, Json},
};
use wasm_bindgen::prelude::*;

/// What a JavaScript caller catches: an `Error` with `code` and `retryable`.
pub(crate) fn thrown(error: &Error) -> JsValue {
    let value = js_sys::Error::new(error.reason());
    value.set_name("WardlineError");
    let set = |key: &str, to: JsValue| {
        // A property of an object that was made just now can be set.
        let _ = js_sys::Reflect::set(&value, &key.into(), &to);
    };
    set("code", error.code().as_str().into());
    set("retryable", error.is_retryable().into());
    value.into()
}

/// A promise of what a future gives.
pub(crate) fn promise<T: Into<JsValue>>(
    future: impl Future<Output = Result<T, Error>> + 'static,
) -> js_sys::Promise {
    wasm_bindgen_futures::future_to_promise(async move {
        future.await.map(Into::into).map_err(|error| thrown(&error))
    })
}

/// Reads an argument; absent or `null` is the default.
pub(crate) fn read<T: DeserializeOwned + Default>(text: Option<String>) -> Result<T, Error> {
    match text {
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| Error::new(Code::BAD_PARAMS, error.to_string())),
        None => Ok(T::default()),
    }
}

/// Writes a value.
pub(crate) fn write<T: Serialize>(value: &T) -> Result<JsValue, Error> {
    Ok(serde_json::to_string(value)?.into())
}

#[derive(Serialize)]
struct Message {
    room: String,
    event: String,
    data: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    from: String,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<Cursor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    gone: bool,
}

/// What comes next in a room, as JavaScript reads it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Next {
    Message { message: Box<Body> },
    Live,
    Gap { from: Cursor, to: Option<Cursor> },
    Presence { change: PresenceEvent },
    Left { code: Code },
}

#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Body(Message);

/// The canonical spelling of an event of a namespace this version knows.
fn canonical(namespace: &str, event: String, data: Json) -> (String, Json) {
    let encoded = match namespace {
        "video" => VideoEvent::decode(&event, &data).encode(),
        "alerts" => AlertEvent::decode(&event, &data).encode(),
        "monitoring" => MonitoringEvent::decode(&event, &data).encode(),
        "dispatch" => DispatchEvent::decode(&event, &data).encode(),
        _ => NotificationEvent::decode(&event, &data).encode(),
    };
    encoded.unwrap_or((event, data))
}

pub(crate) fn next(namespace: &str, incoming: Incoming<Json>) -> Option<Next> {
    Some(match incoming {
        Incoming::Event(event) => {
            let Event { room, name, data, id, from, time, cursor, key, gone } = event;
            let (event, data) = canonical(namespace, name, data);
            let (id, from) = (id.map(|id| id.to_string()), from.to_string());
            let message =
                Message { room, event, data, id, from, timestamp: time, cursor, key, gone };
            Next::Message { message: Box::new(Body(message)) }
        }
        Incoming::Live => Next::Live,
        Incoming::Gap { from, to } => Next::Gap { from, to },
        Incoming::Presence(change) => Next::Presence { change },
        Incoming::Left(code) => Next::Left { code },
        _ => return None,
    })
}

/// How an item ended, as JavaScript reads it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        let plain = |outcome| Self { outcome, seq: None, code: None, reason: None };
        match outcome {
            Outcome::Accepted(seq) => Self { seq, ..plain("accepted") },
            Outcome::Refused(code, text) => {
                Self { code: Some(code), reason: Some(text), ..plain("refused") }
            }
            Outcome::Expired => plain("expired"),
            Outcome::Cancelled => plain("cancelled"),
            Outcome::Uncertain => plain("uncertain"),
        }
    }
}
