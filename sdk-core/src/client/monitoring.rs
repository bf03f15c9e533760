//! Metrics, services, thresholds and security events (C8).

use super::{Client, Outgoing, Result, Room, RoomBuilder, room::clause};
use crate::{model::monitoring::MonitoringEvent, protocol::Json};

const NAMESPACE: &str = "monitoring";

/// The monitoring of one client. Cheap to make; shares the connection.
#[derive(Clone, Debug)]
pub struct Monitoring {
    client: Client,
}

impl Monitoring {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Begins to join a room of this namespace.
    pub fn room(&self, name: &str) -> RoomBuilder<MonitoringEvent> {
        self.client.room_in(NAMESPACE, name)
    }

    /// Begins to join the tenant's monitoring. Waits for the first welcome.
    ///
    /// # Errors
    /// `closed`.
    pub async fn tenant_room(&self) -> Result<RoomBuilder<MonitoringEvent>> {
        let tenant = self.client.identified().await?.tenant;
        Ok(self.room(&format!("tenant:{tenant}")))
    }

    /// Joins the tenant's monitoring, filtered on the server by kinds: `metrics`, `services`,
    /// `thresholds`, `security:events`, `incidents`, `all`, or the name of an event. An empty list
    /// passes everything.
    ///
    /// # Errors
    /// As [`RoomBuilder::join`].
    pub async fn subscribe_to_events(&self, kinds: &[&str]) -> Result<Room<MonitoringEvent>> {
        self.tenant_room().await?.filter(clause(&[], &[], kinds)).join().await
    }

    /// Queues an event for a room of this namespace.
    pub fn publish(&self, room: &str, event: &MonitoringEvent) -> Outgoing {
        publish(&self.client, NAMESPACE, room, event.encode())
    }
}

pub(super) fn publish(
    client: &Client,
    namespace: &str,
    room: &str,
    encoded: std::result::Result<(String, Json), crate::protocol::json::JsonError>,
) -> Outgoing {
    let room = super::room::address(namespace, room);
    match encoded {
        Ok((event, data)) => client.outgoing(room, event, Ok(data)),
        Err(error) => client.outgoing(room, String::new(), Err(error)),
    }
}
