//! How a hub behaves.

use super::{
    buckets, commands,
    parts::PartsConfig,
    permissions::{Authorizer, Open},
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

/// One namespace (V1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// First parts of the rooms that keep the newest event of each key (P-R9).
    pub latest: BTreeSet<String>,
    /// First parts of the rooms that need one of these roles (V5).
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// Events only `service` clients and the server itself may send; a trailing `*` is any ending.
    pub reserved: BTreeSet<String>,
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
        parts.commands.namespaces.retain(|name, _| self.namespaces.contains_key(name));
        parts
    }

    /// How a room keeps its events.
    #[must_use]
    pub fn mode(&self, room: &Address) -> RoomMode {
        self.namespaces.get(room.namespace()).map_or(RoomMode::Log, |space| space.mode(room))
    }
}
