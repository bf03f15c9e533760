//! Back ends that publish: by id alone, or numbered like an outbox (P-K5).

use super::World;
use crate::{
    hold,
    model::data,
    plan::{LATEST_ROOM, PUBLIC_ROOM},
    violation::Checked,
};
use std::collections::BTreeMap;
use wardline::{
    model::ids::{ItemId, ProducerId},
    protocol::{Address, Code, Json, address::PUBLIC_TENANT, frames::ErrorBody},
};
use wardline_server::{
    hub::{self, Publish, PublishEvent},
    log::{Number, ProducerKey, RoomKey},
};

/// Publishes a back end still hopes to hear of.
const MOST_CALLS: usize = 32;

/// A back end of one tenant that numbers what it publishes.
#[derive(Debug)]
pub(crate) struct BackEnd {
    producer: ProducerId,
    /// The number of the step that is next, or under way.
    next: u64,
    /// Published and not answered: published again as it is.
    open: Option<(ItemId, Address, Json)>,
    /// What a call published, and under which number.
    calls: BTreeMap<hub::CallId, (u64, ItemId, RoomKey)>,
}

impl World {
    /// The server's own code publishes to a tenant's room, or to the public one.
    pub(super) fn publish(&mut self) -> Checked {
        let tenant = ["t1", "t10"][self.rng.usize(..2)];
        let Some(room) = self.any_room() else { return Ok(()) };
        let kept_by_key = room.as_str() == LATEST_ROOM || room.as_str() == PUBLIC_ROOM;
        if !kept_by_key && self.rng.bool() {
            return self.publish_numbered(tenant, room);
        }
        let tenant = if room.as_str() == PUBLIC_ROOM { PUBLIC_TENANT } else { tenant };
        self.publish_to(tenant, room)
    }

    /// The server's own code publishes one event.
    pub(crate) fn publish_to(&mut self, tenant: &str, room: Address) -> Checked {
        let node = self.rng.usize(..self.nodes.len());
        self.next_item += 1;
        self.next_call += 1;
        let event = PublishEvent {
            id: ItemId(u128::from(self.rng.u64(..)) << 64 | u128::from(self.next_item)),
            event: "note".into(),
            key: (room.as_str() == LATEST_ROOM).then(|| "k0".into()),
            persist: true,
            data: data(self.next_item, tenant, "high", 0),
            room,
        };
        let publish = Publish {
            tenant: tenant.into(),
            by: None,
            events: vec![event],
            number: None,
            from: "".into(),
        };
        self.hub_input(node, hub::Input::Publish(hub::CallId(self.next_call), publish))
    }

    /// A back end publishes its next step, or again the one that was not answered.
    fn publish_numbered(&mut self, tenant: &'static str, room: Address) -> Checked {
        let node = self.rng.usize(..self.nodes.len());
        let fresh = ProducerId(self.rng.u128(..));
        self.next_item += 1;
        self.next_call += 1;
        let id = ItemId(u128::from(self.rng.u64(..)) << 64 | u128::from(self.next_item));
        let body = data(self.next_item, tenant, "high", 0);
        let back_end = self.back_ends.entry(tenant).or_insert_with(|| BackEnd {
            producer: fresh,
            next: 1,
            open: None,
            calls: BTreeMap::new(),
        });
        let (id, room, data) = back_end.open.get_or_insert((id, room, body)).clone();
        let call = hub::CallId(self.next_call);
        let key = RoomKey { tenant: tenant.into(), room: room.clone() };
        back_end.calls.insert(call, (back_end.next, id, key));
        if back_end.calls.len() > MOST_CALLS {
            back_end.calls.pop_first();
        }
        let number = Number {
            key: ProducerKey {
                tenant: tenant.into(),
                user: "~back-end".into(),
                producer: back_end.producer,
            },
            lane: 0,
            n: back_end.next,
            id,
            base: None,
        };
        let event = PublishEvent { id, event: "note".into(), key: None, persist: true, data, room };
        let publish = Publish {
            tenant: tenant.into(),
            by: None,
            events: vec![event],
            number: Some(number),
            from: "".into(),
        };
        self.hub_input(node, hub::Input::Publish(call, publish))
    }

    /// A back end comes back from a backup: it numbers on from an earlier step, for other events.
    pub(super) fn restore_back_end(&mut self) {
        let tenant = ["t1", "t10"][self.rng.usize(..2)];
        let back = self.rng.u64(1..=4);
        if let Some(back_end) = self.back_ends.get_mut(tenant) {
            back_end.next = back_end.next.saturating_sub(back).max(1);
            back_end.open = None;
            back_end.calls.clear();
            self.trace.note(self.now, || format!("back end of {tenant} restored: {back_end:?}"));
        }
    }

    /// A hub answers a publish.
    pub(super) fn published(
        &mut self,
        call: hub::CallId,
        result: &Result<Vec<Option<u64>>, ErrorBody>,
    ) -> Checked {
        let fresh = ProducerId(self.rng.u128(..));
        let owner = self.back_ends.values_mut().find(|back_end| back_end.calls.contains_key(&call));
        let Some(back_end) = owner else { return Ok(()) };
        let Some((n, id, room)) = back_end.calls.remove(&call) else { return Ok(()) };
        self.trace.note(self.now, || format!("publish {n} ({id}) of {room:?}: {result:?}"));
        let mine =
            back_end.next == n && back_end.open.as_ref().is_some_and(|(open, ..)| *open == id);
        match result {
            Ok(numbers) => {
                if mine {
                    back_end.next += 1;
                    back_end.open = None;
                }
                let seq = numbers.first().copied().flatten();
                let stands = self.model.rooms.get(&room).is_some_and(|room| {
                    room.ever().any(|entry| entry.id == id && Some(entry.seq) == seq)
                });
                hold!(stands, LostAck, "publish {n} of {room:?} told {id} at {seq:?}");
            }
            Err(error) if mine && error.code == Code::ORDER => {
                // The message names the next number.
                let next = error.message.rsplit(' ').next().and_then(|word| word.parse().ok());
                hold!(next.is_some(), BadFrame, "publish {n}: {error:?} names no number");
                back_end.next = next.unwrap_or(1);
            }
            Err(error) if mine && error.code == Code::FORKED => {
                // The open event goes on under a producer of its own.
                (back_end.producer, back_end.next) = (fresh, 1);
            }
            // The effect is unknown: it is published again as it is.
            Err(error) if error.code == Code::UNAVAILABLE => {}
            Err(_) if mine => back_end.open = None,
            Err(_) => {}
        }
        Ok(())
    }
}
