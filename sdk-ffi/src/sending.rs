//! An item under way.

use std::time::Duration;
use tokio::sync::Mutex;
use wardline::{
    client::{self, Outcome, Outgoing, Result},
    model::ids::ItemId,
};

/// How to send.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct SendOptions {
    /// 0 (most urgent) to 7; default 4.
    #[uniffi(default = None)]
    pub lane: Option<u8>,
    /// How long it may wait; default seven days.
    #[uniffi(default = None)]
    pub ttl: Option<Duration>,
    /// Whether the room keeps it; default true.
    #[uniffi(default = true)]
    pub persist: bool,
    /// Its key in a `latest` room.
    #[uniffi(default = None)]
    pub key: Option<String>,
}

pub(crate) fn with(mut outgoing: Outgoing, options: Option<SendOptions>) -> Outgoing {
    let Some(options) = options else { return outgoing };
    if let Some(lane) = options.lane {
        outgoing = outgoing.lane(lane);
    }
    if let Some(ttl) = options.ttl {
        outgoing = outgoing.ttl(ttl);
    }
    if let Some(key) = options.key {
        outgoing = outgoing.key(key);
    }
    if options.persist { outgoing } else { outgoing.transient() }
}

enum State {
    UnderWay(client::Sending),
    Ended(Result<Outcome>),
}

/// An item that is stored and under way.
#[derive(uniffi::Object)]
pub struct Sending {
    id: ItemId,
    state: Mutex<Option<State>>,
}

impl Sending {
    pub(crate) fn new(sending: client::Sending) -> Self {
        Self { id: sending.id(), state: Mutex::new(Some(State::UnderWay(sending))) }
    }

    async fn end(&self, cancel: bool) -> Result<Outcome> {
        let mut state = self.state.lock().await;
        let end = match state.take() {
            Some(State::UnderWay(sending)) if cancel => sending.cancel().await,
            Some(State::UnderWay(sending)) => sending.outcome().await,
            Some(State::Ended(end)) => end,
            // Someone began to wait and was stopped: its end is told to the client's events.
            None => Ok(Outcome::Uncertain),
        };
        *state = Some(State::Ended(end.clone()));
        end
    }
}

#[uniffi::export]
impl Sending {
    /// The item's id, which becomes the event's.
    pub fn id(&self) -> ItemId {
        self.id
    }

    /// Waits for its end.
    pub async fn outcome(&self) -> Result<Outcome> {
        self.end(false).await
    }

    /// Takes it back, if it can still be.
    pub async fn cancel(&self) -> Result<Outcome> {
        self.end(true).await
    }
}
