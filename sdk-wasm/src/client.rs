//! One client.

use crate::{
    platform::{Host, random},
    room::{Join, Room, Send, Sending},
    value::{promise, read, thrown, write},
};
use futures_util::lock::Mutex;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use wardline::{
    client::{self, ClientEvent, Error, Events, Options, Signal, Status},
    driver::MemoryStorage,
    protocol::{Code, Json},
};
use wasm_bindgen::prelude::*;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    url: String,
    token: Option<String>,
    namespace: Option<String>,
    auto_connect: bool,
    auto_reconnect: Option<bool>,
}

/// What concerns the whole client, as JavaScript reads it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Told {
    Status { status: &'static str, code: u16, reason: String, retry_in: Option<u64> },
    Established { connection_id: String, tenant_id: String, user_id: String },
    Restart { reason: String, reconnect_in: u64 },
    Settled { id: String, outcome: crate::value::Ended },
    AcceptedLost { lane: u8 },
    Error { code: Code, reason: String },
    Volatile,
    Missed { count: u64 },
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Connecting => "connecting",
        Status::Connected => "connected",
        Status::Reconnecting => "reconnecting",
        Status::Disconnected => "disconnected",
        Status::Unauthenticated => "unauthenticated",
    }
}

fn told(event: ClientEvent) -> Option<Told> {
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Some(match event {
        ClientEvent::Status { status, reason, retry_in } => Told::Status {
            status: word(status),
            code: reason.code,
            reason: reason.text,
            retry_in: retry_in.map(ms),
        },
        ClientEvent::Established { connection, tenant, user, .. } => Told::Established {
            connection_id: connection.to_string(),
            tenant_id: tenant.to_string(),
            user_id: user.to_string(),
        },
        ClientEvent::Restart { reason, reconnect_in } => {
            Told::Restart { reason, reconnect_in: ms(reconnect_in) }
        }
        ClientEvent::Settled(id, outcome) => {
            Told::Settled { id: id.to_string(), outcome: outcome.into() }
        }
        ClientEvent::AcceptedLost { lane, .. } => Told::AcceptedLost { lane },
        ClientEvent::Error(error) => {
            Told::Error { code: error.code().clone(), reason: error.reason().to_owned() }
        }
        ClientEvent::Volatile => Told::Volatile,
        ClientEvent::Missed(count) => Told::Missed { count },
        _ => return None,
    })
}

/// A client: one connection, kept alive.
#[wasm_bindgen]
pub struct Client {
    client: client::Client,
    events: Rc<Mutex<Events>>,
}

#[wasm_bindgen]
impl Client {
    /// Makes a client from JSON options; `provider` answers a token, or a promise of one.
    ///
    /// # Errors
    /// `bad_config`, `bad_params`.
    #[wasm_bindgen(constructor)]
    pub fn new(options: String, provider: Option<js_sys::Function>) -> Result<Client, JsValue> {
        Self::make(options, provider).map_err(|error| thrown(&error))
    }

    fn make(options: String, provider: Option<js_sys::Function>) -> Result<Self, Error> {
        let config: Config = read(Some(options))?;
        let mut options = Options::new(config.url);
        options.token = config.token.map(Into::into);
        options.namespace = config.namespace.unwrap_or(options.namespace);
        options.auto_connect = config.auto_connect;
        options.auto_reconnect = config.auto_reconnect.unwrap_or(true);
        options.info.sdk = "wardline-js".into();
        let has_provider = provider.is_some();
        let (client, driver) =
            options.start(Host::new(provider), MemoryStorage::default(), random, has_provider)?;
        wasm_bindgen_futures::spawn_local(driver);
        let events = Rc::new(Mutex::new(client.events()));
        Ok(Self { client, events })
    }

    /// Connects, and stays so; resolves at the first welcome.
    pub fn connect(&self) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move { client.connect().await.map(|()| JsValue::UNDEFINED) })
    }

    /// Sends what was submitted before, then closes the connection.
    pub fn disconnect(&self) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move { client.disconnect().await.map(|()| JsValue::UNDEFINED) })
    }

    /// Sets another token.
    #[wasm_bindgen(js_name = setToken)]
    pub fn set_token(&self, token: String) {
        self.client.set_token(token);
    }

    /// Where the connection stands.
    #[wasm_bindgen(getter)]
    pub fn status(&self) -> String {
        word(self.client.status()).to_owned()
    }

    /// Tells what the host noticed: `online`, `offline`, `network`, `visible`, `hidden`, `woke` or
    /// `suspending`. Anything else is passed over.
    pub fn signal(&self, signal: &str) {
        self.client.signal(match signal {
            "online" => Signal::Online,
            "offline" => Signal::Offline,
            "network" => Signal::NetworkChanged,
            "visible" => Signal::Visible,
            "hidden" => Signal::Hidden,
            "woke" => Signal::Woke,
            "suspending" => Signal::Suspending,
            _ => return,
        });
    }

    /// Takes the next event that concerns the whole client: JSON, or nothing when it has ended.
    #[wasm_bindgen(js_name = nextEvent)]
    pub fn next_event(&self) -> js_sys::Promise {
        let events = Rc::clone(&self.events);
        promise(async move {
            let mut events = events.lock().await;
            while let Some(event) = events.next().await {
                if let Some(event) = told(event) {
                    return write(&event);
                }
            }
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Joins a room: of the client's namespace by its bare name, or of any by its address. JSON
    /// options. Gives a `Room`.
    pub fn join(&self, room: String, options: Option<String>) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move {
            let builder = read::<Join>(options)?.apply(client.room(&room));
            Ok(Room::new(client, builder.join().await?))
        })
    }

    /// Joins the tenant's room of a namespace. JSON options. Gives a `Room`.
    #[wasm_bindgen(js_name = joinTenant)]
    pub fn join_tenant(&self, namespace: String, options: Option<String>) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move {
            let options = read::<Join>(options)?;
            let tenant = client.identified().await?.tenant;
            let builder = client.room_in(&namespace, &format!("tenant:{tenant}"));
            Ok(Room::new(client, options.apply(builder).join().await?))
        })
    }

    /// Queues an event for a room; resolves to a `Sending` once it is stored.
    pub fn send(
        &self,
        room: String,
        event: String,
        data: String,
        options: Option<String>,
    ) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move {
            let (data, options) = (Json::parse(&data)?, read::<Send>(options)?);
            let sending = options.apply(client.send(&room, event, &data)).await?;
            Ok(Sending::new(client, sending))
        })
    }

    /// Sends an ephemeral event: at most once, to who is there now.
    pub fn cast(&self, room: String, event: String, data: String) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move {
            let data = Json::parse(&data)?;
            client.cast(&room, event, &data).await.map(|()| JsValue::UNDEFINED)
        })
    }

    /// Sends a command and waits for its result: JSON.
    pub fn command(&self, namespace: String, event: String, data: String) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move {
            let data = Json::parse(&data)?;
            let result = client.command(&namespace, event, &data).await?;
            Ok(JsValue::from(result.get()))
        })
    }

    /// Asks the server something that makes no sense later: JSON.
    pub fn query(&self, method: String, params: String) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move {
            let params = Json::parse(&params)?;
            let result = client.query(method, &params).await?;
            Ok(JsValue::from(result.get()))
        })
    }

    /// The rooms this connection is in: a JSON array.
    #[wasm_bindgen(js_name = queryRooms)]
    pub fn query_rooms(&self) -> js_sys::Promise {
        let client = self.client.clone();
        promise(async move { write(&client.query_rooms().await?) })
    }
}
