//! What the server says about memberships: `joined`, `left`, `lost` (P-R1, P-R6).

use super::{
    ApiEvent, Rooms,
    room::{Room, Wire},
    sub::Place,
};
use crate::{
    machine::io::{ReplyValue, SubId},
    protocol::{
        Code, Cursor,
        frames::{Joined, Left, Lost, RoomMode, Start},
    },
    time::millis,
};
use std::time::Duration;

impl Rooms {
    pub(super) fn on_joined(&mut self, frame: &Joined) {
        let Some(room) = self.rooms.get_mut(&frame.room) else { return };
        let Wire::Joining { id, from } = room.wire else { return };
        if id != frame.id {
            return;
        }
        // A membership begins where it was asked to: anything else shows as a hole.
        let begin = from.filter(|_| !frame.full).unwrap_or(frame.cursor);
        room.wire = Wire::In { start: begin.seq, live: false };
        room.last = begin;
        room.head = frame.head;
        room.high = begin.seq;
        room.mode = frame.mode;
        room.refusals = 0;
        let anew = frame.full && from.is_some();
        let whole = frame.full || from.is_none();
        let is_log = frame.mode == RoomMode::Log;
        let mut told = Vec::new();
        let mut gaps = Vec::new();
        for (id, sub) in &mut room.subs {
            match &mut sub.place {
                // The cursor was not proved: every key comes again, perhaps of a log made anew (P-R9).
                Place::At { last, proved } if anew => {
                    gaps.push((*id, *last));
                    (*last, *proved) = (begin, true);
                    sub.syncing = true;
                    sub.live_told = false;
                    sub.forget_keys();
                }
                Place::At { last, proved } => *proved |= from == Some(*last),
                Place::Start(start) if whole || (*start == Start::Live && is_log) => {
                    // Among others who go on from further back, "live" is the head.
                    let at_head = *start == Start::Live && is_log;
                    let newest = begin.max(frame.head);
                    let last = if at_head { newest } else { begin };
                    sub.syncing = frame.full;
                    sub.place = Place::At { last, proved: true };
                }
                _ => {}
            }
            if let Place::At { last, proved: true } = sub.place {
                sub.left_told = false;
                told.push((*id, last, sub.call.take()));
            }
        }
        for (sub, from) in gaps {
            self.event(ApiEvent::Gap { sub, from, to: Some(begin) });
        }
        let mode = frame.mode;
        for (id, cursor, call) in told {
            if let Some(call) = call {
                self.reply(call, Ok(ReplyValue::Joined { cursor, mode }));
            }
            self.touch(&frame.room, id);
        }
        self.sync(&frame.room);
    }

    pub(super) fn on_left(&mut self, frame: Left) {
        let Some(room) = self.rooms.get_mut(&frame.room) else { return };
        match (&room.wire, frame.id) {
            (Wire::Leaving { id }, Some(answered)) if *id == answered => {
                room.wire = Wire::Out;
                let calls = std::mem::take(&mut room.leaving);
                for call in calls {
                    self.reply(call, Ok(ReplyValue::Done));
                }
                self.sync(&frame.room);
            }
            (Wire::Joining { id, .. }, Some(answered)) if *id == answered => self.refused(frame),
            // The membership that the join replaces was taken away: the join's answer counts, but
            // between the two no `lost` was told.
            (Wire::Joining { .. }, None) => {
                for sub in room.subs.values_mut() {
                    sub.doubt();
                }
            }
            (Wire::In { .. } | Wire::Waiting { .. }, None) => self.refused(frame),
            _ => {}
        }
    }

    /// The membership was refused or taken away.
    fn refused(&mut self, frame: Left) {
        let code = frame.code.unwrap_or(Code::FORBIDDEN);
        let waits = frame.after.is_some() || code == Code::RATE || code == Code::UNAVAILABLE;
        let Some(room) = self.rooms.get_mut(&frame.room) else { return };
        room.wire = Wire::Out;
        room.owed.clear();
        room.refusals += 1;
        // Without a membership no `lost` is told: what was proved is so no more.
        for sub in room.subs.values_mut() {
            sub.doubt();
        }
        if waits {
            let span = frame.after.map(|ms| Duration::from_millis(ms.min(300_000)));
            return self.try_later(&frame.room, span);
        }
        let newcomers = room.subs.values().any(|sub| sub.call.is_some());
        let spares = newcomers && code != Code::FORBIDDEN;
        // What a newcomer asked for may be why: the others had what they wanted before.
        let told = room.subs.keys_where(&|_, sub| !spares || sub.call.is_some());
        for sub in told {
            self.tell_refused(&frame.room, sub, &code);
        }
        let Some(room) = self.rooms.get_mut(&frame.room) else { return };
        if room.subs.is_empty() || spares {
            self.sync(&frame.room);
        } else if code == Code::FORBIDDEN {
            room.wire = Wire::Forbidden;
        } else {
            self.try_later(&frame.room, None);
        }
    }

    /// A call gets the refusal and its subscription ends; one that was in before stays wanted.
    fn tell_refused(&mut self, key: &str, sub: SubId, code: &Code) {
        let Some(entry) = self.rooms.get_mut(key).and_then(|room| room.subs.get_mut(&sub)) else {
            return;
        };
        if entry.call.is_some() {
            self.end_sub(sub, code.clone(), "the server refused the room");
        } else if !entry.left_told {
            entry.left_told = true;
            entry.live_told = false;
            self.event(ApiEvent::Left(sub, code.clone()));
        }
    }

    fn try_later(&mut self, key: &str, after: Option<Duration>) {
        let k = self.rooms.get(key).map_or(1, |room| room.refusals);
        let span = match after {
            Some(after) => {
                let half = (millis(after) / 2).max(1000);
                after + Duration::from_millis(crate::machine::backoff::up_to(&mut self.rng, half))
            }
            None => self.delay(k),
        };
        self.wait(key, span);
    }

    pub(super) fn on_lost(&mut self, frame: &Lost) {
        let Some(room) = self.rooms.get_mut(&frame.room) else { return };
        let is_lost: Box<dyn Fn(Cursor, bool) -> bool> = match (&room.wire, frame.id) {
            // The cursor of the join is not proved.
            (Wire::Joining { id, from }, Some(answered)) if *id == answered => {
                let from = *from;
                Box::new(move |last, _| Some(last) == from)
            }
            // The membership was overtaken, or the log lost its tail.
            (Wire::In { .. } | Wire::Waiting { .. }, None) => {
                let wire = room.last;
                Box::new(move |last, proved| proved && last.seq <= wire.seq)
            }
            // Of the membership that a join on the way replaces.
            (Wire::Joining { .. }, None) => {
                let wire = room.last;
                Box::new(move |last, proved| proved && last.seq <= wire.seq)
            }
            _ => return,
        };
        let answers = !matches!(room.wire, Wire::Joining { .. }) || frame.id.is_some();
        let mut lost = Vec::new();
        for (id, sub) in &mut room.subs {
            if let Place::At { last, proved } = &mut sub.place {
                if is_lost(*last, *proved) {
                    lost.push((*id, *last));
                }
                // What was proved was so by a membership that is gone.
                *proved = false;
            }
        }
        drop(is_lost);
        if answers {
            room.wire = Wire::Out;
            room.owed.clear();
        }
        for (sub, from) in lost {
            self.lose(&frame.room, sub, from, frame);
        }
        if answers {
            self.sync(&frame.room);
        }
    }

    /// A subscription lost events: the gap is told first, then it goes on from its snapshot or from
    /// what is left (P-R6).
    fn lose(&mut self, key: &str, sub: SubId, from: Cursor, frame: &Lost) {
        let Some(entry) =
            self.rooms.get_mut(key).and_then(|room: &mut Room| room.subs.get_mut(&sub))
        else {
            return;
        };
        entry.live_told = false;
        entry.forget_keys();
        let hook = entry.hook;
        entry.place = if hook {
            Place::Snapshot { head: frame.head }
        } else {
            Place::At { last: frame.first, proved: false }
        };
        self.event(ApiEvent::Gap { sub, from, to: Some(frame.first) });
        if hook {
            self.want_hook(sub);
        }
    }
}
