//! Bringing the membership to what the subscriptions want.

use super::{
    ApiEvent, Rooms,
    room::{Begin, Wire},
    sub::Place,
};
use crate::{
    machine::io::{ReplyValue, SubId},
    protocol::frames::{Join, Leave, Start},
};

impl Rooms {
    /// Gives a new subscription its place, as soon as that is known.
    pub(super) fn resolve(&mut self, key: &str, sub: SubId) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let address = room.address.clone();
        let Some(entry) = room.subs.get_mut(&sub) else { return };
        if entry.place != Place::Unresolved {
            return;
        }
        let cursor = match (&entry.cursor, &entry.durable) {
            (Some(cursor), _) => Some(*cursor),
            (None, Some(_)) if !self.cursors.is_loaded() => return,
            (None, Some(name)) => self.cursors.stored_at(name, &address),
            (None, None) => None,
        };
        entry.place = match cursor {
            Some(last) => Place::At { last, proved: false },
            None => Place::Start(entry.start),
        };
    }

    /// Does the next step from what the membership is to what is wanted, unless an answer or a time
    /// is waited for.
    pub(super) fn sync(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if room.subs.is_empty() {
            return self.give_up(key);
        }
        if !self.linked {
            return;
        }
        if room.is_in() {
            self.attach(key);
        }
        if let Some(join) = self.begin_join(key) {
            self.send(join);
        }
    }

    /// Makes the join that is needed now, if one is.
    pub(super) fn begin_join(&mut self, key: &str) -> Option<Join> {
        let room = self.rooms.get_mut(key)?;
        if !matches!(room.wire, Wire::Out | Wire::In { .. }) {
            return None;
        }
        let begin = room.next_start()?;
        self.next_id += 1;
        room.wish = room.wanted();
        room.owed.clear();
        let from = match begin {
            Begin::Cursor(cursor) => Some(cursor),
            Begin::Start(_) => None,
        };
        room.wire = Wire::Joining { id: self.next_id, from };
        Some(room.join(self.next_id, &begin))
    }

    /// Lets new subscriptions begin at the head of a membership that already brings what they want.
    fn attach(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Wire::In { live, .. } = room.wire else { return };
        if room.mode == crate::protocol::frames::RoomMode::Latest || room.wanted() != room.wish {
            return;
        }
        let head = if room.head.seq > room.last.seq { room.head } else { room.last };
        let mode = room.mode;
        let mut told = Vec::new();
        for (id, sub) in &mut room.subs {
            if sub.place == Place::Start(Start::Live) {
                sub.place = Place::At { last: head, proved: true };
                sub.live_told = live;
                told.push((*id, sub.call.take()));
            }
        }
        for (id, call) in told {
            if let Some(call) = call {
                self.reply(call, Ok(ReplyValue::Joined { cursor: head, mode }));
            }
            if live {
                self.event(ApiEvent::Live(id));
            }
            self.touch(key, id);
        }
    }

    /// No one wants the room any more.
    fn give_up(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        match room.wire {
            Wire::Leaving { .. } => {}
            Wire::Out => {
                let calls = std::mem::take(&mut room.leaving);
                self.rooms.remove(key);
                for call in calls {
                    self.reply(call, Ok(ReplyValue::Done));
                }
            }
            // Also where the membership is only being asked for, or may still be the server's.
            _ => {
                self.next_id += 1;
                room.wire = Wire::Leaving { id: self.next_id };
                room.owed.clear();
                let leave = Leave { id: self.next_id, room: key.to_owned() };
                self.send(leave);
            }
        }
    }

    /// Asks for the room again later.
    pub(super) fn wait(&mut self, key: &str, span: std::time::Duration) {
        let at = self.now + span;
        if let Some(room) = self.rooms.get_mut(key) {
            room.wire = Wire::Waiting { at };
            room.owed.clear();
            self.waiting.insert((at, key.to_owned()));
        }
    }
}
