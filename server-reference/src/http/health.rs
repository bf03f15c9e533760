//! Health for probes, figures for dashboards.

use super::{
    Refusal, answer,
    auth::{Caller, caller},
};
use crate::{
    auth::{same, token_of, unix_ms},
    config::Environment,
    edge::Node,
    ops::iso8601,
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, Request, Response, StatusCode, header, request::Parts},
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};
use wardline::protocol::Token;

/// `GET /health`: everything at a glance.
pub(super) async fn health(State(node): State<Arc<Node>>) -> Response<Body> {
    let (status, word) = if node.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if node.log.trouble().is_some() {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, "healthy")
    };
    answer(
        status,
        &json!({
            "status": word,
            "timestamp": iso8601(unix_ms()),
            "version": env!("CARGO_PKG_VERSION"),
            "log": {"available": node.log.trouble().is_none(), "trouble": node.log.trouble()},
            "uptime_ms": u64::try_from(node.clock.now().mono.since_start().as_millis()).unwrap_or(u64::MAX),
            "websocket_connected": node.open.load(Ordering::SeqCst),
            "kafka_status": {"running": false, "connected": false, "topics": [], "group_id": null},
        }),
    )
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Response<Body> {
    answer(StatusCode::OK, &json!({"status": "alive"}))
}

/// `GET /health/ready`: new connections are welcome (P-C8), and what they send can be kept.
pub(super) async fn ready(State(node): State<Arc<Node>>) -> Response<Body> {
    let trouble = if node.is_draining() { Some("draining") } else { node.log.trouble() };
    if let Some(trouble) = trouble {
        answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": trouble}))
    } else {
        answer(StatusCode::OK, &json!({"status": "ready"}))
    }
}

/// Whether a caller may read every tenant's figures: they name tenants, and tell how each is used.
async fn may_read(node: &Node, parts: &Parts) -> Result<(), Refusal> {
    let config = &node.config;
    let open = config.environment == Environment::Development && config.metrics_token.is_none();
    let shown = token_of(&parts.headers, parts.uri.query());
    let is = |known: &Token| {
        shown.as_ref().is_some_and(|t| same(t.expose().as_bytes(), known.expose().as_bytes()))
    };
    if open || config.metrics_token.as_ref().is_some_and(is) {
        return Ok(());
    }
    match caller(&node.verifier, &parts.headers, parts.uri.query()).await? {
        Caller::Key(None) => Ok(()),
        _ => Err(Refusal::forbidden("needs METRICS_TOKEN, or an API key of every tenant")),
    }
}

/// `GET /metrics`: Prometheus text. In production for who has `METRICS_TOKEN`, or a key of every
/// tenant.
pub(super) async fn metrics(
    State(node): State<Arc<Node>>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, _) = request.into_parts();
    if let Err(refusal) = may_read(&node, &parts).await {
        return refusal.into();
    }
    let (rooms, members) = node.rooms();
    let mut response =
        Response::new(Body::from(node.ops.render(&node.by_tenant(), rooms, members)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

/// `GET /stats`: connections and members. In production, tenants and rooms are shown to who may
/// see them: their `admin`, an API key.
pub(super) async fn stats(State(node): State<Arc<Node>>, request: Request<Body>) -> Response<Body> {
    let open = node.config.environment == Environment::Development;
    let (parts, _) = request.into_parts();
    let caller = caller(&node.verifier, &parts.headers, parts.uri.query()).await.ok();
    let may_see =
        |tenant: &str| open || caller.as_ref().is_some_and(|caller| caller.may_see(tenant));
    let stats = node.stats();
    let tenants: Map<String, Value> = stats
        .by_tenant
        .iter()
        .filter(|(tenant, _)| may_see(tenant.as_str()))
        .map(|(tenant, count)| (tenant.to_string(), json!(count)))
        .collect();
    // Rooms are counted over all tenants, so only who may see all tenants sees them.
    let all = open || matches!(caller, Some(Caller::Key(None)));
    let rooms = if all { stats.by_channel } else { BTreeMap::new() };
    let total = node.open.load(Ordering::SeqCst);
    answer(
        StatusCode::OK,
        &json!({
            "active_websocket_connections": total,
            "kafka_consumer_running": false,
            "redis_stats": {"connected_clients": 0, "used_memory_human": "0B"},
            "timestamp": iso8601(unix_ms()),
            "total": total,
            "byTenant": tenants,
            "byChannel": rooms,
        }),
    )
}
