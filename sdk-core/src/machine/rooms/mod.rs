//! The rooms: subscriptions of the application over one membership per room on the wire (P-R, P-T1).
//!
//! A sans-IO part of the machine. **Mutate, then drain [`Rooms::poll_output`] to `None`; wake it at
//! [`Rooms::deadline`].**

use super::{
    io::{ApiEvent, CallId, Config, Error, ReplyValue, StoreError, StoreOp, SubId, Subscribe},
    outbox::Ticket,
};
use crate::{
    protocol::{
        Address, ClientFrame, Cursor,
        frames::{Event, Head, Join, Joined, Left, Live, Lost, Page},
    },
    time::{Instant, Now},
};
use std::collections::BTreeMap;

/// What the rooms want done.
#[derive(Clone, Debug, PartialEq)]
pub enum RoomsOutput {
    /// Write a frame to the connection that was announced by [`Rooms::joins_for_hello`].
    Send(ClientFrame),
    /// Commit these writes; answer [`Rooms::handle_stored`]. At most one under way.
    Store(Ticket, Vec<StoreOp>),
    /// Answer a call.
    Reply(CallId, Result<ReplyValue, Error>),
    /// Tell the application.
    Event(ApiEvent),
}

/// All subscriptions and memberships of a client.
#[derive(Clone, Debug)]
pub struct Rooms {}

impl Rooms {
    /// Makes an empty set that waits for the stored cursors.
    #[must_use]
    pub fn new(_config: &Config) -> Self {
        Self {}
    }

    // Getters.

    /// The addresses of the rooms joined on the wire now.
    pub fn joined(&self) -> impl Iterator<Item = &Address> {
        std::iter::empty()
    }

    /// The subscriptions of a room that watch its presence.
    pub fn watchers(&self, _room: &str) -> impl Iterator<Item = SubId> {
        std::iter::empty()
    }

    /// The room of a subscription.
    #[must_use]
    pub fn room_of(&self, _sub: SubId) -> Option<&Address> {
        None
    }

    // What the application asks.

    /// Begins a subscription. Replies `Joined` once the server has answered, or the permanent refusal.
    pub fn handle_subscribe(
        &mut self,
        _call: CallId,
        _sub: SubId,
        _room: Address,
        _subscribe: Subscribe,
        _now: Now,
    ) {
    }

    /// Ends a subscription. Replies `Done` when the membership is gone, or at once where others
    /// share it or there is no connection.
    pub fn handle_unsubscribe(&mut self, _call: CallId, _sub: SubId, _now: Now) {}

    /// The application is done with everything up to `seq` (P-R11).
    pub fn handle_done(&mut self, _sub: SubId, _seq: u64, _now: Now) {}

    /// Takes what the snapshot hook gave (P-R6).
    pub fn handle_snapshot(
        &mut self,
        _sub: SubId,
        _result: Result<Option<Cursor>, String>,
        _now: Now,
    ) {
    }

    // The store.

    /// Takes the stored cursors. Until then subscriptions with a durable name wait.
    pub fn handle_loaded(&mut self, _cursors: BTreeMap<(String, Address), Cursor>, _now: Now) {}

    /// Takes the end of a batch.
    pub fn handle_stored(&mut self, _ticket: Ticket, _result: Result<(), StoreError>, _now: Now) {}

    /// Stores the cursors that moved, now: the host is about to suspend (P-R11).
    pub fn handle_suspending(&mut self, _now: Now) {}

    // The connection.

    /// Begins a connection: the joins that follow `hello` in the same flight (P-C1). From here on
    /// [`RoomsOutput::Send`] may come, until [`Rooms::handle_link_down`].
    pub fn joins_for_hello(&mut self, _now: Now) -> Vec<Join> {
        Vec::new()
    }

    /// Takes `joined`.
    pub fn handle_joined(&mut self, _frame: Joined, _now: Now) {}

    /// Takes `lost`.
    pub fn handle_lost(&mut self, _frame: Lost, _now: Now) {}

    /// Takes `left`.
    pub fn handle_left(&mut self, _frame: Left, _now: Now) {}

    /// Takes `live`.
    pub fn handle_live(&mut self, _frame: &Live, _now: Now) {}

    /// Takes `page`.
    pub fn handle_page(&mut self, _frame: Page, _now: Now) {}

    /// Takes `event`.
    pub fn handle_event(&mut self, _frame: Event, _now: Now) {}

    /// Takes the heads of a server's `ping` (P-R7).
    pub fn handle_heads(&mut self, _heads: &[Head], _now: Now) {}

    /// Takes `authorized`: what was forbidden is asked for again (P-C6).
    pub fn handle_authorized(&mut self, _now: Now) {}

    /// Learns that the connection is gone.
    pub fn handle_link_down(&mut self, _now: Now) {}

    /// Ends every subscription: the store has another owner now (P-S1a).
    pub fn handle_owner_changed(&mut self, _now: Now) {}

    // Time and output.

    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// When [`Rooms::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<RoomsOutput> {
        None
    }
}
