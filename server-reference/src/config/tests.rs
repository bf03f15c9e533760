//! What is accepted, and in which words the rest is refused.

use super::*;
use crate::hub::{RoomStrategy, buckets::Rate};
use wardline::protocol::frames::RoomMode;

fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut settings = Settings::new();
    for (name, value) in pairs {
        settings.set(name, *value, Source::Program).unwrap();
    }
    Config::check(&settings)
}

const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123";

#[test]
fn v16_secrets_have_their_length() {
    assert!(with(&[]).unwrap_err().0.starts_with("JWT_SECRET is not set"));
    assert!(with(&[("jwt_secret", &LONG[..31])]).unwrap_err().0.contains("at least 32"));
    assert!(with(&[("jwt_secret", &LONG[..32])]).is_ok());
    let production = ("environment", "production");
    let short = with(&[production, ("jwt_secret", &LONG[..63])]).unwrap_err();
    assert!(short.0.contains("at least 64 in production"), "{short}");
    assert!(with(&[production, ("jwt_secret", LONG)]).is_ok());
    assert!(with(&[("jwt_secret", "short"), ("insecure_dev", "true")]).is_ok());
    assert!(with(&[production, ("jwt_secret", LONG), ("insecure_dev", "1")]).is_err());
}

#[test]
fn v16_production_knows_no_localhost() {
    let check = |origin| {
        with(&[("environment", "production"), ("jwt_secret", LONG), ("cors_origins", origin)])
    };
    for bad in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:1", "*", "app"] {
        assert!(check(bad).is_err(), "{bad}");
    }
    let config = check("https://app.example,https://localhost.example").unwrap();
    assert!(config.origin_allowed(Some("https://app.example")));
    assert!(config.origin_allowed(None));
    assert!(!config.origin_allowed(Some("https://app.example.evil")));
    assert!(!config.origin_allowed(Some("http://localhost:3000")));
    let development = with(&[("jwt_secret", LONG)]).unwrap();
    assert!(development.origin_allowed(Some("http://localhost:3000")));
    assert!(!development.origin_allowed(Some("https://evil.example")));
}

#[test]
fn silence_and_pong_timeout_are_two_settings() {
    let beat = |pairs: &[(&str, &str)]| {
        let mut all = vec![("jwt_secret", LONG)];
        all.extend_from_slice(pairs);
        with(&all).map(|config| (config.ping.as_millis(), config.idle.as_millis()))
    };
    assert_eq!(beat(&[]), Ok((30_000, 60_000)));
    assert_eq!(beat(&[("HEARTBEAT_TIMEOUT", "90000")]), Ok((30_000, 90_000)));
    assert_eq!(beat(&[("WEBSOCKET_PING_TIMEOUT", "5000")]), Ok((30_000, 35_000)));
    assert_eq!(beat(&[("PING_INTERVAL", "25"), ("PING_TIMEOUT", "20")]), Ok((25_000, 45_000)));
    assert_eq!(beat(&[("WEBSOCKET_PING_INTERVAL", "200")]), Ok((200, 400)));
    assert!(beat(&[("HEARTBEAT_TIMEOUT", "30000")]).is_err());
}

#[test]
fn a_secret_is_never_printed() {
    let config = with(&[("jwt_secret", LONG), ("api_keys", &format!("*={LONG}"))]).unwrap();
    assert!(!format!("{config:?}").contains(LONG));
}

#[test]
fn v1_namespaces_have_rooms_limits_and_grace() {
    let mut settings = Settings::new();
    settings.set("jwt_secret", LONG, Source::Program).unwrap();
    settings
        .add_toml(
            r#"
            [namespaces.dispatch]
            latest = ["asset"]
            grace = { incident = 60 }
            [namespaces.plant]
            rooms = "organization"
            rate = { points = 5, duration = 2 }
            roles = { valve = ["engineer"] }
            reserved = ["valve:*"]
            commands = ["valve:open", "valve:close"]
            grace = { "*" = 30 }
            "#,
        )
        .unwrap();
    let config = Config::check(&settings).unwrap();
    let plant = &config.namespaces["plant"];
    assert_eq!(plant.namespace.strategy, RoomStrategy::Organization);
    assert_eq!(plant.rate, Some(Rate::new(5, Duration::from_secs(2))));
    assert_eq!(
        plant.commands.as_deref(),
        Some(&["valve:open".to_owned(), "valve:close".into()][..])
    );
    assert!(plant.namespace.reserves("valve:open"));
    let room = |name: &str| name.parse().unwrap();
    let dispatch = &config.namespaces["dispatch"].namespace;
    assert_eq!(dispatch.mode(&room("dispatch/asset:7")), RoomMode::Latest);
    assert_eq!(dispatch.mode(&room("dispatch/incident:7")), RoomMode::Log);
    assert_eq!(dispatch.grace(&room("dispatch/incident:7")), Some(Duration::from_secs(60)));
    assert_eq!(dispatch.grace(&room("dispatch/asset:7")), None);
    assert_eq!(plant.namespace.grace(&room("plant/any")), Some(Duration::from_secs(30)));

    // One variable says the same.
    let text = r#"{"plant": {"rooms": "tenant", "latest": ["tenant"]}}"#;
    let config = with(&[("jwt_secret", LONG), ("NAMESPACES", text)]).unwrap();
    assert_eq!(config.namespaces["plant"].namespace.strategy, RoomStrategy::Tenant);
}

#[test]
fn v1_a_namespace_that_cannot_be_is_refused_with_its_name() {
    for (text, words) in [
        ("[]", "no table"),
        (r#"{"Plant": {}}"#, "Plant"),
        (r#"{"plant": {"colour": 1}}"#, "colour"),
        (r#"{"plant": {"rooms": "some"}}"#, "organization"),
        (r#"{"plant": {"rate": {"points": 0, "duration": 1}}}"#, "points"),
        (r#"{"plant": {"rate": {"points": 1, "duration": 0}}}"#, "duration"),
        (r#"{"plant": {"grace": {"a": 121}}}"#, "120"),
        (r#"{"plant": {"latest": ["a:b"]}}"#, "a:b"),
        (r#"{"plant": {"latest": ["commands"]}}"#, "commands"),
        (r#"{"plant": {"rooms": "tenant", "latest": ["gauge"]}}"#, "gauge"),
        (r#"{"plant": {"commands": [""]}}"#, "commands"),
        (r#"{"alerts": {"commands": ["x"]}}"#, "alerts"),
        (r#"{"plant": {"roles": {"valve": []}}}"#, "valve"),
    ] {
        let error = with(&[("jwt_secret", LONG), ("NAMESPACES", text)]).unwrap_err();
        assert!(error.0.contains(words), "{text}: {error}");
        assert!(error.0.contains("namespaces") || error.0.contains("NAMESPACES"), "{error}");
    }
}

#[test]
fn v3_public_keys_come_from_a_trusted_place() {
    let check = |pairs: &[(&str, &str)]| {
        let mut all = vec![("jwt_algorithm", "RS256")];
        all.extend_from_slice(pairs);
        with(&all).map(|config| config.token.sources)
    };
    let one = check(&[("jwt_jwks_url", "https://id.example/keys")]).unwrap();
    assert_eq!(one, [KeySource { issuer: None, url: "https://id.example/keys".into() }]);
    let two = check(&[("jwt_jwks_url", "https://a https://a/keys, https://b https://b/keys")]);
    assert_eq!(two.unwrap()[1].issuer.as_deref(), Some("https://b"));
    assert!(check(&[("jwt_jwks_url", "http://127.0.0.1:80/keys")]).is_ok());
    for (pairs, words) in [
        (&[("jwt_jwks_url", "http://id.example/keys")][..], "https"),
        (&[("jwt_jwks_url", "id.example/keys")], "https"),
        (&[("jwt_jwks_url", "https://a/k, https://b/k")], "issuer"),
        (&[("jwt_jwks_url", "https://a https://a/k"), ("jwt_issuer", "https://b")], "JWT_ISSUER"),
        (&[("jwt_jwks_url", "https://a/k"), ("jwt_jwks_cooldown", "0")], "cooldown"),
        (
            &[("jwt_algorithm", "HS256"), ("jwt_secret", LONG), ("jwt_jwks_url", "https://a/k")],
            "HS256",
        ),
    ] {
        let error = check(pairs).unwrap_err();
        assert!(error.0.contains(words), "{pairs:?}: {error}");
    }
}

#[test]
fn tls_needs_both_its_files() {
    assert!(
        with(&[("jwt_secret", LONG), ("TLS_CERT", "c.pem")]).unwrap_err().0.contains("TLS_KEY")
    );
    assert!(
        with(&[("jwt_secret", LONG), ("TLS_KEY", "k.pem")]).unwrap_err().0.contains("TLS_CERT")
    );
    let both = with(&[("jwt_secret", LONG), ("TLS_CERT", "c.pem"), ("TLS_KEY", "k.pem")]).unwrap();
    assert!(both.tls.is_some());
}
