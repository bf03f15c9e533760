//! The publish API for back ends (P-K5), and revocation (P-C6a).

use super::{Refusal, answer, auth::caller};
use crate::{
    auth::unix_ms,
    edge::Node,
    hub::{Principal, Publish, PublishEvent, Revocation, is_number, taken},
    log,
};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, State},
    http::{HeaderMap, Response, StatusCode, Uri, header},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use sha1::{Digest, Sha1};
use std::{sync::Arc, time::Duration};
use wardline::{
    model::ids::{ItemId, ProducerId, TenantId},
    protocol::{Code, Json, limits},
};

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Most events of one step.
const EVENTS: usize = 256;

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default)]
    tenant: Option<String>,
    events: Vec<Event>,
    /// 32 hex digits, or any name.
    #[serde(default)]
    producer: Option<String>,
    #[serde(default)]
    lane: u8,
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    base: Option<u64>,
    #[serde(default)]
    id: Option<ItemId>,
    #[serde(default)]
    from: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Event {
    room: String,
    event: String,
    #[serde(default = "Json::null")]
    data: Json,
    #[serde(default)]
    key: Option<String>,
    #[serde(default = "yes")]
    persist: bool,
}

fn yes() -> bool {
    true
}

/// `POST /publish`: all events or none, in one step; answered when durable.
pub(super) async fn publish(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Response<Body> {
    let result = async {
        same_site(&node, &headers)?;
        let caller = caller(&node.verifier, &headers, uri.query()).await?;
        if !caller.acts_for_tenant() {
            return Err(Refusal::forbidden("needs the role service or admin, or an API key"));
        }
        let body: Request = read(request).await?;
        let tenant = caller.tenant(body.tenant.as_deref())?;
        let by = caller.principal(&tenant);
        let publish = checked(body, tenant.as_str().into(), by)?;
        Ok::<_, Refusal>(node.publish(publish).await?)
    };
    match result.await {
        Ok(seqs) => answer(StatusCode::OK, &json!({"seqs": seqs})),
        Err(refusal) => refusal.into(),
    }
}

fn checked(request: Request, tenant: TenantId, by: Principal) -> Result<Publish, Refusal> {
    let bad = Refusal::bad::<String>;
    if !(1..=EVENTS).contains(&request.events.len()) {
        return Err(bad(&Code::BAD_PARAMS, format!("events: 1 to {EVENTS}")));
    }
    let id = request.id.unwrap_or_else(|| ItemId(random()));
    let number = match (&request.producer, request.n) {
        (Some(name), Some(n)) if request.lane < limits::LANES && is_number(n, request.base) => {
            Some(log::Number {
                key: log::ProducerKey {
                    tenant: tenant.clone(),
                    user: by.user.clone(),
                    producer: producer(name),
                },
                lane: request.lane,
                n,
                id,
                base: request.base,
            })
        }
        (None, None) => None,
        _ => {
            let words =
                "producer and n (1 to 2^53 - 1, above base) go together, with a lane of 0 to 7";
            let words = words.to_owned();
            return Err(bad(&Code::BAD_PARAMS, words));
        }
    };
    let mut events = Vec::with_capacity(request.events.len());
    for (index, event) in request.events.into_iter().enumerate() {
        let room = event
            .room
            .parse()
            .map_err(|problem| bad(&Code::BAD_ROOM, format!("events[{index}].room: {problem}")))?;
        let data = taken(&event.data)
            .map_err(|problem| bad(&Code::BAD_DATA, format!("events[{index}].data: {problem}")))?;
        if event.event.is_empty() || event.event.len() > limits::EVENT_BYTES {
            return Err(bad(&Code::BAD_EVENT, format!("events[{index}].event: 1 to 128 bytes")));
        }
        events.push(PublishEvent {
            room,
            event: event.event,
            // One id for the step; its events count up from it.
            id: ItemId(id.0.wrapping_add(index as u128)),
            key: event.key,
            persist: event.persist,
            data,
        });
    }
    let from = request.from.unwrap_or_default().into();
    Ok(Publish { tenant, by: Some(Arc::new(by)), events, number, from })
}

/// 32 hex digits as they are; any other name by its hash.
fn producer(name: &str) -> ProducerId {
    name.parse().unwrap_or_else(|_| {
        let digest = Sha1::digest(name.as_bytes());
        let mut wide = [0; 16];
        wide.copy_from_slice(&digest[..16]);
        ProducerId(u128::from_be_bytes(wide))
    })
}

pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    // Without the system's randomness nothing here is safe; the clock keeps ids apart at least.
    if getrandom::fill(&mut bytes).is_err() {
        return u128::from(unix_ms()) << 64;
    }
    u128::from_be_bytes(bytes)
}

/// A browser brings a visitor's cookie to any page's request: only the pages that may connect may
/// also change something.
fn same_site(node: &Node, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if origins.all(|origin| node.config.origin_allowed(Some(origin.to_str().unwrap_or("")))) {
        return Ok(());
    }
    Err(Refusal::forbidden("not from a page of this origin"))
}

/// Reads the body of a caller who is known: a JSON object.
async fn read<T: DeserializeOwned>(request: axum::extract::Request) -> Result<T, Refusal> {
    let within = tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, &())).await;
    let body = within.map_err(|_| {
        let (status, code) = (StatusCode::REQUEST_TIMEOUT, Code::TIMEOUT);
        Refusal::new(status, code, "the body took longer than 10 s")
    })?;
    let body = body.map_err(|rejection| {
        let status = rejection.status();
        let large = status == StatusCode::PAYLOAD_TOO_LARGE;
        let code = if large { Code::TOO_LARGE } else { Code::BAD_DATA };
        Refusal::new(status, code, rejection.body_text())
    })?;
    // A list would be taken for the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::bad(&Code::BAD_DATA, "the body must be a JSON object"));
    }
    serde_json::from_slice(&body)
        .map_err(|problem| Refusal::bad(&Code::BAD_DATA, problem.to_string()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Revoke {
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    token_id: Option<String>,
    /// ms since 1970; absent: now.
    #[serde(default)]
    not_before: Option<u64>,
}

/// `POST /revoke`: for `admin` and API keys. Answered when durable.
pub(super) async fn revoke(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Response<Body> {
    let result = async {
        same_site(&node, &headers)?;
        let caller = caller(&node.verifier, &headers, uri.query()).await?;
        let body: Revoke = read(request).await?;
        let tenant = caller.tenant(body.tenant.as_deref())?;
        if !caller.may_see(&tenant) {
            return Err(Refusal::forbidden("needs the role admin, or an API key"));
        }
        let revocation = Revocation {
            tenant: tenant.into(),
            user: body.user.map(Into::into),
            token_id: body.token_id.map(Into::into),
            not_before: body.not_before.unwrap_or_else(unix_ms),
        };
        Ok::<_, Refusal>(node.revoke_durably(revocation).await?)
    };
    match result.await {
        Ok(_) => answer(StatusCode::ACCEPTED, &json!({"status": "revoked"})),
        Err(refusal) => refusal.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Request;
    use futures_util::{StreamExt, stream};
    use std::convert::Infallible;
    use tokio::time::{Instant, sleep};

    fn request(chunks: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Request {
        Request::new(Body::from_stream(chunks.map(Ok::<_, Infallible>)))
    }

    /// A piece of the body each second, for ever.
    fn dripping() -> impl futures_util::Stream<Item = Bytes> + Send + 'static {
        stream::repeat(()).then(|()| async {
            sleep(Duration::from_secs(1)).await;
            Bytes::from_static(b" ")
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_whole_within_ten_seconds_is_given_up() {
        let slow = [request(stream::pending()), request(dripping())];
        for request in slow {
            let began = Instant::now();
            let refused = read::<Revoke>(request).await.unwrap_err();
            assert_eq!(
                (refused.status, refused.code),
                (StatusCode::REQUEST_TIMEOUT, Code::TIMEOUT)
            );
            assert_eq!(began.elapsed(), BODY_WITHIN);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_in_pieces_is_read_whole_within_its_time() {
        let pieces =
            dripping().take(9).chain(stream::iter([Bytes::from_static(br#"{"user": "u"}"#)]));
        let read = read::<Revoke>(request(pieces)).await.unwrap();
        assert_eq!(read.user.as_deref(), Some("u"));
    }
}
