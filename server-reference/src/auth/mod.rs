//! Who may enter: tokens verified, claims read in every dialect, nothing believed before (V3).

mod claims;
mod fetch;
mod keys;
mod sources;

pub use claims::NewToken;
pub(crate) use claims::is_tenant;
pub use sources::token_of;

use crate::{
    config::{ApiKey, Config, ConfigError},
    hub::{AuthError, Principal},
};
use claims::Claims;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    errors::ErrorKind,
};
use keys::{Found, Keys};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Longest token that is looked at, in bytes: one that fits a hello.
const TOKEN_BYTES: usize = 12 * 1024;

/// Verifies tokens, and signs them where the secret is its own.
pub struct Verifier {
    key: Key,
    algorithm: Algorithm,
    validation: Validation,
    require_exp: bool,
    signer: Option<(Header, EncodingKey)>,
    inactive: BTreeSet<String>,
    api_keys: Vec<ApiKey>,
}

/// What signatures are verified with.
enum Key {
    /// A secret, or a public key.
    One(Box<DecodingKey>),
    /// The public key a token names.
    Named(Keys),
}

impl Verifier {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`ConfigError`] when a key does not read, or does not fit the algorithm.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let token = &config.token;
        let algorithm: Algorithm = token
            .algorithm
            .parse()
            .map_err(|_| ConfigError(format!("{}: unknown algorithm", token.algorithm)))?;
        // Clocks of issuer and server are taken as one; a token ends when it says so.
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.validate_aud = token.audience.is_some();
        if let Some(audience) = &token.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &token.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        let symmetric = token.algorithm.starts_with("HS");
        let key = if symmetric {
            let secret = token.secret.as_deref().unwrap_or_default();
            Key::One(Box::new(DecodingKey::from_secret(secret.as_bytes())))
        } else if token.jwks.is_some() || !token.sources.is_empty() {
            Key::Named(Keys::new(token)?)
        } else {
            let pem = token.public_key.as_deref().unwrap_or_default().as_bytes();
            let key = match &token.algorithm[..2] {
                "RS" => DecodingKey::from_rsa_pem(pem),
                "ES" => DecodingKey::from_ec_pem(pem),
                _ => DecodingKey::from_ed_pem(pem),
            };
            Key::One(Box::new(key.map_err(|error| {
                ConfigError(format!(
                    "JWT_PUBLIC_KEY is no PEM key for {}: {error}",
                    token.algorithm
                ))
            })?))
        };
        let signer =
            token.secret.as_ref().filter(|_| symmetric).map(|secret| {
                (Header::new(algorithm), EncodingKey::from_secret(secret.as_bytes()))
            });
        Ok(Self {
            key,
            algorithm,
            validation,
            require_exp: token.require_exp,
            signer,
            inactive: config.inactive_tenants.clone(),
            api_keys: config.api_keys.clone(),
        })
    }

    /// Verifies a token: signature first, then its claims.
    ///
    /// # Errors
    /// [`AuthError`] says which close code answers it (P-C7).
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > TOKEN_BYTES {
            return Err(AuthError::Invalid);
        }
        let claims = match &self.key {
            Key::One(key) => self.claims(token, key, None)?,
            Key::Named(keys) => {
                let header = decode_header(token).map_err(|_| AuthError::Invalid)?;
                // Neither may cost a question to the issuer.
                let named = header.kid.filter(|_| header.alg == self.algorithm);
                let (found, perhaps) = match keys.find(&named.ok_or(AuthError::Invalid)?) {
                    Found::Keys(found, perhaps) => (found, perhaps),
                    Found::Unknown => return Err(AuthError::Invalid),
                    Found::Perhaps => return Err(AuthError::Unavailable),
                };
                // Two issuers may use the same id; the signature says whose it is.
                let mut verdict = Err(AuthError::Invalid);
                for (issuer, key) in &found {
                    verdict = self.claims(token, key, issuer.as_deref());
                    if verdict.is_ok() {
                        break;
                    }
                }
                match verdict {
                    // Signed by none of them; there may be one more.
                    Err(AuthError::Invalid) if perhaps => return Err(AuthError::Unavailable),
                    verdict => verdict?,
                }
            }
        };
        let principal = claims.principal(unix_ms(), self.require_exp)?;
        if self.inactive.contains(principal.tenant.as_str()) {
            return Err(AuthError::TenantInactive);
        }
        Ok(principal)
    }

    /// As [`Verifier::verify`]; where the token names a key that is not known, its issuer is asked
    /// first, within the bounds of configuration.
    ///
    /// # Errors
    /// As [`Verifier::verify`]; [`AuthError::Unavailable`] when an issuer does not answer.
    pub async fn verify_fresh(&self, token: &str) -> Result<Principal, AuthError> {
        match (self.verify(token), &self.key) {
            (Err(AuthError::Unavailable), Key::Named(_)) => {
                self.refresh().await;
                self.verify(token)
            }
            (verdict, _) => verdict,
        }
    }

    /// Fetches the public keys, where that is not too soon.
    pub async fn refresh(&self) {
        if let Key::Named(keys) = &self.key {
            keys.refresh().await;
        }
    }

    /// The time to the next [`Verifier::refresh`]; none: there is nothing to fetch.
    #[must_use]
    pub fn refresh_in(&self) -> Option<Duration> {
        match &self.key {
            Key::Named(keys) if keys.is_remote() => Some(keys.due_in()),
            _ => None,
        }
    }

    fn claims(
        &self,
        token: &str,
        key: &DecodingKey,
        issuer: Option<&str>,
    ) -> Result<Claims, AuthError> {
        let decoded = match issuer {
            None => decode(token, key, &self.validation),
            Some(issuer) => {
                let mut validation = self.validation.clone();
                validation.set_issuer(&[issuer]);
                validation.required_spec_claims.insert("iss".to_owned());
                decode(token, key, &validation)
            }
        };
        let decoded = decoded.map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => AuthError::Expired,
            _ => AuthError::Invalid,
        });
        let decoded = decoded?;
        // What must be understood, is not: RFC 7515, 4.1.11.
        if decoded.header.crit.is_some() {
            return Err(AuthError::Invalid);
        }
        Ok(decoded.claims)
    }

    /// Signs a token; none where the server holds no secret.
    #[must_use]
    pub fn sign(&self, token: &NewToken) -> Option<String> {
        let (header, key) = self.signer.as_ref()?;
        encode(header, &token.claims(unix_ms() / 1000), key).ok()
    }

    /// The tenants an API key may publish for: `Some(None)` is every tenant.
    #[must_use]
    pub fn api_key(&self, given: &str) -> Option<Option<&str>> {
        // Every key is compared, in time that does not depend on where they differ.
        let mut found = None;
        for known in &self.api_keys {
            if same(known.key.as_bytes(), given.as_bytes()) {
                found = Some(known.tenant.as_deref());
            }
        }
        found
    }
}

/// Compares in time that does not depend on where they differ.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

/// Milliseconds since 1970 on the wall clock.
#[must_use]
pub fn unix_ms() -> u64 {
    let span = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
