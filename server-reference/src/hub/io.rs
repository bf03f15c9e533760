//! What goes into the hub and what comes out: plain data.

use super::media::{Picture, TapId};
use crate::log;
use bytes::Bytes;
use std::sync::Arc;
use wardline::{
    model::ids::{ItemId, OrganizationId, TenantId, UserId},
    protocol::{Address, Code, Json, Token, frames::ErrorBody},
    time::Instant,
};

/// A connection of this node. Never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A call by the server's own code (publish API, library) that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Who a verified token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant (where the token has none: the organization).
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The user's organization.
    pub organization: Option<OrganizationId>,
    /// Roles; `service` may answer commands, `admin` may see everything of its tenant.
    pub roles: Vec<Arc<str>>,
    /// The token's `jti`, for revocation.
    pub token_id: Option<Arc<str>>,
    /// The token's `iat`, ms since 1970, for revocation by "not before".
    pub issued: u64,
    /// The token's `exp`, ms since 1970.
    pub expires: Option<u64>,
}

impl Principal {
    /// Whether the token names this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| &**held == role)
    }
}

/// What the hub is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection was accepted; its `hello` is awaited (P-C1).
    Open(ConnId, Opened),
    /// A text frame: one or more objects.
    Text(ConnId, String),
    /// A binary message.
    Binary(ConnId, Bytes),
    /// Bytes arrived or left although no whole message did (P-C3).
    Progress(ConnId),
    /// The connection ended; with the close code the client gave.
    Closed(ConnId, Option<u16>),
    /// The answer to [`Output::Verify`].
    Verified(ConnId, Result<Principal, AuthError>),
    /// The bytes queued for a connection, told whenever the figure crosses 64 KiB or 256 KiB.
    Unsent(ConnId, usize),
    /// The log answers or tells.
    Log(log::Reply),
    /// The server's own code publishes: one atomic step (P-K5).
    Publish(CallId, Publish),
    /// An in-process handler answers a command (P-S8).
    Answer(Address, TenantId, u64, Result<Json, ErrorBody>),
    /// Cut a user, token or tenant off (P-C6a); the call is answered as [`Output::Published`] when
    /// that is durable, or cannot be made so now.
    Revoke(Option<CallId>, Revocation),
    /// A viewer of pictures without a connection, such as an MJPEG response.
    Tap(TapId, Tap),
    /// Announce a restart (P-C8). Connections that remain are closed when the window ends.
    Drain {
        /// Earliest and latest moment to leave, ms from now.
        spread: [u64; 2],
        /// Why.
        reason: String,
    },
    /// The moment named by [`Output::Timeout`] came, or any other.
    Timeout,
}

/// What a viewer without a connection does.
#[derive(Clone, Debug)]
pub enum Tap {
    /// Views a room's pictures, JPEG only; answered by [`Output::Tap`].
    Open(Arc<Principal>, Address),
    /// The stream it views fell silent: whichever of the room sends next is shown.
    Look,
    /// Took a picture.
    Seen(Arc<Picture>),
    /// Ends.
    Close,
}

/// How a connection came.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// The `Authorization` header's token, used where `hello` has none.
    pub token: Option<Token>,
    /// The peer's address, for logs and connection limits.
    pub peer: String,
}

/// Why a token does not let in; each has its close code (P-C7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// There was none.
    Missing,
    /// Signature, issuer or claims do not hold.
    Invalid,
    /// Past its `exp`.
    Expired,
    /// Revoked.
    Revoked,
    /// The tenant is inactive.
    TenantInactive,
    /// The keys to verify it cannot be had now.
    Unavailable,
}

impl AuthError {
    /// The code of an API that has no close codes.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Missing => Code::TOKEN_MISSING,
            Self::Invalid => Code::TOKEN_INVALID,
            Self::Expired => Code::TOKEN_EXPIRED,
            Self::Revoked => Code::TOKEN_REVOKED,
            Self::TenantInactive => Code::FORBIDDEN,
            Self::Unavailable => Code::UNAVAILABLE,
        }
    }
}

/// What the server's own code publishes.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The tenant.
    pub tenant: TenantId,
    /// On whose behalf, by a token or key of theirs; none: the server's own code, which the
    /// [`Authorizer`](super::permissions::Authorizer) is not asked about.
    pub by: Option<Arc<Principal>>,
    /// All or none of these.
    pub events: Vec<PublishEvent>,
    /// Producer, lane and number where the back end counts (P-K5); else the id is remembered 10 min.
    pub number: Option<log::Number>,
    /// Whom the events are from; empty: the server.
    pub from: Arc<str>,
}

/// One event of a publish.
#[derive(Clone, Debug)]
pub struct PublishEvent {
    /// Where to.
    pub room: Address,
    /// The event's name.
    pub event: String,
    /// Its id.
    pub id: ItemId,
    /// Key in a `latest` room.
    pub key: Option<String>,
    /// Kept and replayed, or only handed to who is live.
    pub persist: bool,
    /// One JSON text.
    pub data: Json,
}

/// Who is cut off (P-C6a).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The tenant.
    pub tenant: TenantId,
    /// This user only.
    pub user: Option<UserId>,
    /// This token only.
    pub token_id: Option<Arc<str>>,
    /// Tokens issued before, ms since 1970.
    pub not_before: u64,
}

/// To whom a text goes.
#[derive(Clone, Debug)]
pub enum To {
    /// One connection.
    One(ConnId),
    /// Every live member of a view: the same bytes.
    Many(Arc<Vec<ConnId>>),
}

/// Order of writing (P-V2): the edge writes a lower class first, each class in order.
/// `Control` and `Live` keep their order among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Control, answers, live events and replay: one ordered stream.
    Ordered,
    /// Media: one chunk at a time, only when nothing else waits.
    Media,
}

/// What the hub wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write one object as a text frame.
    Text(To, Bytes),
    /// Write a binary message when nothing else waits; drop it if newer ones replaced it.
    Media(ConnId, Bytes),
    /// Write what is queued, then close.
    Close(ConnId, u16, String),
    /// Verify a token; answer with [`Input::Verified`].
    Verify(ConnId, Token),
    /// Ask the log.
    Log(log::Request),
    /// Answer the server's own code.
    Published(CallId, Result<Vec<Option<u64>>, ErrorBody>),
    /// A picture for a tap; [`Tap::Seen`] asks for the next.
    Picture(TapId, Arc<Picture>),
    /// A tap was let in; or it was not, or is no more, and why: nothing follows then.
    Tap(TapId, Result<(), Code>),
    /// Tell the server's own code and the logs.
    Hook(Hook),
    /// Nothing more until an input, or this moment. Always the last.
    Timeout(Option<Instant>),
}

/// What the library's hooks and the structured logs are told. Holds no token.
#[derive(Clone, Debug)]
pub enum Hook {
    /// Welcomed.
    Connected(ConnId, Arc<Principal>),
    /// Ended.
    Disconnected(ConnId, Option<Arc<Principal>>, u16),
    /// A token did not let in.
    AuthFailed(ConnId, AuthError),
    /// A membership began.
    Joined(ConnId, Arc<Principal>, Address),
    /// A membership ended.
    Left(ConnId, Arc<Principal>, Address),
    /// An event of a client was accepted, or cast.
    Sent(ClientEvent),
    /// A command waits for the in-process handler of its namespace (P-S8).
    Command(TenantId, Address, Arc<log::Entry>),
    /// Something was refused; to whom, once that is known.
    Refused(ConnId, Option<Arc<Principal>>, Code),
}

/// An event a client sent, and who that is (V2).
#[derive(Clone, Debug)]
pub struct ClientEvent {
    /// The connection it came by.
    pub connection: ConnId,
    /// The sender: tenant, user, organization and roles.
    pub from: Arc<Principal>,
    /// Where it went.
    pub room: Address,
    /// Its name.
    pub event: Arc<str>,
    /// Its id; none where it was cast (P-R8).
    pub id: Option<ItemId>,
    /// One JSON text.
    pub data: Json,
}

impl ClientEvent {
    /// Whether it is an event of this name in a namespace, the name written with or without the
    /// namespace in front (`video:stream:start` or `stream:start`).
    #[must_use]
    pub fn is(&self, namespace: &str, event: &str) -> bool {
        let bare = |name: &str| -> String {
            let rest = name.strip_prefix(namespace).and_then(|rest| rest.strip_prefix(':'));
            rest.unwrap_or(name).to_owned()
        };
        self.room.namespace() == namespace && bare(&self.event) == bare(event)
    }
}
