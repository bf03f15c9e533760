//! Structured logs: text for people, JSON in production (V15). No token is ever a field.

use crate::config::{Config, ConfigError, Environment};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Sends the process's logs to standard error.
///
/// # Errors
/// [`ConfigError`] when `LOG_LEVEL` is no filter.
pub fn init(config: &Config) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.log_level)
        .map_err(|error| ConfigError(format!("LOG_LEVEL: {:?}: {error}", config.log_level)))?;
    // Colours are for eyes: in a file or a collector they are noise in every line.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    // A second server in the process keeps the first one's logs.
    let _ = match config.environment {
        Environment::Production => builder.json().try_init(),
        Environment::Development => builder.try_init(),
    };
    Ok(())
}
