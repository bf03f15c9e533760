//! The objects that travel, one struct each; `docs/protocol.md` shows an example of every one.

use super::{
    code::Code,
    cursor::{Cursor, Mark},
    filter::Filter,
    json::Json,
    limits::Limits,
};
use crate::model::{
    ids::{ConnectionId, ItemId, ProducerId, TenantId, UserId},
    presence::Status,
};
use crate::table::Table;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! frames {
    ($(#[$enum_meta:meta])* $enum:ident by $way:ident { $($(#[$meta:meta])* $tag:literal => $name:ident($body:ty),)+ }) => {
        $(#[$enum_meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $enum {
            $($(#[$meta])* $name($body),)+
            /// A type this version does not know (P-F2).
            Unknown {
                /// The `type`.
                kind: String,
                /// The `id`, as it came.
                id: Option<Json>,
            },
        }

        impl $enum {
            /// The frame's `type`.
            #[must_use]
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$name(_) => $tag,)+
                    Self::Unknown { kind, .. } => kind,
                }
            }
        }

        frames!(@ $way $enum { $($tag => $name($body),)+ });

        $(impl From<$body> for $enum {
            fn from(body: $body) -> Self {
                Self::$name(body)
            }
        })+
    };
    // What the client writes and the server reads.
    (@ client $enum:ident { $($tag:literal => $name:ident($body:ty),)+ }) => {
        $(impl $body {
            /// Writes the object: `type` first, no raw line feed.
            #[must_use]
            pub fn encode(&self) -> String {
                super::scribe::encode($tag, self)
            }
        })+

        impl $enum {
            /// Writes the object: `type` first, no raw line feed.
            #[must_use]
            pub fn encode(&self) -> String {
                match self {
                    $(Self::$name(body) => body.encode(),)+
                    Self::Unknown { kind, id } => super::scribe::encode(kind, id),
                }
            }

            /// Reads one object.
            ///
            /// # Errors
            /// The envelope is broken: close with `BAD_FRAME` (P-F2).
            pub fn decode(text: &str) -> Result<Self, super::codec::BadFrame> {
                let head = super::codec::head(text)?;
                Ok(match &*head.kind {
                    $($tag => Self::$name(super::codec::body(text)?),)+
                    kind => Self::Unknown { kind: kind.to_owned(), id: head.id.map(|id| Json::known(id.get())) },
                })
            }
        }
    };
    // What the server writes and the client reads.
    (@ server $enum:ident { $($tag:literal => $name:ident($body:ty),)+ }) => {
        impl $enum {
            /// Writes the object: `type` first, no raw line feed.
            #[must_use]
            pub fn encode(&self) -> String {
                match self {
                    $(Self::$name(body) => super::codec::splice($tag, body),)+
                    Self::Unknown { kind, id } => super::codec::splice(kind, &super::codec::OnlyId { id: id.as_ref() }),
                }
            }

            /// Reads one object.
            ///
            /// # Errors
            /// The envelope is broken: close with `BAD_FRAME` (P-F2).
            pub fn decode(text: &str) -> Result<Self, super::codec::BadFrame> {
                let fields = super::wire::Fields::read(text)?;
                let kind: String = fields.need("type");
                let frame = match &*kind {
                    $($tag => Self::$name(super::scribe::Read::read(&fields)),)+
                    _ => Self::Unknown { id: fields.maybe("id"), kind },
                };
                Ok(fields.check().map(|()| frame)?)
            }
        }
    };
}

frames! {
    /// What a client sends.
    ClientFrame by client {
        /// First frame: who, which producer, how far its lanes are (P-C1).
        "hello" => Hello(Hello),
        /// A new token (P-C6).
        "auth" => Auth(Auth),
        /// Become a member of a room (P-R1).
        "join" => Join(Join),
        /// End a membership (P-R1).
        "leave" => Leave(Leave),
        /// The application has taken everything up to `seq` (P-R5).
        "credit" => Credit(Credit),
        /// An item of the outbox (P-S2).
        "send" => Send(Send),
        /// A numbered item that is not wanted any more (P-S5).
        "skip" => Skip(Skip),
        /// An ephemeral message (P-R8).
        "cast" => Cast(Cast),
        /// A query (P-S7).
        "call" => Call(Call),
        /// Presence status of this connection (P-P1).
        "status" => Status(SetStatus),
        /// A handler's answer to a command (P-S8).
        "answer" => Answer(Answer),
        /// The client announces a stream it will send chunks of (P-V1).
        "stream" => Stream(Stream),
        /// A picture was shown (P-V2).
        "seen" => Seen(Seen),
        /// A probe (P-C4).
        "ping" => Ping(Ping),
        /// The answer to a probe.
        "pong" => Pong(Pong),
    }
}

frames! {
    /// What a server sends.
    ServerFrame by server {
        /// The answer to `hello` (P-C2).
        "welcome" => Welcome(Welcome),
        /// The answer to `auth` (P-C6).
        "authorized" => Authorized(Authorized),
        /// A membership began (P-R1).
        "joined" => Joined(Joined),
        /// The membership's position reached the head (P-R4).
        "live" => Live(Live),
        /// A membership ended or was refused (P-R1).
        "left" => Left(Left),
        /// The cursor cannot be resumed from (P-R6).
        "lost" => Lost(Lost),
        /// An event (P-R2, P-R8, P-R9).
        "event" => Event(Event),
        /// The server asks for credit (P-R5).
        "page" => Page(Page),
        /// Items accepted (P-S3).
        "ok" => Accepted(Accepted),
        /// An item refused for good (P-S3).
        "refused" => Refused(Refused),
        /// Nothing consumed; wait (P-S3, P-S4).
        "hold" => Hold(Hold),
        /// The answer to a call (P-S7).
        "reply" => Reply(Reply),
        /// The result of a command (P-S8).
        "result" => Result(CommandResult),
        /// Members of a room, or what changed (P-P1).
        "presence" => Presence(Presence),
        /// A stream begins (P-V1).
        "stream" => Stream(Stream),
        /// How many watch a stream (P-V2). To its publisher.
        "demand" => Demand(Demand),
        /// The server asks clients to leave (P-C8).
        "drain" => Drain(Drain),
        /// A probe, with the heads of rooms that moved (P-R7).
        "ping" => Ping(Ping),
        /// The answer to a probe.
        "pong" => Pong(Pong),
    }
}

/// A token. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Reads the secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A number by lane.
pub type Lanes = Table<u8, u64>;

/// `hello` (P-C1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The token; absent where the `Authorization` header carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// The producer of the outbox.
    pub producer: ProducerId,
    /// Per lane with a number: the number below the first unanswered item (P-S2).
    #[serde(default)]
    pub lanes: Lanes,
    /// Features the client knows (P-F5).
    #[serde(default)]
    pub features: Vec<String>,
    /// What speaks.
    #[serde(default)]
    pub client: ClientInfo,
    /// Whether no one can see this client now (P-C3, P-P1).
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden: bool,
}

/// What speaks, for logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Name of the SDK.
    #[serde(default)]
    pub sdk: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Operating system or browser.
    #[serde(default)]
    pub platform: String,
}

/// `auth` (P-C6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Auth {
    /// The new token.
    pub token: Token,
}

/// Where a membership without a cursor begins (P-R1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the head: only what comes.
    #[default]
    Live,
    /// At the first entry the log still holds.
    First,
}

/// `join` (P-R1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// Matches the answer.
    pub id: u64,
    /// The room's address.
    pub room: String,
    /// Where to go on; wins over `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// Where to begin without a cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Start>,
    /// What to receive (P-R10).
    #[serde(default, skip_serializing_if = "Filter::is_everything")]
    pub filter: Filter,
    /// Metadata of the membership, shown in presence (P-P1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json>,
    /// Whether the user appears in the room's presence.
    #[serde(default, skip_serializing_if = "is_false")]
    pub present: bool,
    /// Whether to receive the room's presence.
    #[serde(default, skip_serializing_if = "is_false")]
    pub watch: bool,
}

/// `leave` (P-R1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Matches the answer.
    pub id: u64,
    /// The room's address.
    pub room: String,
}

/// `credit` (P-R5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// The room's address.
    pub room: String,
    /// As the `page` said.
    pub seq: u64,
}

/// `send` (P-S2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Send {
    /// 0–7, 0 most urgent.
    pub lane: u8,
    /// The item's number in its lane.
    pub n: u64,
    /// The item's id, which becomes the event's.
    pub id: ItemId,
    /// The number below the first unanswered item; on a lane's first frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// The room's address.
    pub room: String,
    /// The event's name.
    pub event: String,
    /// Key in a `latest` room (P-R9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Milliseconds left when sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Whether the event is kept and replayed. False: the item is accepted once and handed to who is live.
    #[serde(default, skip_serializing_if = "is_false")]
    pub persist: bool,
    /// One JSON text.
    pub data: Json,
}

/// `skip` (P-S5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skip {
    /// The item's lane.
    pub lane: u8,
    /// The item's number.
    pub n: u64,
    /// The item's id.
    pub id: ItemId,
    /// As in `send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// `cancelled`, `expired` or `poison`.
    pub code: Code,
}

/// `cast` (P-R8).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cast {
    /// The room's address.
    pub room: String,
    /// The event's name.
    pub event: String,
    /// One JSON text.
    pub data: Json,
}

/// `call` (P-S7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Matches the answer.
    pub id: u64,
    /// `presence`, `rooms`, `history`, `results` or one the server's application adds.
    pub method: String,
    /// One JSON text.
    #[serde(default = "Json::null")]
    pub params: Json,
}

/// `status` (P-P1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetStatus {
    /// The status the user set; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Metadata, at most 4 KiB; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json>,
    /// Whether no one can see this client now; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
}

/// `answer` (P-S8): either `result` or `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The commands room.
    pub room: String,
    /// The command's entry.
    pub seq: u64,
    /// What the command gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Why it gave nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// `{code, message}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The stable code.
    pub code: Code,
    /// Words for a developer. No secrets.
    #[serde(default)]
    pub message: String,
}

/// `stream` (P-V1). The chunks of `stream` belong to `room`; an empty codec ends the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The number of the stream on this connection.
    pub stream: u16,
    /// The room whose members see it.
    pub room: String,
    /// `jpeg` or `h264`.
    pub codec: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// `seen` (P-V2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The stream.
    pub stream: u16,
    /// The picture.
    pub seq: u32,
}

/// `ping`. From a server with the heads of rooms that moved (P-R7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Heads of rooms where this member is live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<Head>,
}

/// The head of a room (P-R7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The room's address.
    pub room: String,
    /// The last event of this member's view.
    pub last: u64,
    /// The head's number.
    pub seq: u64,
    /// The head's mark.
    pub mark: Mark,
}

/// `pong`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {}

/// `welcome` (P-C2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The connection's name.
    pub connection: ConnectionId,
    /// The tenant of the token.
    pub tenant: TenantId,
    /// The user of the token.
    pub user: UserId,
    /// Accepted numbers by lane, or null where the server has no record of the producer (P-S6).
    pub accepted: Option<Lanes>,
    /// The ping interval in ms.
    pub ping: u64,
    /// Milliseconds until the token expires; absent for one that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// The server's time, ms since 1970. Orders nothing.
    pub time: u64,
    /// What this connection may do.
    pub limits: Limits,
    /// Features the server knows (P-F5).
    #[serde(default)]
    pub features: Vec<String>,
}

/// `authorized` (P-C6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorized {
    /// Milliseconds until the token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// How a room keeps its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomMode {
    /// Every event, in order.
    #[default]
    Log,
    /// The newest event of each key (P-R9).
    Latest,
}

impl RoomMode {
    fn is_log(&self) -> bool {
        *self == Self::Log
    }
}

/// `joined` (P-R1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// As in `join`.
    pub id: u64,
    /// The room's address.
    pub room: String,
    /// Events follow from here.
    pub cursor: Cursor,
    /// The head when the membership began.
    pub head: Cursor,
    /// How the room keeps its events.
    #[serde(default, skip_serializing_if = "RoomMode::is_log")]
    pub mode: RoomMode,
    /// In a `latest` room: every key follows, not just those changed since the cursor (P-R9).
    #[serde(default, skip_serializing_if = "is_false")]
    pub full: bool,
}

/// `live` (P-R4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The room's address.
    pub room: String,
    /// The head's number.
    pub seq: u64,
    /// The head's mark.
    pub mark: Mark,
}

/// `left` (P-R1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// As in `join` or `leave`; absent when the membership was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The room's address.
    pub room: String,
    /// Why; absent in the answer to `leave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Milliseconds to wait before another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// `lost` (P-R6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// As in `join`; absent when the membership was overtaken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The room's address.
    pub room: String,
    /// The position before the first entry the log still holds.
    pub first: Cursor,
    /// The head.
    pub head: Cursor,
}

/// `event`: persisted (with `seq` and `mark`), of a `latest` room (with `key` too), or
/// ephemeral (without `seq`) (P-R2, P-R8, P-R9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The room's address.
    pub room: String,
    /// The number in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The number of the event before it in this view; absent: `seq` − 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<u64>,
    /// The entry's mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The item it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ItemId>,
    /// The server's time when it was accepted, ms since 1970.
    #[serde(default)]
    pub time: u64,
    /// The user who sent it; empty for the server's own.
    #[serde(default)]
    pub from: String,
    /// Its name.
    pub event: String,
    /// Key in a `latest` room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key has no value any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gone: bool,
    /// One JSON text.
    #[serde(default = "Json::null")]
    pub data: Json,
}

/// `page` (P-R5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The room's address.
    pub room: String,
    /// Answer when the application has taken everything up to here.
    pub seq: u64,
}

/// `ok` (P-S3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The item's lane.
    pub lane: u8,
    /// The item's number.
    pub n: u64,
    /// The item's id.
    pub id: ItemId,
    /// The number it got in the room's log; absent for what is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// `refused` (P-S3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The item's lane.
    pub lane: u8,
    /// The item's number.
    pub n: u64,
    /// The item's id.
    pub id: ItemId,
    /// Why.
    pub code: Code,
    /// Words for a developer.
    #[serde(default)]
    pub message: String,
}

/// `hold` (P-S3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The lane.
    pub lane: u8,
    /// The lane's accepted number.
    pub accepted: u64,
    /// `rate`, `unavailable` or `order`.
    pub code: Code,
    /// Milliseconds to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// `reply` (P-S7): either `result` or `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// As in the frame it answers: a number, or what came as `id`.
    pub id: Json,
    /// What the call gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Why it gave nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// `result` (P-S8): either `result` or `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandResult {
    /// The command's item.
    pub id: ItemId,
    /// What the command gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Why it gave nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// `presence` (P-P1): `members` in pages (the last without `more`), then `changes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// The room's address.
    pub room: String,
    /// One more than the last, else ask again.
    pub version: u64,
    /// A snapshot, or a page of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
    /// Another page follows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// Who is missing may only be late (P-P3): draw no `gone` from this snapshot.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
    /// What changed since `version` − 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// One user present in a room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// The user's status.
    pub status: Status,
    /// The user's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json>,
}

/// What changed of one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The user.
    pub user: UserId,
    /// The new status; absent with `gone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The new metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json>,
    /// The user left.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gone: bool,
}

/// `demand` (P-V2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The publisher's stream.
    pub stream: u16,
    /// Connections that watch.
    pub viewers: u32,
}

/// `drain` (P-C8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The window in ms from now in which to leave, at a random moment.
    pub spread: [u64; 2],
    /// Why.
    #[serde(default)]
    pub reason: String,
}
