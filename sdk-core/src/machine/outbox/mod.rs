//! The outbox: what the application submitted, until the server decided about each item (P-S).
//!
//! A sans-IO part of the machine. **Mutate, then drain [`Outbox::poll_output`] to `None`; while the
//! socket has room, drain [`Outbox::poll_transmit`]; wake it at [`Outbox::deadline`].**
//!
//! ```text
//! submit → Waiting ──(batch)→ Numbering → Numbered ──(ok | refused)→ settled
//!             │                                └──(cancel, expiry, poison)→ skip, the answer decides
//!             └──(cancel, too large)→ Ending ──(batch)→ settled
//! ```
//!
//! An item with a number may have been sent, one without was not: numbers are given in the batch
//! before the first transmission, at most 32 ahead (P-S1). One batch is under way at a time, so
//! submits, numbers and removals of one moment share a commit.
//!
//! The end an answer brings is told at once and the item removed after it: a crash between the two
//! tells it again in the next life, never less. The end decided here (cancelled before it had a
//! number) is told after the store knows it.

mod item;
mod lane;
mod queue;
mod settle;
mod store;
mod transmit;
mod writes;

#[cfg(test)]
mod tests;

use super::io::{
    ApiEvent, CallId, Config, Error, NewItem, Outcome, Owner, ReplyValue, Snapshot, StoreError,
    StoreOp,
};
use crate::fifo::Fifo;
use crate::table::Set;
use crate::{
    model::ids::{ItemId, ProducerId},
    planted::{Bug, planted},
    protocol::{
        Code, Limits,
        frames::{Accepted, Hold, Lanes, Refused},
        limits::LANES,
    },
    time::{Instant, Now, UnixMillis, millis},
};
use item::{Items, MAX_CANCELS, Put, Stage, wire_bytes};
use lane::{Flow, Lane};
use queue::ORDER_STEP;
use settle::Deferred;
use std::time::Duration;
use store::Hold as StoreHold;
use writes::{Proof, Writes};

/// A batch of writes as the part that asked for it knows it. The machine gives the batch its
/// `BatchId` and hands the answer back under the ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// An item that is not settled, as an application may show it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// What is to be sent.
    pub item: &'a NewItem,
    /// When its time to live ends; 0 while that is not known.
    pub expires: UnixMillis,
    /// Its place in the order of submits.
    pub order: u64,
    /// `waiting`, `numbered` (not sent yet), `sent` (it may have been), `ending`.
    pub stage: &'static str,
}

/// The items of one owner, their numbers and what became of them.
#[derive(Clone, Debug)]
pub struct Outbox {
    rng: fastrand::Rng,
    max_items: usize,
    max_bytes: usize,
    limits: Limits,
    store: StoreHold,
    /// The load under way is not wanted any more: another owner's is, behind it.
    overtaken: bool,
    /// The store of this owner did not load: it still takes what is written for the one before.
    elsewhere: bool,
    /// The generation under which the lock was taken last.
    lock: u64,
    owner: Option<Owner>,
    producer: ProducerId,
    /// What `hello` says while the store is not ours.
    stray: ProducerId,
    /// What the last `hello` said, while that connection lives.
    said: Option<ProducerId>,
    forked: bool,
    /// How often the lock was taken from this process.
    losses: u32,
    /// Something waits for the outcomes behind `welcome`: a `ping` is due, so that an end is seen.
    barrier_due: bool,
    /// What the server said before the lock was proved, in its order.
    deferred: Fifo<Deferred>,
    lanes: Vec<Lane>,
    items: Items,
    /// Submits that wait for the store to be loaded.
    early: Fifo<(CallId, NewItem)>,
    early_ids: Set<ItemId>,
    early_bytes: usize,
    writes: Writes,
    output: Fifo<OutboxOutput>,
    /// The highest order known, in units of `ORDER_STEP`, and what this process adds.
    last_step: u64,
    order_tag: u64,
    /// Both clocks when the store was loaded: the wall clock never runs behind the monotonic one.
    anchor: Option<Now>,
    now: Now,
}

impl Outbox {
    /// Makes an outbox that waits for its store.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed ^ 0x6f75_7462_6f78);
        let stray = ProducerId(rng.u128(..));
        let order_tag = crate::machine::backoff::up_to(&mut rng, ORDER_STEP - 1);
        let mut lanes = vec![Lane::default(); LANES.into()];
        for lane in &config.stop_lanes {
            if let Some(lane) = lanes.get_mut(usize::from(*lane)) {
                lane.stop = true;
            }
        }
        Self {
            rng,
            max_items: config.max_items,
            max_bytes: config.max_bytes,
            limits: Limits::default(),
            store: StoreHold::wanted(None),
            overtaken: false,
            elsewhere: false,
            lock: 0,
            owner: None,
            producer: stray,
            stray,
            said: None,
            forked: false,
            losses: 0,
            barrier_due: false,
            deferred: Fifo::new(),
            lanes,
            items: Items::default(),
            early: Fifo::new(),
            early_ids: Set::new(),
            early_bytes: 0,
            writes: Writes::default(),
            output: Fifo::new(),
            last_step: 0,
            order_tag,
            anchor: None,
            now: Now::default(),
        }
    }

    // Getters.

    /// Whether `hello` may be said: the store is loaded, or is known to be held by another process.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.store.is_ready()
    }

    /// Whether the store's content is here, and its lock ours. Else the outbox itself asks for it.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.is_ours()
    }

    /// Whether the next answer to a load is passed over: it is the former owner's.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// The owner the store is bound to (P-S1a).
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// How many items are not settled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len() + self.early.len()
    }

    /// Whether nothing waits for an answer, for its turn or for the store: what `disconnect()`
    /// waits for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.writes.is_idle()
    }

    /// Since when the longest unanswered frame of this connection waits (P-C4).
    #[must_use]
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.lanes
            .iter()
            .filter_map(|lane| lane.flight.first_key_value().map(|(_, flying)| flying.at))
            .min()
    }

    /// What is not settled. In the order of submits where sorted by [`Listed::order`].
    #[must_use]
    pub fn list(&self) -> Vec<Listed<'_>> {
        let mut listed: Vec<_> = self.items.iter().map(|entry| entry.listed()).collect();
        let expires = UnixMillis(0);
        listed.extend(self.early.iter().map(|(_, item)| Listed {
            item,
            expires,
            order: u64::MAX,
            stage: "waiting",
        }));
        listed
    }

    // What the application asks.

    /// Queues an item. Replies `Queued` once it is stored, or why not: `queue_full`, `too_large`,
    /// `bad_event`, `bad_params`, `conflict` (an item of this id waits), `storage`.
    pub fn handle_submit(&mut self, call: CallId, item: NewItem, now: Now) {
        self.now = now;
        let bytes = wire_bytes(&item);
        if let Err((code, text)) = self.check(&item, bytes) {
            self.refuse(call, code, text);
        } else if self.store.is_ready() {
            self.queue(call, item);
        } else {
            self.early_bytes += bytes;
            self.early_ids.insert(item.id);
            self.early.push_back((call, item));
        }
    }

    /// Takes an item back. Replies with what became of it (P-S5), or `not_found`.
    pub fn handle_cancel(&mut self, call: CallId, id: ItemId, now: Now) {
        self.now = now;
        let cancelled = || Ok(ReplyValue::Outcome(Outcome::Cancelled));
        if self.early_ids.remove(&id)
            && let Some((submit, item)) = self.early.remove_first(|(_, item)| item.id == id)
        {
            self.early_bytes -= wire_bytes(&item);
            self.refuse(submit, Code::CANCELLED, "cancelled before it was stored");
            return self.reply(call, cancelled());
        }
        let Some(entry) = self.items.entry_mut(id) else {
            return self.refuse(call, Code::NOT_FOUND, "no item of this id waits here");
        };
        if let Put::Due(submit) = entry.put {
            self.forget(id);
            self.refuse(submit, Code::CANCELLED, "cancelled before it was stored");
            return self.reply(call, cancelled());
        }
        if entry.cancels.len() >= MAX_CANCELS {
            return self.refuse(call, Code::CONFLICT, "the item is being cancelled already");
        }
        entry.cancels.push(call);
        match entry.stage {
            Stage::Waiting => self.end_here(id, Code::CANCELLED),
            Stage::Numbering(_) | Stage::Numbered { .. } => {
                self.mark_skip(id, Code::CANCELLED);
                if planted(Bug::TwoOutcomes) {
                    self.event(ApiEvent::Settled(id, Outcome::Cancelled));
                }
            }
            Stage::Ending(_) => {}
        }
    }

    /// Lets a lane with policy `stop` go on after a refusal (P-S4).
    pub fn handle_resume(&mut self, lane: u8, now: Now) {
        self.now = now;
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            lane.stopped = false;
        }
    }

    // The store.

    /// Takes what the store holds. The cursors are not its business.
    pub fn handle_loaded(&mut self, loaded: Result<Snapshot, StoreError>, now: Now) {
        self.now = now;
        self.loaded(loaded);
        self.expire();
    }

    /// Takes the end of a batch.
    pub fn handle_stored(&mut self, ticket: Ticket, result: Result<(), StoreError>, now: Now) {
        self.now = now;
        self.batch_ended(ticket, result, now);
    }

    /// Looks for what another tab or process added.
    pub fn handle_poked(&mut self, now: Now) {
        self.now = now;
        if self.is_ours() {
            self.store.poke();
        }
    }

    // The connection.

    /// Says `hello`: the producer (while another process holds the store: one that never sends), and
    /// per lane the number below the first unanswered item (P-S2). From here to
    /// [`Outbox::handle_link_down`] a change of the producer asks for [`OutboxOutput::Reconnect`].
    #[must_use]
    pub fn hello(&mut self) -> (ProducerId, Lanes) {
        self.said = Some(self.speaks_as());
        self.deferred.clear();
        self.writes.proof = if self.is_ours() { Proof::Wanted } else { Proof::Given };
        if !self.is_ours() {
            return (self.stray, Lanes::new());
        }
        let used = self.lanes.iter().zip(0..).filter(|(lane, _)| lane.given > 0);
        (self.producer, used.map(|(lane, number)| (number, lane.done())).collect())
    }

    /// Takes `welcome`. False: the token names another owner than the store is bound to; close the
    /// connection, nothing of this outbox may travel on it. The store of the other owner is loaded
    /// meanwhile; say `hello` again once [`Outbox::is_ready`] (P-S1a).
    #[must_use]
    pub fn handle_welcome(
        &mut self,
        owner: Owner,
        accepted: Option<Lanes>,
        limits: &Limits,
        now: Now,
    ) -> bool {
        self.now = now;
        self.limits = *limits;
        self.welcomed(owner, accepted)
    }

    /// Learns that the outcomes behind `welcome` are complete: call it for every frame but `ok` and
    /// `refused` that follows `welcome` (P-C2). Cheap. Where something waits for it, the outbox
    /// itself transmits a `ping`, so that an answer comes.
    pub fn handle_settled(&mut self, now: Now) {
        self.now = now;
        if !self.defer(Deferred::Settled) {
            self.settle_all();
        }
    }

    /// Takes `ok`.
    pub fn handle_accepted(&mut self, frame: Accepted, now: Now) {
        self.now = now;
        self.take_answer(frame.lane, frame.n, frame.id, Outcome::Accepted(frame.seq));
    }

    /// Takes `refused`.
    pub fn handle_refused(&mut self, frame: Refused, now: Now) {
        self.now = now;
        let outcome = item::outcome_of(frame.code, frame.message);
        self.take_answer(frame.lane, frame.n, frame.id, outcome);
    }

    /// Takes `hold`.
    pub fn handle_hold(&mut self, frame: Hold, now: Now) {
        self.now = now;
        self.held(&frame);
    }

    /// Learns that the connection is gone. `died`: without a close that has another reason than
    /// what was sent on it (drain, token, replaced, the application's own); only then it counts for P-S9.
    pub fn handle_link_down(&mut self, died: bool, now: Now) {
        self.now = now;
        self.link_down(died);
    }

    /// Learns of a close 4010, or of what counts as one (P-S6, P-C7). Call it beside
    /// [`Outbox::handle_link_down`].
    pub fn handle_forked(&mut self, now: Now) {
        self.now = now;
        self.said = None;
        if self.is_ours() {
            self.forked = true;
            self.draw_if_settled();
        }
    }

    /// Learns of a close 4001: another connection speaks for this producer. Where it is another
    /// process on the same store, the store is asked whether the lock is still ours (P-S1).
    pub fn handle_replaced(&mut self, now: Now) {
        self.now = now;
        self.writes.verify = self.is_ours();
    }

    // Time and output.

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        self.expire();
        self.thaw();
        self.store.retry(now.mono);
        if self.writes.retry_at.is_some_and(|at| at <= now.mono) {
            self.writes.retry_at = None;
        }
    }

    /// When [`Outbox::handle_timeout`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let holds = self.lanes.iter().filter_map(|lane| match lane.flow {
            Flow::Held { until } => Some(until),
            _ => None,
        });
        let expiry = self.items.next_expiry().map(|at| {
            let left = at.0.saturating_sub(self.wall().0);
            self.now.mono + Duration::from_millis(left)
        });
        holds.chain(expiry).chain(self.store.retry_at()).chain(self.writes.retry_at).min()
    }

    /// The next object for the socket, lowest lane first. Ask while fewer than 64 KiB are unsent;
    /// `budget`: bytes up to that mark. An item of more than that goes when all of it is free (P-S10).
    pub fn poll_transmit(&mut self, now: Now, budget: usize) -> Option<String> {
        self.now = now;
        self.transmit(budget)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<OutboxOutput> {
        if let Some(output) = self.output.pop_front() {
            return Some(output);
        }
        let output = self.form_batch().or_else(|| self.form_load());
        // Making a batch may have ended an item.
        if let Some(first) = self.output.pop_front() {
            self.output.extend(output);
            return Some(first);
        }
        output
    }

    // Private.

    fn speaks_as(&self) -> ProducerId {
        if self.is_ours() { self.producer } else { self.stray }
    }

    /// The wall clock, or where it would be had it run on with the monotonic one.
    fn wall(&self) -> UnixMillis {
        let Some(anchor) = self.anchor else { return self.now.wall };
        let passed = millis(self.now.mono.since(anchor.mono));
        self.now.wall.max(UnixMillis(anchor.wall.0.saturating_add(passed)))
    }

    fn reply(&mut self, call: CallId, result: Result<ReplyValue, Error>) {
        self.output.push_back(OutboxOutput::Reply(call, result));
    }

    fn refuse(&mut self, call: CallId, code: Code, text: &str) {
        self.reply(call, Err(Error { code, text: text.to_owned() }));
    }

    fn event(&mut self, event: ApiEvent) {
        self.output.push_back(OutboxOutput::Event(event));
    }
}
