//! Publishing by the server's own code: one atomic step (P-K5).

use super::{
    CallId, Hub, Output, Publish, PublishEvent, Waiting, permissions::room_key, rooms::Ephemeral,
    sends::judge_key,
};
use crate::log::{Intent, NewEntry, Outcome, Request, RoomKey, Step, Stepped, Ticket};
use std::collections::{BTreeMap, HashMap};
use wardline::{
    model::ids::{ItemId, TenantId},
    protocol::{
        Code, Json,
        frames::{ErrorBody, RoomMode},
        limits::CLIENT_OBJECT_BYTES,
    },
};

/// Publishes under way at most.
const MOST_UNDER_WAY: usize = 100_000;
/// Events of one publish.
const MOST_EVENTS: usize = 1000;

type Numbers = Vec<Option<u64>>;

/// A publish under way.
#[derive(Debug)]
pub(super) struct Pending {
    calls: Vec<CallId>,
    once: Option<(TenantId, ItemId)>,
    /// The ids of the events that are kept, with the numbers told so far.
    kept: Vec<(RoomKey, ItemId)>,
    numbers: Numbers,
    /// Where each kept event stands in the publish.
    places: Vec<usize>,
    ephemeral: Vec<(RoomKey, Ephemeral)>,
}

/// Publishes under way.
#[derive(Debug, Default)]
pub(super) struct Publishes {
    pending: BTreeMap<Ticket, Pending>,
    /// Which publish waits for the number of an entry.
    by_entry: HashMap<ItemId, Ticket>,
    /// Those that an id alone names: asked again meanwhile, they are one.
    under_way: HashMap<(TenantId, ItemId), Ticket>,
}

impl Publishes {
    /// An entry was told: its number may be waited for.
    pub(super) fn see(&mut self, room: &RoomKey, id: ItemId, seq: u64) {
        let Some(pending) = self.by_entry.get(&id).and_then(|t| self.pending.get_mut(t)) else {
            return;
        };
        let found = pending.kept.iter().position(|(key, kept)| *kept == id && key == room);
        let place = found.and_then(|at| pending.places.get(at));
        if let Some(number) = place.and_then(|place| pending.numbers.get_mut(*place)) {
            *number = Some(seq);
        }
    }
}

fn error(code: Code, message: &str) -> ErrorBody {
    ErrorBody { code, message: message.to_owned() }
}

impl Hub {
    /// The server's own code publishes.
    pub(super) fn handle_publish(&mut self, call: CallId, publish: Publish) {
        if let Err(error) = self.begin_publish(call, publish) {
            self.outputs.push_back(Output::Published(call, Err(error)));
        }
    }

    fn begin_publish(&mut self, call: CallId, publish: Publish) -> Result<(), ErrorBody> {
        let Publish { tenant, events, number, from } = publish;
        let Some(first) = events.first().map(|event| event.id) else {
            return Err(error(Code::BAD_PARAMS, "no event"));
        };
        if events.len() > MOST_EVENTS {
            return Err(error(Code::TOO_LARGE, "more than 1,000 events"));
        }
        let once = number.is_none().then(|| (tenant.clone(), first));
        if let Some(id) = &once {
            let same = self.publishes.under_way.get(id);
            if let Some(pending) = same.and_then(|t| self.publishes.pending.get_mut(t)) {
                pending.calls.push(call);
                return Ok(());
            }
        }
        if self.publishes.pending.len() >= MOST_UNDER_WAY {
            return Err(error(Code::UNAVAILABLE, "too many publishes under way"));
        }
        let mut pending = Pending {
            calls: vec![call],
            once: once.clone(),
            kept: Vec::new(),
            numbers: vec![None; events.len()],
            places: Vec::new(),
            ephemeral: Vec::new(),
        };
        let mut entries = Vec::new();
        for (place, event) in events.into_iter().enumerate() {
            let persist = event.persist;
            let entry = self.judge_publish(&tenant, &from, event)?;
            if persist {
                pending.kept.push((entry.room.clone(), entry.id));
                pending.places.push(place);
                self.judge_own(&entry)?;
                entries.extend(self.parts.entries(entry, None, true));
            } else {
                let NewEntry { room, id, from, event, key, data, .. } = entry;
                let time = self.now.wall.0;
                let event = Ephemeral { id: Some(id), time, from, event, key, data };
                pending.ephemeral.push((room, event));
            }
        }
        if entries.is_empty() && number.is_none() {
            // Nothing for the log.
            self.finish_publish(pending, Ok(()));
            return Ok(());
        }
        let ticket = self.ticket(Waiting::Publish);
        for (_, id) in &pending.kept {
            self.publishes.by_entry.insert(*id, ticket);
        }
        if let Some(id) = once.clone() {
            self.publishes.under_way.insert(id, ticket);
        }
        self.publishes.pending.insert(ticket, pending);
        let intent = if entries.is_empty() { Intent::Accept } else { Intent::Append(entries) };
        self.ask(Request::Step(ticket, Step { producer: number, once, intent }));
        Ok(())
    }

    fn judge_publish(
        &self,
        tenant: &TenantId,
        from: &std::sync::Arc<str>,
        event: PublishEvent,
    ) -> Result<NewEntry, ErrorBody> {
        let PublishEvent { room, event, id, key, data, .. } = event;
        if !self.config.namespaces.contains_key(room.namespace()) {
            return Err(error(Code::BAD_ROOM, "no such namespace"));
        }
        self.judge_event(&room, &event, true).map_err(|(code, why)| error(code, why))?;
        let data: Json =
            data.checked().map_err(|_| error(Code::BAD_DATA, "nested too deep, or a key twice"))?;
        if data.get().len() + room.as_str().len() + event.len() + 512 > CLIENT_OBJECT_BYTES {
            return Err(error(Code::TOO_LARGE, "larger than a client accepts"));
        }
        let mode = self.config.mode(&room);
        let key = judge_key(mode, key).map_err(|(code, why)| error(code, why))?;
        Ok(NewEntry {
            room: room_key(tenant, &room),
            id,
            from: from.clone(),
            event: event.into(),
            gone: mode == RoomMode::Latest && data.get() == "null",
            key,
            data,
        })
    }

    /// The log answers a publish.
    pub(super) fn handle_published(&mut self, ticket: Ticket, stepped: &Stepped) {
        let Some(mut pending) = self.publishes.pending.remove(&ticket) else { return };
        for (_, id) in &pending.kept {
            self.publishes.by_entry.remove(id);
        }
        if let Some(id) = &pending.once {
            self.publishes.under_way.remove(id);
        }
        let result = match stepped {
            Stepped::New(Outcome::Accepted(_)) => Ok(()),
            Stepped::Repeated(Outcome::Accepted(seq)) => {
                // Handed on when it was new.
                pending.ephemeral.clear();
                if let Some(number) =
                    pending.places.first().and_then(|at| pending.numbers.get_mut(*at))
                {
                    *number = *seq;
                }
                Ok(())
            }
            Stepped::New(Outcome::Refused(code, why))
            | Stepped::Repeated(Outcome::Refused(code, why)) => Err(error(code.clone(), why)),
            Stepped::Early { accepted } => {
                Err(error(Code::ORDER, &format!("the next number is {}", accepted + 1)))
            }
            Stepped::Forked => Err(error(Code::FORKED, "the number belongs to another id")),
            Stepped::Unavailable { .. } => {
                Err(error(Code::UNAVAILABLE, "the effect is unknown; publish it again as it is"))
            }
        };
        self.finish_publish(pending, result);
    }

    fn finish_publish(&mut self, pending: Pending, result: Result<(), ErrorBody>) {
        let Pending { calls, numbers, ephemeral, .. } = pending;
        if result.is_ok() {
            for (room, event) in &ephemeral {
                self.cast_into(room, event);
            }
        }
        let result = result.map(|()| numbers);
        for call in calls {
            self.outputs.push_back(Output::Published(call, result.clone()));
        }
    }
}
