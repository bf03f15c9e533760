//! What a server is configured to do: checked once, before anything listens.

mod heartbeat;
mod namespaces;
mod origins;
mod settings;
#[cfg(test)]
mod tests;
mod tokens;

pub use namespaces::NamespaceConfig;
pub use settings::{ConfigError, SETTINGS, Setting, Settings, Source};
pub use tokens::{ApiKey, KeySource, TokenConfig};

use heartbeat::heartbeat;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};
use wardline::protocol::{Limits, Token, limits};

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

/// The certificate a server shows, and its key: names of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
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
    /// TLS; none: plain, as behind a proxy that ends it.
    pub tls: Option<TlsFiles>,
    /// How tokens are verified.
    pub token: TokenConfig,
    /// Who may publish by key.
    pub api_keys: Vec<ApiKey>,
    /// What reads `/metrics`, beside a key of every tenant; none: in production only that key.
    pub metrics_token: Option<Token>,
    /// Pages that may connect; `*` is every page.
    pub origins: Vec<String>,
    /// A folder of built pages to serve; none: only the socket and the routes.
    pub pages: Option<PathBuf>,
    /// Where events are kept.
    pub log: LogStore,
    /// Bytes of its disk that must stay free, or nothing is taken.
    pub disk_reserve: u64,
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
    /// Namespaces of one's own, and what is said of the built-in ones (V1).
    pub namespaces: BTreeMap<String, NamespaceConfig>,
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
            tls: tls(settings)?,
            token: tokens::token(settings, production, insecure_dev)?,
            api_keys: tokens::api_keys(settings, insecure_dev)?,
            metrics_token: tokens::metrics_token(settings, insecure_dev)?,
            origins: origins::origins(settings, production)?,
            pages: pages(settings)?,
            log: log_store(settings)?,
            disk_reserve: settings.read("disk_reserve", 128 * 1024 * 1024)?,
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
            namespaces: namespaces::namespaces(settings)?,
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

fn tls(settings: &Settings) -> Result<Option<TlsFiles>, ConfigError> {
    match (settings.text("tls_cert"), settings.text("tls_key")) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(TlsFiles { certificate: certificate.into(), key: key.into() }))
        }
        (Some(_), None) => Err(ConfigError(format!(
            "{} is set without TLS_KEY: a certificate without its key proves nothing",
            settings.named("tls_cert")
        ))),
        (None, Some(_)) => Err(ConfigError(format!(
            "{} is set without TLS_CERT: there is no certificate to show",
            settings.named("tls_key")
        ))),
    }
}

fn pages(settings: &Settings) -> Result<Option<PathBuf>, ConfigError> {
    let Some(folder) = settings.text("pages").map(PathBuf::from) else { return Ok(None) };
    if folder.join("index.html").is_file() {
        return Ok(Some(folder));
    }
    let name = settings.named("pages");
    Err(ConfigError(format!("{name}: {} holds no index.html", folder.display())))
}
