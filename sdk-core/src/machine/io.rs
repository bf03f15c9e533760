//! What goes into the machine and what comes out: plain data.

use crate::table::Table;
use crate::{
    model::{
        ids::{ConnectionId, ItemId, ProducerId, TenantId, UserId},
        presence::Status as PresenceStatus,
    },
    protocol::{
        Address, Code, Cursor, Filter, Json, Limits, Token,
        frames::{self, ErrorBody, RoomMode, Start},
        media::Chunk,
    },
    time::{Instant, UnixMillis},
};
use bytes::Bytes;
use std::time::Duration;

/// One transport. Anything from an older generation is ignored (P-C5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// A call of the API that waits for a [`Output::Reply`]. The driver keeps the senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// One handle's subscription of a room. Many may share the one membership on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub u64);

/// One batch of writes to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ws://` or `wss://`; without a path it gets `/wardline`.
    pub url: String,
    /// What `hello` says of this client.
    pub client: frames::ClientInfo,
    /// Reconnect after a loss. Default: true.
    pub auto_reconnect: bool,
    /// Attempts before giving up; none: for ever.
    pub max_attempts: Option<u32>,
    /// Whether [`Output::FetchToken`] can be answered.
    pub has_token_provider: bool,
    /// The token to begin with.
    pub token: Option<Token>,
    /// Items the outbox holds at most; past it `queue_full`. Default: 100,000.
    pub max_items: usize,
    /// Bytes of data the outbox holds at most. Default: 256 MiB.
    pub max_bytes: usize,
    /// Lanes that hold one item in flight and wait after a refusal (P-S4 `stop`).
    pub stop_lanes: Vec<u8>,
    /// Limits of the calls in flight. Default: 1,000.
    pub max_calls: usize,
    /// Seed of every random choice, drawn by the host. Never a constant in production.
    pub seed: u64,
}

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The application calls.
    Command(Command),
    /// The transport is open.
    Opened(Generation),
    /// A text frame: one or more objects.
    Text(Generation, String),
    /// A binary message.
    Binary(Generation, Bytes),
    /// The transport ended.
    Closed(Generation, Close),
    /// The dial came to nothing.
    DialFailed(Generation, DialError),
    /// Bytes written to the socket that the network has not taken; told whenever the figure
    /// crosses 64 KiB downwards, reaches 0 (after every write, however fast), or changes while a
    /// probe waits (P-C4, P-S10).
    Unsent(Generation, usize),
    /// A batch of writes ended.
    Stored(BatchId, Result<(), StoreError>),
    /// The answer to [`Output::Load`].
    Loaded(Result<Box<Snapshot>, StoreError>),
    /// Another tab or process added items to the store.
    Poked,
    /// The answer to [`Output::FetchToken`]; none: the provider has no token.
    Token(Option<Token>),
    /// The host noticed something.
    Signal(Signal),
    /// The moment named by [`Output::Timeout`] came, or any other.
    Timeout,
}

/// What the host can notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
pub enum Signal {
    /// The host says the network is there.
    Online,
    /// The host says it is not. Never believed alone (P-C4).
    Offline,
    /// Another interface or address.
    NetworkChanged,
    /// The application is seen again.
    Visible,
    /// No one sees the application.
    Hidden,
    /// The host was asleep.
    Woke,
    /// The host is about to suspend: store what must survive.
    Suspending,
}

/// How a transport ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The close code; 1006 where there was none.
    pub code: u16,
    /// The close reason.
    pub reason: String,
}

/// How a dial failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// The HTTP status met instead of the upgrade.
    pub status: Option<u16>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Words for a developer.
    pub message: String,
}

/// What the application asks.
#[derive(Clone, Debug)]
pub enum Command {
    /// Connect, and stay so. Idempotent. Replies at the first `welcome` or terminal failure.
    Connect(CallId),
    /// Send what was submitted before, then close with 1000. Replies when closed.
    Disconnect(CallId),
    /// A new token (P-C6).
    SetToken(Token),
    /// Queue an item. Replies [`ReplyValue::Queued`] once stored; [`ApiEvent::Settled`] follows.
    Submit(CallId, NewItem),
    /// Take an item back (P-S5). Replies with what became of it.
    Cancel(CallId, ItemId),
    /// Let a lane of policy `stop` go on after a refusal (P-S4).
    Resume(CallId, u8),
    /// Subscribe to a room. Replies [`ReplyValue::Joined`], or an error for a permanent refusal.
    Subscribe(CallId, SubId, Address, Subscribe),
    /// End a subscription. Replies when the membership is gone, or at once while offline.
    Unsubscribe(CallId, SubId),
    /// The application is done with everything up to this number (P-R11).
    Done(SubId, u64),
    /// What the snapshot hook gave: the cursor of its state, or none for the head (P-R6).
    Snapshot(SubId, Result<Option<Cursor>, String>),
    /// An ephemeral message (P-R8). Refused with `disconnected` while there is no connection.
    Cast(CallId, frames::Cast),
    /// A query (P-S7).
    Query(CallId, String, Json),
    /// Presence status (P-P1). Kept, and told again on each connection.
    SetStatus(CallId, Option<PresenceStatus>, Option<Json>),
    /// A handler's answer (P-S8).
    Answer(CallId, frames::Answer),
    /// Announce a stream to send (P-V1).
    Stream(CallId, frames::Stream),
    /// A chunk of an announced stream. Dropped while there is no connection or no room (P-V2).
    Media(Chunk),
    /// A picture was shown (P-V2).
    Seen(frames::Seen),
}

/// An item to queue.
#[derive(Clone, Debug, PartialEq)]
pub struct NewItem {
    /// Drawn by the caller.
    pub id: ItemId,
    /// 0–7, 0 most urgent.
    pub lane: u8,
    /// Where to.
    pub room: Address,
    /// The event's name.
    pub event: String,
    /// One JSON text.
    pub data: Json,
    /// Key in a `latest` room.
    pub key: Option<String>,
    /// Whether the event is kept and replayed.
    pub persist: bool,
    /// Time to live; none: seven days.
    pub ttl: Option<Duration>,
    /// A command whose result is awaited (P-S8).
    pub command: bool,
}

/// How to subscribe.
#[derive(Clone, Debug, Default)]
pub struct Subscribe {
    /// What to receive.
    pub filter: Filter,
    /// Where to begin.
    pub from: Start,
    /// Where to go on; wins over `from`.
    pub cursor: Option<Cursor>,
    /// Keep the position in the store under this name (P-R11).
    pub durable: Option<String>,
    /// Metadata of the membership.
    pub meta: Option<Json>,
    /// Appear in the room's presence.
    pub present: bool,
    /// Receive the room's presence.
    pub watch: bool,
    /// The application has a snapshot hook (P-R6).
    pub hook: bool,
}

/// What the machine wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Open a transport.
    Dial(Generation, String),
    /// Write a text frame.
    Text(Generation, String),
    /// Write a binary message.
    Binary(Generation, Bytes),
    /// Close the transport. Nothing from it counts any more.
    Close(Generation, Close),
    /// Load the store of an owner; none: of the owner it was last bound to.
    Load(Option<Owner>),
    /// Commit a batch in one transaction, in order of the batches.
    Store(BatchId, Vec<StoreOp>),
    /// Ask the token provider. At most one under way.
    FetchToken,
    /// Answer a call.
    Reply(CallId, Result<ReplyValue, Error>),
    /// Tell the application.
    Event(ApiEvent),
    /// Nothing more until an input, or this moment. Always the last; none: only an input helps.
    Timeout(Option<Instant>),
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyValue {
    /// Done.
    Done,
    /// The item is stored.
    Queued(ItemId),
    /// The membership began.
    Joined {
        /// Events follow from here.
        cursor: Cursor,
        /// How the room keeps its events.
        mode: RoomMode,
    },
    /// What became of an item.
    Outcome(Outcome),
    /// What a query gave.
    Json(Json),
}

/// An error of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// Words for a developer. No secrets.
    pub text: String,
}

/// The one end of a submit (P-S6).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
pub enum Outcome {
    /// In the log, durable; with its number there when it is kept.
    Accepted(Option<u64>),
    /// Refused for good.
    Refused(Code, String),
    /// Its time to live ended first.
    Expired,
    /// Taken back first.
    Cancelled,
    /// The server's record is gone: accepted or not, nobody knows.
    Uncertain,
}

/// Where the connection stands, as `status:change` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
pub enum Status {
    /// The first attempts.
    Connecting,
    /// Welcomed.
    Connected,
    /// Lost, and trying again.
    Reconnecting,
    /// Not connected, and not trying.
    Disconnected,
    /// Waiting for a token.
    Unauthenticated,
}

/// Why the status changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct Reason {
    /// A close code (P-C7), or 0 for the application's own call.
    pub code: u16,
    /// Words for a developer.
    pub text: String,
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq)]
pub enum ApiEvent {
    /// The status changed.
    Status {
        /// The new status.
        status: Status,
        /// Why.
        reason: Reason,
        /// While reconnecting: the time to the next attempt.
        retry_in: Option<Duration>,
    },
    /// Welcomed.
    Established {
        /// The connection's name.
        connection: ConnectionId,
        /// The tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
        /// What this connection may do.
        limits: Limits,
    },
    /// An event for a subscription. With a number: handed over once, in order.
    Event(SubId, Box<frames::Event>),
    /// The subscription caught up with the head.
    Live(SubId),
    /// Events are lost to this subscription (P-R6). Comes before anything newer.
    Gap {
        /// The subscription.
        sub: SubId,
        /// Handed over up to here.
        from: Cursor,
        /// What still exists begins behind here; none: unknown.
        to: Option<Cursor>,
    },
    /// Call the snapshot hook with the head, then answer [`Command::Snapshot`].
    SnapshotWanted(SubId, Cursor),
    /// The subscription ended, or waits for a permission to come back.
    Left(SubId, Code),
    /// Presence of a subscription's room changed: everyone, then differences.
    Presence(SubId, PresenceChange),
    /// A submit ended.
    Settled(ItemId, Outcome),
    /// A command's result (P-S8).
    Result(ItemId, Result<Json, ErrorBody>),
    /// The server forgot what it had accepted; the unanswered is sent again (P-S6).
    AcceptedLost {
        /// The lane.
        lane: u8,
        /// First number forgotten.
        from: u64,
        /// Last number forgotten.
        to: u64,
    },
    /// The server announced a restart (P-C8).
    Restart {
        /// Why.
        reason: String,
        /// When this client leaves.
        reconnect_in: Duration,
    },
    /// A stream of a joined room began or ended.
    Stream(frames::Stream),
    /// A chunk of a stream.
    Media(Chunk),
    /// How many watch a stream of this client.
    Demand(frames::Demand),
    /// Something no call waits for went wrong.
    Error(Error),
    /// The store does not outlive the process (DESIGN 7).
    Volatile,
}

/// Presence as the application sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum PresenceChange {
    /// All who are there now. `joined` and the like follow only for real differences.
    Snapshot(Vec<frames::Member>),
    /// Someone came.
    Joined(frames::Member),
    /// Someone's status or metadata changed.
    Updated(frames::Member),
    /// Someone left.
    Left(UserId),
}

/// To whom an outbox belongs (P-S1a).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The server's url.
    pub server: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
}

/// What a store holds for one owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// None until the first `welcome` (P-S1a).
    pub owner: Option<Owner>,
    /// None in a new store: the machine draws one and stores it.
    pub producer: Option<ProducerId>,
    /// Per lane: the highest number given, and the number below the first unanswered item.
    pub lanes: Table<u8, StoredLane>,
    /// Items in the order they were added.
    pub items: Vec<StoredItem>,
    /// Positions by (name, room) (P-R11).
    pub cursors: Table<(String, Address), Cursor>,
    /// False: everything is lost with the process.
    pub durable: bool,
    /// The lock's generation; every numbering batch is checked against it (P-S1).
    pub lock: u64,
}

/// A lane in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredLane {
    /// The highest number given.
    pub given: u64,
    /// The number below the first unanswered item.
    pub done: u64,
}

/// An item in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredItem {
    /// Position in the order of submits; strictly rising.
    pub order: u64,
    /// What to send.
    pub item: NewItem,
    /// The number, once given.
    pub n: Option<u64>,
    /// When its time to live ends.
    pub expires: UnixMillis,
    /// Link deaths in a row with this item first (P-S9).
    pub deaths: u8,
    /// The code with which it is to be skipped (P-S5).
    pub skip: Option<Code>,
}

/// One write to the store.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreOp {
    /// Bind the store to an owner.
    Bind(Owner),
    /// Set the producer (a new store, or after a fork).
    Producer(ProducerId),
    /// Add an item.
    Put(Box<StoredItem>),
    /// Give an item its number, or take it away. Fails the batch unless the lock is still held, as
    /// do `Lane`, `Producer` and `Bind`; the other writes need no lock (P-S1).
    Number(ItemId, Option<u64>),
    /// Mark an item to be skipped, or, without a number, as over.
    Skip(ItemId, Code),
    /// Count the link deaths of an item.
    Deaths(ItemId, u8),
    /// Remove a settled item.
    Remove(ItemId),
    /// Set a lane's numbers.
    Lane(u8, StoredLane),
    /// Set a position.
    Cursor(String, Address, Cursor),
}

/// How a store fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another tab or process holds the lock now: nothing was written.
    #[error("another process holds the outbox")]
    NotOwner,
    /// The medium failed: nothing was written, as far as the store can tell.
    #[error("the outbox store failed: {0}")]
    Io(String),
}
