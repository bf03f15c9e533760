//! One client.

use crate::{
    room::{JoinOptions, Room},
    runtime,
    sending::{SendOptions, Sending, with},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;
use wardline::{
    client::{self, Error, Events, Outcome, Reason, Result, Signal, Status},
    model::{
        Alert, PresenceInfo,
        alert::{AlertAction, NewAlert},
        ids::{AlertId, CameraId, ConnectionId, ItemId, RecordingId, TenantId, UserId},
        presence,
        video::{Quality, Recording, StreamInfo},
    },
    protocol::{Code, Json},
};

/// What a client is made of.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Config {
    /// `ws://` or `wss://`.
    pub url: String,
    /// The token to begin with.
    #[uniffi(default = None)]
    pub token: Option<String>,
    /// The namespace of rooms named without one; default `default`.
    #[uniffi(default = None)]
    pub namespace: Option<String>,
    /// The file of the outbox; none: in memory, lost with the process.
    #[uniffi(default = None)]
    pub storage: Option<String>,
    /// Connect without a call.
    #[uniffi(default = false)]
    pub auto_connect: bool,
    /// Reconnect after a loss.
    #[uniffi(default = true)]
    pub auto_reconnect: bool,
    /// What `hello` says of this SDK, such as `wardline-python`.
    #[uniffi(default = None)]
    pub sdk: Option<String>,
}

/// What concerns the whole client.
#[derive(Clone, Debug, uniffi::Enum)]
pub enum ClientEvent {
    /// The status changed.
    Status {
        /// The new status.
        status: Status,
        /// Why.
        reason: Reason,
        /// While reconnecting: the time to the next attempt.
        retry_in: Option<Duration>,
    },
    /// Welcomed by the server.
    Established {
        /// The connection's name.
        connection: ConnectionId,
        /// The tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
    },
    /// The server announced a restart.
    Restart {
        /// Why.
        reason: String,
        /// When this client leaves.
        reconnect_in: Duration,
    },
    /// An item ended that nothing waits for.
    Settled {
        /// The item.
        id: ItemId,
        /// How.
        outcome: Outcome,
    },
    /// The server forgot what it had accepted; what is unanswered is sent again.
    AcceptedLost {
        /// The lane.
        lane: u8,
    },
    /// Something no call waits for went wrong.
    Failed {
        /// The stable code.
        code: Code,
        /// Words for a developer.
        reason: String,
    },
    /// The outbox does not outlive the process.
    Volatile,
    /// This many events were dropped before they were read.
    Missed {
        /// How many.
        count: u64,
    },
}

fn convert(event: client::ClientEvent) -> Option<ClientEvent> {
    use client::ClientEvent as From;
    Some(match event {
        From::Status { status, reason, retry_in } => {
            ClientEvent::Status { status, reason, retry_in }
        }
        From::Established { connection, tenant, user, .. } => {
            ClientEvent::Established { connection, tenant, user }
        }
        From::Restart { reason, reconnect_in } => ClientEvent::Restart { reason, reconnect_in },
        From::Settled(id, outcome) => ClientEvent::Settled { id, outcome },
        From::AcceptedLost { lane, .. } => ClientEvent::AcceptedLost { lane },
        From::Error(error) => {
            ClientEvent::Failed { code: error.code().clone(), reason: error.reason().to_owned() }
        }
        From::Volatile => ClientEvent::Volatile,
        From::Missed(count) => ClientEvent::Missed { count },
        _ => return None,
    })
}

/// A client: one connection, kept alive.
#[derive(uniffi::Object)]
pub struct Client {
    client: client::Client,
    events: Mutex<Events>,
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[uniffi::export]
impl Client {
    /// Makes a client. It does not connect unless `auto_connect` says so.
    #[uniffi::constructor]
    pub fn new(config: Config) -> Result<Arc<Self>> {
        let handle = runtime::handle()?;
        let _within = handle.enter();
        let mut builder = client::Client::builder(config.url)
            .auto_connect(config.auto_connect)
            .auto_reconnect(config.auto_reconnect);
        if let Some(token) = config.token {
            builder = builder.token(token);
        }
        if let Some(namespace) = config.namespace {
            builder = builder.namespace(namespace);
        }
        if let Some(path) = config.storage {
            builder = builder.storage(path);
        }
        if let Some(sdk) = config.sdk {
            builder = builder.options(|options| options.info.sdk = sdk);
        }
        let client = builder.build()?;
        let events = Mutex::new(client.events());
        Ok(Arc::new(Self { client, events }))
    }

    /// Connects, and stays so; returns at the first welcome.
    pub async fn connect(&self) -> Result<()> {
        self.client.connect().await
    }

    /// Sends what was submitted before, then closes the connection.
    pub async fn disconnect(&self) -> Result<()> {
        self.client.disconnect().await
    }

    /// Sets another token.
    pub fn set_token(&self, token: String) {
        self.client.set_token(token);
    }

    /// Where the connection stands.
    pub fn status(&self) -> Status {
        self.client.status()
    }

    /// Tells what the host noticed.
    pub fn signal(&self, signal: Signal) {
        self.client.signal(signal);
    }

    /// Takes the next event that concerns the whole client; none when it has ended.
    pub async fn next_event(&self) -> Option<ClientEvent> {
        let mut events = self.events.lock().await;
        loop {
            if let Some(event) = convert(events.next().await?) {
                return Some(event);
            }
        }
    }

    /// Joins a room: of the client's namespace by its bare name, or of any by its address.
    pub async fn join(&self, room: String, options: Option<JoinOptions>) -> Result<Arc<Room>> {
        let builder = options.unwrap_or_default().apply(self.client.room(&room));
        Ok(Room::new(&self.client, builder.join().await?))
    }

    /// Joins the tenant's alerts, filtered on the server; an empty list passes everything.
    pub async fn subscribe_to_alerts(
        &self,
        types: Vec<String>,
        severities: Vec<String>,
    ) -> Result<Arc<Room>> {
        let options = JoinOptions { types, severities, ..JoinOptions::default() };
        self.join_tenant("alerts".into(), options).await
    }

    /// Joins the tenant's monitoring, filtered on the server by kinds.
    pub async fn subscribe_to_events(&self, kinds: Vec<String>) -> Result<Arc<Room>> {
        let options = JoinOptions { kinds, ..JoinOptions::default() };
        self.join_tenant("monitoring".into(), options).await
    }

    /// Joins the tenant's room of a namespace. Waits for the first welcome.
    pub async fn join_tenant(&self, namespace: String, options: JoinOptions) -> Result<Arc<Room>> {
        let tenant = self.client.identified().await?.tenant;
        let builder = self.client.room_in(&namespace, &format!("tenant:{tenant}"));
        Ok(Room::new(&self.client, options.apply(builder).join().await?))
    }

    /// Joins the user's own room for notifications of these types; empty: all.
    pub async fn subscribe_to_notifications(&self, types: Vec<String>) -> Result<Arc<Room>> {
        let types = words(&types);
        Ok(Room::new(
            &self.client,
            self.client.notifications().room(&types).await?.typed().join().await?,
        ))
    }

    /// Queues an event for a room; returns once it is stored.
    pub async fn send(
        &self,
        room: String,
        event: String,
        data: Json,
        options: Option<SendOptions>,
    ) -> Result<Arc<Sending>> {
        let outgoing = with(self.client.send(&room, event, &data), options);
        Ok(Arc::new(Sending::new(&self.client, outgoing.await?)))
    }

    /// Sends an ephemeral event: at most once, to who is there now.
    pub async fn cast(&self, room: String, event: String, data: Json) -> Result<()> {
        self.client.cast(&room, event, &data).await
    }

    /// Sends a command and waits for its result.
    pub async fn command(&self, namespace: String, event: String, data: Json) -> Result<Json> {
        self.client.command(&namespace, event, &data).await
    }

    /// Asks the server something that makes no sense later.
    pub async fn query(&self, method: String, params: Json) -> Result<Json> {
        self.client.query(method, &params).await
    }

    /// Who is in a room now.
    pub async fn query_presence(&self, room: String) -> Result<Vec<PresenceInfo>> {
        self.client.presence(&room).query().await
    }

    /// The rooms this connection is in.
    pub async fn query_rooms(&self) -> Result<Vec<String>> {
        self.client.query_rooms().await
    }

    /// Sets how this user is present, in every room.
    pub async fn set_presence(
        &self,
        status: Option<presence::Status>,
        meta: Option<Json>,
    ) -> Result<()> {
        self.client.set_presence(status, meta).await
    }

    /// Raises an alert.
    pub async fn create_alert(&self, alert: NewAlert) -> Result<Alert> {
        self.client.alerts().create(alert).await
    }

    /// Takes an alert.
    pub async fn acknowledge_alert(&self, alert: AlertId, note: Option<String>) -> Result<Alert> {
        self.client.alerts().acknowledge(alert, note).await
    }

    /// Ends an alert.
    pub async fn resolve_alert(&self, alert: AlertId, note: Option<String>) -> Result<Alert> {
        self.client.alerts().resolve(alert, note).await
    }

    /// Acknowledges (`alert:acknowledge`) or resolves (`alert:resolve`) an alert of any room.
    pub async fn act_on_alert(&self, command: String, action: AlertAction) -> Result<Alert> {
        self.client.alerts().act(&command, action).await
    }

    /// Starts a camera's stream.
    pub async fn start_stream(&self, camera: CameraId, quality: Quality) -> Result<StreamInfo> {
        self.client.video().start_stream(camera, quality).await
    }

    /// Stops a camera's stream.
    pub async fn stop_stream(&self, camera: CameraId) -> Result<StreamInfo> {
        self.client.video().stop_stream(camera).await
    }

    /// Starts a recording; without a duration it goes on until stopped.
    pub async fn start_recording(
        &self,
        camera: CameraId,
        duration: Option<Duration>,
    ) -> Result<Recording> {
        self.client.video().start_recording(camera, duration).await
    }

    /// Stops a recording.
    pub async fn stop_recording(
        &self,
        camera: CameraId,
        recording: Option<RecordingId>,
    ) -> Result<Recording> {
        self.client.video().stop_recording(camera, recording).await
    }
}

/// The code of an error, in words that stay the same.
#[uniffi::export]
pub fn error_code(error: Error) -> Code {
    error.code().clone()
}

/// Whether the same call may succeed later although nothing is changed.
#[uniffi::export]
pub fn is_retryable(error: Error) -> bool {
    error.is_retryable()
}
