//! Notifications of this user (C12).

use super::{Client, Result, Room, RoomBuilder};
use crate::{
    model::notification::{NOTIFICATION, NotificationEvent},
    protocol::Clause,
};

const NAMESPACE: &str = "default";

/// The notifications of one client's user. Cheap to make; shares the connection.
#[derive(Clone, Debug)]
pub struct Notifications {
    client: Client,
}

impl Notifications {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Joins the user's own room for notifications of these types; an empty list, or `all` in it,
    /// is everything. Waits for the first welcome, which names the user.
    ///
    /// # Errors
    /// As [`RoomBuilder::join`].
    pub async fn subscribe_to_notifications(
        &self,
        types: &[&str],
    ) -> Result<Room<NotificationEvent>> {
        self.room(types).await?.join().await
    }

    /// Begins to join the user's own room for notifications of these types.
    ///
    /// # Errors
    /// `closed`.
    pub async fn room(&self, types: &[&str]) -> Result<RoomBuilder<NotificationEvent>> {
        let user = self.client.identified().await?.user;
        let all = types.contains(&"all");
        let types = types.iter().filter(|_| !all).map(|word| (*word).to_owned()).collect();
        let clause = Clause { events: vec![NOTIFICATION.into()], types, ..Clause::default() };
        Ok(self.client.room_in(NAMESPACE, &format!("user:{user}")).filter(clause))
    }
}
