//! What a room hands over.

use crate::{
    machine::{ApiEvent, PresenceChange},
    model::{
        AlertEvent, DispatchEvent, MonitoringEvent, NotificationEvent, PresenceEvent, PresenceInfo,
        VideoEvent,
        ids::{ItemId, UserId},
    },
    protocol::{Code, Cursor, Json, frames},
};

/// What the data of a room's events is read as. [`Json`] leaves it as it came.
pub trait Payload: Sized + Send + 'static {
    /// Reads an event. What is not known becomes the type's own kind of unknown (C9).
    fn decode(event: &str, data: &Json) -> Self;
}

impl Payload for Json {
    fn decode(_: &str, data: &Json) -> Self {
        data.clone()
    }
}

macro_rules! payloads {
    ($($name:ident),+) => {$(
        impl Payload for $name {
            fn decode(event: &str, data: &Json) -> Self {
                Self::decode(event, data)
            }
        }
    )+};
}

payloads!(AlertEvent, DispatchEvent, MonitoringEvent, NotificationEvent, VideoEvent);

/// An event of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<T = Json> {
    /// The room, as it was joined.
    pub room: String,
    /// The event's name, as it came.
    pub name: String,
    /// What it carries.
    pub data: T,
    /// The item it was; the key under which effects outside the log are made once.
    pub id: Option<ItemId>,
    /// Who sent it; empty for the server's own.
    pub from: UserId,
    /// The server's time when it was accepted, ms since 1970. Orders nothing.
    pub time: u64,
    /// Its position in the log; none for an ephemeral event (P-R8). Store it with the
    /// application's own data to go on from there.
    pub cursor: Option<Cursor>,
    /// Its key in a `latest` room (P-R9).
    pub key: Option<String>,
    /// The key has no value any more.
    pub gone: bool,
}

impl<T> Event<T> {
    /// Whether it was handed over at most once and is kept nowhere (P-R8).
    #[must_use]
    pub const fn is_ephemeral(&self) -> bool {
        self.cursor.is_none()
    }
}

/// What comes next in a room.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Incoming<T = Json> {
    /// An event. Those with a cursor: once each, in order, none missing but behind a [`Self::Gap`].
    Event(Event<T>),
    /// Everything kept so far was handed over; what follows is new.
    Live,
    /// Events are lost to retention or a fail-over (P-R6). Comes before anything newer.
    Gap {
        /// Handed over up to here.
        from: Cursor,
        /// What still exists begins behind here; none: unknown.
        to: Option<Cursor>,
    },
    /// Who is in the room changed (P-P). Only where it was asked for.
    Presence(PresenceEvent),
    /// The membership is gone. The room goes on by itself when it is allowed again.
    Left(Code),
}

impl<T> Incoming<T> {
    /// The event, where it is one.
    #[must_use]
    pub fn event(self) -> Option<Event<T>> {
        match self {
            Self::Event(event) => Some(event),
            _ => None,
        }
    }
}

pub(super) fn info(member: frames::Member) -> PresenceInfo {
    PresenceInfo { user_id: member.user, status: member.status, metadata: member.meta }
}

/// What the machine tells of a subscription, as the application sees it; a snapshot that is wanted
/// is none of it.
pub(super) fn incoming<T: Payload>(room: &str, event: ApiEvent) -> Option<Incoming<T>> {
    Some(match event {
        ApiEvent::Event(_, body) => {
            let body = *body;
            Incoming::Event(Event {
                room: room.to_owned(),
                data: T::decode(&body.event, &body.data),
                name: body.event,
                id: body.id,
                from: body.from.into(),
                time: body.time,
                cursor: body.seq.zip(body.mark).map(|(seq, mark)| Cursor { seq, mark }),
                key: body.key,
                gone: body.gone,
            })
        }
        ApiEvent::Live(_) => Incoming::Live,
        ApiEvent::Gap { from, to, .. } => Incoming::Gap { from, to },
        ApiEvent::Left(_, code) => Incoming::Left(code),
        ApiEvent::Presence(_, change) => Incoming::Presence(match change {
            PresenceChange::Snapshot(members) => {
                PresenceEvent::Everyone(members.into_iter().map(info).collect())
            }
            PresenceChange::Joined(member) => PresenceEvent::Joined(info(member)),
            PresenceChange::Updated(member) => PresenceEvent::Updated(info(member)),
            PresenceChange::Left(user) => PresenceEvent::Left(user),
        }),
        _ => return None,
    })
}
