//! An item under way.

use std::time::Duration;
use tokio::sync::Mutex;
use wardline::{
    client::{self, Outcome, Outgoing, Result},
    model::ids::ItemId,
    protocol::Code,
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
    client: client::Client,
    id: ItemId,
    state: Mutex<State>,
}

impl Sending {
    pub(crate) fn new(client: &client::Client, sending: client::Sending) -> Self {
        let (client, id) = (client.clone(), sending.id());
        Self { client, id, state: Mutex::new(State::UnderWay(sending)) }
    }
}

#[uniffi::export]
impl Sending {
    /// The item's id, which becomes the event's.
    pub fn id(&self) -> ItemId {
        self.id
    }

    /// Waits for its end. Giving up loses nothing: it can be asked again.
    pub async fn outcome(&self) -> Result<Outcome> {
        let mut state = self.state.lock().await;
        let end = match &mut *state {
            State::UnderWay(sending) => sending.await,
            State::Ended(end) => return end.clone(),
        };
        *state = State::Ended(end.clone());
        end
    }

    /// Takes it back, if it can still be: what became of it.
    pub async fn cancel(&self) -> Result<Outcome> {
        match self.client.cancel(self.id).await {
            // It has ended before.
            Err(error) if *error.code() == Code::NOT_FOUND => self.outcome().await,
            end => end,
        }
    }
}
