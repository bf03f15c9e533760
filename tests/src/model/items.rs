//! Items from submit to outcome.

use crate::{hold, violation::Checked};
use std::collections::{BTreeMap, BTreeSet};
use wardline::{
    machine::{Outcome, Owner},
    model::ids::{ItemId, ProducerId},
    protocol::{Address, Json, Mark},
};
use wardline_server::log::RoomKey;

/// Numbers that were answered, by producer and lane.
pub type Answered = BTreeSet<(ProducerId, u8, u64)>;

/// All items ever submitted.
#[derive(Debug, Default)]
pub struct Items {
    pub(super) all: BTreeMap<ItemId, Item>,
    /// What stands in each room's log, by store and lane: mark and order of submit.
    pub lane_orders: BTreeMap<LaneKey, Vec<(Mark, u64)>>,
    /// Who gave which number to which item, as seen on the wire.
    pub numbered: BTreeMap<(ProducerId, u8, u64), ItemId>,
    /// Whose answer reached the client.
    pub answered: Answered,
    /// Items whose step the log told as accepted.
    pub accepted: BTreeSet<ItemId>,
}

/// One sender's lane in one room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneKey {
    /// The room.
    pub room: RoomKey,
    /// The process.
    pub client: usize,
    /// The store: a process that comes back on another one begins a lane of its own.
    pub disk: usize,
    /// The outbox.
    pub owner: Option<Owner>,
    /// The lane.
    pub lane: u8,
}

/// One submit.
#[derive(Debug)]
pub struct Item {
    /// The process that submitted.
    pub client: usize,
    /// The store it went to.
    pub disk: usize,
    /// Whose outbox it lies in; none: not known yet.
    pub owner: Option<Owner>,
    /// The lane.
    pub lane: u8,
    /// Where to.
    pub room: Address,
    /// Whether it is kept.
    pub persist: bool,
    /// Whether a result is awaited.
    pub command: bool,
    /// Its place in the order of all submits.
    pub order: u64,
    /// What it carries.
    pub data: Json,
    /// The submit was answered `queued`.
    pub queued: bool,
    /// The submit was answered with an error: it must never appear.
    pub failed: bool,
    /// It was seen on a wire.
    pub was_sent: bool,
    /// Cancelled by the application.
    pub cancelled: bool,
    /// It has a time to live of its own.
    pub ttl: bool,
    /// What applications were told, with the process and its life in which.
    pub outcomes: Vec<((usize, u32), Outcome)>,
    /// Where it now stands in logs.
    pub standing: Vec<(RoomKey, Mark)>,
    /// A fail-over took it from a log.
    pub lost_by_log: bool,
    /// Its store was wiped, rolled back or copied while it lay there: what P-S6 cannot know.
    pub excused: bool,
    /// It lay in a store that was copied: two processes may send it.
    pub copied: bool,
}

impl Item {
    /// The application is told the end.
    ///
    /// # Errors
    /// It was told before, or it was told something else in another life. `lossy`: the log lost
    /// something durable, so that an acceptance that was told may have been undone.
    pub fn settled(
        &mut self,
        id: ItemId,
        life: (usize, u32),
        outcome: &Outcome,
        lossy: bool,
    ) -> Checked {
        hold!(!self.failed, Outcome, "{id} settles {outcome:?}, its submit had failed");
        let before = &self.outcomes;
        let twice = before.iter().any(|(then, _)| *then == life);
        hold!(!twice || self.copied, Outcome, "{id} settles {outcome:?} after {before:?}");
        let unlike = before.iter().find(|(_, other)| {
            let unsure = [other, outcome].into_iter().any(|one| *one == Outcome::Uncertain);
            !unsure && std::mem::discriminant(other) != std::mem::discriminant(outcome)
        });
        if let Some((_, other)) = unlike {
            // A lost tail took the refusal with it; it is answered anew.
            let both_gone = [other, outcome].iter().all(|one| !matches!(one, Outcome::Accepted(_)));
            hold!(
                self.excused || self.copied || self.was_undone(lossy) || lossy && both_gone,
                Outcome,
                "{id} settles {outcome:?}, told {other:?} before"
            );
        }
        let gone = !matches!(outcome, Outcome::Accepted(_) | Outcome::Uncertain);
        let there = !self.standing.is_empty() && !self.copied && !self.excused;
        hold!(!(gone && there), Outcome, "{id} settles {outcome:?}, it stands in the log");
        self.outcomes.push((life, outcome.clone()));
        Ok(())
    }

    /// Whether an acceptance that was told may have been undone by the log. Where its removal was not
    /// stored, the next life asks again, and is told what is true then.
    #[must_use]
    pub fn was_undone(&self, lossy: bool) -> bool {
        self.lost_by_log || lossy && !self.persist
    }

    /// Whether another process was told its end.
    #[must_use]
    pub fn was_told_elsewhere(&self, client: usize) -> bool {
        self.outcomes.iter().any(|((process, _), _)| *process != client)
    }

    /// Whether something definite other than acceptance was told.
    #[must_use]
    pub fn was_given_up(&self) -> bool {
        self.outcomes
            .iter()
            .any(|(_, outcome)| !matches!(outcome, Outcome::Accepted(_) | Outcome::Uncertain))
    }
}

impl Items {
    /// An item, if it was submitted.
    #[must_use]
    pub fn get(&self, id: ItemId) -> Option<&Item> {
        self.all.get(&id)
    }

    /// An item, if it was submitted.
    pub fn get_mut(&mut self, id: ItemId) -> Option<&mut Item> {
        self.all.get_mut(&id)
    }

    /// A submit.
    pub fn insert(&mut self, id: ItemId, item: Item) {
        self.all.insert(id, item);
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = (&ItemId, &Item)> {
        self.all.iter()
    }

    /// All items.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&ItemId, &mut Item)> {
        self.all.iter_mut()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
