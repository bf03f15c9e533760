//! Tokens of the simulated world: texts that carry a secret word, and who they speak for.

use std::{collections::BTreeMap, sync::Arc};
use wardline::protocol::Token;
use wardline_server::hub::{AuthError, Principal};

/// In every token, and nowhere else: whatever contains it leaks.
pub const SECRET: &str = "s3cr3t";

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// The organization.
    pub organization: Option<String>,
    /// The roles.
    pub roles: Vec<String>,
}

impl Identity {
    /// A user without roles.
    #[must_use]
    pub fn new(tenant: &str, user: &str, organization: Option<&str>) -> Self {
        Self {
            tenant: tenant.into(),
            user: user.into(),
            organization: organization.map(Into::into),
            roles: Vec::new(),
        }
    }

    /// The same user with one more role.
    #[must_use]
    pub fn with_role(mut self, role: &str) -> Self {
        self.roles.push(role.into());
        self
    }
}

/// All tokens ever made.
#[derive(Debug, Default)]
pub struct Tokens {
    issued: BTreeMap<String, Principal>,
    /// While true, nothing can be verified.
    pub keys_missing: bool,
}

impl Tokens {
    /// Makes a token at wall time `now` (ms) that lives for `ttl` ms; none: for ever.
    pub fn issue(&mut self, who: &Identity, now: u64, ttl: Option<u64>) -> Token {
        let number = self.issued.len();
        let text = format!("{SECRET}-{number}");
        let principal = Principal {
            tenant: who.tenant.as_str().into(),
            user: who.user.as_str().into(),
            organization: who.organization.as_deref().map(Into::into),
            roles: who.roles.iter().map(|role| Arc::from(role.as_str())).collect(),
            token_id: Some(format!("jti-{number}").into()),
            issued: now,
            expires: ttl.map(|ttl| now.saturating_add(ttl)),
        };
        self.issued.insert(text.clone(), principal);
        Token::from(text)
    }

    /// What a verifier says at wall time `now` (ms).
    ///
    /// # Errors
    /// The reason why the token does not let in.
    pub fn verify(&self, token: &Token, now: u64) -> Result<Principal, AuthError> {
        if self.keys_missing {
            return Err(AuthError::Unavailable);
        }
        let principal = self.issued.get(token.expose()).ok_or(AuthError::Invalid)?;
        if principal.expires.is_some_and(|expires| expires <= now) {
            return Err(AuthError::Expired);
        }
        Ok(principal.clone())
    }

    /// Whom a token speaks for, valid or not.
    #[must_use]
    pub fn principal(&self, token: &Token) -> Option<&Principal> {
        self.issued.get(token.expose())
    }
}
