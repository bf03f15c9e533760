//! HTTP for operators and back ends: health, figures, publish, revoke (V10).

mod auth;
mod cameras;
mod health;
mod pages;
mod publish;

pub(crate) use publish::random;

use crate::edge::Node;
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header},
    routing::{get, post},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tower::ServiceExt;
use tower_http::cors::{AllowOrigin, CorsLayer};
use wardline::protocol::{Code, frames::ErrorBody};

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
            .route("/cameras/{id}/snapshot.jpg", get(cameras::snapshot))
            .route("/cameras/{id}/stream.mjpeg", get(cameras::stream))
            .fallback(fallback)
            .method_not_allowed_fallback(|| async {
                let (status, code) = (StatusCode::METHOD_NOT_ALLOWED, Code::METHOD_NOT_ALLOWED);
                error(status, &code, "not by this method")
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

/// A page, where the server was told of any.
async fn fallback(State(node): State<Arc<Node>>, method: Method, uri: Uri) -> Response<Body> {
    match &node.config.pages {
        Some(root) => pages::page(root, &method, &uri).await,
        None => error(StatusCode::NOT_FOUND, &Code::NOT_FOUND, "no such path"),
    }
}

/// `{error: {code, message}}`.
pub(crate) fn error(status: StatusCode, code: &Code, message: &str) -> Response<Body> {
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

/// Why a request is not done.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: Code,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::FORBIDDEN, message)
    }

    pub(crate) fn bad<M: Into<String>>(code: &Code, message: M) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code.clone(), message)
    }
}

impl From<ErrorBody> for Refusal {
    fn from(error: ErrorBody) -> Self {
        let status = match error.code.as_str() {
            "forbidden" => StatusCode::FORBIDDEN,
            "token_revoked" => StatusCode::UNAUTHORIZED,
            "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
            "rate" => StatusCode::TOO_MANY_REQUESTS,
            "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "order" | "forked" | "conflict" => StatusCode::CONFLICT,
            "internal" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code, error.message)
    }
}

impl From<Refusal> for Response<Body> {
    fn from(refusal: Refusal) -> Self {
        let mut response = error(refusal.status, &refusal.code, &refusal.message);
        if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
