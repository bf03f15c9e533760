//! Who may enter: tokens verified, claims read in every dialect, nothing believed before (V3).

mod claims;
mod sources;

pub use claims::NewToken;
pub use sources::token_of;

use crate::{
    config::{ApiKey, Config, ConfigError},
    hub::{AuthError, Principal},
};
use claims::Claims;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    errors::ErrorKind, jwk::JwkSet,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

/// Longest token that is looked at, in bytes: one that fits a hello.
const TOKEN_BYTES: usize = 12 * 1024;

/// Verifies tokens, and signs them where the secret is its own.
pub struct Verifier {
    keys: Keys,
    validation: Validation,
    require_exp: bool,
    signer: Option<(Header, EncodingKey)>,
    inactive: BTreeSet<String>,
    api_keys: Vec<ApiKey>,
}

enum Keys {
    One(Box<DecodingKey>),
    ById(BTreeMap<String, DecodingKey>),
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
        let keys = if symmetric {
            let secret = token.secret.as_deref().unwrap_or_default();
            Keys::One(Box::new(DecodingKey::from_secret(secret.as_bytes())))
        } else if let Some(jwks) = &token.jwks {
            Keys::ById(key_set(jwks)?)
        } else {
            let pem = token.public_key.as_deref().unwrap_or_default().as_bytes();
            let key = match &token.algorithm[..2] {
                "RS" => DecodingKey::from_rsa_pem(pem),
                "ES" => DecodingKey::from_ec_pem(pem),
                _ => DecodingKey::from_ed_pem(pem),
            };
            Keys::One(Box::new(key.map_err(|error| {
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
            keys,
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
        let key = match &self.keys {
            Keys::One(key) => key,
            Keys::ById(keys) => {
                let header = decode_header(token).map_err(|_| AuthError::Invalid)?;
                let kid = header.kid.as_deref().unwrap_or_default();
                keys.get(kid).ok_or(AuthError::Invalid)?
            }
        };
        let claims: Claims = decode(token, key, &self.validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => AuthError::Expired,
                _ => AuthError::Invalid,
            })?
            .claims;
        let principal = claims.principal(unix_ms(), self.require_exp)?;
        if self.inactive.contains(principal.tenant.as_str()) {
            return Err(AuthError::TenantInactive);
        }
        Ok(principal)
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

fn key_set(text: &str) -> Result<BTreeMap<String, DecodingKey>, ConfigError> {
    let set: JwkSet = serde_json::from_str(text)
        .map_err(|error| ConfigError(format!("JWT_JWKS_FILE holds no JWKS: {error}")))?;
    let mut keys = BTreeMap::new();
    for jwk in &set.keys {
        let Some(kid) = jwk.common.key_id.clone() else { continue };
        let key = DecodingKey::from_jwk(jwk)
            .map_err(|error| ConfigError(format!("JWT_JWKS_FILE: key {kid}: {error}")))?;
        keys.insert(kid, key);
    }
    if keys.is_empty() {
        return Err(ConfigError("JWT_JWKS_FILE holds no key with a `kid`".to_owned()));
    }
    Ok(keys)
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

/// Milliseconds since 1970 on the wall clock.
#[must_use]
pub fn unix_ms() -> u64 {
    let span = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Source};
    use serde_json::json;

    const SECRET: &str = "a secret of more than thirty-two characters";

    fn verifier(more: &[(&str, &str)]) -> Verifier {
        let mut settings = Settings::new();
        settings.set("jwt_secret", SECRET, Source::Program).unwrap();
        for (name, value) in more {
            settings.set(name, *value, Source::Program).unwrap();
        }
        Verifier::new(&Config::check(&settings).unwrap()).unwrap()
    }

    fn signed(algorithm: Algorithm, secret: &str, claims: &serde_json::Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
            .unwrap()
    }

    fn verify(claims: serde_json::Value) -> Result<Principal, AuthError> {
        verifier(&[]).verify(&signed(Algorithm::HS256, SECRET, &claims))
    }

    #[test]
    fn v3_claims_are_read_in_every_dialect() {
        let camel = verify(json!({"userId": "u", "tenantId": "t", "organizationId": "o",
            "roles": ["admin"], "jti": "j", "iat": 5}))
        .unwrap();
        assert_eq!((camel.tenant.as_str(), camel.user.as_str()), ("t", "u"));
        assert_eq!(camel.organization.as_ref().unwrap().as_str(), "o");
        assert!(camel.has_role("admin") && !camel.has_role("service"));
        assert_eq!(
            (camel.token_id.as_deref(), camel.issued, camel.expires),
            (Some("j"), 5000, None)
        );

        let exp = unix_ms() / 1000 + 60;
        let snake = verify(json!({"sub": "u", "organization_id": "o", "exp": exp})).unwrap();
        assert_eq!(
            (snake.tenant.as_str(), snake.user.as_str()),
            ("o", "u"),
            "tenant = organization"
        );
        assert_eq!(snake.expires, Some(exp * 1000));

        let numbers = verify(json!({"userId": 7, "tenantId": 1})).unwrap();
        assert_eq!((numbers.tenant.as_str(), numbers.user.as_str()), ("1", "7"));
        assert!(
            verify(json!({"sub": "u", "tenant_id": "t", "role": "admin"}))
                .unwrap()
                .has_role("admin")
        );
    }

    #[test]
    fn a_token_that_does_not_hold_is_told_why() {
        let good = json!({"userId": "u", "tenantId": "t"});
        let v = verifier(&[]);
        assert_eq!(v.verify(""), Err(AuthError::Missing));
        for garbage in ["x", "a.b.c", "....", &"x".repeat(20_000)] {
            assert_eq!(v.verify(garbage), Err(AuthError::Invalid));
        }
        assert_eq!(v.verify(&signed(Algorithm::HS256, "other", &good)), Err(AuthError::Invalid));
        assert_eq!(v.verify(&signed(Algorithm::HS512, SECRET, &good)), Err(AuthError::Invalid));
        let unsigned = "eyJhbGciOiJub25lIn0.eyJ1c2VySWQiOiJ1IiwidGVuYW50SWQiOiJ0In0.";
        assert_eq!(v.verify(unsigned), Err(AuthError::Invalid));
        assert_eq!(
            verify(json!({"userId": "u", "tenantId": "t", "exp": 1})),
            Err(AuthError::Expired)
        );
        for bad in [
            json!({"userId": "u"}),
            json!({"tenantId": "t"}),
            json!({"userId": "u", "tenantId": "~public"}),
            json!({"userId": "u", "tenantId": "a:b"}),
            json!({"userId": "", "tenantId": "t"}),
            json!({"userId": "u", "tenantId": "t", "tenant_id": "other"}),
            json!({"userId": "u", "tenantId": "t", "exp": "soon"}),
            json!({"userId": "u", "tenantId": "t", "nbf": unix_ms() / 1000 + 3600}),
            json!("text"),
        ] {
            assert_eq!(verify(bad.clone()), Err(AuthError::Invalid), "{bad}");
        }
        let strict = verifier(&[("jwt_require_exp", "true"), ("inactive_tenants", "gone")]);
        let token = signed(Algorithm::HS256, SECRET, &good);
        assert_eq!(strict.verify(&token), Err(AuthError::Invalid));
        let gone = json!({"userId": "u", "tenantId": "gone", "exp": unix_ms() / 1000 + 60});
        let token = signed(Algorithm::HS256, SECRET, &gone);
        assert_eq!(strict.verify(&token), Err(AuthError::TenantInactive));
        let narrow = verifier(&[("jwt_issuer", "us"), ("jwt_audience", "here")]);
        assert_eq!(
            narrow.verify(&signed(Algorithm::HS256, SECRET, &good)),
            Err(AuthError::Invalid)
        );
        let full = json!({"userId": "u", "tenantId": "t", "iss": "us", "aud": "here"});
        assert!(narrow.verify(&signed(Algorithm::HS256, SECRET, &full)).is_ok());
    }

    #[test]
    fn what_the_server_signs_it_verifies() {
        let v = verifier(&[]);
        let token = NewToken {
            tenant: "t".into(),
            user: "u".into(),
            organization: Some("o".into()),
            roles: vec!["service".into()],
            life: Some(std::time::Duration::from_secs(60)),
        };
        let principal = v.verify(&v.sign(&token).unwrap()).unwrap();
        assert!(principal.has_role("service") && principal.token_id.is_some());
        assert!(principal.expires.unwrap() > unix_ms());
    }

    #[test]
    fn an_api_key_names_its_tenant() {
        let key = "k".repeat(32);
        let v = verifier(&[("api_keys", &format!("t={key}, *={key}x"))]);
        assert_eq!(v.api_key(&key), Some(Some("t")));
        assert_eq!(v.api_key(&format!("{key}x")), Some(None));
        assert_eq!(v.api_key("k"), None);
    }

    /// A P-256 pair made for this test alone.
    #[test]
    fn v3_es256_by_public_key_and_no_hs256_with_it() {
        let private = include_str!("testdata/es256-private.pem");
        let public = include_str!("testdata/es256-public.pem");
        let mut settings = Settings::new();
        settings.set("jwt_algorithm", "ES256", Source::Program).unwrap();
        settings.set("jwt_public_key", public, Source::Program).unwrap();
        let v = Verifier::new(&Config::check(&settings).unwrap()).unwrap();
        let claims = json!({"userId": "u", "tenantId": "t"});
        let key = EncodingKey::from_ec_pem(private.as_bytes()).unwrap();
        let token = encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
        assert_eq!(v.verify(&token).unwrap().user.as_str(), "u");
        let confused = signed(Algorithm::HS256, public, &claims);
        assert_eq!(v.verify(&confused), Err(AuthError::Invalid));
        settings.set("jwt_public_key", "no key", Source::Program).unwrap();
        assert!(Verifier::new(&Config::check(&settings).unwrap()).is_err());
    }
}
