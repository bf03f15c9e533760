//! Memberships: where members stand, and how they come and go (P-R4, P-R5, P-R6).

use super::{Room, RoomId};
use crate::{
    hub::{
        ConnId, Hub,
        permissions::{Action, authorize, room_key},
    },
    log::{Extent, RoomKey},
};
use std::{mem, sync::Arc};
use wardline::protocol::{
    Address, Code, Cursor, ServerFrame,
    frames::{Left, Lost},
    limits::{PAGE_BYTES, PAGE_EVENTS, PAGES_UNANSWERED},
};

/// One membership. Nothing is buffered for it (P-R4).
#[derive(Debug)]
pub(in super::super) struct Member {
    /// Index of its view in the room.
    pub(super) view: usize,
    /// Where it stands.
    pub(super) stage: Stage,
    /// What it was asked to confirm.
    pub(super) credit: Credit,
    /// The head it was told last (P-R7).
    pub(in super::super) told: u64,
}

/// Where a member stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// At the head; with its index among the view's live members.
    Live(usize),
    /// Read on from a position.
    Behind {
        /// The last entry it has, or that did not pass its filter.
        position: Cursor,
        /// The last event it was written.
        last: u64,
        /// It waits in the connection's queue.
        queued: bool,
    },
}

/// Pages asked for and not answered (P-R5).
#[derive(Debug, Default)]
pub(super) struct Credit {
    events: u64,
    bytes: usize,
    unanswered: [u64; PAGES_UNANSWERED as usize],
    count: usize,
}

impl Credit {
    /// Whether more may be written.
    pub(super) fn has(&self) -> bool {
        self.count < self.unanswered.len()
    }

    /// Remembers a question; says whether more may be written.
    pub(super) fn ask(&mut self, seq: u64) -> bool {
        if let Some(free) = self.unanswered.get_mut(self.count) {
            *free = seq;
            self.count += 1;
        }
        self.has()
    }

    /// Counts an event of a replay; says whether credit is to be asked for.
    pub(super) fn count(&mut self, bytes: usize) -> bool {
        self.events += 1;
        self.bytes += bytes;
        let full = self.events >= PAGE_EVENTS || self.bytes >= PAGE_BYTES;
        if full {
            (self.events, self.bytes) = (0, 0);
        }
        full
    }

    fn answer(&mut self, seq: u64) {
        while self.count > 0 && self.unanswered[0] <= seq {
            self.unanswered.rotate_left(1);
            self.count -= 1;
        }
    }
}

/// The memberships of a connection, in order of rooms. Most have a handful.
#[derive(Debug, Default)]
pub(in super::super) struct Members(Vec<(RoomId, Member)>);

impl Members {
    fn find(&self, room: RoomId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&room, |(id, _)| *id)
    }

    /// Memberships.
    pub(in super::super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the room is joined.
    pub(in super::super) fn has(&self, room: RoomId) -> bool {
        self.find(room).is_ok()
    }

    /// Borrows a membership to change it.
    pub(in super::super) fn member_mut(&mut self, room: RoomId) -> Option<&mut Member> {
        let at = self.find(room).ok()?;
        self.0.get_mut(at).map(|(_, member)| member)
    }

    /// Borrows a membership.
    pub(super) fn member(&self, room: RoomId) -> Option<&Member> {
        self.0.get(self.find(room).ok()?).map(|(_, member)| member)
    }

    /// The rooms, in order.
    pub(in super::super) fn rooms(&self) -> impl Iterator<Item = RoomId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// All of them, to change them.
    pub(in super::super) fn iter_mut(&mut self) -> impl Iterator<Item = (RoomId, &mut Member)> {
        self.0.iter_mut().map(|(id, member)| (*id, member))
    }

    pub(super) fn insert(&mut self, room: RoomId, member: Member) {
        if let Err(at) = self.find(room) {
            self.0.insert(at, (room, member));
        }
    }

    fn remove(&mut self, room: RoomId) -> Option<Member> {
        let at = self.find(room).ok()?;
        Some(self.0.remove(at).1)
    }
}

impl Member {
    /// Whether it is at the head.
    fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live(_))
    }

    /// The last event of its view, where it is live (P-R7).
    pub(in super::super) fn last_if_live(&self, room: &Room) -> Option<u64> {
        room.views.get(self.view).filter(|_| self.is_live()).map(|view| view.last)
    }
}
impl Hub {
    /// `credit` (P-R5).
    pub(in super::super) fn handle_credit(&mut self, conn: ConnId, room: &str, seq: u64) {
        let Some(id) = self.joined_room(conn, room) else { return };
        let Some(member) = self.member_mut(conn, id) else { return };
        member.credit.answer(seq);
        self.enqueue(conn, id);
        self.pump(conn);
    }

    /// Presence in a room goes on while the client finds out where to join it again: losing a
    /// cursor is no reason for the others to see a user go and come.
    pub(super) fn keep_lost(&mut self, conn: ConnId, key: RoomKey) {
        let most = self.config.limits.rooms;
        let Some(session) = self.session_mut(conn) else { return };
        if session.lost.len() >= most {
            self.parts.left(conn, &key, self.now);
        } else if !session.lost.contains(&key) {
            session.lost.push(key);
        }
    }

    /// Ends what a connection has of a room, a membership or what stayed of one.
    pub(super) fn leave_room(&mut self, conn: ConnId, room: &str) {
        if let Some(room) = self.joined_room(conn, room) {
            self.detach(conn, room);
        } else if let Some(key) = self.commands_room(conn, room) {
            self.parts.leave_commands(conn, &key, self.now);
            self.hook_left(conn, key.room);
        } else if let Ok(address) = room.parse::<Address>()
            && let Some(session) = self.session_mut(conn)
        {
            let key = room_key(&session.principal.tenant, &address);
            let before = session.lost.len();
            session.lost.retain(|lost| *lost != key);
            if session.lost.len() < before {
                self.parts.left(conn, &key, self.now);
            }
        }
    }

    /// Forgets a room nothing needs.
    pub(super) fn drop_room(&mut self, id: RoomId) {
        if self.rooms.drop_unused(id) {
            self.timers.disarm(crate::hub::timers::Timer::Room(id));
        }
    }

    /// The room of an address, if this connection joined it.
    pub(in super::super) fn joined_room(&self, conn: ConnId, room: &str) -> Option<RoomId> {
        let address: Address = room.parse().ok()?;
        let session = self.session(conn)?;
        let id = self.rooms.find(&room_key(&session.principal.tenant, &address))?;
        session.members.has(id).then_some(id)
    }

    /// Borrows a membership to change it.
    pub(in super::super) fn member_mut(
        &mut self,
        conn: ConnId,
        room: RoomId,
    ) -> Option<&mut Member> {
        self.session_mut(conn)?.members.member_mut(room)
    }

    /// Ends a membership, if there is one. Writes nothing.
    pub(in super::super) fn detach(&mut self, conn: ConnId, id: RoomId) {
        if let Some(key) = self.rooms.room(id).map(|room| room.key.clone()) {
            self.drop_member(conn, id);
            self.parts.left(conn, &key, self.now);
        }
    }

    /// Ends a membership, if there is one; the parts believe it goes on.
    pub(super) fn drop_member(&mut self, conn: ConnId, id: RoomId) {
        let Some(member) = self.session_mut(conn).and_then(|s| s.members.remove(id)) else {
            return;
        };
        self.leave_view(conn, id, &member);
        if let Some(room) = self.rooms.room_mut(id) {
            room.behind.remove(&conn);
            room.members -= 1;
            if let Some(view) = room.views.get_mut(member.view) {
                view.members -= 1;
            }
            let address = room.key.room.clone();
            self.hook_left(conn, address);
        }
        self.drop_room(id);
    }

    /// Takes a member out of the live ones of its view.
    fn leave_view(&mut self, conn: ConnId, id: RoomId, member: &Member) {
        let Stage::Live(index) = member.stage else { return };
        let Some(view) = self.rooms.room_mut(id).and_then(|r| r.views.get_mut(member.view)) else {
            return;
        };
        debug_assert_eq!(view.live.get(index), Some(&conn), "a member knows its index");
        let live = Arc::make_mut(&mut view.live);
        live.swap_remove(index);
        let moved = live.get(index).copied();
        if let Some(moved) = moved.and_then(|moved| self.member_mut(moved, id)) {
            moved.stage = Stage::Live(index);
        }
    }

    /// A live member goes on from its position later (P-R4, P-R5).
    pub(in super::super) fn fall_behind(&mut self, conn: ConnId, id: RoomId) {
        let Some(room) = self.rooms.room(id) else { return };
        let position = room.head;
        let Some(member) = self.session(conn).and_then(|s| s.members.member(id)) else { return };
        let Some(last) = room.views.get(member.view).map(|view| view.last) else { return };
        if !member.is_live() {
            return;
        }
        let stage = Stage::Behind { position, last, queued: false };
        let Some(member) = self.member_mut(conn, id) else { return };
        let was = Member {
            view: member.view,
            stage: mem::replace(&mut member.stage, stage),
            credit: Credit::default(),
            told: member.told,
        };
        self.leave_view(conn, id, &was);
        if let Some(room) = self.rooms.room_mut(id) {
            room.behind.insert(conn);
        }
    }

    /// A member cannot go on from where it is (P-R6).
    pub(super) fn lose(&mut self, conn: ConnId, id: RoomId, extent: Extent) {
        let Some(key) = self.rooms.room(id).map(|room| room.key.clone()) else { return };
        let room = key.room.to_string();
        self.drop_member(conn, id);
        self.keep_lost(conn, key);
        let Extent { first, head } = extent;
        self.write(conn, &Lost { id: None, room, first, head }.into());
    }

    /// Takes a membership away.
    pub(in super::super) fn take_away(&mut self, conn: ConnId, id: RoomId, code: Code) {
        let Some(room) = self.rooms.room(id).map(|room| room.key.room.to_string()) else { return };
        self.detach(conn, id);
        let left = Left { id: None, room, code: Some(code), after: None };
        self.write(conn, &ServerFrame::from(left));
    }

    /// Asks for every membership again whether the principal may have it (P-C6).
    pub(in super::super) fn reevaluate(&mut self, conn: ConnId) {
        let Some(session) = self.session(conn) else { return };
        let refused: Vec<_> = session
            .members
            .rooms()
            .filter_map(|id| {
                let room = &self.rooms.room(id)?.key.room;
                let answer = authorize(&self.config, &session.principal, room, Action::Join);
                answer.err().map(|code| (id, code))
            })
            .collect();
        for (id, code) in refused {
            self.take_away(conn, id, code);
        }
        let Some(session) = self.connections.session_mut(conn) else { return };
        let (config, principal) = (&self.config, &session.principal);
        let refused =
            |key: &mut RoomKey| authorize(config, principal, &key.room, Action::Join).is_err();
        let refused: Vec<_> = session.lost.extract_if(.., refused).collect();
        for key in refused {
            self.parts.left(conn, &key, self.now);
        }
    }

    /// Ends whatever a connection has and waits for in rooms.
    pub(in super::super) fn leave_all(&mut self, conn: ConnId) {
        let Some(session) = self.session(conn) else { return };
        let rooms: Vec<_> = session.members.rooms().collect();
        for id in rooms {
            self.drop_member(conn, id);
        }
        self.drop_answers(conn);
    }
}
