//! HTTP for operators and back ends: health, figures, publish, revoke (V10).

mod auth;
mod health;
mod publish;

pub(crate) use publish::random;

use crate::{auth::Verifier, edge::Node};
use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header},
    routing::{get, post},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tower::ServiceExt;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser remembers what it was allowed.
const PREFLIGHT: Duration = Duration::from_secs(600);

/// Every route but the upgrade.
#[derive(Clone)]
pub(crate) struct Routes(Router);

impl Routes {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let origins = {
            let node = node.clone();
            AllowOrigin::predicate(move |origin: &HeaderValue, _| {
                origin.to_str().is_ok_and(|origin| node.config.origin_allowed(Some(origin)))
            })
        };
        let cors = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                HeaderName::from_static("x-api-key"),
            ])
            .max_age(PREFLIGHT);
        let body = node.config.limits.message;
        let router = Router::new()
            .route("/health", get(health::health))
            .route("/health/live", get(health::live))
            .route("/health/ready", get(health::ready))
            .route("/metrics", get(health::metrics))
            .route("/stats", get(health::stats))
            .route("/publish", post(publish::publish))
            .route("/revoke", post(publish::revoke))
            .fallback(|| async { error(StatusCode::NOT_FOUND, "not_found", "no such path") })
            .method_not_allowed_fallback(|| async {
                error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "not by this method")
            })
            .layer(DefaultBodyLimit::max(body))
            .layer(cors)
            .with_state(node);
        Self(router)
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// `{error: {code, message}}`.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    answer(status, &json!({"error": {"code": code, "message": message}}))
}

/// A JSON answer.
pub(crate) fn answer(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whom a request speaks for.
pub(crate) fn caller(
    verifier: &Verifier,
    headers: &axum::http::HeaderMap,
    query: Option<&str>,
) -> Result<auth::Caller, Response<Body>> {
    auth::caller(verifier, headers, query)
}
