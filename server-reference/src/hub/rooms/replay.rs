//! Replay: pages at a member's position, until it is at the head (P-R4, P-R5).

use super::{
    RoomId,
    members::{Member, Stage},
};
use crate::{
    hub::{
        ConnId, Hub, Waiting,
        encode::Encoded,
        permissions::{Action, authorize},
        timers::Timer,
    },
    log::{Entry, Extent, Request, RoomKey, Ticket, Unavailable},
};
use std::{mem, sync::Arc, time::Duration};
use wardline::{
    planted::{Bug, planted},
    protocol::{
        Cursor,
        frames::{Live, Page, RoomMode},
        limits::REPLAY_BYTES,
    },
};

/// Time until a log that could not answer is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// Entries of a `latest` room that are written one by one; of more, the newest of each key.
const NEAR: u64 = 32;

/// Two positions are one: by number and mark.
fn same(one: Cursor, other: Cursor) -> bool {
    one.seq == other.seq && (one.mark == other.mark || planted(Bug::ProveWithoutMark))
}

/// An entry follows a position: by number and mark.
fn follows(entry: &Entry, position: Cursor) -> bool {
    let marks = entry.prev_mark == position.mark || planted(Bug::ProveWithoutMark);
    entry.seq == position.seq + 1 && marks
}

impl Hub {
    /// Puts a member that is behind into its connection's queue, if it may be written to.
    pub(super) fn enqueue(&mut self, conn: ConnId, id: RoomId) {
        let Some(session) = self.session_mut(conn) else { return };
        let Some(member) = session.members.member_mut(id) else { return };
        if let Stage::Behind { queued, .. } = &mut member.stage
            && !*queued
            && member.credit.has()
        {
            *queued = true;
            session.queue.push_back(id);
        }
    }

    /// Puts every member of a connection that is behind into its queue.
    pub(in super::super) fn enqueue_all(&mut self, conn: ConnId) {
        let Some(session) = self.session(conn) else { return };
        let rooms: Vec<_> = session.members.rooms().collect();
        for id in rooms {
            self.enqueue(conn, id);
        }
    }

    /// Writes what a connection's members are behind, rooms in turn, while less than 64 KiB is
    /// unsent; at most so much in one turn.
    pub(in super::super) fn pump(&mut self, conn: ConnId) {
        let mut budget = REPLAY_BYTES;
        loop {
            let Some(session) = self.session_mut(conn) else { return };
            if session.reading.is_some() || session.unsent >= REPLAY_BYTES {
                return;
            }
            let Some(id) = session.queue.pop_front() else { return };
            budget = budget.saturating_sub(self.serve(conn, id, budget));
            if budget == 0 {
                self.again.push_back(conn);
                return;
            }
        }
    }

    /// Serves one member in its turn; says how many bytes it wrote.
    fn serve(&mut self, conn: ConnId, id: RoomId, budget: usize) -> usize {
        let Some(member) = self.member_mut(conn, id) else { return 0 };
        let Stage::Behind { position, queued, .. } = &mut member.stage else { return 0 };
        *queued = false;
        let position = *position;
        if !member.credit.has() {
            return 0;
        }
        // While the room does not follow, nothing is handed on; it wakes its members later.
        let Some(head) = self.head_of(id) else { return 0 };
        let Some(room) = self.rooms.room(id) else { return 0 };
        let mode = room.mode;
        let at_head =
            same(position, head) || (mode == RoomMode::Latest && position.seq >= head.seq);
        let action = if at_head { Action::Live } else { Action::Replay };
        let Some(session) = self.session(conn) else { return 0 };
        if let Err(code) = authorize(&self.config, &session.principal, &room.key.room, action) {
            self.take_away(conn, id, code);
            return 0;
        }
        if at_head {
            self.turn_live(conn, id, head);
            return 0;
        }
        let near = mode == RoomMode::Log || head.seq - position.seq.min(head.seq) <= NEAR;
        let from_tail = position.seq < head.seq
            && near
            && room.tail.mark_of(position.seq, head).is_some()
            && room.tail.at(position.seq + 1).is_some();
        if from_tail {
            return self.serve_tail(conn, id, position, budget);
        }
        let key = room.key.clone();
        self.read(conn, id, key, mode, position.seq);
        0
    }

    fn read(&mut self, conn: ConnId, id: RoomId, key: RoomKey, mode: RoomMode, after: u64) {
        let ticket = self.ticket(Waiting::Replay { conn, room: id, after });
        self.ask(match mode {
            RoomMode::Log => Request::Read(ticket, key, after),
            RoomMode::Latest => Request::Keys(ticket, key, after),
        });
        if let Some(session) = self.session_mut(conn) {
            session.reading = Some(ticket);
        }
    }

    /// In the very turn in which its position is the head, a member becomes live.
    fn turn_live(&mut self, conn: ConnId, id: RoomId, head: Cursor) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        let address = room.key.room.to_string();
        let Some(session) = self.connections.session_mut(conn) else { return };
        let Some(member) = session.members.member_mut(id) else { return };
        let Some(view) = room.views.get_mut(member.view) else { return };
        room.behind.remove(&conn);
        let live = Arc::make_mut(&mut view.live);
        member.stage = Stage::Live(live.len());
        member.told = head.seq;
        live.push(conn);
        self.write(conn, &Live { room: address, seq: head.seq, mark: head.mark }.into());
    }

    fn serve_tail(
        &mut self,
        conn: ConnId,
        id: RoomId,
        mut position: Cursor,
        budget: usize,
    ) -> usize {
        let mut written = 0;
        while written < budget {
            let Some(room) = self.rooms.room_mut(id) else { return written };
            let address = &room.key.room;
            let Some(kept) = room.tail.at_mut(position.seq + 1) else { break };
            if room.mode == RoomMode::Log && !follows(&kept.entry, position) {
                // The log was rewritten behind this member: its own answer tells where it stands.
                let key = room.key.clone();
                self.read(conn, id, key, RoomMode::Log, position.seq);
                return written;
            }
            let encoded = kept.encoded.get_or_insert_with(|| Encoded::of(address, &kept.entry));
            let (entry, encoded) = (Arc::clone(&kept.entry), encoded.clone());
            position = Cursor { seq: entry.seq, mark: entry.mark };
            let Some(bytes) = self.hand(conn, id, &entry, Some(encoded)) else { break };
            written += bytes;
        }
        self.enqueue(conn, id);
        written
    }

    /// Hands one entry to a member that is behind, if its filter passes it; says how many bytes
    /// were written, or that the member takes no more now.
    fn hand(
        &mut self,
        conn: ConnId,
        id: RoomId,
        entry: &Entry,
        encoded: Option<Encoded>,
    ) -> Option<usize> {
        let room = self.rooms.room(id)?;
        let session = self.connections.session_mut(conn)?;
        let member = session.members.member_mut(id)?;
        let Member { view, stage: Stage::Behind { position, last, .. }, credit, .. } = member
        else {
            return None;
        };
        if !credit.has() {
            return None;
        }
        let view = room.views.get(*view)?;
        *position = Cursor { seq: entry.seq, mark: entry.mark };
        if !view.filter.passes(&entry.event, entry.data.get()) {
            return Some(0);
        }
        let prev = match room.mode {
            RoomMode::Log => *last + u64::from(planted(Bug::PrevOffByOne)),
            RoomMode::Latest => entry.seq - 1,
        };
        *last = entry.seq;
        let bytes = encoded
            .unwrap_or_else(|| Encoded::of(&room.key.room, entry))
            .with_prev(entry.seq, prev);
        let written = bytes.len();
        let page = credit.count(written).then(|| {
            credit.ask(entry.seq);
            Page { room: room.key.room.to_string(), seq: entry.seq }
        });
        self.write_bytes(conn, bytes);
        if let Some(page) = page {
            self.write(conn, &page.into());
        }
        Some(written)
    }

    /// A page for a member, or none to be had.
    pub(in super::super) fn handle_replay(
        &mut self,
        ticket: Ticket,
        (conn, id, after): (ConnId, RoomId, u64),
        page: Result<(Vec<Arc<Entry>>, Extent), Unavailable>,
    ) {
        let Some(session) = self.session_mut(conn) else { return };
        if session.reading != Some(ticket) {
            return;
        }
        session.reading = None;
        // A membership that was replaced meanwhile stands elsewhere.
        let asked = self.position(conn, id).is_some_and(|position| position.seq == after);
        match page {
            Ok((entries, extent)) if asked => self.take_page(conn, id, &entries, extent),
            Ok(_) => self.enqueue(conn, id),
            Err(Unavailable) => {
                self.stalled.insert(conn);
                self.timers.arm(Timer::Stalled, self.now.mono + RETRY);
                return;
            }
        }
        self.pump(conn);
    }

    /// Asks a log again that could not answer.
    pub(in super::super) fn handle_stalled(&mut self) {
        for conn in mem::take(&mut self.stalled) {
            self.enqueue_all(conn);
            self.pump(conn);
        }
    }

    fn take_page(&mut self, conn: ConnId, id: RoomId, entries: &[Arc<Entry>], extent: Extent) {
        let Some(head) = self.head_of(id) else { return };
        let Some(room) = self.rooms.room_mut(id) else { return };
        let mode = room.mode;
        if mode == RoomMode::Log && extent.head == head {
            room.tail.adopt(entries, head);
        }
        let Some(before) = self.position(conn, id) else { return };
        let mut position = before;
        for entry in entries {
            // What the room was not told yet comes live.
            if entry.seq > head.seq {
                break;
            }
            if mode == RoomMode::Log && !follows(entry, position) {
                self.lose(conn, id, extent);
                return;
            }
            if self.hand(conn, id, entry, None).is_none() {
                break;
            }
            position = Cursor { seq: entry.seq, mark: entry.mark };
        }
        if position != before {
            self.enqueue(conn, id);
        } else if mode == RoomMode::Latest {
            self.take_no_keys(conn, id, entries, extent, head);
        } else if same(position, head) {
            self.enqueue(conn, id);
        } else if extent.first.seq > position.seq
            || extent.head.seq < position.seq
            || same(extent.head, head)
        {
            self.lose(conn, id, extent);
        } else {
            // Log and room differ: the room's own proof decides, then this member is read on.
            self.prove_head(id);
        }
    }

    /// No key changed up to the head.
    fn take_no_keys(
        &mut self,
        conn: ConnId,
        id: RoomId,
        entries: &[Arc<Entry>],
        extent: Extent,
        head: Cursor,
    ) {
        let no_credit = self.member_mut(conn, id).is_none_or(|member| !member.credit.has());
        if no_credit {
            return;
        }
        if extent.head.seq < head.seq && entries.is_empty() {
            self.prove_head(id);
        } else if let Some(member) = self.member_mut(conn, id)
            && let Stage::Behind { position, .. } = &mut member.stage
        {
            *position = head;
            self.enqueue(conn, id);
        }
    }

    fn position(&self, conn: ConnId, id: RoomId) -> Option<Cursor> {
        match self.session(conn)?.members.member(id)?.stage {
            Stage::Behind { position, .. } => Some(position),
            Stage::Live(_) => None,
        }
    }
}
