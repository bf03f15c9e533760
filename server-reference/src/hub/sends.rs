//! Sends: one ordered pipeline per producer into the log, and its answers (P-S2 to P-S5).

use super::{
    ClientEvent, ConnId, Hook, Hub, Waiting,
    intake::taken,
    permissions::{Action, authorize, room_key},
    rooms::Ephemeral,
};
use crate::log::{Intent, NewEntry, Number, Outcome, ProducerKey, Request, RoomKey, Step, Stepped};
use std::{sync::Arc, time::Duration};
use wardline::{
    model::ids::ItemId,
    planted::{Bug, planted},
    protocol::{
        Address, Code, close,
        frames::{Cast, Hold, RoomMode, Send, Skip},
        limits::{CLIENT_OBJECT_BYTES, EVENT_BYTES, WINDOW},
    },
};

/// The greatest integer on the wire (P-F1).
pub(super) const MOST: u64 = (1 << 53) - 1;
/// Whether `n` may number a step, and `base` stand before it (P-F1, P-S2).
pub(crate) fn is_number(n: u64, base: Option<u64>) -> bool {
    (1..=MOST).contains(&n) && base.is_none_or(|base| base < n)
}

/// Steps in flight per lane. A client has 32; twice as many may wait across a hold.
const MOST_IN_FLIGHT: usize = 2 * WINDOW as usize;
/// What an event needs beside its texts.
const ENVELOPE: usize = 512;

/// Said where a connection ended meanwhile; nobody reads it.
const NO_SESSION: &str = "the connection has ended";

/// A lane, as one connection sees it.
#[derive(Debug)]
pub(super) struct Lane {
    /// Accepted, as far as this connection was told.
    accepted: u64,
    /// Steps the log has not answered.
    pub(super) in_flight: usize,
    /// Grows with each hold: answers to what was sent before it say nothing about order.
    epoch: u32,
    held: Held,
}

/// Whether a lane is held (P-S3).
#[derive(Debug)]
enum Held {
    /// Frames are taken.
    No,
    /// Told: frames are dropped until one with `base`.
    Told,
    /// As told; the `hold` is written once what is in flight is answered.
    Owed(Code, Option<u64>),
}

impl Lane {
    pub(super) fn new(accepted: u64) -> Self {
        Self { accepted, in_flight: 0, epoch: 0, held: Held::No }
    }

    /// Whether a frame is taken. A hold ends by `base` only.
    fn takes(&mut self, base: Option<u64>) -> bool {
        match self.held {
            Held::No => true,
            Held::Told if base.is_some() || planted(Bug::HoldEndedByNext) => {
                self.held = Held::No;
                true
            }
            Held::Told | Held::Owed(..) => false,
        }
    }
}

/// What becomes of an event that is kept.
#[derive(Debug)]
pub(super) enum Judged {
    /// All of these, in one step.
    Append(Vec<NewEntry>),
    /// Refused for good.
    Refuse(Code, &'static str),
    /// Not now; with the time to wait.
    Hold(Code, Option<Duration>),
}

/// Who waits for a step of a client.
#[derive(Debug)]
pub(super) struct Sent {
    conn: ConnId,
    lane: u8,
    n: u64,
    id: ItemId,
    epoch: u32,
    /// What it is, for the hooks.
    told: Option<ClientEvent>,
    /// Handed on once its number is consumed, where it is not kept.
    ephemeral: Option<(RoomKey, Ephemeral)>,
}

impl Hub {
    /// `send` (P-S2).
    pub(super) fn handle_send(&mut self, conn: ConnId, send: Send) {
        let taken = self.take_number(conn, send.lane, send.n, send.base, Some(&send.room));
        let Some(()) = taken else { return };
        let Some(session) = self.session(conn) else { return };
        let producer = session.producer.clone();
        let principal = Arc::clone(&session.principal);
        let from: Arc<str> = principal.user.as_str().into();
        let Send { lane, n, id, base, persist, ttl, .. } = send;
        let judged = self.judge(conn, send);
        let told = judged.as_ref().ok().map(|(entry, _)| ClientEvent {
            connection: conn,
            from: principal,
            room: entry.room.room.clone(),
            event: Arc::clone(&entry.event),
            id: Some(id),
            data: entry.data.clone(),
        });
        let mut ephemeral = None;
        let intent = match judged {
            Ok((entry, _)) if persist || self.parts.is_commands(&entry.room.room) => {
                match self.judge_entries(conn, NewEntry { from, ..entry }, ttl) {
                    Judged::Append(entries) => Intent::Append(entries),
                    Judged::Refuse(code, message) => Intent::Refuse(code, message.to_owned()),
                    Judged::Hold(code, after) => {
                        let after = after.and_then(|after| u64::try_from(after.as_millis()).ok());
                        self.owe_hold(conn, lane, code, after);
                        return;
                    }
                }
            }
            Ok((entry, _)) => {
                let NewEntry { room: key, event, key: of, data, .. } = entry;
                let time = self.now.wall.0;
                ephemeral =
                    Some((key, Ephemeral { id: Some(id), time, from, event, key: of, data }));
                Intent::Accept
            }
            Err((code, message)) => Intent::Refuse(code, message.to_owned()),
        };
        self.step(conn, producer, (lane, n, id, base), intent, told, ephemeral);
    }

    /// `skip` (P-S5): the log's answer decides.
    pub(super) fn handle_skip(&mut self, conn: ConnId, skip: Skip) {
        let Skip { lane, n, id, base, code } = skip;
        if ![Code::CANCELLED, Code::EXPIRED, Code::POISON].contains(&code) {
            self.close_bad_frame(conn);
            return;
        }
        let Some(()) = self.take_number(conn, lane, n, base, None) else { return };
        let Some(session) = self.session(conn) else { return };
        let producer = session.producer.clone();
        let intent = Intent::Refuse(code, String::new());
        self.step(conn, producer, (lane, n, id, base), intent, None, None);
    }

    /// Whether the frame of a lane is taken: the lane is not held, and may not be now.
    fn take_number(
        &mut self,
        conn: ConnId,
        lane: u8,
        n: u64,
        base: Option<u64>,
        limited: Option<&str>,
    ) -> Option<()> {
        let session = self.session_mut(conn)?;
        let in_bounds = is_number(n, base);
        let Some(state) = session.lanes.get_mut(usize::from(lane)).filter(|_| in_bounds) else {
            self.close_bad_frame(conn);
            return None;
        };
        if !state.takes(base) {
            return None;
        }
        // What the client is told of `accepted` is never below what it says itself.
        state.accepted = state.accepted.max(base.unwrap_or_default());
        let wait = if state.in_flight >= MOST_IN_FLIGHT {
            Some(Duration::from_secs(1))
        } else {
            limited.and_then(|room| self.limit_send(conn, room))
        };
        match wait {
            Some(wait) => {
                let after = u64::try_from(wait.as_millis()).ok();
                self.owe_hold(conn, lane, Code::RATE, after);
                None
            }
            None => Some(()),
        }
    }

    fn step(
        &mut self,
        conn: ConnId,
        key: ProducerKey,
        (lane, n, id, base): (u8, u64, ItemId, Option<u64>),
        intent: Intent,
        told: Option<ClientEvent>,
        ephemeral: Option<(RoomKey, Ephemeral)>,
    ) {
        let Some(state) = self.lane_mut(conn, lane) else { return };
        state.in_flight += 1;
        let epoch = state.epoch;
        let sent = Sent { conn, lane, n, id, epoch, told, ephemeral };
        let ticket = self.ticket(Waiting::Step(Box::new(sent)));
        let producer = Some(Number { key, lane, n, id, base });
        self.ask(Request::Step(ticket, Step { producer, once: None, intent }));
    }

    fn lane_mut(&mut self, conn: ConnId, lane: u8) -> Option<&mut Lane> {
        self.session_mut(conn)?.lanes.get_mut(usize::from(lane))
    }

    /// Holds a lane; the word is written once what is in flight is answered, so that `accepted`
    /// is not behind what the client knows.
    fn owe_hold(&mut self, conn: ConnId, lane: u8, code: Code, after: Option<u64>) {
        if let Some(state) = self.lane_mut(conn, lane) {
            state.held = Held::Owed(code, after);
        }
        self.settle_hold(conn, lane);
    }

    fn settle_hold(&mut self, conn: ConnId, lane: u8) {
        let Some(state) = self.lane_mut(conn, lane) else { return };
        if state.in_flight == 0
            && let Held::Owed(code, after) = &state.held
        {
            let hold = Hold { lane, accepted: state.accepted, code: code.clone(), after: *after };
            state.held = Held::Told;
            state.epoch += 1;
            self.write(conn, &hold.into());
        }
    }

    /// Everything that must hold of a send, before it gets to the log.
    fn judge(
        &self,
        conn: ConnId,
        send: Send,
    ) -> Result<(NewEntry, RoomMode), (Code, &'static str)> {
        let address: Address =
            send.room.parse().map_err(|_| (Code::BAD_ROOM, "no room address"))?;
        let session = self.session(conn).ok_or((Code::FORBIDDEN, NO_SESSION))?;
        authorize(&self.config, &session.principal, &address, Action::Send)
            .map_err(|code| (code, Action::Send.refusal()))?;
        let service = session.principal.has_role(super::permissions::SERVICE);
        self.judge_event(&address, &send.event, service)?;
        if send.ttl == Some(0) {
            return Err((Code::EXPIRED, "its time to live was over when it arrived"));
        }
        let size = send.data.get().len()
            + send.event.len()
            + send.room.len()
            + session.principal.user.as_str().len()
            + send.key.as_ref().map_or(0, String::len);
        if size + ENVELOPE > CLIENT_OBJECT_BYTES {
            return Err((Code::TOO_LARGE, "larger than a client accepts"));
        }
        let data = taken(&send.data).map_err(|why| (Code::BAD_DATA, why))?;
        let mode = self.config.mode(&address);
        let key = judge_key(mode, send.key)?;
        let entry = NewEntry {
            room: room_key(&session.principal.tenant, &address),
            id: send.id,
            from: "".into(),
            event: send.event.into(),
            gone: mode == RoomMode::Latest && data.get() == "null",
            key,
            data,
        };
        Ok((entry, mode))
    }

    /// Whether an event may have this name here.
    pub(super) fn judge_event(
        &self,
        room: &Address,
        event: &str,
        server: bool,
    ) -> Result<(), (Code, &'static str)> {
        if event.is_empty() || event.len() > EVENT_BYTES {
            return Err((Code::BAD_EVENT, "an event's name has 1 to 128 bytes"));
        }
        let reserved = event.starts_with("system:")
            || self.config.namespaces.get(room.namespace()).is_some_and(|n| n.reserves(event));
        if reserved && !server {
            return Err((Code::BAD_EVENT, "reserved for the server"));
        }
        Ok(())
    }

    /// The log answers a step of a client.
    pub(super) fn handle_stepped(&mut self, sent: Sent, stepped: Stepped) {
        let Sent { conn, lane, n, id, epoch, told, ephemeral } = sent;
        let accepted_now = matches!(stepped, Stepped::New(Outcome::Accepted(_)));
        if let (true, Some((key, event))) = (accepted_now, ephemeral) {
            self.cast_into(&key, &event);
        }
        let Some(state) = self.lane_mut(conn, lane) else { return };
        state.in_flight -= 1;
        match stepped {
            Stepped::New(outcome) | Stepped::Repeated(outcome) => {
                state.accepted = state.accepted.max(n);
                if let Outcome::Refused(code, _) = &outcome {
                    let code = code.clone();
                    self.hook_refused(conn, code);
                }
                if !(accepted_now && planted(Bug::LoseAck) && id.0.is_multiple_of(8)) {
                    self.write_outcome(conn, (lane, n, id), outcome);
                }
                if let (true, Some(told)) = (accepted_now, told) {
                    self.hook(Hook::Sent(told));
                }
            }
            Stepped::Early { accepted } => {
                self.hold_now(conn, lane, epoch, accepted, Code::ORDER);
            }
            Stepped::Unavailable { accepted } => {
                self.hold_now(conn, lane, epoch, accepted, Code::UNAVAILABLE);
            }
            Stepped::Forked => self.close(conn, close::FORKED, "two outboxes use one producer"),
        }
        self.settle_hold(conn, lane);
        self.close_if_drained(conn);
    }

    /// Holds a lane by the log's word. What was sent behind the held frame is dropped, so one
    /// `hold` answers all of it.
    fn hold_now(&mut self, conn: ConnId, lane: u8, epoch: u32, accepted: u64, code: Code) {
        let Some(state) = self.lane_mut(conn, lane) else { return };
        if state.epoch != epoch || !matches!(state.held, Held::No) {
            return;
        }
        state.epoch += 1;
        state.held = Held::Told;
        state.accepted = accepted;
        self.write(conn, &Hold { lane, accepted, code, after: None }.into());
    }

    /// `cast` (P-R8): no answer, whatever becomes of it.
    pub(super) fn handle_cast(&mut self, conn: ConnId, cast: Cast) {
        if self.commands_room(conn, &cast.room).is_some()
            || self.limit_send(conn, &cast.room).is_some()
        {
            return;
        }
        let Some(session) = self.session(conn) else { return };
        let Ok(address) = cast.room.parse::<Address>() else { return };
        let principal = &session.principal;
        let service = principal.has_role(super::permissions::SERVICE);
        let allowed = authorize(&self.config, principal, &address, Action::Send).is_ok()
            && self.judge_event(&address, &cast.event, service).is_ok();
        let Ok(data) = taken(&cast.data) else { return };
        if !allowed || data.get().len() + ENVELOPE > CLIENT_OBJECT_BYTES {
            return;
        }
        let event = Ephemeral {
            id: None,
            time: self.now.wall.0,
            from: principal.user.as_str().into(),
            event: cast.event.into(),
            key: None,
            data,
        };
        let key = room_key(&principal.tenant, &address);
        let told = ClientEvent {
            connection: conn,
            from: Arc::clone(principal),
            room: address,
            event: Arc::clone(&event.event),
            id: None,
            data: event.data.clone(),
        };
        self.cast_into(&key, &event);
        self.hook(Hook::Sent(told));
    }

    /// Hands an event that is not kept to who is live.
    pub(super) fn cast_into(&mut self, key: &RoomKey, event: &Ephemeral) {
        if let Some(room) = self.rooms.find(key).and_then(|id| self.rooms.room(id)) {
            room.cast(event, &mut self.outputs);
        }
    }
}

/// A key where the room needs one (P-R9).
pub(super) fn judge_key(
    mode: RoomMode,
    key: Option<String>,
) -> Result<Option<Arc<str>>, (Code, &'static str)> {
    match (mode, key) {
        (RoomMode::Latest, None) => Err((Code::BAD_DATA, "a latest room needs a key")),
        (_, Some(key)) if key.is_empty() || key.len() > EVENT_BYTES => {
            Err((Code::BAD_DATA, "a key has 1 to 128 bytes"))
        }
        (_, key) => Ok(key.map(Arc::from)),
    }
}
