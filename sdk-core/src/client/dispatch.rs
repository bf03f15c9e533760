//! Radio dispatch: channels, incidents, assets (C13).

use super::{Client, Outgoing, Result, RoomBuilder, monitoring::publish};
use crate::model::dispatch::DispatchEvent;

const NAMESPACE: &str = "dispatch";

/// The dispatch events of one client. Cheap to make; shares the connection.
#[derive(Clone, Debug)]
pub struct Dispatch {
    client: Client,
}

impl Dispatch {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Begins to join a room of this namespace.
    pub fn room(&self, name: &str) -> RoomBuilder<DispatchEvent> {
        self.client.room_in(NAMESPACE, name)
    }

    /// Begins to join the tenant's dispatch events. Waits for the first welcome.
    ///
    /// # Errors
    /// `closed`.
    pub async fn tenant_room(&self) -> Result<RoomBuilder<DispatchEvent>> {
        let tenant = self.client.identified().await?.tenant;
        Ok(self.room(&format!("tenant:{tenant}")))
    }

    /// Begins to join what concerns an organization: incidents, alerts.
    pub fn organization(&self, org: &str) -> RoomBuilder<DispatchEvent> {
        self.room(&format!("org:{org}"))
    }

    /// Begins to join a radio channel.
    pub fn channel(&self, channel: &str, org: &str) -> RoomBuilder<DispatchEvent> {
        self.room(&format!("channel:{channel}:org:{org}"))
    }

    /// Begins to join an incident.
    pub fn incident(&self, incident: &str, org: &str) -> RoomBuilder<DispatchEvent> {
        self.room(&format!("incident:{incident}:org:{org}"))
    }

    /// Begins to join an asset.
    pub fn asset(&self, asset: &str, org: &str) -> RoomBuilder<DispatchEvent> {
        self.room(&format!("asset:{asset}:org:{org}"))
    }

    /// Queues an event for a room of this namespace.
    pub fn publish(&self, room: &str, event: &DispatchEvent) -> Outgoing {
        publish(&self.client, NAMESPACE, room, event.encode())
    }
}
