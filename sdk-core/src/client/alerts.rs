//! Alerts: raise, acknowledge, resolve, subscribe (C7).

use super::{Client, Result, Room, RoomBuilder, room::clause};
use crate::model::{
    alert::{ACKNOWLEDGE, Alert, AlertAction, AlertEvent, CREATE, NewAlert, RESOLVE},
    ids::AlertId,
};

const NAMESPACE: &str = "alerts";

/// The alerts of one client. Cheap to make; shares the connection.
#[derive(Clone, Debug)]
pub struct Alerts {
    client: Client,
}

impl Alerts {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Begins to join a room of this namespace, such as `alerts:high` or `tenant:123`.
    pub fn room(&self, name: &str) -> RoomBuilder<AlertEvent> {
        self.client.room_in(NAMESPACE, name)
    }

    /// Joins the tenant's alerts, filtered on the server; an empty list passes everything. Waits
    /// for the first welcome, which names the tenant.
    ///
    /// # Errors
    /// As [`RoomBuilder::join`].
    pub async fn subscribe_to_alerts(
        &self,
        types: &[&str],
        severities: &[&str],
    ) -> Result<Room<AlertEvent>> {
        self.tenant_room().await?.filter(clause(types, severities, &[])).join().await
    }

    /// Begins to join the tenant's alerts: add filters, a start or a durable name.
    ///
    /// # Errors
    /// `closed`.
    pub async fn tenant_room(&self) -> Result<RoomBuilder<AlertEvent>> {
        let tenant = self.client.identified().await?.tenant;
        Ok(self.room(&format!("tenant:{tenant}")))
    }

    /// Raises an alert.
    ///
    /// # Errors
    /// As [`Client::command`].
    pub async fn create(&self, alert: NewAlert) -> Result<Alert> {
        Ok(self.client.command(NAMESPACE, CREATE, &alert).await?.to()?)
    }

    /// Takes an alert.
    ///
    /// # Errors
    /// As [`Client::command`]; `not_found`, `conflict` for one that is resolved.
    pub async fn acknowledge(
        &self,
        alert: impl Into<AlertId>,
        note: Option<String>,
    ) -> Result<Alert> {
        self.act(ACKNOWLEDGE, AlertAction { alert_id: alert.into(), note, room: None }).await
    }

    /// Ends an alert.
    ///
    /// # Errors
    /// As [`Client::command`]; `not_found`, `conflict` for one that is resolved.
    pub async fn resolve(&self, alert: impl Into<AlertId>, note: Option<String>) -> Result<Alert> {
        self.act(RESOLVE, AlertAction { alert_id: alert.into(), note, room: None }).await
    }

    /// Acknowledges or resolves an alert of another room than the tenant's.
    ///
    /// # Errors
    /// As [`Client::command`].
    pub async fn act(&self, command: &str, action: AlertAction) -> Result<Alert> {
        Ok(self.client.command(NAMESPACE, command, &action).await?.to()?)
    }
}
