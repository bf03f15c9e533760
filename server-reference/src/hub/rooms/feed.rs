//! How a room follows its log: hand on what fits, prove and read on otherwise (P-K2).

use super::{Feed, Room, RoomId};
use crate::{
    hub::{Hub, Waiting, timers::Timer},
    log::{Entry, Extent, Reply, Request, RoomKey, Ticket, Unavailable},
};
use std::{mem, sync::Arc, time::Duration};
use wardline::{
    planted::{Bug, planted},
    protocol::{Cursor, frames::Page as PageFrame},
};

/// How an entry relates to a room's head.
enum Fit {
    /// It is the next.
    Next,
    /// It was handed on before.
    Known,
    /// The log is not where this room believes it to be.
    Other,
}

impl Room {
    fn fit(&self, entry: &Entry) -> Fit {
        let unchecked = planted(Bug::DropUnchecked);
        if entry.seq == self.head.seq + 1 && (entry.prev_mark == self.head.mark || unchecked) {
            return Fit::Next;
        }
        let known = entry.seq <= self.head.seq
            && (self.tail.mark_of(entry.seq, self.head) == Some(entry.mark) || unchecked);
        if known { Fit::Known } else { Fit::Other }
    }
}

impl Hub {
    /// The log tells an entry.
    pub(in super::super) fn handle_entry(&mut self, key: &RoomKey, entry: Arc<Entry>) {
        if let Some(id) = self.rooms.find(key) {
            self.take_entry(id, entry);
        }
    }

    fn take_entry(&mut self, id: RoomId, entry: Arc<Entry>) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        if !room.follows() {
            room.hold(entry);
            return;
        }
        match room.fit(&entry) {
            Fit::Next => self.accept(id, entry),
            Fit::Known => {}
            // What is told is durable: the proof's answer, asked for now, covers this entry.
            Fit::Other => self.prove_head(id),
        }
    }

    fn accept(&mut self, id: RoomId, entry: Arc<Entry>) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        let seq = entry.seq;
        for view in room.accept(entry, &mut self.outputs) {
            self.ask_credit(id, view, seq);
        }
    }

    /// Asks every live member of a view for credit; who left two such questions unanswered falls
    /// behind (P-R5). Once in 1,024 events or 256 KiB, so the walk costs nothing per event.
    fn ask_credit(&mut self, id: RoomId, view: usize, seq: u64) {
        let Some(room) = self.rooms.room(id) else { return };
        let Some(view) = room.views.get(view) else { return };
        let live = Arc::clone(&view.live);
        let page = PageFrame { room: room.key.room.to_string(), seq };
        self.write_many(Arc::clone(&live), &page.into());
        for conn in live.iter() {
            let out_of_credit =
                self.member_mut(*conn, id).is_some_and(|member| !member.credit.ask(seq));
            if out_of_credit {
                self.fall_behind(*conn, id);
            }
        }
    }

    /// Asks the log whether it still stands where this room believes; nothing is handed on
    /// meanwhile.
    pub(in super::super) fn prove_head(&mut self, id: RoomId) {
        let Some(room) = self.rooms.room(id) else { return };
        if matches!(room.feed, Feed::Proving(_) | Feed::Reading(_) | Feed::Unknown(_)) {
            return;
        }
        let request = (room.key.clone(), room.head);
        let ticket = self.ticket(Waiting::Head(id));
        self.ask(Request::Prove(ticket, request.0, Some(request.1)));
        if let Some(room) = self.rooms.room_mut(id) {
            room.feed = Feed::Proving(ticket);
            // What was told before is in the log that is asked now.
            room.held.clear();
            room.overflowed = false;
        }
    }

    /// Asks the log where a room stands, if no one asked yet.
    pub(super) fn ask_head(&mut self, id: RoomId) {
        let Some(room) = self.rooms.room(id) else { return };
        if room.feed != Feed::Unknown(None) {
            return;
        }
        let key = room.key.clone();
        let ticket = self.ticket(Waiting::Head(id));
        self.ask(Request::Prove(ticket, key, None));
        if let Some(room) = self.rooms.room_mut(id) {
            room.feed = Feed::Unknown(Some(ticket));
        }
    }

    /// The answer to a proof that the feed waits for.
    pub(in super::super) fn handle_head(
        &mut self,
        ticket: Ticket,
        id: RoomId,
        proved: Result<(Extent, bool), Unavailable>,
    ) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        match (room.feed, proved) {
            (Feed::Unknown(Some(asked)), Ok((extent, _))) if asked == ticket => {
                self.know_head(id, extent);
            }
            (Feed::Unknown(Some(asked)), Err(Unavailable)) if asked == ticket => {
                room.feed = Feed::Unknown(None);
                self.refuse_waiting(id);
            }
            (Feed::Proving(asked), Ok((extent, true))) if asked == ticket => {
                room.tries = 0;
                self.catch_up(id, extent);
            }
            (Feed::Proving(asked), Ok((extent, false))) if asked == ticket => {
                room.tries = 0;
                self.lose_all(id, extent);
            }
            (Feed::Proving(asked), Err(Unavailable)) if asked == ticket => self.stall(id),
            _ => {}
        }
    }

    /// The first word of where a room stands.
    pub(super) fn know_head(&mut self, id: RoomId, extent: Extent) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        if !matches!(room.feed, Feed::Unknown(_)) {
            return;
        }
        room.head = extent.head;
        room.tries = 0;
        self.follow(id);
    }

    /// Reads on where the log is ahead of the room.
    fn catch_up(&mut self, id: RoomId, extent: Extent) {
        let Some(room) = self.rooms.room(id) else { return };
        if extent.head.seq <= room.head.seq {
            self.follow(id);
            return;
        }
        let (key, after) = (room.key.clone(), room.head.seq);
        let ticket = self.ticket(Waiting::Feed(id));
        self.ask(Request::Read(ticket, key, after));
        if let Some(room) = self.rooms.room_mut(id) {
            room.feed = Feed::Reading(ticket);
        }
    }

    /// A page the feed waits for.
    pub(in super::super) fn handle_feed(
        &mut self,
        ticket: Ticket,
        id: RoomId,
        page: Result<(Vec<Arc<Entry>>, Extent), Unavailable>,
    ) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        if room.feed != Feed::Reading(ticket) {
            return;
        }
        let Ok((entries, extent)) = page else {
            self.stall(id);
            return;
        };
        room.tries = 0;
        let before = room.head.seq;
        // Handing on needs the feed to follow; nothing else runs in between.
        room.feed = Feed::Following;
        for entry in entries {
            let fit = self.rooms.room(id).map_or(Fit::Known, |room| room.fit(&entry));
            match fit {
                Fit::Next => self.accept(id, entry),
                Fit::Known => {}
                Fit::Other => {
                    self.prove_head(id);
                    return;
                }
            }
        }
        let Some(room) = self.rooms.room(id) else { return };
        if room.head.seq == before && extent.head.seq > before {
            // Overtaken by retention, or the log went back: the proof decides.
            self.prove_head_later(id);
        } else {
            self.catch_up(id, extent);
        }
    }

    fn prove_head_later(&mut self, id: RoomId) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        room.tries += 1;
        if room.tries > 3 {
            self.stall(id);
        } else {
            self.prove_head(id);
        }
    }

    /// Hands on what was held, and wakes who waited.
    fn follow(&mut self, id: RoomId) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        room.feed = Feed::Following;
        let mut held: Vec<_> = mem::take(&mut room.held).into();
        let overflowed = mem::take(&mut room.overflowed);
        // What chains up to the head was part of what the head's answer told.
        let head = room.head;
        room.tail.adopt(&held, head);
        for entry in held.drain(..) {
            self.take_entry(id, entry);
            if !self.rooms.room(id).is_some_and(Room::follows) {
                // A proof was asked for; it covers everything told before.
                return;
            }
        }
        if overflowed {
            self.prove_head(id);
        }
        if self.rooms.room(id).is_some_and(Room::follows) {
            self.arm_probe(id);
            self.wake_room(id);
        }
    }

    /// The room's head is not proved: its tail is lost to every member (P-R6, P-K2).
    fn lose_all(&mut self, id: RoomId, extent: Extent) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        let mut members: Vec<_> =
            room.views.iter().flat_map(|view| view.live.iter().copied()).collect();
        members.extend(room.behind.iter().copied());
        members.sort_unstable();
        room.head = extent.head;
        room.tail.clear();
        // The room must outlive its members here: who waits to join is told below.
        room.pins += 1;
        for conn in members {
            self.lose(conn, id, extent);
        }
        if let Some(room) = self.rooms.room_mut(id) {
            room.pins -= 1;
        }
        self.follow(id);
        self.drop_room(id);
    }

    /// The log cannot answer: try again later.
    fn stall(&mut self, id: RoomId) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        room.feed = Feed::Stalled;
        room.tries = (room.tries + 1).min(5);
        let wait = Duration::from_millis(125 << room.tries);
        self.timers.arm(Timer::Room(id), self.now.mono + wait);
    }

    fn arm_probe(&mut self, id: RoomId) {
        if let Some(every) = self.config.prove_every {
            // Spread, so that rooms made together are not proved together.
            let spread = every.mul_f64(0.5 + 0.5 * self.rng.f64());
            self.timers.arm(Timer::Room(id), self.now.mono + spread);
        }
    }

    /// The room's moment: another try, or the proof of its head that is due (P-K2).
    pub(in super::super) fn handle_room_timer(&mut self, id: RoomId) {
        let trim = self.now.wall.0.saturating_sub(60_000);
        let Some(room) = self.rooms.room_mut(id) else { return };
        match room.feed {
            Feed::Stalled => self.prove_head(id),
            Feed::Following => {
                room.tail.trim(trim);
                self.probe(id);
                self.arm_probe(id);
            }
            Feed::Unknown(_) | Feed::Proving(_) | Feed::Reading(_) => {}
        }
    }

    /// Asks for a proof of the head beside the feed: entries are handed on meanwhile.
    pub(super) fn probe(&mut self, id: RoomId) {
        let Some(room) = self.rooms.room(id) else { return };
        if !room.follows() || room.probe.is_some() {
            return;
        }
        let request = (room.key.clone(), room.head);
        let ticket = self.ticket(Waiting::Probe(id));
        self.ask(Request::Prove(ticket, request.0, Some(request.1)));
        if let Some(room) = self.rooms.room_mut(id) {
            room.probe = Some(ticket);
        }
    }

    /// The answer to a proof that went on beside the feed.
    pub(in super::super) fn handle_probe(
        &mut self,
        id: RoomId,
        proved: Result<(Extent, bool), Unavailable>,
    ) {
        let Some(room) = self.rooms.room_mut(id) else { return };
        room.probe = None;
        if !room.follows() {
            return;
        }
        match proved {
            Ok((extent, true)) if extent.head.seq > room.head.seq => self.catch_up(id, extent),
            Ok((_, true)) | Err(Unavailable) => {}
            // The head may have moved since it was asked about: the feed's own proof decides.
            Ok((_, false)) => self.prove_head(id),
        }
    }

    /// Proves the head of every active room, and what the parts folded, before anything else is
    /// handed on: after the connection to a store was lost and is back (P-K2). Then take outputs.
    pub fn prove_all(&mut self) {
        let keys: Vec<_> = self.rooms.in_order().iter().map(|(key, _)| (*key).clone()).collect();
        for key in keys {
            if let Some(id) = self.rooms.find(&key) {
                self.prove_head(id);
            }
        }
        self.parts.refresh();
        self.run_parts();
    }

    /// Where a room that follows stands.
    pub(super) fn head_of(&self, id: RoomId) -> Option<Cursor> {
        self.rooms.room(id).filter(|room| room.follows()).map(|room| room.head)
    }
}

/// Sorts a log reply to who waits for it.
pub(in super::super) fn ticket_of(reply: &Reply) -> Option<Ticket> {
    match reply {
        Reply::Stepped(ticket, _)
        | Reply::Producer(ticket, _)
        | Reply::Proved(ticket, _)
        | Reply::Page(ticket, _) => Some(*ticket),
        Reply::Entry(..) => None,
    }
}
