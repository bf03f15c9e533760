//! Pictures for who has no WebSocket: one JPEG, or a stream of them.

use super::{Refusal, auth::caller};
use crate::{
    edge::{Node, Tap},
    hub::media::Picture,
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header},
};
use bytes::{BufMut, Bytes, BytesMut};
use std::{convert::Infallible, sync::Arc, time::Duration};
use wardline::protocol::{Address, Code, frames::ErrorBody, media::KIND_JPEG};

/// How long a snapshot waits for a camera that begins to send because someone looks.
const PICTURE_WITHIN: Duration = Duration::from_secs(5);
/// The same whether the camera exists or not.
const REFUSAL: &str = "you may not see this camera, or it does not exist";
const BOUNDARY: &str = "wardline-picture";

/// `GET /cameras/{id}/snapshot.jpg`: the newest picture.
pub(super) async fn snapshot(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let picture = async {
        let mut tap = tap(&node, &id, &uri, &headers).await?;
        let within = tokio::time::timeout(PICTURE_WITHIN, jpeg(&mut tap));
        within.await.ok().flatten().ok_or_else(|| {
            let words = "the camera sends no JPEG pictures";
            Refusal::new(StatusCode::NOT_FOUND, Code::NOT_FOUND, words)
        })
    };
    match picture.await {
        Ok(picture) => {
            let mut response = Response::new(Body::from(picture));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(refusal) => refusal.into(),
    }
}

/// `GET /cameras/{id}/stream.mjpeg`: every picture the reader is fast enough for, until the token
/// ends (P-C6) or is revoked (P-C6a).
pub(super) async fn stream(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let tap = match tap(&node, &id, &uri, &headers).await {
        Ok(tap) => tap,
        Err(refusal) => return refusal.into(),
    };
    // The next picture is asked for when this one was taken: a slow reader sees fewer.
    let parts = futures_util::stream::unfold(tap, |mut tap| async {
        let picture = jpeg(&mut tap).await?;
        let mut part = BytesMut::with_capacity(picture.len() + 128);
        let head = format!(
            "--{BOUNDARY}\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n",
            picture.len()
        );
        part.put_slice(head.as_bytes());
        part.put_slice(&picture);
        part.put_slice(b"\r\n");
        Some((Ok::<_, Infallible>(part.freeze()), tap))
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("multipart/x-mixed-replace; boundary=wardline-picture"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn jpeg(tap: &mut Tap) -> Option<Bytes> {
    loop {
        let picture: Arc<Picture> = tap.next().await?;
        if picture.kind == KIND_JPEG {
            return Some(picture.bytes());
        }
    }
}

/// The camera's pictures, if the caller may see them.
async fn tap(node: &Arc<Node>, id: &str, uri: &Uri, headers: &HeaderMap) -> Result<Tap, Refusal> {
    let caller = caller(&node.verifier, headers, uri.query()).await?;
    let room = Address::new("video", &format!("camera:{id}"))
        .map_err(|problem| Refusal::bad(&Code::BAD_ROOM, problem.to_string()))?;
    let tenant = caller.tenant(None)?;
    let principal = Arc::new(caller.principal(&tenant));
    Tap::open(node, principal, room).await.map_err(|code| {
        let message = match code.as_str() {
            "token_revoked" => "the token, its user or its tenant was revoked",
            "rate" => "too many viewers at once",
            "unavailable" => "the log cannot answer now",
            _ => REFUSAL,
        };
        ErrorBody { code, message: message.to_owned() }.into()
    })
}
