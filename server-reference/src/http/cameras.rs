//! Pictures for who has no WebSocket: one JPEG, or a stream of them.

use super::{Refusal, auth::caller};
use crate::{
    edge::{Node, Tap},
    hub::{
        media::Picture,
        permissions::{Action, authorize},
    },
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header},
};
use bytes::{BufMut, Bytes, BytesMut};
use std::{convert::Infallible, sync::Arc, time::Duration};
use wardline::{
    model::ids::TenantId,
    protocol::{Address, Code, media::KIND_JPEG},
};

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
        let (tenant, room) = room(&node, &id, &uri, &headers).await?;
        let mut tap = Tap::open(&node, tenant, room);
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

/// `GET /cameras/{id}/stream.mjpeg`: every picture the reader is fast enough for.
pub(super) async fn stream(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let (tenant, room) = match room(&node, &id, &uri, &headers).await {
        Ok(place) => place,
        Err(refusal) => return refusal.into(),
    };
    let tap = Tap::open(&node, tenant, room);
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

/// The camera's room, if the caller may see into it.
async fn room(
    node: &Node,
    id: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(TenantId, Address), Refusal> {
    let caller = caller(&node.verifier, headers, uri.query()).await?;
    let room = Address::new("video", &format!("camera:{id}"))
        .map_err(|problem| Refusal::bad(&Code::BAD_ROOM, problem.to_string()))?;
    let tenant = caller.tenant(None)?;
    let principal = caller.principal(&tenant);
    authorize(&node.hub, &principal, &room, Action::Live)
        .map_err(|code| Refusal::new(StatusCode::FORBIDDEN, code, REFUSAL))?;
    Ok((principal.tenant, room))
}
