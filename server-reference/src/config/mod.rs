//! What a server is configured to do: checked once, before anything listens.

mod settings;

pub use settings::{ConfigError, SETTINGS, Setting, Settings, Source};

use std::{collections::BTreeSet, fmt, path::PathBuf, str::FromStr, time::Duration};
use wardline::protocol::{Limits, limits};

/// Where a server runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// Short secrets of 32 characters and pages from localhost are allowed.
    #[default]
    Development,
    /// Secrets have 64 characters, no origin is localhost, logs are JSON (V16).
    Production,
}

impl FromStr for Environment {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "development" | "dev" | "test" => Ok(Self::Development),
            "production" | "prod" => Ok(Self::Production),
            _ => Err(ConfigError("neither development nor production".to_owned())),
        }
    }
}

/// Where a room's events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogStore {
    /// In memory: gone with the process.
    Memory,
    /// In this folder, durable before it is acknowledged.
    Embedded(PathBuf),
}

/// How tokens are verified (V3).
#[derive(Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// The one accepted algorithm.
    pub algorithm: String,
    /// Secret of the HS algorithms. Never printed.
    pub secret: Option<String>,
    /// PEM of the public key of the others.
    pub public_key: Option<String>,
    /// JWKS text.
    pub jwks: Option<String>,
    /// Required `iss`.
    pub issuer: Option<String>,
    /// Required `aud`.
    pub audience: Option<String>,
    /// Whether tokens without `exp` are refused.
    pub require_exp: bool,
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenConfig")
            .field("algorithm", &self.algorithm)
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("require_exp", &self.require_exp)
            .finish_non_exhaustive()
    }
}

/// A key a back end publishes with (P-K5). Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The one tenant it may publish for; none: every tenant.
    pub tenant: Option<String>,
    /// The key.
    pub key: String,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// The checked configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Where the server runs.
    pub environment: Environment,
    /// Short secrets and localhost pages are allowed.
    pub insecure_dev: bool,
    /// How tokens are verified.
    pub token: TokenConfig,
    /// Who may publish by key.
    pub api_keys: Vec<ApiKey>,
    /// Pages that may connect; `*` is every page.
    pub origins: Vec<String>,
    /// A folder of built pages to serve; none: only the socket and the routes.
    pub pages: Option<PathBuf>,
    /// Where events are kept.
    pub log: LogStore,
    /// How long an event is kept.
    pub retention: Duration,
    /// Between pings of the server (P-C3).
    pub ping: Duration,
    /// Of total silence before a connection is closed (P-C3).
    pub idle: Duration,
    /// From the upgrade to `hello` (P-C1).
    pub hello: Duration,
    /// What a connection may do (P-F3).
    pub limits: Limits,
    /// Connections of this server.
    pub max_connections: usize,
    /// Connections of one user.
    pub user_connections: u32,
    /// Connections of one tenant.
    pub tenant_connections: u32,
    /// Messages of one user in [`Config::rate_duration`]; 0: no limit; none: the hub's defaults.
    pub rate_points: Option<u32>,
    /// Over which `rate_points` are counted.
    pub rate_duration: Duration,
    /// Tenants that are refused.
    pub inactive_tenants: BTreeSet<String>,
    /// Hubs that work in parallel.
    pub shards: usize,
    /// Kernel send buffer per connection, in bytes.
    pub send_buffer: usize,
    /// Unsent bytes after which a connection is closed as slow.
    pub max_unsent: usize,
    /// From the drain's begin to the last connection's end.
    pub drain_timeout: Duration,
    /// Window in which clients are asked to leave (P-C8).
    pub drain_spread: Duration,
    /// A level or a filter of tracing.
    pub log_level: String,
    /// What is configured but does nothing here; said once at the start.
    pub warnings: Vec<String>,
}

impl Config {
    /// Checks raw settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that cannot be used, and why.
    pub fn check(settings: &Settings) -> Result<Self, ConfigError> {
        let environment = settings.read("environment", Environment::Development)?;
        let insecure_dev = settings.flag("insecure_dev", false)?;
        let production = environment == Environment::Production;
        if production && insecure_dev {
            return Err(ConfigError(format!(
                "{}: insecure_dev switches the checks off that production needs; unset one of them",
                settings.named("insecure_dev")
            )));
        }
        let millis = |name, default| settings.read(name, default).map(Duration::from_millis);
        let (ping, idle) = heartbeat(settings)?;
        let max_payload = settings.read("max_payload", 1024 * 1024usize)?;
        if !(limits::HELLO_BYTES..=64 * 1024 * 1024).contains(&max_payload) {
            return Err(ConfigError(format!(
                "{}: {max_payload} is not between 16384 (a hello must fit) and 67108864",
                settings.named("max_payload")
            )));
        }
        let defaults = Limits::default();
        let config = Self {
            host: settings.text("host").unwrap_or("0.0.0.0").to_owned(),
            port: settings.read("port", 9001)?,
            environment,
            insecure_dev,
            token: token(settings, production, insecure_dev)?,
            api_keys: api_keys(settings, insecure_dev)?,
            origins: origins(settings, production)?,
            pages: pages(settings)?,
            log: log_store(settings)?,
            retention: Duration::from_secs(settings.read("persistence_ttl", 3600)?),
            ping,
            idle,
            hello: millis("hello_timeout", 5000)?,
            limits: Limits {
                message: max_payload,
                rooms: settings.read("max_rooms", defaults.rooms)?,
                depth: defaults.depth,
            },
            max_connections: settings.read("max_connections", 18_000)?,
            user_connections: settings.read("user_connections", 64)?,
            tenant_connections: settings.read("tenant_connections", 100_000)?,
            rate_points: match settings.text("rate_points") {
                None => None,
                Some(_) => Some(settings.read("rate_points", 0)?),
            },
            rate_duration: Duration::from_secs(settings.read("rate_duration", 60)?),
            inactive_tenants: settings.list("inactive_tenants").into_iter().collect(),
            shards: settings.read("shards", 1)?,
            send_buffer: settings.read("send_buffer", 128 * 1024)?,
            max_unsent: settings.read("max_unsent", 4 * 1024 * 1024)?,
            drain_timeout: millis("drain_timeout", 10_000)?,
            drain_spread: millis("drain_spread", 0)?,
            log_level: settings.text("log_level").unwrap_or("info").to_owned(),
            warnings: warnings(settings)?,
        };
        if !(1..=256).contains(&config.shards) {
            return Err(ConfigError(format!(
                "{}: {} is not between 1 and 256",
                settings.named("shards"),
                config.shards
            )));
        }
        if config.max_unsent < limits::BEHIND_BYTES * 2 {
            return Err(ConfigError(format!(
                "{}: {} leaves no room between falling behind (262144) and being closed",
                settings.named("max_unsent"),
                config.max_unsent
            )));
        }
        if config.retention.is_zero() || config.rate_duration.is_zero() {
            return Err(ConfigError(format!(
                "{} and {}: 0 is no time span",
                settings.named("persistence_ttl"),
                settings.named("rate_duration")
            )));
        }
        Ok(config)
    }

    /// Whether a page of this origin may connect (V16). No origin: no browser.
    #[must_use]
    pub fn origin_allowed(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let same = |allowed: &String| {
            allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)
        };
        if self.origins.iter().any(same) {
            return true;
        }
        let development = self.environment == Environment::Development;
        development && (self.origins.is_empty() || self.insecure_dev) && is_local(origin)
    }
}

/// Interval and silence (P-C3, §8.9): a pong timeout shortens the silence to ping + pong.
fn heartbeat(settings: &Settings) -> Result<(Duration, Duration), ConfigError> {
    let seconds = |name: &'static str| -> Result<Option<u64>, ConfigError> {
        Ok(match settings.text(name) {
            None => None,
            Some(_) => Some(settings.read(name, 0u64)?.saturating_mul(1000)),
        })
    };
    let interval = match settings.text("heartbeat_interval") {
        None => seconds("ping_interval")?.unwrap_or(30_000),
        Some(_) => settings.read("heartbeat_interval", 30_000u64)?,
    };
    let pong = match settings.text("websocket_ping_timeout") {
        None => seconds("ping_timeout")?,
        Some(_) => Some(settings.read("websocket_ping_timeout", 0u64)?),
    };
    // With no timeout named, the proportion of P-C3: 30 s and 60 s.
    let default = interval.saturating_mul(2);
    let named = settings.text("heartbeat_timeout").is_some();
    let silence = settings.read("heartbeat_timeout", default)?;
    if !(100..=3_600_000).contains(&interval) {
        return Err(ConfigError(format!(
            "{}: {interval} ms is not between 100 ms and an hour",
            settings.named("heartbeat_interval")
        )));
    }
    if named && silence <= interval {
        return Err(ConfigError(format!(
            "{}: {silence} ms is not longer than the {interval} ms between pings, so every quiet \
             connection would be closed before its first ping",
            settings.named("heartbeat_timeout")
        )));
    }
    let silence = match pong {
        Some(0) => {
            return Err(ConfigError(format!(
                "{}: 0 leaves no time for an answer",
                settings.named("websocket_ping_timeout")
            )));
        }
        Some(pong) => silence.min(interval.saturating_add(pong)),
        None => silence,
    };
    Ok((Duration::from_millis(interval), Duration::from_millis(silence)))
}

fn token(
    settings: &Settings,
    production: bool,
    insecure: bool,
) -> Result<TokenConfig, ConfigError> {
    let algorithm = settings.text("jwt_algorithm").unwrap_or("HS256").to_owned();
    let known = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA"];
    if !known.contains(&algorithm.as_str()) {
        return Err(ConfigError(format!(
            "{}: {algorithm:?} is none of {}",
            settings.named("jwt_algorithm"),
            known.join(", ")
        )));
    }
    let file = |name: &'static str| -> Result<Option<String>, ConfigError> {
        settings.text(name).map_or(Ok(None), |path| {
            std::fs::read_to_string(path).map(Some).map_err(|error| {
                ConfigError(format!("{}: cannot read {path}: {error}", settings.named(name)))
            })
        })
    };
    let public_key = match settings.text("jwt_public_key") {
        Some(pem) => Some(pem.replace("\\n", "\n")),
        None => file("jwt_public_key_file")?,
    };
    let jwks = file("jwt_jwks_file")?;
    let secret = settings.text("jwt_secret").map(str::to_owned);
    if algorithm.starts_with("HS") {
        let name = settings.named("jwt_secret");
        let least = if production { 64 } else { 32 };
        match &secret {
            None => {
                return Err(ConfigError(format!(
                    "{name} is not set: without it no token can be verified; set one of at least \
                     {least} characters, or try `serve --dev`"
                )));
            }
            Some(secret) if secret.chars().count() < least && !insecure => {
                return Err(ConfigError(format!(
                    "{name} has {} characters and needs at least {least}{}: a short secret can be \
                     found by trying",
                    secret.chars().count(),
                    if production { " in production" } else { "" }
                )));
            }
            Some(_) => {}
        }
    } else if public_key.is_none() && jwks.is_none() {
        return Err(ConfigError(format!(
            "{} is {algorithm}, which needs JWT_PUBLIC_KEY, JWT_PUBLIC_KEY_FILE or JWT_JWKS_FILE",
            settings.named("jwt_algorithm")
        )));
    }
    Ok(TokenConfig {
        algorithm,
        secret,
        public_key,
        jwks,
        issuer: settings.text("jwt_issuer").map(str::to_owned),
        audience: settings.text("jwt_audience").map(str::to_owned),
        require_exp: settings.flag("jwt_require_exp", false)?,
    })
}

fn api_keys(settings: &Settings, insecure: bool) -> Result<Vec<ApiKey>, ConfigError> {
    let name = settings.named("api_keys");
    let read = |text: String| {
        let (tenant, key) = text.split_once('=').ok_or_else(|| {
            ConfigError(format!("{name}: expected TENANT=KEY (or *=KEY for every tenant)"))
        })?;
        if key.len() < 32 && !insecure {
            return Err(ConfigError(format!(
                "{name}: the key of {tenant} has {} characters and needs at least 32",
                key.len()
            )));
        }
        let tenant = (tenant != "*").then(|| tenant.to_owned());
        Ok(ApiKey { tenant, key: key.to_owned() })
    };
    settings.list("api_keys").into_iter().map(read).collect()
}

fn origins(settings: &Settings, production: bool) -> Result<Vec<String>, ConfigError> {
    let origins = settings.list("cors_origins");
    let name = settings.named("cors_origins");
    for origin in &origins {
        if production && origin == "*" {
            return Err(ConfigError(format!(
                "{name}: * lets every page use a visitor's cookie; name the pages in production"
            )));
        }
        if production && is_local(origin) {
            return Err(ConfigError(format!(
                "{name}: {origin} is a page on someone's own machine; not in production"
            )));
        }
        let has_scheme = origin.starts_with("http://") || origin.starts_with("https://");
        let path = origin.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty());
        if origin != "*" && (!has_scheme || path) {
            return Err(ConfigError(format!(
                "{name}: {origin:?} is no origin; expected https://HOST or https://HOST:PORT"
            )));
        }
    }
    Ok(origins)
}

fn pages(settings: &Settings) -> Result<Option<PathBuf>, ConfigError> {
    let Some(folder) = settings.text("pages").map(PathBuf::from) else { return Ok(None) };
    if folder.join("index.html").is_file() {
        return Ok(Some(folder));
    }
    let name = settings.named("pages");
    Err(ConfigError(format!("{name}: {} holds no index.html", folder.display())))
}

/// Whether an origin names this machine. Hosts are compared whole.
fn is_local(origin: &str) -> bool {
    let rest = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    let rest = rest.trim_end_matches('/');
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

fn log_store(settings: &Settings) -> Result<LogStore, ConfigError> {
    let keep = settings.flag("persistence_enabled", true)?;
    let default = if keep { "embedded" } else { "memory" };
    match settings.text("log").unwrap_or(default) {
        "memory" => Ok(LogStore::Memory),
        "embedded" => {
            Ok(LogStore::Embedded(settings.text("data").unwrap_or("wardline-data").into()))
        }
        other => Err(ConfigError(format!(
            "{}: {other:?} is neither memory nor embedded",
            settings.named("log")
        ))),
    }
}

fn warnings(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    if settings.flag("clustering_enabled", false)? {
        return Err(ConfigError(format!(
            "{}: this build has no Redis log yet; several servers would not see each other's rooms",
            settings.named("clustering_enabled")
        )));
    }
    let ignored = ["redis_url", "redis_host", "kafka_bootstrap_servers"];
    let set = ignored.into_iter().filter(|name| settings.text(name).is_some());
    Ok(set
        .map(|name| format!("{} is set, but this build does not use it", settings.named(name)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
