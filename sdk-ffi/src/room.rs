//! A joined room: events are pulled, typed by their namespace.

use crate::sending::{SendOptions, Sending, with};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::{Mutex, Notify};
use wardline::{
    client::{self, Incoming, Result, RoomBuilder},
    model::{
        AlertEvent, DispatchEvent, MonitoringEvent, NotificationEvent, PresenceEvent, PresenceInfo,
        VideoEvent,
        ids::{ItemId, UserId},
    },
    protocol::{Address, Clause, Code, Cursor, Json},
};

/// How to join. What is left empty passes everything.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct JoinOptions {
    /// Values of `data.type` to receive.
    #[uniffi(default = [])]
    pub types: Vec<String>,
    /// Values of `data.severity` to receive.
    #[uniffi(default = [])]
    pub severities: Vec<String>,
    /// Kinds of the monitoring namespace to receive.
    #[uniffi(default = [])]
    pub kinds: Vec<String>,
    /// Names of events to receive.
    #[uniffi(default = [])]
    pub events: Vec<String>,
    /// Begin at the first event still held.
    #[uniffi(default = false)]
    pub from_first: bool,
    /// Go on behind this.
    #[uniffi(default = None)]
    pub cursor: Option<Cursor>,
    /// Keep the position in the client's store under this name.
    #[uniffi(default = None)]
    pub durable: Option<String>,
    /// Metadata of the membership.
    #[uniffi(default = None)]
    pub meta: Option<Json>,
    /// Appear in the room's presence.
    #[uniffi(default = false)]
    pub present: bool,
    /// Receive the room's presence.
    #[uniffi(default = false)]
    pub watch: bool,
}

impl JoinOptions {
    pub(crate) fn apply(self, mut builder: RoomBuilder<Json>) -> RoomBuilder<Json> {
        let Self { types, severities, kinds, events, .. } = self;
        let clause = Clause { events, types, severities, kinds };
        if clause != Clause::default() {
            builder = builder.filter(clause);
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
        if let Some(meta) = self.meta {
            builder = builder.meta(&meta);
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

/// What an event carries, typed by the namespace of its room.
#[derive(Clone, Debug, uniffi::Enum)]
pub enum Payload {
    /// Of namespace `video`.
    Video {
        /// The event.
        event: VideoEvent,
    },
    /// Of namespace `alerts`.
    Alert {
        /// The event.
        event: AlertEvent,
    },
    /// Of namespace `monitoring`.
    Monitoring {
        /// The event.
        event: MonitoringEvent,
    },
    /// Of namespace `dispatch`.
    Dispatch {
        /// The event.
        event: DispatchEvent,
    },
    /// Of a user's own room.
    Notification {
        /// The event.
        event: NotificationEvent,
    },
    /// Of a namespace of the application's own.
    Other {
        /// The data as it came.
        data: Json,
    },
}

impl Payload {
    fn decode(namespace: &str, event: &str, data: Json) -> Self {
        match namespace {
            "video" => Self::Video { event: VideoEvent::decode(event, &data) },
            "alerts" => Self::Alert { event: AlertEvent::decode(event, &data) },
            "monitoring" => Self::Monitoring { event: MonitoringEvent::decode(event, &data) },
            "dispatch" => Self::Dispatch { event: DispatchEvent::decode(event, &data) },
            _ => match NotificationEvent::decode(event, &data) {
                NotificationEvent::Unknown { .. } => Self::Other { data },
                event => Self::Notification { event },
            },
        }
    }
}

/// An event of a room.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Event {
    /// The room, as it was joined.
    pub room: String,
    /// The event's name.
    pub name: String,
    /// What it carries.
    pub payload: Payload,
    /// The item it was.
    pub id: Option<ItemId>,
    /// Who sent it.
    pub from: UserId,
    /// The server's time when it was accepted, ms since 1970.
    pub time: u64,
    /// Its position in the log; none for an ephemeral event.
    pub cursor: Option<Cursor>,
    /// Its key in a `latest` room.
    pub key: Option<String>,
    /// The key has no value any more.
    pub gone: bool,
}

/// What comes next in a room.
#[derive(Clone, Debug, uniffi::Enum)]
#[allow(clippy::large_enum_variant, reason = "it crosses as a buffer; a box would cross as well")]
pub enum RoomEvent {
    /// An event.
    Message {
        /// The event.
        event: Event,
    },
    /// What was kept is handed over; what follows is new.
    Live,
    /// Events are lost.
    Gap {
        /// Handed over up to here.
        start: Cursor,
        /// What still exists begins behind here.
        end: Option<Cursor>,
    },
    /// Who is in the room changed.
    Presence {
        /// How.
        change: PresenceEvent,
    },
    /// The membership is gone.
    Left {
        /// Why.
        code: Code,
    },
}

/// A joined room. Events are pulled: taking the next says that the one before is done.
#[derive(uniffi::Object)]
pub struct Room {
    client: client::Client,
    name: String,
    address: Address,
    room: Mutex<Option<client::Room<Json>>>,
    ended: AtomicBool,
    end: Notify,
}

impl Room {
    pub(crate) fn new(client: &client::Client, room: client::Room<Json>) -> Arc<Self> {
        Arc::new(Self {
            client: client.clone(),
            name: room.name().to_owned(),
            address: room.address().clone(),
            room: Mutex::new(Some(room)),
            ended: AtomicBool::new(false),
            end: Notify::new(),
        })
    }

    fn convert(&self, incoming: Incoming<Json>) -> Option<RoomEvent> {
        Some(match incoming {
            Incoming::Event(event) => RoomEvent::Message {
                event: Event {
                    payload: Payload::decode(self.address.namespace(), &event.name, event.data),
                    room: event.room,
                    name: event.name,
                    id: event.id,
                    from: event.from,
                    time: event.time,
                    cursor: event.cursor,
                    key: event.key,
                    gone: event.gone,
                },
            },
            Incoming::Live => RoomEvent::Live,
            Incoming::Gap { from, to } => RoomEvent::Gap { start: from, end: to },
            Incoming::Presence(change) => RoomEvent::Presence { change },
            Incoming::Left(code) => RoomEvent::Left { code },
            _ => return None,
        })
    }
}

#[uniffi::export]
impl Room {
    /// The room's name, as it was joined.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Takes what comes next; none when the room was left or the client has ended.
    pub async fn next_event(&self) -> Option<RoomEvent> {
        self.next_batch(1).await.pop()
    }

    /// Takes all that is there, at most `max`, and waits for the first; empty when the room was
    /// left or the client has ended.
    pub async fn next_batch(&self, max: u32) -> Vec<RoomEvent> {
        let end = self.end.notified();
        tokio::pin!(end);
        // Registered before the flag is looked at: no end is missed.
        end.as_mut().enable();
        if self.ended.load(Ordering::Acquire) {
            return Vec::new();
        }
        let next = async {
            let mut room = self.room.lock().await;
            let Some(room) = &mut *room else { return Vec::new() };
            let max = usize::try_from(max).unwrap_or(usize::MAX).max(1);
            room.next_batch(max).await
        };
        let batch = tokio::select! {
            biased;
            () = end => Vec::new(),
            batch = next => batch,
        };
        batch.into_iter().filter_map(|incoming| self.convert(incoming)).collect()
    }

    /// Makes every pending pull answer none. For hosts that do not cancel (Swift).
    pub fn cancel(&self) {
        self.ended.store(true, Ordering::Release);
        self.end.notify_waiters();
    }

    /// Queues an event for this room; returns once it is stored.
    pub async fn send(
        &self,
        event: String,
        data: Json,
        options: Option<SendOptions>,
    ) -> Result<Arc<Sending>> {
        // Not through the room, which a pending pull holds.
        let outgoing = with(self.client.send(self.address.as_str(), event, &data), options);
        Ok(Arc::new(Sending::new(&self.client, outgoing.await?)))
    }

    /// Who is in the room now.
    pub async fn presence(&self) -> Result<Vec<PresenceInfo>> {
        self.client.presence(self.address.as_str()).query().await
    }

    /// Leaves.
    pub async fn leave(&self) -> Result<()> {
        self.cancel();
        match self.room.lock().await.take() {
            Some(room) => room.leave().await,
            None => Ok(()),
        }
    }
}
