//! The reference model: what was submitted, stored, accepted, appended and told, kept apart from
//! the code under test.

pub mod items;
pub mod rooms;

use crate::{hold, violation::Checked};
use items::{Item, Items, LaneKey};
use rooms::Rooms;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use wardline::{
    model::ids::{ItemId, ProducerId},
    protocol::{Cursor, Filter, Json},
};
use wardline_server::log::{Entry, Number, Outcome, ProducerKey, RoomKey, Stepped};

/// The user as whom hostile peers connect.
pub const HOSTILE: &str = "mallory";

/// Everything the world knows to be true.
#[derive(Debug, Default)]
pub struct Model {
    /// What applications submitted and what became of it.
    pub items: Items,
    /// Every room's log, with all its lives.
    pub rooms: Rooms,
    /// Every step the log told as done and durable, by number: the items and their outcomes. More
    /// than one only after a loss.
    pub steps: BTreeMap<(ProducerKey, u8, u64), Vec<(ItemId, Outcome)>>,
    /// When a durable tail was lost, or a record forgotten: what P-S6 then allows is excused.
    pub losses: Vec<Duration>,
}

impl Model {
    /// The log tells an entry: it is durable.
    ///
    /// # Errors
    /// An append of what nobody submitted, of an id that is in the log, or out of its lane's order.
    pub fn appended(&mut self, room: &RoomKey, entry: &Arc<Entry>) -> Checked {
        let fresh = self.rooms.append(room, entry)?;
        if !fresh {
            return Ok(());
        }
        let Items { all, lane_orders, numbered, .. } = &mut self.items;
        let Some(item) = all.get_mut(&entry.id) else {
            // The server's own entries carry no user; a hostile peer writes what it likes.
            let known = entry.from.is_empty() || &*entry.from == HOSTILE;
            hold!(known, Invention, "{} of {} in {room:?}", entry.id, entry.from);
            return Ok(());
        };
        let twice = item.standing.iter().any(|(there, _)| there == room);
        // A store rolled back over a record that is lost, or to before a new producer: neither side
        // can know (P-S6).
        let unknowable = item.copied
            || item.excused && (!self.losses.is_empty() || producers_of(numbered, entry.id) > 1);
        hold!(!twice || unknowable, DoubleAppend, "{} in {room:?} at {}", entry.id, entry.seq);
        let late = item.was_given_up() && !item.excused;
        hold!(!late, Outcome, "{} appended after {:?}", entry.id, item.outcomes);
        hold!(!item.failed, Invention, "{} appended, its submit had failed", entry.id);
        hold!(item.room == room.room, Invention, "{} in {room:?}", entry.id);
        hold!(
            item.data == entry.data,
            Invention,
            "{}: {:?} ≠ {:?}",
            entry.id,
            item.data,
            entry.data
        );
        hold!(item.was_sent, UnnumberedOnWire, "{} appended, never sent", entry.id);
        item.standing.push((room.clone(), entry.mark));
        let order = item.order;
        let key = LaneKey {
            room: room.clone(),
            client: item.client,
            disk: item.disk,
            owner: item.owner.clone(),
            lane: item.lane,
        };
        let before = lane_orders.entry(key).or_default();
        let last = before.last().map_or(0, |(_, order)| *order);
        let excused = item.copied || item.excused;
        hold!(
            excused || last < order,
            LaneOrder,
            "{} (submit {order}) behind submit {last} in {room:?}",
            entry.id
        );
        before.push((entry.mark, order));
        Ok(())
    }

    /// The log tells how a step ended.
    ///
    /// # Errors
    /// It repeats an outcome that never was durable, or was another item's.
    pub fn stepped(&mut self, number: &Number, stepped: &Stepped) -> Checked {
        let key = (number.key.clone(), number.lane, number.n);
        let known = self.steps.entry(key).or_default();
        match stepped {
            Stepped::New(outcome) => {
                let first = known.is_empty() || !self.losses.is_empty();
                hold!(first, DoubleAppend, "number {} of lane {} twice", number.n, number.lane);
                if matches!(outcome, Outcome::Accepted(_)) {
                    self.items.accepted.insert(number.id);
                }
                known.push((number.id, outcome.clone()));
            }
            Stepped::Repeated(outcome) => {
                hold!(
                    !known.is_empty(),
                    ToldBeforeDurable,
                    "repeated {} of lane {}: {outcome:?}",
                    number.n,
                    number.lane
                );
                hold!(
                    known.iter().any(|(id, first)| *id == number.id && first == outcome),
                    AnswerId,
                    "repeated {outcome:?} for {} at number {}, there is {known:?}",
                    number.id,
                    number.n
                );
            }
            Stepped::Early { .. } | Stepped::Forked | Stepped::Unavailable { .. } => {}
        }
        Ok(())
    }

    /// Whether the log told this outcome of this item as durable.
    #[must_use]
    pub fn was_told(&self, key: &ProducerKey, lane: u8, n: u64, id: ItemId, ok: bool) -> bool {
        self.steps.get(&(key.clone(), lane, n)).is_some_and(|known| {
            known.iter().any(|(there, outcome)| {
                *there == id && matches!(outcome, Outcome::Accepted(_)) == ok
            })
        })
    }

    /// The highest number of a lane whose step was told as durable.
    #[must_use]
    pub fn highest_told(&self, key: &ProducerKey, lane: u8) -> u64 {
        let lane_of = |n| (key.clone(), lane, n);
        let mut told = self.steps.range(lane_of(0)..=lane_of(u64::MAX)).rev();
        told.find(|(_, known)| !known.is_empty()).map_or(0, |((_, _, n), _)| *n)
    }

    /// A room's log now ends at `head`: what stood behind it is lost.
    pub fn truncated(&mut self, room: &RoomKey, head: Cursor) {
        let gone = self.rooms.truncate(room, head);
        self.lost(room, &gone);
    }

    fn lost(&mut self, room: &RoomKey, gone: &[Arc<Entry>]) {
        for gone in gone {
            if let Some(item) = self.items.get_mut(gone.id) {
                item.standing.retain(|(there, mark)| there != room || *mark != gone.mark);
                item.lost_by_log = true;
            }
            for (key, orders) in &mut self.items.lane_orders {
                if key.room == *room {
                    orders.retain(|(mark, _)| *mark != gone.mark);
                }
            }
        }
    }

    /// Whether a durable loss may explain what P-S6 allows only then.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        !self.losses.is_empty()
    }

    /// The item of an id, for details of a violation.
    #[must_use]
    pub fn item(&self, id: ItemId) -> Option<&Item> {
        self.items.get(id)
    }
}

/// How many producers gave an item a number.
fn producers_of(numbered: &BTreeMap<(ProducerId, u8, u64), ItemId>, id: ItemId) -> usize {
    let of_item = numbered.iter().filter(|(_, item)| **item == id);
    of_item.map(|((producer, ..), _)| producer).collect::<BTreeSet<_>>().len()
}

/// Whether an entry passes a view's filter.
#[must_use]
pub fn passes(filter: &Filter, entry: &Entry) -> bool {
    filter.passes(&entry.event, entry.data.get())
}

/// The data of a test event: its running number, its tenant, and what filters look at.
#[must_use]
pub fn data(number: u64, tenant: &str, severity: &str, padding: usize) -> Json {
    let text = format!(
        r#"{{"i":{number},"tenant":"{tenant}","severity":"{severity}","pad":"{}"}}"#,
        "x".repeat(padding)
    );
    Json::parse(&text).unwrap_or_else(|_| Json::null())
}
