//! Publishing by the server's own code: one atomic step (P-K5).

use super::{
    CallId, Hub, Output, Publish, PublishEvent, Waiting, alerts,
    intake::taken,
    permissions::{authorize_publish, room_key},
    revocations::Verdict,
    rooms::Ephemeral,
    sends::judge_key,
};
use crate::log::{Intent, NewEntry, Outcome, Request, RoomKey, Seqs, Step, Stepped, Ticket};
use std::collections::{BTreeMap, HashMap};
use wardline::{
    model::ids::{ItemId, TenantId},
    protocol::{
        Code,
        frames::{ErrorBody, RoomMode},
        limits::CLIENT_OBJECT_BYTES,
    },
};

/// Publishes under way at most.
const MOST_UNDER_WAY: usize = 100_000;
/// Events of one publish.
const MOST_EVENTS: usize = 1000;

/// Said of an id that stands for another step.
const OTHER_EVENTS: &str =
    "this id was published with another number of events, and stands for those";

type Numbers = Vec<Option<u64>>;

/// A publish under way.
#[derive(Debug)]
pub(super) struct Pending {
    calls: Vec<CallId>,
    once: Option<(TenantId, ItemId)>,
    numbers: Numbers,
    /// Where each kept event stands in the publish. They are the first entries of the step, so the
    /// step's outcome has their numbers, when it is repeated too.
    places: Vec<usize>,
    /// How many entries may go with these: one each, in rooms of alerts.
    companions: usize,
    ephemeral: Vec<(RoomKey, Ephemeral)>,
}

/// Publishes under way.
#[derive(Debug, Default)]
pub(super) struct Publishes {
    pending: BTreeMap<Ticket, Pending>,
    /// Those that an id alone names: asked again meanwhile, they are one.
    under_way: HashMap<(TenantId, ItemId), Ticket>,
    /// Those whose tenant's revocations are being read (P-C6a).
    unchecked: BTreeMap<TenantId, Vec<(CallId, Publish)>>,
}

impl Pending {
    /// Whether the outcome of a step done before can be this publish's: it has as many kept events.
    fn fits(&self, seqs: &Seqs) -> bool {
        let kept = self.places.len();
        (kept..=kept + self.companions).contains(&seqs.iter().count())
    }

    /// Takes over the numbers of the kept events.
    fn number(&mut self, seqs: &Seqs) {
        for (place, seq) in self.places.iter().zip(seqs.iter()) {
            if let Some(number) = self.numbers.get_mut(*place) {
                *number = Some(seq);
            }
        }
    }
}

fn error(code: Code, message: &str) -> ErrorBody {
    ErrorBody { code, message: message.to_owned() }
}

impl Hub {
    /// The server's own code publishes.
    pub(super) fn handle_publish(&mut self, call: CallId, publish: Publish) {
        if let Some(by) = publish.by.clone() {
            let refused = match self.parts.check(&by, self.now) {
                Verdict::Valid => None,
                Verdict::Revoked => Some(error(
                    Code::TOKEN_REVOKED,
                    "the token, its user or its tenant was revoked",
                )),
                Verdict::Loading => {
                    let waiting: usize = self.publishes.unchecked.values().map(Vec::len).sum();
                    if waiting < MOST_UNDER_WAY {
                        let same = self.publishes.unchecked.entry(by.tenant.clone()).or_default();
                        return same.push((call, publish));
                    }
                    Some(error(Code::UNAVAILABLE, "too many publishes under way"))
                }
            };
            if let Some(refused) = refused {
                return self.outputs.push_back(Output::Published(call, Err(refused)));
            }
        }
        if let Err(error) = self.begin_publish(call, publish) {
            self.outputs.push_back(Output::Published(call, Err(error)));
        }
    }

    /// The tenant's revocations are known now.
    pub(super) fn publish_again(&mut self, tenant: &TenantId) {
        for (call, publish) in self.publishes.unchecked.remove(tenant).unwrap_or_default() {
            self.handle_publish(call, publish);
        }
    }

    fn begin_publish(&mut self, call: CallId, publish: Publish) -> Result<(), ErrorBody> {
        let Publish { tenant, by, events, number, from } = publish;
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
                let kept = events.iter().enumerate().filter(|(_, event)| event.persist);
                let same = pending.numbers.len() == events.len()
                    && kept.map(|(place, _)| place).eq(pending.places.iter().copied());
                if !same {
                    return Err(error(Code::CONFLICT, OTHER_EVENTS));
                }
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
            numbers: vec![None; events.len()],
            places: Vec::new(),
            companions: 0,
            ephemeral: Vec::new(),
        };
        let mut entries = Vec::new();
        let mut companions = Vec::new();
        for (place, event) in events.into_iter().enumerate() {
            let persist = event.persist;
            authorize_publish(&self.config, &tenant, by.as_deref(), &event.room)?;
            let entry = self.judge_publish(&tenant, &from, event)?;
            if persist {
                pending.places.push(place);
                pending.companions += usize::from(entry.room.room.namespace() == alerts::NAMESPACE);
                self.judge_own(&entry)?;
                let mut parts = self.parts.entries(entry, None, true).into_iter();
                entries.extend(parts.next());
                companions.extend(parts);
            } else if self.parts.is_commands(&entry.room.room) {
                let message = "a command is always kept; leave `persist` out or set it to true";
                return Err(error(Code::BAD_PARAMS, message));
            } else {
                let NewEntry { room, id, from, event, key, data, .. } = entry;
                let time = self.now.wall.0;
                let event = Ephemeral { id: Some(id), time, from, event, key, data };
                pending.ephemeral.push((room, event));
            }
        }
        entries.append(&mut companions);
        if entries.is_empty() && number.is_none() {
            // Nothing for the log.
            self.finish_publish(pending, Ok(()));
            return Ok(());
        }
        let ticket = self.ticket(Waiting::Publish);
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
        self.judge_event(&room, &event, true).map_err(|(code, why)| error(code, why))?;
        let data = taken(&data).map_err(|why| error(Code::BAD_DATA, why))?;
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
        if let Some(id) = &pending.once {
            self.publishes.under_way.remove(id);
        }
        let result = match stepped {
            Stepped::New(Outcome::Accepted(seqs)) => {
                pending.number(seqs);
                Ok(())
            }
            Stepped::Repeated(Outcome::Accepted(seqs)) if !pending.fits(seqs) => {
                Err(error(Code::CONFLICT, OTHER_EVENTS))
            }
            Stepped::Repeated(Outcome::Accepted(seqs)) => {
                // Handed on when it was new.
                pending.ephemeral.clear();
                pending.number(seqs);
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
