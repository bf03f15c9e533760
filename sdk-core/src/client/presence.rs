//! Presence in one room: being there, and seeing who else is (C11, P-P).

use super::{Client, Incoming, Result, Room, RoomBuilder};
use crate::{
    model::{PresenceEvent, PresenceInfo, ids::UserId, presence::Status},
    protocol::Json,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// How to be present. Made by [`Client::presence`].
#[must_use = "presence begins with `enter` or `watch`"]
#[derive(Debug)]
pub struct PresenceBuilder {
    room: RoomBuilder<Json>,
}

impl PresenceBuilder {
    pub(super) const fn new(room: RoomBuilder<Json>) -> Self {
        Self { room }
    }

    /// What others see with this user; at most 4 KiB.
    pub fn meta(self, meta: &(impl Serialize + ?Sized)) -> Self {
        Self { room: self.room.meta(meta) }
    }

    /// Appears in the room, and sees who else is there.
    ///
    /// # Errors
    /// As [`RoomBuilder::join`].
    pub async fn enter(self) -> Result<Presence> {
        Ok(Presence::new(self.room.present().watch().join().await?))
    }

    /// Sees who is there without appearing.
    ///
    /// # Errors
    /// As [`RoomBuilder::join`].
    pub async fn watch(self) -> Result<Presence> {
        Ok(Presence::new(self.room.watch().join().await?))
    }

    /// Asks once who is there. Nobody twice.
    ///
    /// # Errors
    /// `forbidden`, `timeout`, `disconnected`.
    pub async fn query(self) -> Result<Vec<PresenceInfo>> {
        self.room.query_presence().await
    }
}

/// The presence of a room, mirrored. Dropping it leaves.
#[derive(Debug)]
pub struct Presence {
    room: Room<Json>,
    members: BTreeMap<UserId, PresenceInfo>,
}

impl Presence {
    const fn new(room: Room<Json>) -> Self {
        Self { room, members: BTreeMap::new() }
    }

    /// Waits for the next change; the first is everyone. None when the client has ended.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<PresenceEvent> {
        loop {
            if let Incoming::Presence(event) = self.room.next_event().await? {
                self.note(&event);
                return Some(event);
            }
        }
    }

    /// Who is there, as of the last change taken. In order of user.
    pub fn members(&self) -> impl Iterator<Item = &PresenceInfo> {
        self.members.values()
    }

    /// Sets how this user is present, here and in every other room (P-P1).
    ///
    /// # Errors
    /// As [`Client::set_presence`].
    pub async fn set_status(&self, status: Status, meta: Option<Json>) -> Result<()> {
        self.client().set_presence(Some(status), meta).await
    }

    /// Leaves the room.
    ///
    /// # Errors
    /// `closed`.
    pub async fn leave(self) -> Result<()> {
        self.room.leave().await
    }

    fn client(&self) -> &Client {
        self.room.client()
    }

    fn note(&mut self, event: &PresenceEvent) {
        match event {
            PresenceEvent::Everyone(members) => {
                self.members =
                    members.iter().map(|info| (info.user_id.clone(), info.clone())).collect();
            }
            PresenceEvent::Joined(info) | PresenceEvent::Updated(info) => {
                self.members.insert(info.user_id.clone(), info.clone());
            }
            PresenceEvent::Left(user) => {
                self.members.remove(user);
            }
        }
    }
}
