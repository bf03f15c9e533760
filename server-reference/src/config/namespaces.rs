//! Namespaces as operators describe them (V1): which rooms there are, what they keep, who may what.
//!
//! ```toml
//! [namespaces.plant]
//! rooms = "organization"
//! latest = ["gauge"]
//! rate = { points = 600, duration = 60 }
//! roles = { valve = ["engineer"] }
//! reserved = ["plant:*"]
//! commands = ["valve:open", "valve:close"]
//! grace = { "*" = 30 }
//! ```

use super::{ConfigError, Settings};
use crate::hub::{
    Namespace, RoomStrategy, alerts, buckets::Rate, permissions::COMMANDS, presence::MAX_GRACE,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use wardline::protocol::{Address, limits::EVENT_BYTES};

/// One namespace: how its rooms behave, and what the server's other parts do for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceConfig {
    /// Its rooms.
    pub namespace: Namespace,
    /// Messages of one user in it, in place of `rate_points` (V6).
    pub rate: Option<Rate>,
    /// Names of events that are its commands (P-S8); none: the built-in ones, or any.
    pub commands: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Written {
    rooms: RoomStrategy,
    latest: BTreeSet<String>,
    roles: BTreeMap<String, BTreeSet<String>>,
    reserved: BTreeSet<String>,
    commands: Option<Vec<String>>,
    rate: Option<WrittenRate>,
    /// Seconds.
    grace: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRate {
    points: u32,
    /// Seconds.
    duration: u64,
}

pub(super) fn namespaces(
    settings: &Settings,
) -> Result<BTreeMap<String, NamespaceConfig>, ConfigError> {
    let Some(text) = settings.text("namespaces") else { return Ok(BTreeMap::new()) };
    let source = settings.named("namespaces");
    let written: BTreeMap<String, serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| ConfigError(format!("{source}: no table by name: {error}")))?;
    let one = |(name, value): (String, serde_json::Value)| {
        let wrong = |words: String| ConfigError(format!("{source}: {name}: {words}"));
        let written: Written =
            serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        let checked = check(&name, written).map_err(wrong)?;
        Ok((name, checked))
    };
    written.into_iter().map(one).collect()
}

fn check(name: &str, written: Written) -> Result<NamespaceConfig, String> {
    let Written { rooms, latest, roles, reserved, commands, rate, grace } = written;
    if Address::new(name, "x").is_err() {
        return Err("a name has 1 to 32 characters of a-z, 0-9 and -, a letter first".to_owned());
    }
    for part in latest.iter().chain(roles.keys()) {
        if part.contains(':') || Address::new(name, part).is_err() {
            return Err(format!("{part:?} is not what a room's name may begin with"));
        }
    }
    let space = Namespace { strategy: rooms, ..Namespace::default() };
    for part in &latest {
        if part == COMMANDS {
            return Err("latest: commands are kept one by one".to_owned());
        }
        if !space.may_begin_with(part) {
            return Err(format!(
                "latest: with rooms = {rooms:?} no room begins with {part:?}, so it would never be"
            ));
        }
    }
    if let Some((part, _)) = roles.iter().find(|(_, roles)| roles.is_empty()) {
        return Err(format!("roles: {part} names no role, so nobody could enter"));
    }
    let names = reserved.iter().chain(commands.iter().flatten());
    if let Some(bad) = names.into_iter().find(|name| !(1..=EVENT_BYTES).contains(&name.len())) {
        return Err(format!("reserved, commands: {bad:?} is no event's name of 1 to 128 bytes"));
    }
    if commands.is_some() && name == alerts::NAMESPACE {
        return Err("commands: the server itself answers those of alerts".to_owned());
    }
    let rate = match rate {
        None => None,
        Some(WrittenRate { points: 0, .. }) => {
            return Err("rate: 0 points let nothing pass; leave `rate` out for the default".into());
        }
        Some(WrittenRate { duration, .. }) if !(1..=86_400).contains(&duration) => {
            return Err(format!("rate: duration of {duration} s is not between 1 s and a day"));
        }
        Some(WrittenRate { points, duration }) => {
            Some(Rate::new(points, Duration::from_secs(duration)))
        }
    };
    let most = MAX_GRACE.as_secs();
    if let Some((room, long)) = grace.iter().find(|(_, seconds)| **seconds > most) {
        return Err(format!("grace: {room}: {long} s is more than the {most} s there may be"));
    }
    let grace =
        grace.into_iter().map(|(room, seconds)| (room, Duration::from_secs(seconds))).collect();
    let namespace = Namespace { strategy: rooms, latest, roles, reserved, grace };
    Ok(NamespaceConfig { namespace, rate, commands })
}
