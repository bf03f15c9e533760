//! Whose store it is: loading, another holder of its lock, another owner (P-S1, P-S1a).

use super::{
    Outbox, OutboxOutput,
    item::{Entry, Put, Stage},
    writes::Proof,
};
use crate::{
    machine::io::{ApiEvent, Owner, ReplyValue, Snapshot, StoreError, StoredItem},
    model::ids::ProducerId,
    protocol::{Code, limits::ITEM_LIFE},
    time::{Instant, Now, UnixMillis, millis},
};
use std::time::Duration;

/// How often a store that another process holds, or that does not load, is asked again.
const RELOAD: Duration = Duration::from_secs(3);
/// After the lock was taken from this process: the first wait before it is asked for again, and the
/// longest. Two processes that could take it from each other do so ever more seldom.
const REGAIN_FIRST: Duration = Duration::from_secs(10);
const REGAIN_MOST: Duration = Duration::from_secs(600);

/// How this process stands with the store.
#[derive(Clone, Debug)]
pub(super) enum Hold {
    /// Its content is wanted, or on the way (`asked`). `switching`: once everything is written.
    Loading { asked: bool, owner: Option<Owner> },
    /// Loaded, and the lock is ours.
    Ours { poke: Poke },
    /// The lock is another's, or the store does not load: submits are written, nothing is sent.
    Foreign {
        /// None: a load is wanted or on the way (`asked`).
        retry_at: Option<Instant>,
        asked: bool,
    },
}

/// Whether another process added items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Poke {
    #[default]
    None,
    /// A load is wanted.
    Due,
    /// A load is on the way.
    Asked,
    /// A load is on the way, and another is wanted behind it.
    AskedAndDue,
}

impl Hold {
    pub(super) fn wanted(owner: Option<Owner>) -> Self {
        Self::Loading { asked: false, owner }
    }

    pub(super) fn is_ready(&self) -> bool {
        !matches!(self, Self::Loading { .. })
    }

    pub(super) fn poke(&mut self) {
        if let Self::Ours { poke } = self {
            *poke = match poke {
                Poke::None | Poke::Due => Poke::Due,
                Poke::Asked | Poke::AskedAndDue => Poke::AskedAndDue,
            };
        }
    }

    pub(super) fn retry(&mut self, now: Instant) {
        if let Self::Foreign { retry_at, .. } = self
            && retry_at.is_some_and(|at| at <= now)
        {
            *retry_at = None;
        }
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self {
            Self::Foreign { retry_at, .. } => *retry_at,
            _ => None,
        }
    }
}

impl Outbox {
    /// Whether numbers may be given and frames sent.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.store, Hold::Ours { .. })
    }

    /// Whether another owner's store is wanted, and this one's lock still ours.
    pub(super) fn is_switching(&self) -> bool {
        matches!(self.store, Hold::Loading { asked: false, owner: Some(_) })
    }

    /// Whether a load is on the way: no batch may pass it.
    pub(super) fn is_loading(&self) -> bool {
        match &self.store {
            _ if self.overtaken => true,
            Hold::Loading { asked, .. } | Hold::Foreign { asked, .. } => *asked,
            Hold::Ours { poke } => matches!(poke, Poke::Asked | Poke::AskedAndDue),
        }
    }

    /// Asks for the store's content where it is wanted and nothing is left to be written before.
    pub(super) fn form_load(&mut self) -> Option<OutboxOutput> {
        if self.writes.flight.is_some() || self.overtaken {
            return None;
        }
        match &mut self.store {
            Hold::Loading { asked, owner } if !*asked => {
                // What is still to be written belongs to the owner before; it does not wait for a
                // store that fails.
                let failing = self.writes.retry_at.is_some();
                if !self.writes.puts.is_empty() || self.writes.bind.is_some() && !failing {
                    return None;
                }
                *asked = true;
                Some(OutboxOutput::Load(owner.clone()))
            }
            Hold::Ours { poke: poke @ Poke::Due } => {
                *poke = Poke::Asked;
                // Not bound yet: the store knows its content under no owner.
                let owner = self.owner.clone().filter(|_| self.writes.bind.is_none());
                Some(OutboxOutput::Load(owner))
            }
            Hold::Foreign { retry_at: None, asked } if !*asked => {
                *asked = true;
                Some(OutboxOutput::Load(self.owner.clone()))
            }
            _ => None,
        }
    }

    pub(super) fn loaded(&mut self, loaded: Result<Snapshot, StoreError>) {
        if std::mem::take(&mut self.overtaken) || !self.is_loading() {
            return;
        }
        self.anchor.get_or_insert(self.now);
        match (loaded, &mut self.store) {
            (Ok(snapshot), Hold::Ours { poke }) => {
                *poke = if *poke == Poke::AskedAndDue { Poke::Due } else { Poke::None };
                if snapshot.lock > self.lock.saturating_add(1) {
                    // Another process held it in between, and may have numbered and sent.
                    let owner = self.owner.clone();
                    self.replace(owner, snapshot);
                    self.begin_again();
                } else {
                    self.lock = snapshot.lock;
                    self.merge(snapshot);
                }
            }
            (Ok(snapshot), Hold::Loading { owner, .. }) => {
                let owner = owner.take();
                self.replace(owner, snapshot);
            }
            (Ok(snapshot), Hold::Foreign { .. }) => {
                let owner = self.owner.clone();
                self.replace(owner, snapshot);
            }
            (Err(StoreError::Io(_)), Hold::Ours { poke }) => *poke = Poke::None,
            (Err(StoreError::NotOwner), Hold::Ours { .. }) => self.become_foreign(self.now),
            (Err(error), Hold::Loading { owner, .. }) => {
                if let Some(owner) = owner.take() {
                    // What the owner before had in memory is in his store; ended in another's it
                    // would come again there.
                    let kept = self.clear();
                    self.writes.change_owner(self.owner.as_ref(), Some(&owner));
                    self.writes.marks.clear();
                    self.writes.unnumbered.clear();
                    self.owner = Some(owner);
                    self.elsewhere = true;
                    for entry in kept {
                        self.admit(entry);
                    }
                }
                self.wait_for_store(&error);
            }
            (Err(_), Hold::Foreign { retry_at, asked }) => {
                (*retry_at, *asked) = (Some(self.now.mono + RELOAD), false);
            }
        }
        self.admit_early();
    }

    fn wait_for_store(&mut self, error: &StoreError) {
        let retry_at = Some(self.now.mono + RELOAD);
        self.store = Hold::Foreign { retry_at, asked: false };
        if let StoreError::Io(text) = error {
            let error = crate::machine::io::Error { code: Code::STORAGE, text: text.clone() };
            self.event(ApiEvent::Error(error));
        }
    }

    /// The lock is another's: what is stored is that one's business now.
    pub(super) fn become_foreign(&mut self, now: Now) {
        let wait = REGAIN_FIRST.saturating_mul(1 << self.losses.min(6)).min(REGAIN_MOST);
        self.losses = self.losses.saturating_add(1);
        let spread = crate::machine::backoff::up_to(&mut self.rng, millis(wait) / 2);
        let retry_at = Some(now.mono + wait + Duration::from_millis(spread));
        self.store = Hold::Foreign { retry_at, asked: false };
        self.deferred.clear();
        self.writes.proof = Proof::Given;
        let kept = self.clear();
        for entry in kept {
            self.admit(entry);
        }
        self.writes.marks.clear();
        self.writes.unnumbered.clear();
        self.writes.producer = false;
        if self.writes.bind.take().is_some() {
            self.owner = None;
        }
        self.forked = false;
        self.reconnect();
    }

    /// Another owner's token: its store is loaded once the puts of this one are written (P-S1a).
    pub(super) fn switch(&mut self, owner: Owner) {
        for lane in &mut self.lanes {
            lane.close();
        }
        // What is on its way is this owner's, not the other's.
        self.overtaken = self.is_loading();
        self.store = Hold::wanted(Some(owner));
    }

    /// Takes the content of a store as all there is.
    fn replace(&mut self, owner: Option<Owner>, snapshot: Snapshot) {
        self.elsewhere = false;
        let kept = self.clear();
        let same = self.owner.is_none() || self.owner == owner;
        if !same {
            self.writes.change_owner(self.owner.as_ref(), owner.as_ref());
        }
        self.writes.marks.clear();
        self.writes.unnumbered.clear();
        self.forked = false;
        self.writes.bind = match (&owner, &snapshot.owner) {
            (Some(owner), None) => Some(owner.clone()),
            _ => None,
        };
        self.owner = snapshot.owner.or(owner);
        self.store = Hold::Ours { poke: Poke::None };
        self.lock = snapshot.lock;
        self.writes.producer = snapshot.producer.is_none();
        self.producer = snapshot.producer.unwrap_or_else(|| ProducerId(self.rng.u128(..)));
        for (number, stored) in snapshot.lanes {
            if let Some(lane) = self.lanes.get_mut(usize::from(number)) {
                lane.given = stored.given.max(stored.done);
            }
        }
        for item in snapshot.items {
            // What was told is not told again because its removal is still to be written.
            if !self.writes.removes.contains(&item.item.id) {
                self.take_stored(item, true);
            }
        }
        for entry in kept {
            self.admit(entry);
        }
        if !snapshot.durable {
            self.event(ApiEvent::Volatile);
        }
        self.reconnect();
    }

    /// Takes what another process added.
    fn merge(&mut self, snapshot: Snapshot) {
        for item in snapshot.items {
            let id = item.item.id;
            if !self.items.contains(id) && !self.writes.removes.contains(&id) {
                self.take_stored(StoredItem { n: None, ..item }, false);
            }
        }
    }

    fn take_stored(&mut self, mut record: StoredItem, loaded: bool) {
        let latest = self.now.wall.0.saturating_add(ITEM_LIFE.as_secs() * 1000);
        record.expires = record.expires.min(UnixMillis(latest));
        self.last_step = self.last_step.max(record.order / super::queue::ORDER_STEP);
        let id = record.item.id;
        let Some(lane) = self.lanes.get_mut(usize::from(record.item.lane)) else { return };
        if record.n.is_some_and(|n| n == 0 || lane.numbered.contains_key(&n)) {
            record.n = None;
            self.writes.unnumbered.insert(id);
        }
        if loaded {
            lane.loaded_upto = lane.loaded_upto.max(Some(record.order));
        }
        let over = record.skip.clone().filter(|_| record.n.is_none());
        let entry = Entry::new(record, Put::Done);
        match (entry.stage.clone(), over) {
            (Stage::Numbered { n, .. }, _) => {
                lane.number(n, &entry);
                self.items.insert(entry);
            }
            (_, over) => {
                self.admit(entry);
                if let Some(code) = over {
                    // Its end was stored, perhaps not told.
                    self.finish(id, super::item::outcome_of(code, String::new()));
                }
            }
        }
    }

    /// Empties memory; gives back what is not in the store yet.
    fn clear(&mut self) -> Vec<Entry> {
        for lane in &mut self.lanes {
            *lane = lane.emptied();
        }
        let mut kept = Vec::new();
        let mut calls = Vec::new();
        for mut entry in self.items.drain() {
            calls.append(&mut entry.cancels);
            if matches!(entry.put, Put::Due(_)) {
                entry.stage = Stage::Waiting;
                kept.push(entry);
            }
        }
        for call in calls {
            self.refuse(call, Code::STORAGE, "another process holds the outbox");
        }
        kept
    }

    fn admit_early(&mut self) {
        if !self.store.is_ready() {
            return;
        }
        self.early_bytes = 0;
        self.early_ids.clear();
        for (call, item) in std::mem::take(&mut self.early) {
            if self.items.contains(item.id) {
                // An earlier life queued it.
                self.reply(call, Ok(ReplyValue::Queued(item.id)));
            } else {
                self.queue(call, item);
            }
        }
    }

    /// Asks for a new `hello`: what was said of the lanes is not true any more.
    fn begin_again(&mut self) {
        if self.said.take().is_some() {
            self.output.push_back(OutboxOutput::Reconnect);
        }
    }

    /// Asks for a new `hello` where one was said that is not true any more.
    pub(super) fn reconnect(&mut self) {
        if self.said.is_some_and(|said| said != self.speaks_as()) {
            self.said = None;
            self.output.push_back(OutboxOutput::Reconnect);
        }
    }
}
