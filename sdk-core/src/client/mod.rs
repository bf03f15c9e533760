//! The handles an application holds: one client, one connection, as many rooms and typed clients
//! as it likes on it (C1).
//!
//! ```no_run
//! # #[cfg(feature = "native")]
//! # async fn f() -> wardline::client::Result<()> {
//! use wardline::client::{Client, Incoming};
//!
//! let client = Client::builder("wss://events.example.com").token("…").build()?;
//! client.connect().await?;
//! let mut alerts = client.alerts().subscribe_to_alerts(&["intrusion"], &["high"]).await?;
//! while let Some(next) = alerts.next_event().await {
//!     if let Incoming::Event(event) = next {
//!         println!("{:?}", event.data);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Every handle is cheap to clone or make. When the last one is dropped, the client sends what was
//! queued, closes and ends.

mod alerts;
mod builder;
mod commands;
mod dispatch;
mod error;
mod event;
mod events;
mod monitoring;
mod notifications;
mod presence;
mod room;
mod send;
#[cfg(test)]
mod tests;
mod video;

pub use crate::{
    driver::{Identity, media::Picture},
    machine::{Outcome, Reason, Signal, Status},
};
pub use alerts::Alerts;
pub use builder::Options;
pub use commands::{CommandStream, ServiceCommand};
pub use dispatch::Dispatch;
pub use error::{Error, Result};
pub use event::{Event, Incoming, Payload};
pub use events::{ClientEvent, Events};
pub use monitoring::Monitoring;
pub use notifications::Notifications;
pub use presence::Presence;
pub use room::{Room, RoomBuilder, Snapshotted};
pub use send::{COMMAND_LANE, LANE, Outgoing, Sending};
pub use video::{PictureStream, Publisher, Video};

use crate::{
    driver::{Link, Message},
    machine::{CallId, Command},
    protocol::{Json, Token},
};
use futures_channel::oneshot;
use std::{fmt, sync::Arc};

/// A client: one connection, kept alive. Clones are handles of the same.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

struct Core {
    link: Link,
    namespace: String,
}

impl Client {
    pub(crate) fn over(link: Link, namespace: String) -> Self {
        Self { core: Arc::new(Core { link, namespace }) }
    }

    fn link(&self) -> &Link {
        &self.core.link
    }

    /// The namespace of rooms named without one.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.core.namespace
    }

    /// Connects, and stays so; returns at the first welcome. Calling it again changes nothing.
    ///
    /// # Errors
    /// Where it is no use to try on: `unauthenticated`, `stopped`, `bad_config`.
    pub async fn connect(&self) -> Result<()> {
        self.link().call(Command::Connect).await?;
        Ok(())
    }

    /// Begins to connect without waiting; an error is told to [`Client::events`].
    pub(crate) fn connect_later(&self) {
        let call = CallId(self.link().number());
        let (reply, _) = oneshot::channel();
        self.link().tell(Message::Call(call, Command::Connect(call), reply));
    }

    /// Sends what was submitted before, then closes. Rooms stay wanted: a later connect joins them
    /// again.
    ///
    /// # Errors
    /// `closed` when the client has ended.
    pub async fn disconnect(&self) -> Result<()> {
        self.link().call(Command::Disconnect).await?;
        Ok(())
    }

    /// Sets another token; a connected client shows it in place (P-C6).
    pub fn set_token(&self, token: impl Into<Token>) {
        self.link().tell(Message::Tell(Command::SetToken(token.into())));
    }

    /// Where the connection stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.link().state().value().status
    }

    /// Who the client is to the server; none before the first welcome.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.link().state().value().identity
    }

    /// Waits for the first welcome, and says who the client is to the server.
    ///
    /// # Errors
    /// `closed` when the client ends first.
    pub async fn identified(&self) -> Result<Identity> {
        let found = self.link().state().wait_for(|state| state.identity.clone()).await;
        found.ok_or_else(Error::closed)
    }

    /// Waits until the connection stands at one of these.
    ///
    /// # Errors
    /// `closed` when the client ends first.
    pub async fn status_is(&self, wanted: &[Status]) -> Result<Status> {
        let pick =
            |state: &crate::driver::State| wanted.contains(&state.status).then_some(state.status);
        self.link().state().wait_for(pick).await.ok_or_else(Error::closed)
    }

    /// Whether what is queued is lost with the process.
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        self.link().state().value().volatile
    }

    /// Tells what the host noticed: the network changed, the application is hidden, … (P-C4).
    pub fn signal(&self, signal: Signal) {
        self.link().tell(Message::Signal(signal));
    }

    /// Begins to join a room: of the client's namespace by its bare name, or of any by its address.
    pub fn room(&self, name: &str) -> RoomBuilder<Json> {
        RoomBuilder::new(self.clone(), self.namespace(), name)
    }

    /// Begins to join a room of a namespace, with events of a type.
    pub fn room_in<T: Payload>(&self, namespace: &str, name: &str) -> RoomBuilder<T> {
        RoomBuilder::new(self.clone(), namespace, name)
    }

    /// Cameras: streams, recordings, pictures (C6).
    #[must_use]
    pub fn video(&self) -> Video {
        Video::new(self.clone())
    }

    /// Alerts (C7).
    #[must_use]
    pub fn alerts(&self) -> Alerts {
        Alerts::new(self.clone())
    }

    /// Metrics, services, thresholds, security events (C8).
    #[must_use]
    pub fn monitoring(&self) -> Monitoring {
        Monitoring::new(self.clone())
    }

    /// Radio dispatch (C13).
    #[must_use]
    pub fn dispatch(&self) -> Dispatch {
        Dispatch::new(self.clone())
    }

    /// Notifications of this user (C12).
    #[must_use]
    pub fn notifications(&self) -> Notifications {
        Notifications::new(self.clone())
    }

    /// Begins to be present in a room, and to see who else is (C11).
    pub fn presence(&self, room: &str) -> presence::PresenceBuilder {
        presence::PresenceBuilder::new(self.room(room))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish_non_exhaustive()
    }
}
