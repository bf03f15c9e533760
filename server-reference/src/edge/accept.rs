//! Accepts, speaks HTTP/1.1 until an upgrade, then hands the raw socket over.
//!
//! The upgrade is answered here, without a WebSocket library between: only so the socket comes
//! back bare, and costs an idle connection no buffer.

use super::{Node, Tls, connection, wire::Wire};
use crate::{auth::token_of, http::Routes, hub::Opened};
use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tungstenite::handshake::derive_accept_key;
use wardline::protocol::{Code, close, limits};

/// How long a request's head may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Largest request head, in bytes: a token of 12 KiB in a header fits.
const HEAD_BYTES: usize = 16 * 1024;
/// Pause after the system refused a connection (too many open files).
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// What follows a connection's last response.
enum Next {
    Serve(Opened),
    Refuse(u16, &'static str),
}

type Ticket = Arc<Mutex<Option<Next>>>;

/// Accepts until the server stops.
pub(crate) async fn listen(node: Arc<Node>, listener: TcpListener, routes: Routes) {
    loop {
        let accepted = tokio::select! {
            () = node.stopped.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (node, routes) = (node.clone(), routes.clone());
                tokio::spawn(async move {
                    let stopped = node.stopped.clone();
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        () = greet(node, stream, peer, routes) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

async fn greet(node: Arc<Node>, stream: TcpStream, peer: SocketAddr, routes: Routes) {
    let _ = stream.set_nodelay(true);
    // Uncapped, a client that never reads pins megabytes of kernel memory.
    let _ = SockRef::from(&stream).set_send_buffer_size(node.config.send_buffer);
    let Some(tls) = node.tls.as_ref().map(Tls::acceptor) else {
        return converse(node, stream, peer, routes).await;
    };
    match tokio::time::timeout(HEAD_WITHIN, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(node, stream, peer, routes).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "no TLS in time"),
    }
}

async fn converse<S>(node: Arc<Node>, stream: S, peer: SocketAddr, routes: Routes)
where
    S: AsyncRead + AsyncWrite + Unpin + Into<Wire>,
{
    let ticket = Ticket::default();
    let service = {
        let (node, ticket) = (node.clone(), ticket.clone());
        service_fn(move |request: Request<Incoming>| {
            let (node, ticket, routes) = (node.clone(), ticket.clone(), routes.clone());
            async move {
                if request.uri().path() == limits::PATH {
                    return Ok::<_, Infallible>(upgrade(&node, &request, peer, &ticket));
                }
                Ok(routes.answer(request.map(Body::new)).await)
            }
        })
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown()
        .await;
    let Ok(parts) = served else { return };
    let next = ticket.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (stream, early) = (parts.io.into_inner(), parts.read_buf);
    let mut stream = stream;
    let Some(next) = next else {
        // With TLS a goodbye: else the answer might be taken for one cut short.
        let _ = tokio::time::timeout(HEAD_WITHIN, stream.shutdown()).await;
        return;
    };
    let stream = stream.into();
    // A task of its own, as large as a WebSocket needs and not as an HTTP connection does.
    let place = Place::take(node.clone());
    let tasks = node.tasks.clone();
    tasks.spawn(async move {
        let _place = place;
        match next {
            Next::Serve(opened) => connection::serve(node, stream, early, opened).await,
            Next::Refuse(code, reason) => connection::refuse(node, stream, code, reason).await,
        }
    });
}

/// One of the server's connections, counted while it lives.
struct Place(Arc<Node>);

impl Place {
    fn take(node: Arc<Node>) -> Self {
        node.open.fetch_add(1, Ordering::SeqCst);
        Self(node)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers an upgrade. What a browser must learn comes as a close code after it (P-C7).
fn upgrade(
    node: &Arc<Node>,
    request: &Request<Incoming>,
    peer: SocketAddr,
    ticket: &Ticket,
) -> Response<Body> {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let has = |name, word: &str| {
        text(name).is_some_and(|value| {
            value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    };
    let wanted = request.method() == Method::GET
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let version = text(header::SEC_WEBSOCKET_VERSION) == Some("13");
    let (true, Some(key), true) = (wanted, key, version) else {
        let mut response = crate::http::error(
            StatusCode::UPGRADE_REQUIRED,
            &Code::UPGRADE_REQUIRED,
            "this path speaks WebSocket, version 13",
        );
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, http::HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, http::HeaderValue::from_static("13"));
        return response;
    };
    if node.is_draining() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut response = crate::http::error(status, &Code::DRAINING, "the server restarts");
        response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        return response;
    }
    let offered: Vec<&str> = text(header::SEC_WEBSOCKET_PROTOCOL)
        .map(|value| value.split(',').map(str::trim).collect())
        .unwrap_or_default();
    let common = offered.contains(&limits::SUBPROTOCOL);
    let next = if !node.config.origin_allowed(text(header::ORIGIN)) {
        Next::Refuse(close::BAD_ORIGIN, "origin")
    } else if !common {
        Next::Refuse(close::BAD_VERSION, "subprotocol wardline.v1.json")
    } else if node.open.load(Ordering::SeqCst) >= node.config.max_connections {
        Next::Refuse(close::OVERLOADED, "after=10000 connections")
    } else {
        let token = token_of(headers, request.uri().query());
        Next::Serve(Opened { token, peer: peer.to_string() })
    };
    *ticket.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    // A browser whose offer is not taken up fails without telling its page the close code, so
    // even an offer that is about to be refused is named.
    let chosen = if common { Some(limits::SUBPROTOCOL) } else { offered.first().copied() };
    if let Some(chosen) = chosen.filter(|chosen| !chosen.is_empty()) {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    response.body(Body::empty()).unwrap_or_else(|_| {
        crate::http::error(StatusCode::BAD_REQUEST, &Code::BAD_PARAMS, "the offer cannot be named")
    })
}
