//! Figures for `/stats` and the metrics (V2, V10).

use super::Hub;
use std::collections::{BTreeMap, BTreeSet};
use wardline::model::ids::TenantId;

/// What a hub holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections by tenant.
    pub by_tenant: BTreeMap<TenantId, usize>,
    /// Connections with at least one membership in a namespace.
    pub by_namespace: BTreeMap<String, usize>,
    /// Memberships by room address, over all tenants.
    pub by_channel: BTreeMap<String, usize>,
}

impl Hub {
    /// Welcomed connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.ready()
    }

    /// Connections by tenant.
    #[must_use]
    pub fn by_tenant(&self) -> BTreeMap<TenantId, usize> {
        self.connections.by_tenant()
    }

    /// Rooms in memory.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Memberships.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.rooms.in_order().iter().map(|(_, room)| room.members).sum()
    }

    /// Figures by tenant, namespace and channel. Walks everything: not for every second.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { by_tenant: self.connections.by_tenant(), ..Stats::default() };
        for (key, room) in self.rooms.in_order() {
            *stats.by_channel.entry(key.room.to_string()).or_default() += room.members;
        }
        for conn in self.connections.ids() {
            let Some(session) = self.session(conn) else { continue };
            let namespaces: BTreeSet<_> = session
                .members
                .rooms()
                .filter_map(|id| Some(self.rooms.room(id)?.key.room.namespace().to_owned()))
                .collect();
            for namespace in namespaces {
                *stats.by_namespace.entry(namespace).or_default() += 1;
            }
        }
        stats
    }
}
