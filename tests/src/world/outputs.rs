//! What a machine wants done: judged, then scheduled.

use super::{
    World,
    links::Message,
    process::{Call, Heard, Positions, Transport},
    schedule::Due,
};
use crate::{hold, plan::Fault, tokens::SECRET, violation::Checked, wire::room_key};
use std::time::Duration;
use wardline::{
    machine::{
        ApiEvent, CallId, Close, Command, Error, Generation, Input, Outcome, Output, Owner,
        ReplyValue, Status, StoreOp, SubId,
    },
    model::ids::ItemId,
    protocol::{ClientFrame, Code, close, codec},
};
use wardline_server::hub::Principal;

/// The lane that waits for the application after a refusal.
pub(super) const STOP_LANE: u8 = 7;

impl World {
    pub(super) fn client_output(&mut self, client: usize, output: Output) -> Checked {
        if self.plan.search_secrets {
            hold!(!leaks(&output), SecretLeak, "client {client}: {output:?}");
        }
        let who = self.clients[client].who();
        match output {
            Output::Dial(generation, _) => {
                self.hear_as(client, || Heard::Dial);
                self.dial(client, generation)?;
            }
            Output::Text(generation, text) => self.client_text(client, generation, text)?,
            Output::Binary(generation, bytes) => {
                if let Some(link) = self.writable(client, generation)? {
                    self.write_up(link, Message::Binary(bytes));
                }
            }
            Output::Close(generation, close) => self.client_closes(client, generation, close)?,
            Output::Load(owner) => {
                let known = self.clients[client].cursors.as_ref();
                let other = |known: &Positions| known.owner.is_some() && known.owner != owner;
                if owner.is_some() && known.is_some_and(other) {
                    // Another owner's positions are wanted.
                    self.clients[client].cursors = None;
                }
                let at = self.store_time(client);
                self.schedule.at(at, Due::Loaded(who, owner));
            }
            Output::Store(batch, ops) => {
                for op in &ops {
                    if let StoreOp::Cursor(name, room, cursor) = op {
                        self.clients[client].app.storing(name, room, *cursor, &self.model)?;
                    }
                }
                self.trace
                    .note(self.now, || format!("client {client} ⇒ {batch:?} {}", words(&ops)));
                self.clients[client].batches.push_back((batch, ops));
                let at = self.store_time(client);
                self.schedule.at(at, Due::Stored(who, batch));
            }
            Output::FetchToken => {
                let fails = self.clients[client].provider_fails
                    || self.may(Fault::Tokens) && self.chance(12);
                let token = (!fails).then(|| self.issue(client));
                let at = self.now + self.span(1, 400);
                self.schedule.at(at, Due::Token(who, token));
            }
            Output::Reply(call, result) => self.reply(client, call, result)?,
            Output::Event(event) => self.api_event(client, event)?,
            Output::Timeout(_) => {}
        }
        Ok(())
    }

    fn hear_as(&mut self, client: usize, heard: impl FnOnce() -> Heard) {
        if self.listens {
            self.clients[client].heard.push(heard());
        }
    }

    /// When the store is done with the next operation.
    fn store_time(&mut self, client: usize) -> Duration {
        let disk = self.clients[client].disk;
        let slow = self.disks[disk].slow;
        let took = self.span(0, 6) + slow;
        let process = &mut self.clients[client];
        process.store_free = process.store_free.max(self.now) + took;
        process.store_free
    }

    fn dial(&mut self, client: usize, generation: Generation) -> Checked {
        let late = self.clients[client].lateness;
        let process = &mut self.clients[client];
        let open = process.transports.iter().find(|(_, transport)| !transport.ended);
        hold!(open.is_none(), TwoTransports, "client {client} dials {generation:?}, has {open:?}");
        let fresh = process.transports.keys().all(|older| *older < generation);
        hold!(fresh, TwoTransports, "client {client} dials {generation:?} twice");
        process.pace.dialled(self.now, late).map_err(|violation| {
            crate::violation::Violation::new(
                violation.invariant,
                format!("client {client}: {}", violation.detail),
            )
        })?;
        process.transports.insert(generation, Transport::default());
        // Old ones are over; a few stay known for their ghosts.
        while process.transports.len() > 16 {
            process.transports.pop_first();
        }
        let who = process.who();
        let at = self.now + self.span(2, 200);
        self.trace.note(self.now, || format!("client {client} dials {generation:?}"));
        self.schedule.at(at, Due::Dialled(who, generation));
        Ok(())
    }

    /// The path of a generation, if the machine may write to it.
    fn writable(
        &self,
        client: usize,
        generation: Generation,
    ) -> Checked<Option<crate::wire::LinkId>> {
        let transport = self.clients[client].transports.get(&generation);
        let ended = transport.is_none_or(|transport| transport.ended);
        hold!(!ended, AfterClose, "client {client} writes to {generation:?}, which is over");
        Ok(transport.and_then(|transport| transport.link))
    }

    fn client_text(&mut self, client: usize, generation: Generation, text: String) -> Checked {
        let Some(link) = self.writable(client, generation)? else {
            hold!(false, AfterClose, "client {client} writes to {generation:?} before it is open");
            return Ok(());
        };
        for object in codec::objects(&text) {
            let frame = match ClientFrame::decode(object) {
                Ok(frame) => frame,
                Err(error) => {
                    hold!(false, BadFrame, "client {client} writes {object}: {error}");
                    continue;
                }
            };
            let carries = matches!(frame, ClientFrame::Hello(_) | ClientFrame::Auth(_));
            let leaks = !carries && object.contains(SECRET);
            hold!(!leaks, SecretLeak, "client {client} writes {object}");
            match &frame {
                ClientFrame::Hello(hello) => self.judge_hello(client, hello)?,
                ClientFrame::Send(send) => {
                    self.judge_number(client, send.lane, send.n, send.id, send.base)?;
                    let Some(item) = self.model.items.get_mut(send.id) else {
                        hold!(false, Invention, "client {client} sends {object}, never submitted");
                        continue;
                    };
                    item.was_sent = true;
                    let same = item.data == send.data
                        && item.room.as_str() == send.room
                        && item.lane == send.lane;
                    hold!(same, Invention, "client {client} sends {object}, submitted {item:?}");
                }
                ClientFrame::Skip(skip) => {
                    self.judge_number(client, skip.lane, skip.n, skip.id, skip.base)?;
                }
                _ => {}
            }
        }
        self.write_up(link, Message::Text(text));
        Ok(())
    }

    fn client_closes(&mut self, client: usize, generation: Generation, close: Close) -> Checked {
        let Some(transport) = self.clients[client].transports.get_mut(&generation) else {
            return Ok(());
        };
        if std::mem::replace(&mut transport.ended, true) {
            return Ok(());
        }
        let link = transport.link;
        self.trace.note(self.now, || format!("client {client} closes {generation:?}: {close:?}"));
        let impaired = link.and_then(|id| self.links.get(&id)).is_none_or(|link| link.impaired);
        self.judge_close(client, link, &close, impaired)?;
        let late = self.clients[client].lateness;
        let pace = &mut self.clients[client].pace;
        pace.ended(self.now, Some(close.code), late);
        if close.code != close::PROBE_FAILED {
            // Its own reasons (drain, disconnect, another owner) have their own delays.
            pace.excuse();
        }
        if let Some(id) = link {
            if let Some(link) = self.links.get_mut(&id) {
                link.client_ended = true;
            }
            self.write_up(id, Message::Close(close.code, close.reason));
        }
        Ok(())
    }

    fn reply(&mut self, client: usize, id: CallId, result: Result<ReplyValue, Error>) -> Checked {
        let Some(call) = self.clients[client].calls.remove(&id) else {
            hold!(false, Outcome, "client {client}: {id:?} answered twice: {result:?}");
            return Ok(());
        };
        self.trace.note(self.now, || format!("client {client} reply {call:?}: {result:?}"));
        self.hear_as(client, || Heard::Reply(call.clone(), result.clone()));
        match call {
            Call::Submit(item) => self.submitted(client, item, &result),
            Call::Cancel(item) => {
                if let Ok(ReplyValue::Outcome(outcome)) = &result
                    && let Some(item) = self.model.items.get(item)
                    && let Some((_, told)) = item.outcomes.last()
                {
                    hold!(
                        told == outcome
                            || item.excused
                            || item.copied
                            || item.was_undone(self.model.has_losses()),
                        Outcome,
                        "cancel of {id:?} says {outcome:?}, settled as {told:?}"
                    );
                }
                Ok(())
            }
            Call::Subscribe(sub) => match result {
                Ok(ReplyValue::Joined { cursor, mode }) => {
                    self.restore_position(client, sub, cursor);
                    self.clients[client].app.joined(sub, cursor, mode, &self.model)
                }
                Ok(other) => {
                    hold!(false, Outcome, "subscribe answered {other:?}");
                    Ok(())
                }
                Err(error) => {
                    if let Some(known) = self.clients[client].app.subs.get_mut(&sub) {
                        known.wanted = false;
                        known.left = Some(error.code);
                    }
                    Ok(())
                }
            },
            Call::Disconnect => {
                if !self.clients[client].wants_connection {
                    self.clients[client].pace.stopped("disconnect");
                }
                Ok(())
            }
            Call::Connect | Call::Other => Ok(()),
        }
    }

    /// Only now it is certain whose store a durable position is from, and what another process on it
    /// left there.
    fn restore_position(&mut self, client: usize, id: SubId, joined: wardline::protocol::Cursor) {
        let process = &mut self.clients[client];
        let Some(sub) = process.app.subs.get_mut(&id).filter(|sub| !sub.joined) else { return };
        let Some(name) = sub.durable.clone() else { return };
        let known = process.cursors.as_ref();
        let there = known.and_then(|known| known.at.get(&(name.clone(), sub.room.clone())));
        let mut stored = there.copied();
        // What is on its way to the store the machine knows already.
        for op in process.batches.iter().flat_map(|(_, ops)| ops) {
            if let StoreOp::Cursor(named, room, cursor) = op
                && *named == name
                && *room == sub.room
            {
                stored = stored.filter(|known| known.seq > cursor.seq).or(Some(*cursor));
            }
        }
        let left = self.disks[process.disk].view(&process.session);
        if left.and_then(|left| left.cursors.get(&(name, sub.room.clone()))) == Some(&joined) {
            stored = Some(joined);
        }
        sub.restore(stored);
    }

    fn submitted(
        &mut self,
        client: usize,
        id: ItemId,
        result: &Result<ReplyValue, Error>,
    ) -> Checked {
        let process = &self.clients[client];
        let there = self.disks[process.disk]
            .parts()
            .any(|part| part.items.iter().any(|stored| stored.item.id == id));
        let Some(item) = self.model.items.get_mut(id) else { return Ok(()) };
        match result {
            Ok(ReplyValue::Queued(told)) => {
                hold!(*told == id, AnswerId, "submit of {id} answered {told}");
                let disturbed = self.disks[process.disk].disturbed > 0;
                let over = !item.outcomes.is_empty();
                hold!(
                    there || disturbed || over,
                    Durability,
                    "client {client}: {id} told queued, not in the store"
                );
                item.queued = true;
            }
            Ok(other) => {
                hold!(false, Outcome, "submit answered {other:?}");
            }
            Err(_) => item.failed = true,
        }
        Ok(())
    }

    fn api_event(&mut self, client: usize, event: ApiEvent) -> Checked {
        self.trace.note(self.now, || format!("client {client} event {event:?}"));
        self.hear_as(client, || Heard::Event(event.clone()));
        let who = self.clients[client].who();
        match &event {
            ApiEvent::Status { status, reason, .. } => {
                let process = &mut self.clients[client];
                process.status = Some(*status);
                match status {
                    Status::Disconnected if !process.wants_connection => {}
                    Status::Disconnected | Status::Unauthenticated => {
                        process.pace.stopped(&format!("status {status:?} ({reason:?})"));
                    }
                    _ => {}
                }
                Ok(())
            }
            ApiEvent::Established { tenant, user, .. } => {
                let process = &mut self.clients[client];
                process.pace.welcomed(self.now);
                let owner =
                    Owner { server: String::new(), tenant: tenant.clone(), user: user.clone() };
                process.owner_changed = true;
                process.bound = Some(owner);
                let principal = plain_principal(tenant, user);
                process.app.established(|room| room_key(&principal, room.as_str()));
                Ok(())
            }
            ApiEvent::Settled(id, outcome) => {
                let stops = matches!(outcome, Outcome::Refused(..))
                    && self.model.items.get(*id).is_some_and(|item| item.lane == STOP_LANE);
                if stops {
                    let at = self.now + self.span(0, 2_000);
                    self.next_call += 1;
                    let call = CallId(self.next_call);
                    self.clients[client].calls.insert(call, Call::Other);
                    let resume = Input::Command(Command::Resume(call, STOP_LANE));
                    self.schedule.at(at, Due::Tell(who, Box::new(resume)));
                }
                self.settled(client, *id, outcome)
            }
            ApiEvent::AcceptedLost { .. } => {
                let disk = self.clients[client].disk;
                let caused = self.model.has_losses() || self.disks[disk].disturbed > 0;
                hold!(caused, LostAck, "client {client} is told {event:?} without a loss");
                Ok(())
            }
            ApiEvent::SnapshotWanted(sub, head) => {
                let at = self.now + self.span(1, 300);
                self.schedule.at(at, Due::Snapshot(who, *sub, *head));
                Ok(())
            }
            ApiEvent::Event(sub, handed) => {
                let (sub, handed) = (*sub, handed.seq.zip(handed.mark));
                self.clients[client].app.event(&event, &self.model)?;
                if let Some((seq, mark)) = handed {
                    let at = self.now + self.appetite(client);
                    self.schedule.at(at, Due::Done(who, sub, seq, mark));
                }
                Ok(())
            }
            ApiEvent::Left(sub, code) => {
                self.clients[client].app.event(&event, &self.model)?;
                if (*code == Code::CLOSED || *code == Code::STOPPED)
                    && let Some(known) = self.clients[client].app.subs.get_mut(sub)
                {
                    known.wanted = false;
                }
                Ok(())
            }
            _ => self.clients[client].app.event(&event, &self.model),
        }
    }

    fn appetite(&mut self, client: usize) -> Duration {
        let most = self.clients[client].appetite;
        if self.calm { Duration::ZERO } else { crate::clock::part(most, self.rng.f64()) }
    }

    fn settled(&mut self, client: usize, id: ItemId, outcome: &Outcome) -> Checked {
        let disk = self.clients[client].disk;
        let life = (client, self.clients[client].life);
        let unsure = self.model.has_losses() || self.disks[disk].disturbed > 0;
        let accepted = self.model.items.accepted.contains(&id);
        let lossy = self.model.has_losses();
        let shared = self.plan.has(Fault::StoreShared) || self.plan.has(Fault::StoreCopied);
        let Some(item) = self.model.items.get_mut(id) else {
            hold!(false, Invention, "client {client} is told {id} {outcome:?}, never submitted");
            return Ok(());
        };
        match outcome {
            Outcome::Accepted(seq) => {
                hold!(accepted, ToldBeforeDurable, "{id} told accepted, the log never said so");
                if let Some(seq) = seq
                    && item.persist
                    && !item.lost_by_log
                {
                    let there = item.standing.iter().any(|(room, mark)| {
                        self.model.rooms.ever(room, *mark).is_some_and(|entry| entry.seq == *seq)
                    });
                    hold!(
                        there,
                        LostAck,
                        "{id} told accepted at {seq}, stands {:?}",
                        item.standing
                    );
                }
            }
            Outcome::Uncertain => {
                hold!(
                    unsure || shared || item.excused,
                    Outcome,
                    "{id} told uncertain without a cause"
                );
            }
            Outcome::Cancelled => {
                hold!(item.cancelled, Outcome, "{id} told cancelled, nobody cancelled");
            }
            Outcome::Expired => {
                hold!(item.ttl, Outcome, "{id} told expired, it had no time to live");
            }
            Outcome::Refused(..) => {}
        }
        item.settled(id, life, outcome, lossy)
    }
}

fn plain_principal(
    tenant: &wardline::model::ids::TenantId,
    user: &wardline::model::ids::UserId,
) -> Principal {
    Principal {
        tenant: tenant.clone(),
        user: user.clone(),
        organization: None,
        roles: Vec::new(),
        token_id: None,
        issued: 0,
        expires: None,
    }
}

/// Whether anything an application, a store or a log line would show holds a token.
fn leaks(output: &Output) -> bool {
    match output {
        Output::Text(..) | Output::Binary(..) => false,
        other => format!("{other:?}").contains(SECRET),
    }
}

/// A batch in few words.
fn words(ops: &[StoreOp]) -> String {
    let mut words = String::new();
    for op in ops {
        match op {
            StoreOp::Put(item) => {
                words.push_str(&format!("Put({} lane {}) ", item.item.id, item.item.lane));
            }
            other => words.push_str(&format!("{other:?} ")),
        }
    }
    words
}
