//! How a hub behaves.

use super::{
    buckets, commands,
    parts::PartsConfig,
    permissions::{Authorizer, COMMANDS, Open},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use wardline::protocol::{Address, Limits, frames::RoomMode};

/// How a hub behaves.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The ping interval (P-C3). Default: 30 s.
    pub ping: Duration,
    /// The silence after which a client is closed (P-C3); none: twice `ping`. Default: none.
    pub idle: Option<Duration>,
    /// The least silence after which a hidden client is closed (P-C3). Default: 75 s.
    pub hidden_idle: Duration,
    /// What a connection may do, announced in `welcome` (P-F3).
    pub limits: Limits,
    /// The namespaces there are. Rooms of any other do not exist.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Features announced in `welcome` (P-F5).
    pub features: Vec<String>,
    /// How often the head of each active room is proved (P-K2); none: never. Default: 30 s.
    pub prove_every: Option<Duration>,
    /// Calls in flight per connection (P-S7). Default: 32.
    pub calls: usize,
    /// The parts: presence, media, rate limits, revocations, commands, alerts. By default without
    /// rate limits; `serve` sets those of V6.
    pub parts: PartsConfig,
    /// Asked after the built-in rules allowed something (V5).
    pub authorizer: Arc<dyn Authorizer>,
}

impl Default for HubConfig {
    fn default() -> Self {
        let namespaces = ["default", "video", "alerts", "monitoring", "dispatch"];
        Self {
            ping: Duration::from_secs(30),
            idle: None,
            hidden_idle: Duration::from_secs(75),
            limits: Limits::default(),
            namespaces: namespaces
                .map(|name| (name.to_owned(), Namespace::default()))
                .into_iter()
                .collect(),
            features: Vec::new(),
            prove_every: Some(Duration::from_secs(30)),
            calls: 32,
            parts: PartsConfig { buckets: buckets::Config::unlimited(), ..PartsConfig::default() },
            authorizer: Arc::new(Open),
        }
    }
}

/// What rooms of every namespace may begin with.
const EVERYWHERE: [&str; 5] = ["user", "notifications", "public", "role", COMMANDS];

/// Which rooms a namespace has (V1). Rooms of a `user`, of `notifications`, `public` ones, those of
/// a `role` and `commands` are in every namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomStrategy {
    /// Those of the whole tenant: `tenant:{tenant}…`.
    Tenant,
    /// Those of an organization: `org:{org}…`, `…:org:{org}`.
    Organization,
    /// Any name.
    #[default]
    Custom,
}

/// One namespace (V1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Which rooms there are.
    pub strategy: RoomStrategy,
    /// First parts of the rooms that keep the newest event of each key (P-R9).
    pub latest: BTreeSet<String>,
    /// First parts of the rooms that need one of these roles (V5).
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// Events only `service` clients and the server itself may send; a trailing `*` is any ending.
    pub reserved: BTreeSet<String>,
    /// The time from the last lease's end to `gone` (P-P2), at most
    /// [`MAX_GRACE`](super::presence::MAX_GRACE): by the room's name, else by its first part, else
    /// by `*`; else the hub's.
    pub grace: BTreeMap<String, Duration>,
}

impl Namespace {
    /// How a room of this namespace keeps its events.
    #[must_use]
    pub fn mode(&self, room: &Address) -> RoomMode {
        match room.parts().next() {
            Some(first) if self.latest.contains(first) => RoomMode::Latest,
            _ => RoomMode::Log,
        }
    }

    /// Whether a room may have this name here. Who may enter it is another question.
    #[must_use]
    pub fn has(&self, room: &Address) -> bool {
        let first = room.parts().next().unwrap_or_default();
        match self.strategy {
            RoomStrategy::Custom => true,
            RoomStrategy::Tenant => self.may_begin_with(first),
            // An organization's rooms name it, wherever.
            RoomStrategy::Organization => {
                EVERYWHERE.contains(&first) || room.parts().any(|part| part == "org")
            }
        }
    }

    /// Whether a room's name may begin so.
    #[must_use]
    pub fn may_begin_with(&self, first: &str) -> bool {
        match self.strategy {
            RoomStrategy::Tenant => first == "tenant" || EVERYWHERE.contains(&first),
            RoomStrategy::Organization | RoomStrategy::Custom => true,
        }
    }

    /// A grace of the room's own.
    #[must_use]
    pub fn grace(&self, room: &Address) -> Option<Duration> {
        let names = [Some(room.room()), room.parts().next(), Some("*")];
        names.into_iter().flatten().find_map(|name| self.grace.get(name).copied())
    }

    /// Whether an event name is reserved here.
    #[must_use]
    pub fn reserves(&self, event: &str) -> bool {
        self.reserved.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => event.starts_with(start),
            None => pattern == event,
        })
    }
}

impl HubConfig {
    /// The parts' configuration; a namespace that says nothing of its commands leaves them all to
    /// `service` clients.
    pub(super) fn parts_config(&self) -> PartsConfig {
        let mut parts = self.parts.clone();
        for name in self.namespaces.keys() {
            let any = || Arc::new(commands::Namespace::of_services(&["*"]));
            parts.commands.namespaces.entry(name.clone()).or_insert_with(any);
        }
        for (name, space) in &self.namespaces {
            if !space.grace.is_empty() {
                parts.presence.namespaces.insert(name.clone(), space.clone());
            }
        }
        parts.commands.namespaces.retain(|name, _| self.namespaces.contains_key(name));
        parts
    }

    /// How a room keeps its events.
    #[must_use]
    pub fn mode(&self, room: &Address) -> RoomMode {
        self.namespaces.get(room.namespace()).map_or(RoomMode::Log, |space| space.mode(room))
    }
}
