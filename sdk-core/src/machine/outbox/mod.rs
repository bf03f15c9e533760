//! The outbox: what the application submitted, until the server decided about each item (P-S).
//!
//! A sans-IO part of the machine. **Mutate, then drain [`Outbox::poll_output`] to `None`; while the
//! socket has room, drain [`Outbox::poll_transmit`]; wake it at [`Outbox::deadline`].**

use super::io::{
    ApiEvent, CallId, Config, Error, NewItem, Owner, ReplyValue, Snapshot, StoreError, StoreOp,
};
use crate::{
    model::ids::{ItemId, ProducerId},
    protocol::{
        Limits,
        frames::{Accepted, Hold, Lanes, Refused},
    },
    time::{Instant, Now},
};

/// A batch of writes as the part that asked for it knows it. The machine gives the batch its
/// `BatchId` and hands the answer back under the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the outbox wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboxOutput {
    /// Load the store of an owner; none: of the owner last bound. The first output of all. At most
    /// one under way; never while a batch of the outbox is.
    Load(Option<Owner>),
    /// Commit these writes in one transaction; answer [`Outbox::handle_stored`]. At most one under way.
    Store(Ticket, Vec<StoreOp>),
    /// Answer a call.
    Reply(CallId, Result<ReplyValue, Error>),
    /// Tell the application.
    Event(ApiEvent),
    /// The `hello` of this connection does not speak for this outbox any more (another producer or
    /// owner): close it and say `hello` again once [`Outbox::is_ready`].
    Reconnect,
}

/// The items of one owner, their numbers and what became of them.
#[derive(Clone, Debug)]
pub struct Outbox {
    ready: bool,
    producer: ProducerId,
}

impl Outbox {
    /// Makes an outbox that waits for its store.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { ready: false, producer: ProducerId(u128::from(config.seed)) }
    }

    // Getters.

    /// Whether `hello` may be said: the store is loaded, or is known to be held by another process.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// The producer for `hello`. While another process holds the store: one that never sends.
    #[must_use]
    pub fn producer(&self) -> ProducerId {
        self.producer
    }

    /// The lanes for `hello`: per lane the number below the first unanswered item (P-S2).
    #[must_use]
    pub fn hello_lanes(&self) -> Lanes {
        Lanes::new()
    }

    /// The owner the store is bound to (P-S1a).
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        None
    }

    /// How many items are not settled.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    /// Whether nothing waits for an answer or for its turn: what `disconnect()` waits for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Since when the longest unanswered frame of this connection waits (P-C4).
    #[must_use]
    pub fn unanswered_since(&self) -> Option<Instant> {
        None
    }

    // What the application asks.

    /// Queues an item. Replies `Queued` once it is stored, or why not: `queue_full`, `too_large`,
    /// `bad_event`, `bad_params`, `conflict` (an item of this id waits), `storage`.
    pub fn handle_submit(&mut self, _call: CallId, _item: NewItem, _now: Now) {}

    /// Takes an item back. Replies with what became of it (P-S5), or `not_found`.
    pub fn handle_cancel(&mut self, _call: CallId, _id: ItemId, _now: Now) {}

    /// Lets a lane with policy `stop` go on after a refusal (P-S4).
    pub fn handle_resume(&mut self, _lane: u8, _now: Now) {}

    // The store.

    /// Takes what the store holds. The cursors are not its business.
    pub fn handle_loaded(&mut self, _loaded: Result<Snapshot, StoreError>, _now: Now) {
        self.ready = true;
    }

    /// Takes the end of a batch.
    pub fn handle_stored(&mut self, _ticket: Ticket, _result: Result<(), StoreError>, _now: Now) {}

    /// Looks for what another tab or process added.
    pub fn handle_poked(&mut self, _now: Now) {}

    // The connection.

    /// Takes `welcome`. False: the token names another owner than the store is bound to; close the
    /// connection, nothing of this outbox may travel on it. The store of the other owner is loaded
    /// meanwhile; say `hello` again once [`Outbox::is_ready`] (P-S1a).
    #[must_use]
    pub fn handle_welcome(
        &mut self,
        _owner: Owner,
        _accepted: Option<Lanes>,
        _limits: &Limits,
        _now: Now,
    ) -> bool {
        true
    }

    /// Learns that the outcomes behind `welcome` are complete: call it for every frame but `ok` and
    /// `refused` that follows `welcome` (P-C2). Cheap. Where something waits for it, the outbox
    /// itself transmits a `ping`, so that an answer comes.
    pub fn handle_settled(&mut self, _now: Now) {}

    /// Takes `ok`.
    pub fn handle_accepted(&mut self, _frame: Accepted, _now: Now) {}

    /// Takes `refused`.
    pub fn handle_refused(&mut self, _frame: Refused, _now: Now) {}

    /// Takes `hold`.
    pub fn handle_hold(&mut self, _frame: Hold, _now: Now) {}

    /// Learns that the connection is gone. `died`: without a close that has another reason than
    /// what was sent on it (drain, token, replaced, the application's own); only then it counts for P-S9.
    pub fn handle_link_down(&mut self, _died: bool, _now: Now) {}

    /// Learns of a close 4010, or of what counts as one (P-S6, P-C7). Call it beside `handle_link_down`.
    pub fn handle_forked(&mut self, _now: Now) {}

    // Time and output.

    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// When [`Outbox::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The next object for the socket, lowest lane first. Ask while fewer than 64 KiB are unsent;
    /// `budget`: bytes up to that mark. The first object may be larger (P-S10).
    pub fn poll_transmit(&mut self, _now: Now, _budget: usize) -> Option<String> {
        None
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<OutboxOutput> {
        None
    }
}
