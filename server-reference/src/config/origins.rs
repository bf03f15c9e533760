//! Which pages may connect (V16).

use super::{Config, ConfigError, Environment, Settings};

impl Config {
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

pub(super) fn origins(settings: &Settings, production: bool) -> Result<Vec<String>, ConfigError> {
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
