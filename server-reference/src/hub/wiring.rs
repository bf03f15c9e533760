//! Where the parts meet the hub: what they want done, and the frames that are theirs.

use super::{
    AuthError, ConnId, Hub, Output, Principal, Revocation,
    commands::Admission,
    connections::State,
    intake::taken,
    parts::Act,
    permissions::{Action, authorize, room_key},
    revocations::{self, Verdict},
    sends::Judged,
    timers::Timer,
};
use crate::log::{NewEntry, RoomKey};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wardline::{
    model::ids::{ItemId, TenantId},
    protocol::{
        Address, Code, Json,
        frames::{Answer, Call, ErrorBody, Left, Member, Seen, SetStatus, Stream},
        limits::META_BYTES,
    },
};

/// Said where a connection ended meanwhile; nobody reads it.
const NO_SESSION: &str = "the connection has ended";
/// Ids one `call results` names at most.
const MOST_IDS: usize = 1000;

/// Parameters of `presence`.
#[derive(Deserialize)]
struct PresenceParams {
    room: String,
}

/// Result of `presence`.
#[derive(Serialize)]
struct PresenceResult {
    presence: Vec<Member>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

/// Parameters of `results`.
#[derive(Deserialize)]
struct ResultsParams {
    ids: Vec<ItemId>,
}

fn refusal(code: Code, message: &str) -> ErrorBody {
    ErrorBody { code, message: message.to_owned() }
}

impl Hub {
    /// Does what the parts want, and sets their deadline. Once per turn, when all else is done.
    pub(super) fn run_parts(&mut self) {
        if !self.parts.is_touched() {
            return;
        }
        while let Some(act) = self.parts.poll() {
            match act {
                Act::Output(output) => self.outputs.push_back(output),
                Act::Write(conn, frame) => self.write(conn, &frame),
                Act::Reply(conn, call, json) => self.finish_call(conn, call, Ok(json)),
                Act::Cut(revocation) => self.cut(&revocation),
                Act::Loaded(tenant) => self.check_again(&tenant),
                Act::Picture(tap, picture) => {
                    self.outputs.push_back(Output::Picture(tap, picture));
                }
            }
        }
        match self.parts.poll_timeout() {
            Some(at) => self.timers.arm(Timer::Parts, at),
            None => self.timers.disarm(Timer::Parts),
        }
        if let Some(every) = self.config.prove_every
            && !self.timers.is_armed(Timer::PartsProof)
        {
            self.timers.arm(Timer::PartsProof, self.now.mono + every);
        }
    }

    /// Whether a verified token lets in (P-C6a). None: its tenant's revocations are being read, and
    /// the answer comes back as another `Verified`.
    pub(super) fn check_revoked(
        &mut self,
        conn: ConnId,
        principal: Principal,
    ) -> Option<Result<Principal, AuthError>> {
        match self.parts.check(&principal, self.now) {
            Verdict::Valid => Some(Ok(principal)),
            Verdict::Revoked => Some(Err(AuthError::Revoked)),
            Verdict::Loading => {
                let waiting = self.unchecked.entry(principal.tenant.clone()).or_default();
                waiting.retain(|(other, _)| *other != conn);
                waiting.push((conn, principal));
                None
            }
        }
    }

    fn check_again(&mut self, tenant: &TenantId) {
        for (conn, principal) in self.unchecked.remove(tenant).unwrap_or_default() {
            self.handle_verified(conn, Ok(principal));
        }
        self.publish_again(tenant);
        self.check_taps(tenant);
    }

    /// Closes whom a durable revocation names.
    fn cut(&mut self, revocation: &Revocation) {
        for conn in self.connections.ids() {
            let named = match self.connections.get(conn).map(|connection| &connection.state) {
                Some(State::Ready(session)) => revocations::names(revocation, &session.principal),
                Some(State::Settling(_, principal, _)) => revocations::names(revocation, principal),
                _ => false,
            };
            if named {
                self.close_unauthorized(conn, AuthError::Revoked);
            }
        }
        self.cut_taps(revocation);
    }

    /// The time to wait where a connection sends more than it may (V6).
    pub(super) fn limit_send(&mut self, conn: ConnId, room: &str) -> Option<Duration> {
        let principal = std::sync::Arc::clone(&self.session(conn)?.principal);
        let namespace = room.split_once('/').map_or("", |(namespace, _)| namespace);
        self.parts.spend(&principal, namespace, self.now).err().map(|limited| limited.after)
    }

    /// What an accepted send appends: itself, and what goes with a command or an alert.
    pub(super) fn judge_entries(&self, conn: ConnId, entry: NewEntry, ttl: Option<u64>) -> Judged {
        if self.parts.is_commands(&entry.room.room) {
            let Some(session) = self.session(conn) else {
                return Judged::Refuse(Code::FORBIDDEN, "the connection has ended");
            };
            let (admission, concerns) = self.parts.admit(&entry.room, &entry.event, &entry.data);
            let allowed = concerns.is_none_or(|room| {
                authorize(&self.config, &session.principal, &room, Action::Send).is_ok()
            });
            match admission {
                Admission::Refuse(code, why) => return Judged::Refuse(code, why),
                Admission::Hold(code, after) => return Judged::Hold(code, after),
                Admission::Take if !allowed => {
                    let why = "you may not send to the room this command is about, or what it names does not exist";
                    return Judged::Refuse(Code::FORBIDDEN, why);
                }
                Admission::Take => {}
            }
        }
        let back_end = self.session(conn).is_some_and(|s| s.principal.has_role("service"));
        Judged::Append(self.parts.entries(entry, ttl, back_end))
    }

    /// Whether an event of the server's own code may go where it goes.
    pub(super) fn judge_own(&mut self, entry: &NewEntry) -> Result<(), ErrorBody> {
        if super::fold::is_internal(&entry.room.room) {
            return Err(refusal(Code::BAD_ROOM, "an internal room"));
        }
        self.parts.prepare(&entry.room);
        if !self.parts.is_commands(&entry.room.room) {
            return Ok(());
        }
        match self.parts.admit(&entry.room, &entry.event, &entry.data).0 {
            Admission::Take => Ok(()),
            Admission::Refuse(code, why) => Err(refusal(code, why)),
            Admission::Hold(code, _) if code == Code::UNAVAILABLE => {
                let why = "the tenant's commands are still being read; publish it again as it is";
                Err(refusal(code, why))
            }
            Admission::Hold(code, _) => Err(refusal(code, "too many commands are unanswered")),
        }
    }

    /// The commands' room of an address, seen from a connection.
    pub(super) fn commands_room(&self, conn: ConnId, room: &str) -> Option<RoomKey> {
        let address: Address = room.parse().ok()?;
        let session = self.session(conn)?;
        self.parts.is_commands(&address).then(|| room_key(&session.principal.tenant, &address))
    }

    /// Takes commands' rooms away that a new token does not allow (P-C6).
    pub(super) fn reevaluate_commands(&mut self, conn: ConnId) {
        let Some(session) = self.session(conn) else { return };
        let refused: Vec<_> = self
            .parts
            .commands_of(conn)
            .filter_map(|key| {
                let answer = authorize(&self.config, &session.principal, &key.room, Action::Join);
                answer.err().map(|code| (key.clone(), code))
            })
            .collect();
        for (key, code) in refused {
            self.parts.leave_commands(conn, &key, self.now);
            let room = key.room.as_str().to_owned();
            self.write(conn, &Left { id: None, room, code: Some(code), after: None }.into());
        }
    }

    /// `status` (P-P1).
    pub(super) fn handle_status(&mut self, conn: ConnId, status: SetStatus) {
        let Some(session) = self.session_mut(conn) else { return };
        let meta = status.meta.map(|meta| taken(&meta)).transpose();
        let small =
            |meta: &Option<Json>| meta.as_ref().is_none_or(|meta| meta.get().len() <= META_BYTES);
        // Nothing answers a `status`, and what nobody hears of would be shown to nobody.
        let Some(meta) = meta.ok().filter(small) else {
            self.hook_refused(conn, Code::BAD_STATUS);
            self.close_bad_frame(conn);
            return;
        };
        let status = SetStatus { meta, ..status };
        if let Some(hidden) = status.hidden {
            session.hidden = hidden;
            self.rearm(conn);
        }
        if let Err(code) = self.parts.status(conn, status, self.now) {
            self.hook_refused(conn, code);
        }
    }

    /// `answer` (P-S8).
    pub(super) fn handle_answer(&mut self, conn: ConnId, answer: Answer) {
        let Some(session) = self.session(conn) else { return };
        let tenant = session.principal.tenant.clone();
        if let Err(code) = self.parts.answer(conn, &tenant, answer) {
            self.hook_refused(conn, code);
        }
    }

    /// `stream` (P-V1).
    pub(super) fn handle_stream(&mut self, conn: ConnId, stream: &Stream) {
        let Some(session) = self.session(conn) else { return };
        let key = stream.room.parse::<Address>().map_err(|_| Code::BAD_ROOM).and_then(|room| {
            authorize(&self.config, &session.principal, &room, Action::Send)?;
            Ok(room_key(&session.principal.tenant, &room))
        });
        let announced = key.and_then(|key| self.parts.media().announce(conn, &key, stream));
        if let Err(code) = announced {
            self.hook_refused(conn, code);
        }
    }

    /// `seen` (P-V2).
    pub(super) fn handle_seen(&mut self, conn: ConnId, seen: Seen) {
        self.parts.media().seen(conn, seen);
    }

    /// A binary message.
    pub(super) fn handle_binary(&mut self, conn: ConnId, message: &Bytes) {
        if self.session(conn).is_none() || self.parts.media().binary(conn, message).is_err() {
            self.close_bad_frame(conn);
        }
    }

    /// The newest picture of a room's JPEG streams, where one is kept.
    #[must_use]
    pub fn snapshot(&self, tenant: &TenantId, room: &Address) -> Option<Bytes> {
        self.parts.snapshot(&room_key(tenant, room)).map(|picture| picture.bytes())
    }

    /// `call presence {room}`.
    pub(super) fn call_presence(&self, conn: ConnId, call: &Call) -> Result<Json, ErrorBody> {
        let params: PresenceParams =
            call.params.to().map_err(|_| refusal(Code::BAD_PARAMS, "{room}"))?;
        let room: Address =
            params.room.parse().map_err(|_| refusal(Code::BAD_ROOM, "no room address"))?;
        let session = self.session(conn).ok_or_else(|| refusal(Code::FORBIDDEN, NO_SESSION))?;
        authorize(&self.config, &session.principal, &room, Action::Presence)
            .map_err(|code| refusal(code, Action::Presence.refusal()))?;
        let (presence, partial) = self.parts.members(&session.principal.tenant, &room);
        Json::envelope(&PresenceResult { presence, partial })
            .map_err(|_| refusal(Code::INTERNAL, "presence has no JSON form"))
    }

    /// `call results {ids}`; the answer follows.
    pub(super) fn call_results(&mut self, conn: ConnId, call: &Call) -> Result<(), ErrorBody> {
        let params: ResultsParams =
            call.params.to().map_err(|_| refusal(Code::BAD_PARAMS, "{ids}"))?;
        if params.ids.len() > MOST_IDS {
            return Err(refusal(Code::BAD_PARAMS, "at most 1,000 ids"));
        }
        let session = self.session(conn).ok_or_else(|| refusal(Code::FORBIDDEN, NO_SESSION))?;
        let principal = std::sync::Arc::clone(&session.principal);
        self.parts.ask_results(conn, call.id, &principal, params.ids);
        Ok(())
    }
}
