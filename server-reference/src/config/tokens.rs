//! How tokens and keys are told to be good (V3, V16, P-K5).

use super::{ConfigError, Settings};
use std::{fmt, net::IpAddr, time::Duration};
use wardline::protocol::Token;

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
    /// Where public keys are fetched from.
    pub sources: Vec<KeySource>,
    /// Fetched keys older than this are fetched anew.
    pub keys_ttl: Duration,
    /// Least time between two fetches from one source, however many unknown keys are named.
    pub keys_cooldown: Duration,
    /// PEM of the authorities that vouch for the sources, in place of the public ones.
    pub keys_ca: Option<String>,
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

/// Where the public keys of an issuer are fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// The `iss` these keys speak for; none: the required one, or any.
    pub issuer: Option<String>,
    /// A JWKS document.
    pub url: String,
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

pub(super) fn token(
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
    let sources = sources(settings, insecure)?;
    let seconds = |name, default| settings.read(name, default).map(Duration::from_secs);
    let keys_ttl = seconds("jwt_jwks_ttl", 600)?;
    let keys_cooldown = seconds("jwt_jwks_cooldown", 10)?;
    if keys_cooldown.is_zero() || keys_ttl < keys_cooldown {
        return Err(ConfigError(format!(
            "{}: the cooldown must be at least a second and not above the ttl of {} s, or tokens \
             with made-up key ids would have the issuer asked without end",
            settings.named("jwt_jwks_cooldown"),
            keys_ttl.as_secs()
        )));
    }
    let secret = settings.text("jwt_secret").map(str::to_owned);
    if algorithm.starts_with("HS") {
        if jwks.is_some() || !sources.is_empty() {
            return Err(ConfigError(format!(
                "{} is {algorithm}, which takes a shared secret; public keys need RS256, ES256, …",
                settings.named("jwt_algorithm")
            )));
        }
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
    } else if public_key.is_none() && jwks.is_none() && sources.is_empty() {
        return Err(ConfigError(format!(
            "{} is {algorithm}, which needs JWT_PUBLIC_KEY, JWT_PUBLIC_KEY_FILE, JWT_JWKS_FILE or \
             JWT_JWKS_URL",
            settings.named("jwt_algorithm")
        )));
    }
    Ok(TokenConfig {
        algorithm,
        secret,
        public_key,
        jwks,
        sources,
        keys_ttl,
        keys_cooldown,
        keys_ca: file("jwt_jwks_ca_file")?,
        issuer: settings.text("jwt_issuer").map(str::to_owned),
        audience: settings.text("jwt_audience").map(str::to_owned),
        require_exp: settings.flag("jwt_require_exp", false)?,
    })
}

/// `URL`, or `ISSUER URL` once per issuer.
fn sources(settings: &Settings, insecure: bool) -> Result<Vec<KeySource>, ConfigError> {
    let name = settings.named("jwt_jwks_url");
    let sources: Vec<KeySource> = settings
        .list("jwt_jwks_url")
        .into_iter()
        .map(|item| match item.split_once(char::is_whitespace) {
            Some((issuer, url)) => {
                KeySource { issuer: Some(issuer.to_owned()), url: url.trim().to_owned() }
            }
            None => KeySource { issuer: None, url: item },
        })
        .collect();
    for source in &sources {
        let url = &source.url;
        let uri: Option<http::Uri> = url.parse().ok();
        let host = uri.as_ref().and_then(http::Uri::host);
        let authority = uri.as_ref().and_then(http::Uri::authority);
        if authority.is_some_and(|authority| authority.as_str().contains('@')) {
            // Not shown: it would stand in logs.
            return Err(ConfigError(format!("{name}: a URL with a user or password in it")));
        }
        let trusted = match uri.as_ref().and_then(http::Uri::scheme_str) {
            Some("https") => true,
            // Whoever can change what is on the way could sign any token.
            Some("http") => insecure || host.is_some_and(is_loopback),
            _ => false,
        };
        if !trusted || host.is_none_or(str::is_empty) {
            return Err(ConfigError(format!(
                "{name}: {url:?} is no https URL; keys that travel in the clear prove nothing"
            )));
        }
        if source.issuer.is_none() && sources.len() > 1 {
            return Err(ConfigError(format!(
                "{name}: {url:?} names no issuer; with several, each is written ISSUER URL, so that \
                 one cannot sign for another"
            )));
        }
        if source.issuer.is_some() && settings.text("jwt_issuer").is_some() {
            return Err(ConfigError(format!(
                "{name} names its issuers itself; unset {}",
                settings.named("jwt_issuer").to_uppercase()
            )));
        }
    }
    Ok(sources)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What a scraper of `/metrics` shows.
pub(super) fn metrics_token(
    settings: &Settings,
    insecure: bool,
) -> Result<Option<Token>, ConfigError> {
    let Some(text) = settings.text("metrics_token") else { return Ok(None) };
    if text.len() < 32 && !insecure {
        return Err(ConfigError(format!(
            "{} has {} characters and needs at least 32: a short one can be found by trying",
            settings.named("metrics_token"),
            text.len()
        )));
    }
    Ok(Some(text.into()))
}

pub(super) fn api_keys(settings: &Settings, insecure: bool) -> Result<Vec<ApiKey>, ConfigError> {
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
