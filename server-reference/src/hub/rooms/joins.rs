//! Joins and leaves: checked, proved, and answered in the order of the questions (P-R1, P-C2).

use super::{
    Feed, Room, RoomId,
    members::{Credit, Member, Stage},
};
use crate::{
    hub::{
        ConnId, Hub, Waiting,
        intake::taken,
        permissions::{Action, authorize, room_key},
        presence::Membership,
    },
    log::{Extent, Request, RoomKey, Ticket, Unavailable},
};
use std::mem;
use wardline::protocol::{
    Address, Code, Cursor, Filter, Json, Mark,
    frames::{Join, Joined, Leave, Left, Lost, RoomMode, Start},
    limits::META_BYTES,
};

/// An answer to a join or leave; written in the order of the questions (P-C2).
#[derive(Debug)]
pub(in super::super) struct Answer {
    number: u64,
    id: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Known: refused.
    Refused(Left),
    /// A join under way.
    Join(Box<JoinSpec>),
    /// End the membership when its turn comes.
    Leave(Leave),
    /// Join the handlers of commands when its turn comes (P-S8).
    Commands(RoomKey, Option<Cursor>),
}

/// A join under way.
#[derive(Debug)]
pub(in super::super) struct JoinSpec {
    address: Address,
    room: RoomId,
    cursor: Option<Cursor>,
    from: Start,
    filter: Filter,
    state: JoinState,
    /// It stands in the room's queue of those who wait for its feed.
    parked: bool,
    /// Shown in presence.
    pub(in super::super) meta: Option<Json>,
    /// Whether the user appears in the room's presence.
    pub(in super::super) present: bool,
    /// Whether to receive the room's presence.
    pub(in super::super) watch: bool,
}

#[derive(Debug)]
enum JoinState {
    /// For the room's feed.
    Waiting,
    /// For the log's proof.
    Proving(Ticket),
    /// It can be answered when its turn comes.
    Ready(Resume),
}

/// Where a membership begins.
#[derive(Clone, Copy, Debug)]
enum Resume {
    /// At the head.
    Head,
    /// Behind a proved cursor.
    At(Cursor),
    /// With every key (P-R9).
    Full,
    /// Nowhere: the cursor is not proved (P-R6).
    Lost(Extent),
}

/// A join that may be answered.
enum Checked {
    /// A room's.
    Room(Box<JoinSpec>),
    /// Of the handlers of commands.
    Commands(RoomKey),
}

/// The position before everything, for `latest` rooms that are sent in full.
const START: Cursor = Cursor { seq: 0, mark: Mark(0) };

impl JoinSpec {
    /// What the log's proof means for this join.
    fn resume(&self, mode: RoomMode, extent: Extent, proved: bool) -> Resume {
        match (self.cursor, mode) {
            (Some(cursor), _) if proved => Resume::At(cursor),
            (_, RoomMode::Latest) => Resume::Full,
            (Some(_), RoomMode::Log) => Resume::Lost(extent),
            (None, RoomMode::Log) if self.from == Start::First => Resume::At(extent.first),
            (None, RoomMode::Log) => Resume::Head,
        }
    }

    /// Where it begins, if no proof is needed. A proof is the log's word: what this room remembers
    /// may be a tail that the log has lost (P-R3).
    fn resume_locally(&self, room: &Room) -> Option<Resume> {
        match (self.cursor, room.mode) {
            (None, RoomMode::Latest) => Some(Resume::Full),
            (None, RoomMode::Log) if self.from == Start::Live => Some(Resume::Head),
            _ => None,
        }
    }
}
impl Hub {
    /// `join` (P-R1).
    pub(in super::super) fn handle_join(&mut self, conn: ConnId, join: Join) {
        let id = join.id;
        let room = join.room.clone();
        let cursor = join.cursor;
        let most = 2 * self.config.limits.rooms.max(1);
        let Some(session) = self.session_mut(conn) else { return };
        if session.answers.len() >= most {
            // A client that asks faster than it is answered is answered out of turn.
            let left = Left { id: Some(id), room, code: Some(Code::RATE), after: Some(1000) };
            self.refuse(conn, left);
            return;
        }
        let what = match self.check_join(conn, join) {
            Ok(Checked::Commands(key)) => What::Commands(key, cursor),
            Ok(Checked::Room(spec)) => {
                if let Some(room) = self.rooms.room_mut(spec.room) {
                    room.pins += 1;
                }
                What::Join(spec)
            }
            Err(code) => {
                self.hook_refused(conn, code.clone());
                What::Refused(Left { id: Some(id), room, code: Some(code), after: None })
            }
        };
        let Some(session) = self.session_mut(conn) else { return };
        session.next_answer += 1;
        let number = session.next_answer;
        session.joins += usize::from(matches!(what, What::Join(_)));
        session.answers.push_back(Answer { number, id, what });
        self.resolve(conn, number);
        self.flush_answers(conn);
    }

    /// `leave` (P-R1).
    pub(in super::super) fn handle_leave(&mut self, conn: ConnId, leave: Leave) {
        let most = 4 * self.config.limits.rooms.max(1);
        let Some(session) = self.session_mut(conn) else { return };
        if session.answers.len() >= most {
            let Leave { id, room } = leave;
            let left = Left { id: Some(id), room, code: Some(Code::RATE), after: Some(1000) };
            self.write(conn, &left.into());
            return;
        }
        session.next_answer += 1;
        let (number, id) = (session.next_answer, leave.id);
        session.answers.push_back(Answer { number, id, what: What::Leave(leave) });
        self.flush_answers(conn);
    }

    fn check_join(&mut self, conn: ConnId, join: Join) -> Result<Checked, Code> {
        let address: Address = join.room.parse().map_err(|_| Code::BAD_ROOM)?;
        let filter = join.filter.canonical().map_err(|_| Code::BAD_FILTER)?;
        let most = self.config.limits.rooms;
        let Some(session) = self.session(conn) else { return Err(Code::FORBIDDEN) };
        authorize(&self.config, &session.principal, &address, Action::Join)?;
        let meta = join.meta.map(|meta| taken(&meta)).transpose();
        let meta = meta.map_err(|_| Code::BAD_DATA)?;
        if meta.as_ref().is_some_and(|meta| meta.get().len() > META_BYTES) {
            return Err(Code::BAD_STATUS);
        }
        let key = room_key(&session.principal.tenant, &address);
        if self.parts.is_commands(&address) {
            return Ok(Checked::Commands(key));
        }
        let joined = self.rooms.find(&key).is_some_and(|room| session.members.has(room));
        if !joined && session.members.len() + session.joins >= most {
            return Err(Code::ROOMS);
        }
        let mode = self.config.mode(&address);
        Ok(Checked::Room(Box::new(JoinSpec {
            room: self.rooms.find_or_make(key, mode),
            address,
            cursor: join.cursor,
            from: join.from.unwrap_or_default(),
            filter,
            state: JoinState::Waiting,
            parked: false,
            meta,
            present: join.present,
            watch: join.watch,
        })))
    }

    fn join_mut(&mut self, conn: ConnId, number: u64) -> Option<&mut JoinSpec> {
        let answers = &mut self.session_mut(conn)?.answers;
        let first = answers.front()?.number;
        let answer = answers.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)?;
        match &mut answer.what {
            What::Join(spec) => Some(spec),
            What::Refused(_) | What::Leave(_) | What::Commands(..) => None,
        }
    }

    /// Finds out where a waiting join begins, or asks the log.
    fn resolve(&mut self, conn: ConnId, number: u64) {
        let Some(spec) = self.join_mut(conn, number) else { return };
        if !matches!(spec.state, JoinState::Waiting) {
            return;
        }
        let (id, cursor) = (spec.room, spec.cursor);
        let at_head = cursor.is_none() && spec.from == Start::Live;
        let Some(room) = self.rooms.room(id) else { return };
        let ask = match room.feed {
            Feed::Following => {
                let local = self
                    .session(conn)
                    .and_then(|session| session.join(number))
                    .and_then(|spec| spec.resume_locally(room));
                if let (Some(resume), Some(spec)) = (local, self.join_mut(conn, number)) {
                    spec.state = JoinState::Ready(resume);
                }
                local.is_none()
            }
            Feed::Unknown(_) => !at_head,
            Feed::Proving(_) | Feed::Reading(_) | Feed::Stalled => false,
        };
        if ask {
            let Some(key) = self.rooms.room(id).map(|room| room.key.clone()) else { return };
            let ticket = self.ticket(Waiting::Join { conn, number });
            self.ask(Request::Prove(ticket, key, cursor));
            if let Some(spec) = self.join_mut(conn, number) {
                spec.state = JoinState::Proving(ticket);
            }
        } else if self.head_of(id).is_none() {
            self.park(conn, number, id);
        }
    }

    /// Waits for a room's feed.
    fn park(&mut self, conn: ConnId, number: u64, id: RoomId) {
        let parked =
            self.join_mut(conn, number).is_none_or(|spec| mem::replace(&mut spec.parked, true));
        if let Some(room) = self.rooms.room_mut(id)
            && !parked
        {
            room.waiting.push_back((conn, number));
        }
        self.ask_head(id);
    }

    /// The log's proof for a join.
    pub(in super::super) fn handle_join_proved(
        &mut self,
        ticket: Ticket,
        (conn, number): (ConnId, u64),
        proved: Result<(Extent, bool), Unavailable>,
    ) {
        let Some(spec) = self.join_mut(conn, number) else { return };
        if !matches!(spec.state, JoinState::Proving(asked) if asked == ticket) {
            return;
        }
        let id = spec.room;
        if let Ok((extent, proved)) = proved {
            let Some(mode) = self.rooms.room(id).map(|room| room.mode) else { return };
            let mut doubted = false;
            if let Some(spec) = self.join_mut(conn, number) {
                spec.state = JoinState::Ready(spec.resume(mode, extent, proved));
                doubted = spec.cursor.is_some() && !proved;
            }
            self.know_head(id, extent);
            let ahead = self.head_of(id).is_some_and(|head| extent.head.seq < head.seq);
            if ahead || doubted {
                // Perhaps the log has lost what this room handed on.
                self.probe(id);
            }
        } else {
            self.refuse_join(conn, number);
        }
        self.flush_answers(conn);
    }

    /// The log cannot answer: the join is refused for now.
    fn refuse_join(&mut self, conn: ConnId, number: u64) {
        let Some(session) = self.session_mut(conn) else { return };
        let Some(first) = session.answers.front().map(|answer| answer.number) else { return };
        let at = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        let Some(answer) = session.answers.get_mut(at) else { return };
        let What::Join(spec) = &answer.what else { return };
        let room = spec.room;
        answer.what = What::Refused(Left {
            id: Some(answer.id),
            room: spec.address.to_string(),
            code: Some(Code::UNAVAILABLE),
            after: Some(1000),
        });
        session.joins -= 1;
        self.unpin(room);
    }

    /// Refuses every join that waits for a head the log cannot tell.
    pub(super) fn refuse_waiting(&mut self, id: RoomId) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        for (conn, number) in mem::take(&mut room.waiting) {
            self.refuse_join(conn, number);
            self.flush_answers(conn);
        }
    }

    /// The feed follows: joins that waited are resolved, members behind are read on.
    pub(super) fn wake_room(&mut self, id: RoomId) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        let waiting = mem::take(&mut room.waiting);
        let behind: Vec<_> = room.behind.iter().copied().collect();
        for (conn, number) in waiting {
            if let Some(spec) = self.join_mut(conn, number) {
                spec.parked = false;
            }
            self.resolve(conn, number);
            self.flush_answers(conn);
        }
        for conn in behind {
            self.enqueue(conn, id);
            self.pump(conn);
        }
    }

    /// Writes the answers whose turn has come.
    fn flush_answers(&mut self, conn: ConnId) {
        while let Some(session) = self.session_mut(conn) {
            let Some(front) = session.answers.front() else { break };
            let number = front.number;
            let (room, resume) = match &front.what {
                What::Join(spec) => match spec.state {
                    JoinState::Ready(resume) => (spec.room, resume),
                    JoinState::Waiting | JoinState::Proving(_) => break,
                },
                What::Refused(_) | What::Leave(_) | What::Commands(..) => {
                    if let Some(answer) = session.answers.pop_front() {
                        self.finish_answer(conn, answer);
                    }
                    continue;
                }
            };
            if self.head_of(room).is_none() {
                self.park(conn, number, room);
                break;
            }
            let Some(session) = self.session_mut(conn) else { break };
            session.joins -= 1;
            if let Some(Answer { id, what: What::Join(spec), .. }) = session.answers.pop_front() {
                self.begin(conn, id, *spec, resume);
                self.unpin(room);
            }
        }
        self.pump(conn);
    }

    fn finish_answer(&mut self, conn: ConnId, answer: Answer) {
        match answer.what {
            What::Refused(left) => self.refuse(conn, left),
            What::Leave(leave) => {
                self.leave_room(conn, &leave.room);
                let left = Left { id: Some(answer.id), room: leave.room, code: None, after: None };
                self.write(conn, &left.into());
            }
            What::Commands(key, cursor) => {
                self.parts.join_commands(conn, &key, (answer.id, cursor), self.now);
                self.hook_joined(conn, key.room);
            }
            What::Join(_) => {}
        }
    }

    /// Refuses a join. It would have replaced the membership there was, so that ends too.
    fn refuse(&mut self, conn: ConnId, left: Left) {
        if let Some(id) = self.joined_room(conn, &left.room) {
            let again = left.code.as_ref().is_some_and(Code::is_retryable);
            match self.rooms.room(id).map(|room| room.key.clone()) {
                Some(key) if again => {
                    self.drop_member(conn, id);
                    self.keep_lost(conn, key);
                }
                _ => self.detach(conn, id),
            }
        }
        self.write(conn, &left.into());
    }

    /// Begins a membership, or says why not. The room follows.
    fn begin(&mut self, conn: ConnId, id: u64, spec: JoinSpec, resume: Resume) {
        let address = spec.address.to_string();
        // Presence sees one membership replace the other, or the end of the one before.
        self.drop_member(conn, spec.room);
        let Some(session) = self.session(conn) else { return };
        let key = room_key(&session.principal.tenant, &spec.address);
        let user = session.principal.user.clone();
        let permission = authorize(&self.config, &session.principal, &spec.address, Action::Join);
        if let Err(code) = permission {
            let left = Left { id: Some(id), room: address, code: Some(code), after: None };
            self.write(conn, &left.into());
            self.parts.left(conn, &key, self.now);
            return;
        }
        let Some(room) = self.rooms.room_mut(spec.room) else { return };
        let head = room.head;
        let position = match resume {
            Resume::Head => head,
            Resume::At(cursor) => cursor,
            Resume::Full => START,
            Resume::Lost(extent) => {
                let Extent { first, head } = extent;
                self.keep_lost(conn, key);
                self.write(conn, &Lost { id: Some(id), room: address, first, head }.into());
                return;
            }
        };
        let mode = room.mode;
        let Some(view) = room.view_of(&spec.filter) else {
            let code = Some(Code::FILTERS);
            self.write(conn, &Left { id: Some(id), room: address, code, after: None }.into());
            self.parts.left(conn, &key, self.now);
            return;
        };
        room.views[view].members += 1;
        room.members += 1;
        room.behind.insert(conn);
        let full = matches!(resume, Resume::Full);
        let stage = Stage::Behind { position, last: position.seq, queued: false };
        let member = Member { view, stage, credit: Credit::default(), told: position.seq };
        if let Some(session) = self.session_mut(conn) {
            session.members.insert(spec.room, member);
            session.lost.retain(|lost| *lost != key);
        }
        let joined = Joined { id, room: address, cursor: position, head, mode, full };
        self.write(conn, &joined.into());
        let how = Membership { present: spec.present, watch: spec.watch, meta: spec.meta };
        if let Err(code) = self.parts.joined(conn, &key, &user, how, self.now) {
            self.hook_refused(conn, code);
        }
        self.hook_joined(conn, spec.address);
        self.enqueue(conn, spec.room);
    }

    /// Forgets what a connection waits for.
    pub(super) fn drop_answers(&mut self, conn: ConnId) {
        let Some(session) = self.session_mut(conn) else { return };
        session.joins = 0;
        for answer in mem::take(&mut session.answers) {
            let What::Join(spec) = answer.what else { continue };
            if spec.parked
                && let Some(room) = self.rooms.room_mut(spec.room)
            {
                room.waiting.retain(|(waiting, _)| *waiting != conn);
            }
            self.unpin(spec.room);
        }
    }

    fn unpin(&mut self, id: RoomId) {
        if let Some(room) = self.rooms.room_mut(id) {
            room.pins -= 1;
        }
        self.drop_room(id);
    }
}

impl crate::hub::connections::Session {
    fn join(&self, number: u64) -> Option<&JoinSpec> {
        let first = self.answers.front()?.number;
        match &self.answers.get(usize::try_from(number.checked_sub(first)?).ok()?)?.what {
            What::Join(spec) => Some(spec),
            What::Refused(_) | What::Leave(_) | What::Commands(..) => None,
        }
    }
}
