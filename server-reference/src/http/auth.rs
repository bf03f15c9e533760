//! Who calls: a token's principal, or a back end's API key.

use super::Refusal;
use crate::{
    auth::{Verifier, is_tenant, token_of},
    hub::{AuthError, Principal},
};
use axum::http::{HeaderMap, StatusCode};
use wardline::protocol::Code;

/// The user a key acts as.
const KEY_USER: &str = "~api";

/// Whom a request speaks for.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A verified token.
    Token(Principal),
    /// An API key, of one tenant or (none) of every tenant.
    Key(Option<String>),
}

impl Caller {
    /// Whether it may act for its whole tenant.
    pub(crate) fn acts_for_tenant(&self) -> bool {
        match self {
            Self::Token(principal) => principal.has_role("service") || principal.has_role("admin"),
            Self::Key(_) => true,
        }
    }

    /// Whether it may see or change a tenant.
    pub(crate) fn may_see(&self, tenant: &str) -> bool {
        match self {
            Self::Token(principal) => {
                principal.has_role("admin") && principal.tenant.as_str() == tenant
            }
            Self::Key(Some(own)) => own == tenant,
            Self::Key(None) => true,
        }
    }

    /// Whom it speaks for in a tenant: a key is a service of it.
    pub(crate) fn principal(self, tenant: &str) -> Principal {
        match self {
            Self::Token(principal) => principal,
            Self::Key(_) => Principal {
                tenant: tenant.into(),
                user: KEY_USER.into(),
                organization: None,
                roles: vec!["service".into()],
                token_id: None,
                // Revocations name tokens by when they were issued; a key is taken away by configuration.
                issued: u64::MAX,
                expires: None,
            },
        }
    }

    /// The tenant it acts in: its own, or for a key of every tenant the one it names.
    pub(crate) fn tenant(&self, named: Option<&str>) -> Result<String, Refusal> {
        let own = match self {
            Self::Token(principal) => Some(principal.tenant.as_str()),
            Self::Key(tenant) => tenant.as_deref(),
        };
        match (own, named) {
            (Some(own), Some(named)) if own != named => Err(Refusal::forbidden("another tenant")),
            (None, Some(named)) if !is_tenant(named) => {
                Err(Refusal::bad(&Code::BAD_PARAMS, "this cannot be a tenant's name"))
            }
            (Some(tenant), _) | (None, Some(tenant)) => Ok(tenant.to_owned()),
            (None, None) => Err(Refusal::bad(
                &Code::BAD_PARAMS,
                "a key of every tenant must name one: \"tenant\"",
            )),
        }
    }
}

/// Reads `X-Api-Key`, or the token of V3; a bearer may be either.
pub(crate) async fn caller(
    verifier: &Verifier,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Caller, Refusal> {
    let refused =
        |code: Code, words: &str| Err(Refusal::new(StatusCode::UNAUTHORIZED, code, words));
    if let Some(key) = headers.get("x-api-key").and_then(|value| value.to_str().ok()) {
        return match verifier.api_key(key) {
            Some(tenant) => Ok(Caller::Key(tenant.map(str::to_owned))),
            None => refused(Code::TOKEN_INVALID, "this key is not known"),
        };
    }
    let Some(token) = token_of(headers, query) else {
        return refused(Code::TOKEN_MISSING, "needs a token or an API key");
    };
    if let Some(tenant) = verifier.api_key(token.expose()) {
        return Ok(Caller::Key(tenant.map(str::to_owned)));
    }
    match verifier.verify_fresh(token.expose()).await {
        Ok(principal) => Ok(Caller::Token(principal)),
        Err(AuthError::Expired) => refused(Code::TOKEN_EXPIRED, "the token is past its end"),
        Err(AuthError::Missing) => refused(Code::TOKEN_MISSING, "needs a token or an API key"),
        Err(AuthError::Unavailable) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::UNAVAILABLE,
            "the keys to verify the token with cannot be had now",
        )),
        Err(_) => refused(Code::TOKEN_INVALID, "the token did not verify"),
    }
}
