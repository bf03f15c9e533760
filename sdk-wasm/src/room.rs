//! A joined room, and an item under way.

use crate::value::{Ended, next, promise, read, write};
use futures_util::{
    future::{Either, select},
    lock::Mutex,
};
use serde::Deserialize;
use std::{pin::pin, rc::Rc, time::Duration};
use wardline::{
    client::{self, Error, Outcome, Outgoing, RoomBuilder},
    driver::queue::Watch,
    model::ids::ItemId,
    protocol::{Address, Clause, Code, Cursor, Json},
};
use wasm_bindgen::prelude::*;

/// How to join, as JavaScript writes it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Join {
    #[serde(flatten)]
    clause: Clause,
    from_first: bool,
    cursor: Option<Cursor>,
    durable: Option<String>,
    metadata: Option<Json>,
    present: bool,
    watch: bool,
}

impl Join {
    pub(crate) fn apply(self, mut builder: RoomBuilder<Json>) -> RoomBuilder<Json> {
        if self.clause != Clause::default() {
            builder = builder.filter(self.clause);
        }
        if self.from_first {
            builder = builder.from_first();
        }
        if let Some(cursor) = self.cursor {
            builder = builder.cursor(cursor);
        }
        if let Some(name) = self.durable {
            builder = builder.durable(name);
        }
        if let Some(metadata) = self.metadata {
            builder = builder.meta(&metadata);
        }
        if self.present {
            builder = builder.present();
        }
        if self.watch {
            builder = builder.watch();
        }
        builder
    }
}

/// How to send, as JavaScript writes it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Send {
    lane: Option<u8>,
    ttl: Option<u64>,
    persist: Option<bool>,
    key: Option<String>,
}

impl Send {
    pub(crate) fn apply(self, mut outgoing: Outgoing) -> Outgoing {
        if let Some(lane) = self.lane {
            outgoing = outgoing.lane(lane);
        }
        if let Some(ttl) = self.ttl {
            outgoing = outgoing.ttl(Duration::from_millis(ttl));
        }
        if let Some(key) = self.key {
            outgoing = outgoing.key(key);
        }
        if self.persist == Some(false) { outgoing.transient() } else { outgoing }
    }
}

struct Inner {
    client: client::Client,
    address: Address,
    name: String,
    room: Mutex<Option<client::Room<Json>>>,
    ended: Watch<bool>,
}

/// A joined room. Events are pulled: taking the next says that the one before is done.
#[wasm_bindgen]
pub struct Room {
    inner: Rc<Inner>,
}

impl Room {
    pub(crate) fn new(client: client::Client, room: client::Room<Json>) -> Self {
        let (address, name) = (room.address().clone(), room.name().to_owned());
        let (room, ended) = (Mutex::new(Some(room)), Watch::new(false));
        Self { inner: Rc::new(Inner { client, address, name, room, ended }) }
    }
}

#[wasm_bindgen]
impl Room {
    /// The room's name, as it was joined.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.inner.name.clone()
    }

    /// Takes all that is there, at most `max`, and waits for the first: a JSON array, empty when
    /// the room was left or the client has ended.
    #[wasm_bindgen(js_name = nextBatch)]
    pub fn next_batch(&self, max: usize) -> js_sys::Promise {
        let inner = Rc::clone(&self.inner);
        promise(async move {
            let pull = pin!(async {
                match &mut *inner.room.lock().await {
                    Some(room) => room.next_batch(max.max(1)).await,
                    None => Vec::new(),
                }
            });
            let end = pin!(inner.ended.wait_for(|ended| ended.then_some(())));
            let batch = match select(end, pull).await {
                Either::Left(_) => Vec::new(),
                Either::Right((batch, _)) => batch,
            };
            let namespace = inner.address.namespace();
            let batch: Vec<_> =
                batch.into_iter().filter_map(|incoming| next(namespace, incoming)).collect();
            write(&batch)
        })
    }

    /// Queues an event; resolves once it is stored.
    pub fn send(&self, event: String, data: String, options: Option<String>) -> js_sys::Promise {
        let inner = Rc::clone(&self.inner);
        promise(async move {
            let (data, options) = (Json::parse(&data)?, read::<Send>(options)?);
            let outgoing = inner.client.send(inner.address.as_str(), event, &data);
            let sending = options.apply(outgoing).await?;
            Ok(Sending::new(inner.client.clone(), sending))
        })
    }

    /// Who is in the room now: a JSON array.
    pub fn presence(&self) -> js_sys::Promise {
        let inner = Rc::clone(&self.inner);
        promise(async move { write(&inner.client.presence(inner.address.as_str()).query().await?) })
    }

    /// Leaves; pending pulls give an empty array.
    pub fn leave(&self) -> js_sys::Promise {
        let inner = Rc::clone(&self.inner);
        promise(async move {
            inner.ended.set(|ended| *ended = true);
            match inner.room.lock().await.take() {
                Some(room) => room.leave().await.map(|()| JsValue::UNDEFINED),
                None => Ok(JsValue::UNDEFINED),
            }
        })
    }
}

enum State {
    UnderWay(client::Sending),
    Ended(Result<Outcome, Error>),
}

/// An item that is stored and under way.
#[wasm_bindgen]
pub struct Sending {
    client: client::Client,
    id: ItemId,
    state: Rc<Mutex<State>>,
}

impl Sending {
    pub(crate) fn new(client: client::Client, sending: client::Sending) -> Self {
        let id = sending.id();
        Self { client, id, state: Rc::new(Mutex::new(State::UnderWay(sending))) }
    }
}

async fn end_of(state: Rc<Mutex<State>>) -> Result<Outcome, Error> {
    let mut state = state.lock().await;
    let end = match &mut *state {
        State::UnderWay(sending) => sending.await,
        State::Ended(end) => return end.clone(),
    };
    *state = State::Ended(end.clone());
    end
}

#[wasm_bindgen]
impl Sending {
    /// The item's id, which becomes the event's.
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// Waits for its end: JSON `{outcome, seq?, code?, reason?}`.
    pub fn outcome(&self) -> js_sys::Promise {
        let state = Rc::clone(&self.state);
        promise(async move { write(&Ended::from(end_of(state).await?)) })
    }

    /// Takes it back, if it can still be; gives what became of it.
    pub fn cancel(&self) -> js_sys::Promise {
        let (client, id, state) = (self.client.clone(), self.id, Rc::clone(&self.state));
        promise(async move {
            let end = match client.cancel(id).await {
                // It has ended before.
                Err(error) if *error.code() == Code::NOT_FOUND => end_of(state).await,
                end => end,
            };
            write(&Ended::from(end?))
        })
    }
}
