//! The rooms: subscriptions of the application over one membership per room on the wire (P-R, P-T1).
//!
//! A sans-IO part of the machine. **Mutate, then drain [`Rooms::poll_output`] to `None`; wake it at
//! [`Rooms::deadline`].**
//!
//! A room's membership has one position, the wire's: it checks that the view has no hole (P-R2).
//! Each subscription has its own filter and its own last event, so that several share a membership
//! whose filter is the OR of theirs and which starts at the smallest of their positions.
//!
//! ```text
//! Out ──join→ Joining ──joined→ In ──hole | other wishes→ Joining
//!               │ ▲              │ ──left→ Waiting | Forbidden
//!               │ └─(time, authorized)──── Waiting | Forbidden ◀─left─┘
//!               └──lost→ Out: a gap is told, then from the snapshot or the first entry
//! In ──the last subscription ended→ Leaving ──left→ gone
//! ```
//!
//! After a reconnect a position counts only once a join proved it on the new connection (P-R3);
//! positions that differ are proved one by one, the smallest first.

mod answers;
mod cursors;
mod events;
mod hooks;
mod room;
mod sub;
mod wishes;

#[cfg(test)]
mod tests;

use super::{
    io::{ApiEvent, CallId, Config, Error, ReplyValue, StoreError, StoreOp, SubId, Subscribe},
    outbox::Ticket,
};
use crate::fifo::Fifo;
use crate::table::list;
use crate::table::{Set, Table};
use crate::{
    protocol::{
        Address, ClientFrame, Code, Cursor,
        frames::{Event, Head, Join, Joined, Left, Live, Lost, Page},
    },
    time::{Instant, Now},
};
use cursors::Cursors;
use hooks::Hooks;
use room::{Room, Wire};
use std::time::Duration;
use sub::Sub;

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
pub struct Rooms {
    rng: fastrand::Rng,
    /// Between [`Rooms::joins_for_hello`] and [`Rooms::handle_link_down`].
    linked: bool,
    rooms: Table<String, Room>,
    subs: Table<SubId, Address>,
    /// Rooms that wait for a time, with that time.
    waiting: Set<(Instant, String)>,
    hooks: Hooks,
    cursors: Cursors,
    next_id: u64,
    output: Fifo<RoomsOutput>,
    now: Instant,
}

impl Rooms {
    /// Makes an empty set that waits for the stored cursors.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(config.seed ^ 0x0072_6f6f_6d73),
            linked: false,
            rooms: Table::new(),
            subs: Table::new(),
            waiting: Set::new(),
            hooks: Hooks::default(),
            cursors: Cursors::default(),
            next_id: 0,
            output: Fifo::new(),
            now: Instant::default(),
        }
    }

    // Getters.

    /// The addresses of the rooms joined on the wire now.
    pub fn joined(&self) -> impl Iterator<Item = &Address> {
        self.rooms.values().filter(|room| room.is_in()).map(|room| &room.address)
    }

    /// The subscriptions of a room that watch its presence.
    pub fn watchers(&self, room: &str) -> Vec<SubId> {
        let room = self.rooms.get(room);
        room.map_or_else(Vec::new, |room| room.subs.keys_where(&|_, sub| sub.watch))
    }

    /// Whether the stored cursors are there.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.cursors.is_loaded()
    }

    /// The room of a subscription.
    #[must_use]
    pub fn room_of(&self, sub: SubId) -> Option<&Address> {
        self.subs.get(&sub)
    }

    // What the application asks.

    /// Begins a subscription. Replies `Joined` once the server has answered, or the permanent refusal.
    pub fn handle_subscribe(
        &mut self,
        call: CallId,
        sub: SubId,
        room: Address,
        subscribe: Subscribe,
        now: Now,
    ) {
        self.now = now.mono;
        if self.subs.contains_key(&sub) {
            return self.refuse(call, Code::CONFLICT, "the subscription exists");
        }
        if let Some(name) = &subscribe.durable
            && self.is_taken(name, &room)
        {
            return self.refuse(call, Code::CONFLICT, "another subscription keeps this cursor");
        }
        let Ok(filter) = subscribe.filter.clone().canonical() else {
            return self.refuse(call, Code::BAD_FILTER, "too many clauses or words");
        };
        let entry = Sub::new(call, subscribe, filter);
        let key = room.as_str().to_owned();
        self.subs.insert(sub, room.clone());
        let membership = self.rooms.or_insert_with(key.clone(), || Room::new(room));
        membership.subs.insert(sub, entry);
        self.resolve(&key, sub);
        self.sync(&key);
    }

    /// Ends a subscription. Replies `Done` when the membership is gone, or at once where others
    /// share it or there is no connection; `not_found` where there is none.
    pub fn handle_unsubscribe(&mut self, call: CallId, sub: SubId, now: Now) {
        self.now = now.mono;
        let Some(room) = self.remove_sub(sub) else {
            return self.refuse(call, Code::NOT_FOUND, "no such subscription");
        };
        match self.rooms.get_mut(&room) {
            Some(membership) if membership.subs.is_empty() && self.linked => {
                membership.leaving.push(call);
            }
            _ => self.reply(call, Ok(ReplyValue::Done)),
        }
        self.sync(&room);
    }

    /// The application is done with everything up to `seq` (P-R11).
    pub fn handle_done(&mut self, sub: SubId, seq: u64, now: Now) {
        self.now = now.mono;
        self.done(sub, seq);
        self.flush_if_due();
    }

    /// Takes what the snapshot hook gave (P-R6).
    pub fn handle_snapshot(
        &mut self,
        sub: SubId,
        result: Result<Option<Cursor>, String>,
        now: Now,
    ) {
        self.now = now.mono;
        self.snapshot(sub, result);
    }

    // The store.

    /// Takes the stored cursors. Until then subscriptions with a durable name wait.
    pub fn handle_loaded(&mut self, cursors: Table<(String, Address), Cursor>, now: Now) {
        self.now = now.mono;
        self.cursors.load(cursors);
        let waiting = list(self.subs.iter().map(|(id, room)| (*id, room.clone())));
        for (sub, room) in waiting {
            self.resolve(room.as_str(), sub);
            self.sync(room.as_str());
        }
    }

    /// Takes the end of a batch.
    pub fn handle_stored(&mut self, ticket: Ticket, result: Result<(), StoreError>, now: Now) {
        self.now = now.mono;
        self.cursors.stored(ticket, result.is_ok(), now.mono);
        self.flush_if_due();
    }

    /// Stores the cursors that moved, now: the host is about to suspend (P-R11).
    pub fn handle_suspending(&mut self, now: Now) {
        self.now = now.mono;
        self.cursors.hurry(now.mono);
        self.flush_if_due();
    }

    // The connection.

    /// Begins a connection: the joins that follow `hello` in the same flight (P-C1). From here on
    /// [`RoomsOutput::Send`] may come, until [`Rooms::handle_link_down`].
    pub fn joins_for_hello(&mut self, now: Now) -> Vec<Join> {
        self.now = now.mono;
        self.unlink();
        self.linked = true;
        let keys = self.rooms.keys_where(&|_, _| true);
        list(keys.iter().filter_map(|key| self.begin_join(key)))
    }

    /// Takes `joined`.
    pub fn handle_joined(&mut self, frame: Joined, now: Now) {
        self.now = now.mono;
        self.on_joined(&frame);
        self.flush_if_due();
    }

    /// Takes `lost`.
    pub fn handle_lost(&mut self, frame: Lost, now: Now) {
        self.now = now.mono;
        self.on_lost(&frame);
    }

    /// Takes `left`.
    pub fn handle_left(&mut self, frame: Left, now: Now) {
        self.now = now.mono;
        self.on_left(frame);
    }

    /// Takes `live`.
    pub fn handle_live(&mut self, frame: &Live, now: Now) {
        self.now = now.mono;
        self.on_live(frame);
        self.flush_if_due();
    }

    /// Takes `page`.
    pub fn handle_page(&mut self, frame: Page, now: Now) {
        self.now = now.mono;
        self.on_page(&frame);
    }

    /// Takes `event`.
    pub fn handle_event(&mut self, frame: Event, now: Now) {
        self.now = now.mono;
        self.on_event(frame);
        self.flush_if_due();
    }

    /// Takes the heads of a server's `ping` (P-R7).
    pub fn handle_heads(&mut self, heads: &[Head], now: Now) {
        self.now = now.mono;
        for head in heads {
            self.on_head(head);
        }
        self.flush_if_due();
    }

    /// Takes `authorized`: what was forbidden is asked for again (P-C6).
    pub fn handle_authorized(&mut self, now: Now) {
        self.now = now.mono;
        for key in self.rooms.keys_where(&|_, room| matches!(room.wire, Wire::Forbidden)) {
            if let Some(room) = self.rooms.get_mut(&key) {
                room.wire = Wire::Out;
            }
            self.sync(&key);
        }
    }

    /// Learns that the connection is gone.
    pub fn handle_link_down(&mut self, now: Now) {
        self.now = now.mono;
        self.unlink();
    }

    /// Ends every subscription: the store has another owner now (P-S1a).
    pub fn handle_owner_changed(&mut self, now: Now) {
        self.now = now.mono;
        self.unlink();
        for sub in self.subs.keys_where(&|_, _| true) {
            self.end_sub(sub, Code::FORBIDDEN, "the subscription was another user's");
        }
        self.rooms.clear();
        self.waiting.clear();
        self.cursors = Cursors::default();
    }

    /// Waits for another store's cursors: the one they were read from has another owner than the
    /// token, and nothing was handed over yet (P-S1a).
    pub fn handle_store_changed(&mut self, now: Now) {
        self.now = now.mono;
        self.unlink();
        self.cursors = Cursors::default();
        for sub in self.rooms.values_mut().flat_map(|room| room.subs.values_mut()) {
            if sub.durable.is_some() && sub.cursor.is_none() && sub.handed_total == 0 {
                sub.place = sub::Place::Unresolved;
            }
        }
    }

    // Time and output.

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now.mono;
        while let Some((at, key)) = self.waiting.first().cloned() {
            if at > self.now {
                break;
            }
            self.waiting.pop_first();
            if let Some(room) = self.rooms.get_mut(&key)
                && matches!(room.wire, Wire::Waiting { at: until } if until == at)
            {
                room.wire = Wire::Out;
                self.sync(&key);
            }
        }
        self.run_hooks();
        self.flush_if_due();
    }

    /// When [`Rooms::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.waiting.first().map(|(at, _)| *at);
        waiting.into_iter().chain(self.hooks.deadline()).chain(self.cursors.deadline()).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<RoomsOutput> {
        self.output.pop_front()
    }

    // Private.

    /// Takes a subscription out; gives its room.
    fn remove_sub(&mut self, sub: SubId) -> Option<String> {
        let key = self.subs.remove(&sub)?.as_str().to_owned();
        self.hooks.forget(sub);
        self.keep_cursor(&key, sub);
        let entry = self.rooms.get_mut(&key)?.subs.remove(&sub)?;
        if let Some(call) = entry.call {
            self.refuse(call, Code::CANCELLED, "unsubscribed before the server answered");
        }
        self.run_hooks();
        self.grant(&key);
        Some(key)
    }

    /// Ends a subscription that the application did not end.
    fn end_sub(&mut self, sub: SubId, code: Code, text: &str) {
        let Some(room) = self.subs.get(&sub).and_then(|room| self.rooms.get_mut(room.as_str()))
        else {
            return;
        };
        let call = room.subs.get_mut(&sub).and_then(|entry| entry.call.take());
        match call {
            Some(call) => self.refuse(call, code, text),
            None => self.event(ApiEvent::Left(sub, code)),
        }
        self.remove_sub(sub);
    }

    fn unlink(&mut self) {
        self.linked = false;
        self.waiting.clear();
        let mut replies = Vec::new();
        self.rooms.retain(|_, room| {
            replies.append(&mut room.leaving);
            room.unlink();
            !room.subs.is_empty()
        });
        for call in replies {
            self.reply(call, Ok(ReplyValue::Done));
        }
    }

    /// The delay of P-C5 before attempt `k`.
    fn delay(&mut self, k: u32) -> Duration {
        let most = 500u64.saturating_mul(1 << k.min(6)).min(20_000);
        Duration::from_millis(50 + crate::machine::backoff::up_to(&mut self.rng, most - 50))
    }

    fn send(&mut self, frame: impl Into<ClientFrame>) {
        if self.linked {
            self.output.push_back(RoomsOutput::Send(frame.into()));
        }
    }

    fn reply(&mut self, call: CallId, result: Result<ReplyValue, Error>) {
        self.output.push_back(RoomsOutput::Reply(call, result));
    }

    fn refuse(&mut self, call: CallId, code: Code, text: &str) {
        self.reply(call, Err(Error { code, text: text.to_owned() }));
    }

    fn event(&mut self, event: ApiEvent) {
        self.output.push_back(RoomsOutput::Event(event));
    }
}
