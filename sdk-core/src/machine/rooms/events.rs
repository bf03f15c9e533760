//! Events, heads and credit (P-R2, P-R4, P-R5, P-R7, P-R8, P-R9).

use super::{
    ApiEvent, Rooms,
    room::{Owed, Room, Wire},
    sub::Sub,
};
use crate::table::list;
use crate::{
    machine::io::SubId,
    planted::{Bug, planted},
    protocol::{
        Cursor,
        frames::{Credit, Event, Head, Live, Page, RoomMode},
    },
};
use std::time::Duration;

/// A second hole within this time waits (P-R2).
const HOLE_CALM: Duration = Duration::from_secs(10);
/// Unanswered pages that are remembered; a server asks for two.
const MAX_OWED: usize = 16;

/// What an event is to the membership.
enum Verdict {
    Take,
    Drop,
    Hole,
}

impl Rooms {
    pub(super) fn on_event(&mut self, frame: Event) {
        let Some(room) = self.rooms.get_mut(&frame.room) else { return };
        let Wire::In { start, .. } = room.wire else { return };
        let (Some(seq), Some(mark)) = (frame.seq, frame.mark) else {
            if frame.seq.is_none() {
                let subs = takers(room, start, &frame, |_| true);
                self.tell(subs, frame);
            }
            return;
        };
        let at = Cursor { seq, mark };
        let verdict = match room.mode {
            RoomMode::Log => judge(room, &frame, seq),
            RoomMode::Latest => Verdict::Take,
        };
        match verdict {
            Verdict::Drop => {}
            Verdict::Hole => {
                let key = frame.room;
                self.rejoin(&key);
            }
            Verdict::Take if room.subs.values().any(Sub::is_full) => {
                let key = frame.room;
                self.rejoin_later(&key);
            }
            Verdict::Take => {
                let subs = if room.mode == RoomMode::Log {
                    room.last = at;
                    let twice = planted(Bug::DoubleSeam);
                    let subs = takers(room, start, &frame, |sub| {
                        sub.last().is_some_and(|last| seq > last.seq || twice && seq == last.seq)
                    });
                    for sub in room.subs.values_mut().filter(|sub| sub.is_attached(start)) {
                        sub.advance(at);
                    }
                    subs
                } else {
                    room.high = room.high.max(seq);
                    let key = frame.key.clone().unwrap_or_default();
                    let newer = |sub: &Sub| sub.keys.get(&key).is_none_or(|known| seq > *known);
                    let subs = takers(room, start, &frame, newer);
                    for id in &subs {
                        if let Some(sub) = room.subs.get_mut(id) {
                            sub.see_key(&key, seq, frame.gone);
                        }
                    }
                    subs
                };
                for id in &subs {
                    if let Some(sub) = room.subs.get_mut(id) {
                        sub.hand(at);
                    }
                }
                self.touch_all(&frame.room);
                self.tell(subs, frame);
            }
        }
    }

    /// One event for several subscriptions; the last takes it without a copy.
    fn tell(&mut self, mut subs: Vec<SubId>, frame: Event) {
        let Some(last) = subs.pop() else { return };
        for sub in subs {
            self.event(ApiEvent::Event(sub, Box::new(frame.clone())));
        }
        self.event(ApiEvent::Event(last, Box::new(frame)));
    }

    /// Joins again from the last event: at once, the second time within 10 s after a delay (P-R2).
    fn rejoin(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let calm = room.last_hole.is_none_or(|at| self.now.since(at) > HOLE_CALM);
        room.last_hole = Some(self.now);
        if calm {
            room.holes = 0;
            room.wire = Wire::Out;
            self.sync(key);
        } else {
            self.rejoin_later(key);
        }
    }

    fn rejoin_later(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.holes += 1;
        let k = room.holes;
        let span = self.delay(k);
        self.wait(key, span);
    }

    pub(super) fn on_live(&mut self, frame: &Live) {
        let Some(room) = self.rooms.get_mut(&frame.room) else { return };
        let Wire::In { start, .. } = room.wire else { return };
        room.wire = Wire::In { start, live: true };
        move_to(room, start, Cursor { seq: frame.seq, mark: frame.mark });
        let mut told = Vec::new();
        for (id, sub) in &mut room.subs {
            if sub.is_attached(start) {
                sub.syncing = false;
                if !std::mem::replace(&mut sub.live_told, true) {
                    told.push(*id);
                }
            }
        }
        self.touch_all(&frame.room);
        for sub in told {
            self.event(ApiEvent::Live(sub));
        }
    }

    pub(super) fn on_head(&mut self, head: &Head) {
        let Some(room) = self.rooms.get_mut(&head.room) else { return };
        let Wire::In { start, .. } = room.wire else { return };
        let own = match room.mode {
            RoomMode::Log => room.last.seq,
            RoomMode::Latest => room.high.max(room.last.seq),
        };
        if head.last > own {
            // The tail of the view never came.
            return self.rejoin(&head.room);
        }
        move_to(room, start, Cursor { seq: head.seq, mark: head.mark });
        self.touch_all(&head.room);
    }

    pub(super) fn on_page(&mut self, frame: &Page) {
        let Some(room) = self.rooms.get_mut(&frame.room) else { return };
        if !room.is_in() || room.owed.len() >= MAX_OWED {
            return;
        }
        let behind = room.subs.iter().filter(|(_, sub)| sub.done_total < sub.handed_total);
        let handed = list(behind.map(|(id, sub)| (*id, sub.handed_total)));
        room.owed.push_back(Owed { seq: frame.seq, handed });
        self.grant(&frame.room);
    }

    /// Gives the credit for pages that every subscription is done with (P-R5).
    pub(super) fn grant(&mut self, key: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let mut granted = Vec::new();
        while let Some(owed) = room.owed.front() {
            let done = |(id, handed): &(SubId, u64)| {
                room.subs.get(id).is_none_or(|sub| sub.done_total >= *handed)
            };
            if !owed.handed.iter().all(done) {
                break;
            }
            granted.extend(room.owed.pop_front().map(|owed| owed.seq));
        }
        for seq in granted {
            self.send(Credit { room: key.to_owned(), seq });
        }
    }

    pub(super) fn done(&mut self, sub: SubId, seq: u64) {
        let Some(key) = self.subs.get(&sub).map(|room| room.as_str().to_owned()) else { return };
        let Some(room) = self.rooms.get_mut(&key) else { return };
        if room.subs.get_mut(&sub).is_some_and(|entry| entry.take_done(seq)) {
            self.touch(&key, sub);
            self.grant(&key);
        }
    }
}

/// Whether an event of a log is the next of the view (P-R2).
fn judge(room: &Room, frame: &Event, seq: u64) -> Verdict {
    let last = room.last.seq;
    let prev = frame.prev.unwrap_or(seq.saturating_sub(1));
    if seq <= last && !(planted(Bug::DoubleSeam) && seq == last) {
        Verdict::Drop
    } else if prev > last {
        Verdict::Hole
    } else {
        Verdict::Take
    }
}

/// The subscriptions that an event goes to.
fn takers(room: &Room, start: u64, frame: &Event, wants: impl Fn(&Sub) -> bool) -> Vec<SubId> {
    // The server has applied the membership's filter.
    let passes = |sub: &Sub| {
        sub.filter == room.wish.filter || sub.filter.passes(&frame.event, frame.data.get())
    };
    room.subs.keys_where(&|_, sub| sub.is_attached(start) && wants(sub) && passes(sub))
}

/// Moves the wire's position, and with it every subscription's, over what the view does not hold.
fn move_to(room: &mut Room, start: u64, to: Cursor) {
    if to.seq < room.last.seq {
        return;
    }
    room.last = to;
    room.head = to;
    for sub in room.subs.values_mut().filter(|sub| sub.is_attached(start)) {
        sub.advance(to);
        sub.forget_gone(to.seq);
    }
}
