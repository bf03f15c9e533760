//! The durable log: rooms, producers and their outcomes behind one ordered pipeline.
//!
//! A log takes [`Request`]s and gives [`Reply`]s. Everything a reply says is durable at the log's
//! level (P-S3a). The check of a producer's number, the append and the stored outcome are one
//! atomic step (P-S2).

#[cfg(feature = "serve")]
pub mod embedded;
#[cfg(feature = "serve")]
pub mod handle;
pub mod mark;
pub mod memory;
pub mod retention;
pub mod state;

#[cfg(test)]
mod suite;

#[cfg(feature = "serve")]
pub use handle::{Level, Log, Options};
pub use memory::MemoryLog;
pub use retention::Retention;

use std::sync::Arc;
use wardline::{
    model::ids::{ItemId, ProducerId, TenantId, UserId},
    protocol::{Address, Code, Cursor, Json, Mark, frames::Lanes},
};

/// Matches a reply to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A room within its tenant (P-F4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey {
    /// From the verified token, or `~public`.
    pub tenant: TenantId,
    /// The room's address.
    pub room: Address,
}

/// A producer's record (P-S2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The outbox.
    pub producer: ProducerId,
}

/// An entry to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// Where to.
    pub room: RoomKey,
    /// The item it was.
    pub id: ItemId,
    /// The user who sent it; empty for the server's own.
    pub from: Arc<str>,
    /// Its name.
    pub event: Arc<str>,
    /// Key in a `latest` room (P-R9).
    pub key: Option<Arc<str>>,
    /// The key has no value any more.
    pub gone: bool,
    /// Checked and minified.
    pub data: Json,
}

/// An entry of a room's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Gapless from 1.
    pub seq: u64,
    /// Chained from `prev_mark`, the id and the data (P-R3).
    pub mark: Mark,
    /// The mark of `seq` − 1.
    pub prev_mark: Mark,
    /// ms since 1970, when accepted.
    pub time: u64,
    /// The item it was.
    pub id: ItemId,
    /// The user who sent it.
    pub from: Arc<str>,
    /// Its name.
    pub event: Arc<str>,
    /// Key in a `latest` room.
    pub key: Option<Arc<str>>,
    /// The key has no value any more.
    pub gone: bool,
    /// One JSON text.
    pub data: Json,
}

/// One atomic step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Whose number it consumes; none: the server's own.
    pub producer: Option<Number>,
    /// An id to be remembered alone, for 10 min in its tenant (P-K5): a second step with it is
    /// answered with the first one's outcome. Not looked at where there is a producer.
    pub once: Option<(TenantId, ItemId)>,
    /// What is done if the number is next.
    pub intent: Intent,
}

/// A producer's number.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// The producer.
    pub key: ProducerKey,
    /// The lane.
    pub lane: u8,
    /// The number.
    pub n: u64,
    /// The item's id.
    pub id: ItemId,
    /// The number below the producer's first unanswered item, on a lane's first frame.
    pub base: Option<u64>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// Append all of these.
    Append(Vec<NewEntry>),
    /// Consume the number; remember the refusal.
    Refuse(Code, String),
    /// Consume the number; append nothing (what is not kept).
    Accept,
}

/// What is asked of a log.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Do a step. Steps of one producer are done in the order they are asked.
    Step(Ticket, Step),
    /// The record of a producer, once everything before it is durable (P-S6).
    Producer(Ticket, ProducerKey),
    /// Prove a cursor, or with none tell the head (P-R3).
    Prove(Ticket, RoomKey, Option<Cursor>),
    /// Entries behind `after`: at most [`limits::READ_ENTRIES`] and [`limits::READ_BYTES`], or one.
    ///
    /// [`limits::READ_ENTRIES`]: wardline::protocol::limits::READ_ENTRIES
    /// [`limits::READ_BYTES`]: wardline::protocol::limits::READ_BYTES
    Read(Ticket, RoomKey, u64),
    /// The newest entry of each key whose number is above `after`, in order of number, with the
    /// bounds of `Read` (P-R9).
    Keys(Ticket, RoomKey, u64),
}

/// The numbers a step's entries got in their rooms' logs, in the order of the step. A step of one
/// entry allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seqs {
    first: Option<u64>,
    rest: Option<Arc<[u64]>>,
}

impl Seqs {
    /// The number of the first entry, where there was one.
    #[must_use]
    pub const fn first(&self) -> Option<u64> {
        self.first
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.first.into_iter().chain(self.rest.iter().flat_map(|rest| rest.iter().copied()))
    }
}

impl FromIterator<u64> for Seqs {
    fn from_iter<I: IntoIterator<Item = u64>>(seqs: I) -> Self {
        let mut seqs = seqs.into_iter();
        let first = seqs.next();
        let rest: Vec<u64> = seqs.collect();
        Self { first, rest: (!rest.is_empty()).then(|| rest.into()) }
    }
}

impl From<Option<u64>> for Seqs {
    fn from(first: Option<u64>) -> Self {
        Self { first, rest: None }
    }
}

/// The outcome a record keeps of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted, with the numbers its entries have in their rooms' logs.
    Accepted(Seqs),
    /// Refused for good.
    Refused(Code, String),
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Stepped {
    /// Done now. The entries have been told by [`Reply::Entry`] before.
    New(Outcome),
    /// Done before: the outcome it got then.
    Repeated(Outcome),
    /// Not next: nothing consumed (P-S2, rule 3).
    Early {
        /// The lane's accepted number.
        accepted: u64,
    },
    /// The number belongs to another item (P-S2, rule 5).
    Forked,
    /// The log cannot do it now; nothing is known to be consumed.
    Unavailable {
        /// The lane's accepted number, as far as known.
        accepted: u64,
    },
}

/// A producer's record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Accepted numbers by lane; none: there is no record.
    pub accepted: Option<Lanes>,
    /// The outcomes still held: lane, number, id, outcome; in order of number within a lane.
    pub outcomes: Vec<(u8, u64, ItemId, Outcome)>,
}

/// Where a room's log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The position before the first entry still held.
    pub first: Cursor,
    /// The head.
    pub head: Cursor,
}

/// What a log answers and tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A step ended.
    Stepped(Ticket, Stepped),
    /// A producer's record.
    Producer(Ticket, Result<Record, Unavailable>),
    /// A proof: where the log stands, and whether the cursor can be resumed from (P-R3).
    Proved(Ticket, Result<(Extent, bool), Unavailable>),
    /// A page, in order; empty at the head. With the extent at the time of reading.
    Page(Ticket, Result<(Vec<Arc<Entry>>, Extent), Unavailable>),
    /// An entry is in the log and durable. Told once each, in order, for every room of the tenants
    /// this log serves. (Over Redis: the wake-up, P-K2.)
    Entry(RoomKey, Arc<Entry>),
}

/// The log cannot answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log cannot answer now")]
pub struct Unavailable;
