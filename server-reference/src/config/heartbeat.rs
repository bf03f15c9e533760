//! Pings and silence (P-C3).

use super::{ConfigError, Settings};
use std::time::Duration;

/// Interval and silence (P-C3, §8.9): a pong timeout shortens the silence to ping + pong.
pub(super) fn heartbeat(settings: &Settings) -> Result<(Duration, Duration), ConfigError> {
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
