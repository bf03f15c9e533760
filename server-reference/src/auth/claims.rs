//! What a verified token says, in the dialects of V3.

use crate::hub::{AuthError, Principal};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use wardline::protocol::address::{MAX_PART, PUBLIC_TENANT};

/// How far a token may lie in the future by `nbf`, in ms: clocks differ.
const SKEW_MS: u64 = 60_000;
/// Longest user id, in bytes.
const USER_BYTES: usize = 200;
/// Most roles that are kept.
const ROLES: usize = 64;

/// The claims that are used; everything else is passed over. A claim given twice is refused.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default, rename = "userId", alias = "user_id")]
    user: Option<Word>,
    #[serde(default)]
    sub: Option<Word>,
    #[serde(default, rename = "tenantId", alias = "tenant_id", alias = "tenant")]
    tenant: Option<Word>,
    #[serde(
        default,
        rename = "organizationId",
        alias = "organization_id",
        alias = "orgId",
        alias = "org_id"
    )]
    organization: Option<Word>,
    #[serde(default, alias = "role")]
    roles: Roles,
    #[serde(default)]
    jti: Option<Word>,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    exp: Option<f64>,
}

/// A text, or a whole number as its digits: older systems number their tenants.
#[derive(Debug)]
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Number(u64),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Text(text) => text,
            Either::Number(number) => number.to_string(),
        }))
    }
}

/// A list of roles, one role, or none.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Roles {
    Many(Vec<String>),
    One(String),
    #[default]
    None,
}

fn millis(seconds: f64) -> u64 {
    // Casts of floats saturate; a negative or absurd time is the nearest end.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let millis = (seconds * 1000.0) as u64;
    millis.min((1 << 53) - 1)
}

/// Whether a text can be the name of a tenant (P-C1a).
pub(crate) fn is_tenant(text: &str) -> bool {
    (1..=MAX_PART).contains(&text.len())
        && text != PUBLIC_TENANT
        && !text.starts_with('~')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~@|+=-".contains(&b))
}

fn is_user(text: &str) -> bool {
    (1..=USER_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl Claims {
    /// Who the claims name, if they hold at `now` (ms since 1970).
    pub(super) fn principal(self, now: u64, require_exp: bool) -> Result<Principal, AuthError> {
        let user = self.user.or(self.sub).ok_or(AuthError::Invalid)?.0;
        let organization = self.organization.map(|word| word.0);
        let tenant = match (self.tenant, &organization) {
            (Some(tenant), _) => tenant.0,
            (None, Some(organization)) => organization.clone(),
            (None, None) => return Err(AuthError::Invalid),
        };
        if !is_tenant(&tenant) || !is_user(&user) {
            return Err(AuthError::Invalid);
        }
        if organization.as_deref().is_some_and(|organization| !is_tenant(organization)) {
            return Err(AuthError::Invalid);
        }
        if require_exp && self.exp.is_none() {
            return Err(AuthError::Invalid);
        }
        let expires = self.exp.map(millis);
        if expires.is_some_and(|expires| expires <= now) {
            return Err(AuthError::Expired);
        }
        if self.nbf.is_some_and(|nbf| millis(nbf) > now + SKEW_MS) {
            return Err(AuthError::Invalid);
        }
        let roles = match self.roles {
            Roles::Many(roles) => roles,
            Roles::One(role) => vec![role],
            Roles::None => Vec::new(),
        };
        Ok(Principal {
            tenant: tenant.into(),
            user: user.into(),
            organization: organization.map(Into::into),
            roles: roles.into_iter().take(ROLES).map(Arc::from).collect(),
            token_id: self.jti.map(|word| word.0.into()),
            issued: self.iat.map_or(0, millis),
            expires,
        })
    }
}

/// A token to be signed (`wardline-server token`, tests).
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// The organization.
    pub organization: Option<String>,
    /// The roles.
    pub roles: Vec<String>,
    /// How long it holds; none: for ever.
    pub life: Option<Duration>,
}

impl NewToken {
    pub(super) fn claims(&self, now: u64) -> serde_json::Value {
        let mut claims = json!({
            "userId": self.user,
            "tenantId": self.tenant,
            "roles": self.roles,
            "iat": now,
            "jti": format!("{:016x}", getrandom::u64().unwrap_or(now)),
        });
        if let Some(organization) = &self.organization {
            claims["organizationId"] = json!(organization);
        }
        if let Some(life) = self.life {
            claims["exp"] = json!(now + life.as_secs());
        }
        claims
    }
}
