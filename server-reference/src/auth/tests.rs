//! Tokens in every dialect, keys from every place, and what is refused.

use super::*;
use crate::config::{Settings, Source};
use jsonwebtoken::jwk::Jwk;
use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

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
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
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
    assert_eq!((camel.token_id.as_deref(), camel.issued, camel.expires), (Some("j"), 5000, None));

    let exp = unix_ms() / 1000 + 60;
    let snake = verify(json!({"sub": "u", "organization_id": "o", "exp": exp})).unwrap();
    assert_eq!((snake.tenant.as_str(), snake.user.as_str()), ("o", "u"), "tenant = organization");
    assert_eq!(snake.expires, Some(exp * 1000));

    let numbers = verify(json!({"userId": 7, "tenantId": 1})).unwrap();
    assert_eq!((numbers.tenant.as_str(), numbers.user.as_str()), ("1", "7"));
    assert!(
        verify(json!({"sub": "u", "tenant_id": "t", "role": "admin"})).unwrap().has_role("admin")
    );
}

#[test]
fn v3_a_header_that_must_be_understood_and_is_not_refuses_the_token() {
    let claims = json!({"userId": "u", "tenantId": "t"});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let with = |crit: Option<Vec<String>>| {
        let header = Header { crit, ..Header::new(Algorithm::HS256) };
        verifier(&[]).verify(&encode(&header, &claims, &key).unwrap())
    };
    assert!(with(None).is_ok());
    for names in [vec!["b64".to_owned()], vec!["exp".to_owned()], vec![]] {
        assert_eq!(with(Some(names.clone())), Err(AuthError::Invalid), "{names:?}");
    }
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
    assert_eq!(verify(json!({"userId": "u", "tenantId": "t", "exp": 1})), Err(AuthError::Expired));
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
    assert_eq!(narrow.verify(&signed(Algorithm::HS256, SECRET, &good)), Err(AuthError::Invalid));
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

/// An issuer on this machine: it answers with the keys it has now, and counts how often it was asked.
struct Issuer {
    url: String,
    keys: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys.json", listener.local_addr().unwrap());
        let issuer = Self { url, keys: Arc::default(), asked: Arc::default() };
        let (keys, asked) = (issuer.keys.clone(), issuer.asked.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                assert!(head.starts_with(b"GET /keys.json HTTP/1.1\r\n"));
                asked.fetch_add(1, Ordering::SeqCst);
                let body = keys.lock().unwrap().clone();
                let status = if body.is_empty() { "503 Away" } else { "200 OK" };
                let length = body.len();
                let _ =
                    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            }
        });
        issuer
    }

    fn show(&self, signers: &[&Signer]) {
        let keys: Vec<_> = signers.iter().map(|signer| signer.public.clone()).collect();
        *self.keys.lock().unwrap() = json!({"keys": keys}).to_string();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A key pair and the id it is published under.
struct Signer {
    id: String,
    private: EncodingKey,
    public: serde_json::Value,
}

impl Signer {
    fn new(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let private = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let mut jwk = Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        Self { id: id.to_owned(), private, public: serde_json::to_value(jwk).unwrap() }
    }

    fn sign(&self, issuer: &str) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        let claims = json!({"userId": "u", "tenantId": "t", "iss": issuer});
        encode(&header, &claims, &self.private).unwrap()
    }
}

fn by_sources(sources: &str, cooldown: u64) -> Verifier {
    let mut settings = Settings::new();
    for (name, value) in [
        ("jwt_algorithm", "ES256"),
        ("jwt_jwks_url", sources),
        ("jwt_jwks_cooldown", &cooldown.to_string()),
    ] {
        settings.set(name, value, Source::Program).unwrap();
    }
    Verifier::new(&Config::check(&settings).unwrap()).unwrap()
}

#[tokio::test]
async fn v3_no_issuer_signs_for_another() {
    let (a, b) = (Issuer::start(), Issuer::start());
    // The same id at both: only the signature says whose key it is.
    let (of_a, of_b) = (Signer::new("k"), Signer::new("k"));
    a.show(&[&of_a]);
    b.show(&[&of_b]);
    let v = by_sources(&format!("https://a {}, https://b {}", a.url, b.url), 60);
    v.refresh().await;
    assert!(v.verify(&of_a.sign("https://a")).is_ok());
    assert!(v.verify(&of_b.sign("https://b")).is_ok());
    assert_eq!(v.verify(&of_a.sign("https://b")), Err(AuthError::Invalid));
    assert_eq!(v.verify(&of_b.sign("https://c")), Err(AuthError::Invalid));
    let confused = signed(Algorithm::HS256, "k", &json!({"userId": "u", "tenantId": "t"}));
    assert_eq!(v.verify_fresh(&confused).await, Err(AuthError::Invalid));
    assert_eq!((a.asked(), b.asked()), (1, 1));
}

#[tokio::test]
async fn v3_unknown_keys_ask_the_issuer_once_per_cooldown() {
    let issuer = Issuer::start();
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    issuer.show(&[&old]);
    let v = Arc::new(by_sources(&issuer.url, 1));
    // Nothing is known yet: all who come at once wait for one answer.
    let many: Vec<_> = (0..50)
        .map(|_| {
            let (v, token) = (v.clone(), old.sign("any"));
            tokio::spawn(async move { v.verify_fresh(&token).await })
        })
        .collect();
    for one in many {
        assert!(one.await.unwrap().is_ok());
    }
    assert_eq!(issuer.asked(), 1);
    // Rotated: found within a cooldown, whatever is tried meanwhile, and the old one is gone.
    issuer.show(&[&new]);
    let began = std::time::Instant::now();
    let mut tried = 0u32;
    while v.verify_fresh(&new.sign("any")).await.is_err() {
        tried += 1;
        assert!(began.elapsed() < Duration::from_secs(30), "never found");
        tokio::task::yield_now().await;
    }
    let cooldowns = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(issuer.asked() <= 1 + cooldowns, "{} times in {tried} tries", issuer.asked());
    assert_eq!(v.verify(&old.sign("any")), Err(AuthError::Invalid));
}

#[tokio::test]
async fn v3_an_issuer_that_is_away_locks_no_one_out() {
    let issuer = Issuer::start();
    let signer = Signer::new("k");
    let v = by_sources(&issuer.url, 1);
    let token = signer.sign("any");
    assert_eq!(v.verify_fresh(&token).await, Err(AuthError::Unavailable), "come again");
    issuer.show(&[&signer]);
    let began = std::time::Instant::now();
    while v.verify_fresh(&token).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "never found");
        tokio::task::yield_now().await;
    }
    // Away again, and what it then says is no set of keys: the keys that were had stay.
    issuer.keys.lock().unwrap().clear();
    let asked = issuer.asked();
    let unknown = Signer::new("other").sign("any");
    while issuer.asked() == asked {
        assert!(v.verify_fresh(&unknown).await.is_err());
        tokio::task::yield_now().await;
    }
    assert!(v.verify(&token).is_ok());
    assert_eq!(v.verify(&unknown), Err(AuthError::Unavailable), "it may have that key");
}

#[test]
fn v3_rs256_by_public_key() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut settings = Settings::new();
    settings.set("jwt_algorithm", "RS256", Source::Program).unwrap();
    settings.set("jwt_public_key", RSA_PUBLIC, Source::Program).unwrap();
    let v = Verifier::new(&Config::check(&settings).unwrap()).unwrap();
    let claims = json!({"userId": "u", "tenantId": "t"});
    let key = EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap();
    let token = encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
    assert_eq!(v.verify(&token).unwrap().user.as_str(), "u");
    let other = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let other = encode(&Header::new(Algorithm::ES256), &claims, &other).unwrap();
    assert_eq!(v.verify(&other), Err(AuthError::Invalid));
    let confused = signed(Algorithm::HS256, RSA_PUBLIC, &claims);
    assert_eq!(v.verify(&confused), Err(AuthError::Invalid));
}

/// A pair made for these tests alone.
const RSA_PRIVATE: &str = include_str!("testdata/rs256-private.pem");
const RSA_PUBLIC: &str = include_str!("testdata/rs256-public.pem");
