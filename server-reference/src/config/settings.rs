//! Where settings come from: flags over environment over file over default.

use std::{collections::BTreeMap, fmt, path::Path};

/// One setting: its name in files and flags, its environment variables, what it is.
#[derive(Debug)]
pub struct Setting {
    /// Lower case with underscores: the key in a file; with hyphens: the flag.
    pub name: &'static str,
    /// Environment variables, the first one wins.
    pub env: &'static [&'static str],
    /// One line for `--help`, with the default.
    pub help: &'static str,
}

macro_rules! settings {
    ($($name:ident [$($env:literal),+] $help:literal;)+) => {
        /// Every setting there is.
        pub const SETTINGS: &[Setting] = &[
            $(Setting { name: stringify!($name), env: &[$($env),+], help: $help }),+
        ];
    };
}

settings! {
    host ["HOST"] "Address to listen on [0.0.0.0]";
    port ["PORT", "WEBSOCKET_PORT"] "Port to listen on; 0 takes a free one [9001]";
    tls_cert ["TLS_CERT"] "PEM file of the certificate chain; with tls_key the server speaks TLS";
    tls_key ["TLS_KEY"] "PEM file of the certificate's private key";
    environment ["ENVIRONMENT", "NODE_ENV"] "development or production [development]";
    insecure_dev ["INSECURE_DEV"] "Allow short secrets and any localhost page; never in production [false]";
    jwt_secret ["JWT_SECRET"] "Secret of HS256/384/512 tokens: at least 32 characters, 64 in production";
    jwt_algorithm ["JWT_ALGORITHM"] "HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384 or EdDSA [HS256]";
    jwt_public_key ["JWT_PUBLIC_KEY"] "Public key as PEM text, for the RS, ES and Ed algorithms";
    jwt_public_key_file ["JWT_PUBLIC_KEY_FILE"] "The same, as the name of a file";
    jwt_jwks_file ["JWT_JWKS_FILE"] "Public keys as the name of a JWKS file, chosen by `kid`";
    jwt_jwks_url ["JWT_JWKS_URL"] "Public keys as the URL of a JWKS; several issuers: ISSUER URL, comma-separated";
    jwt_jwks_ttl ["JWT_JWKS_TTL"] "Seconds after which fetched keys are fetched anew [600]";
    jwt_jwks_cooldown ["JWT_JWKS_COOLDOWN"] "Least seconds between two fetches from one URL [10]";
    jwt_jwks_ca_file ["JWT_JWKS_CA_FILE"] "PEM file of the authorities that vouch for these URLs [the public ones]";
    jwt_issuer ["JWT_ISSUER"] "Accept only tokens with this `iss`";
    jwt_audience ["JWT_AUDIENCE"] "Accept only tokens with this `aud`";
    jwt_require_exp ["JWT_REQUIRE_EXP"] "Refuse tokens without `exp` [false]";
    api_keys ["API_KEYS"] "Keys of back ends that may publish: TENANT=KEY, comma-separated; * is every tenant";
    metrics_token ["METRICS_TOKEN"] "Bearer token that reads /metrics, at least 32 characters; needed once set, and in production";
    cors_origins ["CORS_ORIGINS", "CORS_ORIGIN"] "Pages that may connect, comma-separated";
    pages ["PAGES_DIR"] "Folder of built pages to serve, such as a dashboard";
    log ["LOG"] "memory or embedded [embedded; memory if PERSISTENCE_ENABLED is false]";
    data ["DATA_DIR"] "Folder of the embedded log [wardline-data]";
    disk_reserve ["DISK_RESERVE"] "Bytes of the log's disk that must stay free; below, nothing is taken [134217728]";
    persistence_enabled ["PERSISTENCE_ENABLED"] "Keep persistent messages across a restart [true]";
    persistence_ttl ["PERSISTENCE_TTL"] "Seconds a persistent message is kept [3600]";
    heartbeat_interval ["HEARTBEAT_INTERVAL", "WEBSOCKET_PING_INTERVAL"] "ms between pings of the server [30000]";
    heartbeat_timeout ["HEARTBEAT_TIMEOUT"] "ms of total silence before a connection is closed [60000]";
    websocket_ping_timeout ["WEBSOCKET_PING_TIMEOUT"] "ms to wait for life after a ping; shortens heartbeat_timeout";
    ping_interval ["PING_INTERVAL"] "heartbeat_interval in seconds";
    ping_timeout ["PING_TIMEOUT"] "websocket_ping_timeout in seconds";
    hello_timeout ["HELLO_TIMEOUT"] "ms from the upgrade to the first frame [5000]";
    max_payload ["WEBSOCKET_MAX_PAYLOAD_SIZE"] "Largest message from a client, in bytes [1048576]";
    max_rooms ["MAX_ROOMS"] "Rooms a connection may join [1000]";
    max_connections ["MAX_CONNECTIONS"] "Connections of this server [18000]";
    user_connections ["MAX_CONNECTIONS_PER_USER"] "Connections of one user [64]";
    tenant_connections ["MAX_CONNECTIONS_PER_TENANT"] "Connections of one tenant [100000]";
    rate_points ["RATE_LIMIT_POINTS"] "Messages of one user in rate_duration; 0 is no limit [100; 6000 where machines speak]";
    rate_duration ["RATE_LIMIT_DURATION"] "Seconds over which rate_points are counted [60]";
    namespaces ["NAMESPACES"] "Namespaces of one's own and what is said of the built-in ones: in a file tables [namespaces.NAME], else the same as JSON";
    inactive_tenants ["INACTIVE_TENANTS"] "Tenants that are refused, comma-separated";
    shards ["SHARDS"] "Hubs that work in parallel, tenants spread over them [1]";
    send_buffer ["SEND_BUFFER"] "Bytes of kernel send buffer per connection [131072]";
    max_unsent ["MAX_UNSENT"] "Unsent bytes after which a connection is closed as slow [4194304]";
    drain_timeout ["DRAIN_TIMEOUT"] "ms from the signal to the last connection's end [10000]";
    drain_spread ["DRAIN_SPREAD"] "ms over which clients are asked to leave when draining [0]";
    log_level ["LOG_LEVEL", "RUST_LOG"] "error, warn, info, debug, trace, or a filter [info]";
    redis_url ["REDIS_URL"] "Redis of a cluster";
    redis_host ["REDIS_HOST"] "The same in parts";
    redis_port ["REDIS_PORT"] "The same in parts";
    redis_password ["REDIS_PASSWORD"] "The same in parts";
    clustering_enabled ["CLUSTERING_ENABLED"] "Several servers share their rooms [false]";
    kafka_bootstrap_servers ["KAFKA_BOOTSTRAP_SERVERS"] "Kafka to read dispatch events from";
}

/// Where a value came from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--name`.
    Flag,
    /// The named environment variable.
    Env(&'static str),
    /// The configuration file.
    File,
    /// The program set it (library builder, `--dev`).
    Program,
}

/// A configuration that cannot be used: which setting, what is wrong and why that matters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Raw values with their sources; the strongest source of each wins.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Source)>,
}

impl Settings {
    /// No value at all: everything at its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value over whatever is there.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no such setting.
    pub fn set(
        &mut self,
        name: &str,
        value: impl Into<String>,
        source: Source,
    ) -> Result<(), ConfigError> {
        self.values.insert(find(name)?.name, (value.into(), source));
        Ok(())
    }

    /// Sets a value where none is.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no such setting.
    pub fn set_default(
        &mut self,
        name: &str,
        value: impl Into<String>,
        source: Source,
    ) -> Result<(), ConfigError> {
        self.values.entry(find(name)?.name).or_insert_with(|| (value.into(), source));
        Ok(())
    }

    /// Takes what the environment says where nothing is set. Empty variables count as absent.
    pub fn add_env(&mut self, lookup: impl Fn(&str) -> Option<String>) {
        for setting in SETTINGS {
            let found = setting.env.iter().find_map(|variable| {
                lookup(variable).filter(|value| !value.is_empty()).map(|value| (*variable, value))
            });
            if let Some((variable, value)) = found {
                self.values.entry(setting.name).or_insert((value, Source::Env(variable)));
            }
        }
    }

    /// Takes what a TOML text says where nothing is set: a flat table of names and plain values, and
    /// `[namespaces.NAME]`.
    ///
    /// # Errors
    /// [`ConfigError`] for text that is no TOML, unknown names and nested tables.
    pub fn add_toml(&mut self, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table = text
            .parse()
            .map_err(|error| ConfigError(format!("the configuration file is no TOML: {error}")))?;
        for (key, value) in table {
            let setting = find(&key)?;
            let text = match &value {
                toml::Value::Table(table) if setting.name == "namespaces" => {
                    serde_json::to_string(table).ok()
                }
                value => plain(value),
            };
            let value = text.ok_or_else(|| {
                ConfigError(format!("{key}: expected a text, a number, a flag or a list of texts"))
            })?;
            self.values.entry(setting.name).or_insert((value, Source::File));
        }
        Ok(())
    }

    /// Reads a TOML file; see [`Settings::add_toml`].
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read, or as [`Settings::add_toml`].
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))?;
        self.add_toml(&text)
    }

    /// A value.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A value read as `T`, or the default.
    ///
    /// # Errors
    /// [`ConfigError`] when the value does not read.
    pub fn read<T: std::str::FromStr>(
        &self,
        name: &'static str,
        default: T,
    ) -> Result<T, ConfigError>
    where
        T::Err: fmt::Display,
    {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|error| ConfigError(format!("{}: {text:?}: {error}", self.named(name)))),
        }
    }

    /// A switch: true/false, 1/0, yes/no, on/off.
    ///
    /// # Errors
    /// [`ConfigError`] for another word.
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.text(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some("false" | "0" | "no" | "off") => Ok(false),
            Some(text) => Err(ConfigError(format!(
                "{}: {text:?} is neither true nor false",
                self.named(name)
            ))),
        }
    }

    /// A comma-separated list without its blanks.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// The setting as its source names it, for messages: `JWT_SECRET`, `--jwt-secret`, `jwt_secret`.
    #[must_use]
    pub fn named(&self, name: &'static str) -> String {
        match self.values.get(name).map(|(_, source)| source) {
            Some(Source::Flag) => format!("--{}", name.replace('_', "-")),
            Some(Source::Env(variable)) => (*variable).to_owned(),
            Some(Source::File | Source::Program) => name.to_owned(),
            None => SETTINGS
                .iter()
                .find(|setting| setting.name == name)
                .and_then(|setting| setting.env.first())
                .map_or_else(|| name.to_owned(), |variable| (*variable).to_owned()),
        }
    }
}

fn find(name: &str) -> Result<&'static Setting, ConfigError> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    SETTINGS
        .iter()
        .find(|setting| {
            setting.name == wanted
                || setting.env.iter().any(|variable| variable.eq_ignore_ascii_case(&wanted))
        })
        .ok_or_else(|| ConfigError(format!("{name}: there is no such setting")))
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(list) => {
            let parts: Option<Vec<String>> = list.iter().map(plain).collect();
            parts.map(|parts| parts.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_environment_over_file() {
        let mut settings = Settings::new();
        settings.set("port", "1", Source::Flag).unwrap();
        let env = |name: &str| match name {
            "WEBSOCKET_PORT" => Some("2".to_owned()),
            "NODE_ENV" => Some("production".to_owned()),
            "HOST" => Some(String::new()),
            _ => None,
        };
        settings.add_env(env);
        settings
            .add_toml("port = 3\nenvironment = \"development\"\nhost = \"::1\"\ncors_origins = [\"a\", \"b\"]")
            .unwrap();
        assert_eq!(settings.text("port"), Some("1"));
        assert_eq!(settings.text("environment"), Some("production"));
        assert_eq!(settings.named("environment"), "NODE_ENV");
        assert_eq!(settings.text("host"), Some("::1"));
        assert_eq!(settings.list("cors_origins"), ["a", "b"]);
    }

    #[test]
    fn what_does_not_exist_or_read_is_refused_by_name() {
        let mut settings = Settings::new();
        assert!(settings.add_toml("colour = 1").unwrap_err().0.starts_with("colour:"));
        assert!(settings.add_toml("[port]\na = 1").unwrap_err().0.starts_with("port:"));
        settings.set("port", "many", Source::Env("PORT")).unwrap();
        let error = settings.read("port", 1u16).unwrap_err().0;
        assert!(error.starts_with("PORT: \"many\""), "{error}");
    }
}
