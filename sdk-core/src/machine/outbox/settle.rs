//! Answers, and settling behind `welcome` (P-S2, P-S3, P-S6).

use super::{
    Outbox,
    item::{POISON_DEATHS, Put, Stage},
    lane::{Flow, Lane},
    writes::Proof,
};
use crate::table::list;
use crate::{
    machine::io::{ApiEvent, Outcome, Owner},
    model::ids::{ItemId, ProducerId},
    protocol::{
        Code,
        frames::{Hold, Lanes},
        limits::{LANES, WINDOW},
    },
};
use std::time::Duration;

/// What the server says is put off until the lock is proved: at most the outcomes it keeps.
const MAX_DEFERRED: usize = LANES as usize * WINDOW as usize + 2;

/// What the server said before the lock was proved.
#[derive(Clone, Debug)]
pub(super) enum Deferred {
    Welcome(Option<Lanes>),
    Answer(u8, u64, ItemId, Outcome),
    /// The outcomes are complete.
    Settled,
}

impl Outbox {
    /// Puts off what the server says until the lock is proved. False: it is proved.
    pub(super) fn defer(&mut self, said: Deferred) -> bool {
        if self.writes.proof == Proof::Given || self.said.is_none() {
            return false;
        }
        let again =
            matches!((&said, self.deferred.back()), (Deferred::Settled, Some(Deferred::Settled)));
        if !again && self.deferred.len() < MAX_DEFERRED {
            self.deferred.push_back(said);
        }
        true
    }

    /// The lock is proved: takes what the server said meanwhile.
    pub(super) fn take_deferred(&mut self) {
        for said in std::mem::take(&mut self.deferred) {
            match said {
                Deferred::Welcome(accepted) => self.begin(accepted),
                Deferred::Answer(lane, n, id, outcome) => self.answered(lane, n, id, outcome),
                Deferred::Settled => self.settle_all(),
            }
        }
    }

    pub(super) fn take_answer(&mut self, lane: u8, n: u64, id: ItemId, outcome: Outcome) {
        if !self.defer(Deferred::Answer(lane, n, id, outcome.clone())) {
            self.answered(lane, n, id, outcome);
        }
    }

    pub(super) fn welcomed(&mut self, owner: Owner, accepted: Option<Lanes>) -> bool {
        match &self.owner {
            Some(bound) if *bound != owner => {
                if self.store.is_ready() {
                    self.switch(owner);
                }
                return false;
            }
            Some(_) => {}
            None if self.is_ours() => {
                self.writes.bind = Some(owner.clone());
                self.owner = Some(owner);
            }
            None => {}
        }
        if !self.is_ours() {
            return true;
        }
        if self.said != Some(self.producer) {
            self.reconnect();
            return true;
        }
        if !self.defer(Deferred::Welcome(accepted.clone())) {
            self.begin(accepted);
        }
        true
    }

    fn begin(&mut self, accepted: Option<Lanes>) {
        match accepted {
            Some(accepted) => self.begin_settling(&accepted),
            None => self.settle_without_record(),
        }
        self.draw_if_settled();
    }

    fn begin_settling(&mut self, accepted: &Lanes) {
        for number in 0..LANES {
            let accepted = accepted.get(&number).copied().unwrap_or(0);
            self.tell_lost(number, accepted);
            let lane = &mut self.lanes[usize::from(number)];
            let done = lane.done();
            if accepted > done {
                self.barrier_due = true;
                lane.flow = Flow::Settling { accepted, known: done };
            } else {
                self.settle(usize::from(number), accepted, accepted);
            }
        }
    }

    /// The server has no record. Where it had one, what may have been sent is uncertain.
    fn settle_without_record(&mut self) {
        let had = self.lanes.iter().any(|lane| lane.done() > 0);
        for index in 0..self.lanes.len() {
            if had {
                for (_, id) in self.sent_upto(index, u64::MAX) {
                    self.finish(id, Outcome::Uncertain);
                }
            }
            self.settle(index, 0, 0);
        }
    }

    /// The items of a lane up to a number that may have been sent.
    fn sent_upto(&self, index: usize, n: u64) -> Vec<(u64, ItemId)> {
        let numbered = self.lanes[index].numbered.iter().map(|(n, id)| (*n, *id));
        let numbered = numbered.take_while(|(at, _)| *at <= n);
        list(numbered.filter(|(_, id)| {
            let entry = self.items.entry(*id);
            entry.is_some_and(|entry| matches!(entry.stage, Stage::Numbered { sent: true, .. }))
        }))
    }

    /// Whoever still settles is settled with what is known.
    pub(super) fn settle_all(&mut self) {
        let mut any = false;
        for index in 0..self.lanes.len() {
            if let Flow::Settling { accepted, known } = self.lanes[index].flow {
                self.settle(index, accepted, known);
                any = true;
            }
        }
        if any {
            self.draw_if_settled();
        }
    }

    /// Ends the settling of a lane: everything the server knows of it up to `accepted` was told, as
    /// far as it still knows.
    fn settle(&mut self, index: usize, accepted: u64, known: u64) {
        let rolled_back = accepted > self.lanes[index].given;
        for (_, id) in self.sent_upto(index, accepted) {
            self.finish(id, Outcome::Uncertain);
        }
        // Never sent, and the number is taken: another gets it.
        if self.lanes[index].numbered.first_key_value().is_some_and(|(n, _)| *n <= accepted) {
            self.unnumber_from(index, 0);
        }
        if let Some(upto) = self.lanes[index].loaded_upto.take()
            && rolled_back
            && known < accepted
        {
            let loaded = self.lanes[index].waiting.range(..=(upto, ItemId(u128::MAX)));
            for (_, id) in list(loaded.copied()) {
                let stored = self.items.entry(id).is_some_and(|entry| entry.put == Put::Done);
                if stored {
                    self.finish(id, Outcome::Uncertain);
                }
            }
        }
        self.lanes[index].given = self.lanes[index].given.max(accepted);
        if self.forked {
            // Not accepted, and nothing more is sent under this producer.
            self.unnumber_from(index, 0);
            self.lanes[index].close();
        } else {
            self.lanes[index].open();
        }
    }

    /// Takes the numbers from `n` on away; the items wait again, in their order.
    fn unnumber_from(&mut self, index: usize, n: u64) {
        let numbered = self.lanes[index].numbered.from_key(&n);
        for (n, id) in list(numbered.map(|(n, id)| (*n, *id))) {
            self.unnumber(index, n, id);
            self.writes.unnumbered.insert(id);
        }
    }

    /// Takes an item's number away in memory.
    pub(super) fn unnumber(&mut self, index: usize, n: u64, id: ItemId) {
        let lane = &mut self.lanes[index];
        let Some(entry) = self.items.entry_mut(id) else { return };
        lane.release(n, entry.bytes);
        // One that is not wanted any more is over: it will not be sent.
        match entry.record.skip.clone() {
            Some(code) => {
                entry.stage = Stage::Ending(code);
                self.writes.marks.insert(id);
            }
            None => {
                entry.stage = Stage::Waiting;
                lane.waiting.insert(entry.key());
            }
        }
    }

    pub(super) fn answered(&mut self, lane: u8, n: u64, id: ItemId, outcome: Outcome) {
        let index = usize::from(lane);
        if index >= self.lanes.len() || !self.is_ours() {
            return;
        }
        let stops = self.lanes[index].stop && matches!(outcome, Outcome::Refused(..));
        let ours = self.items.entry(id).is_some_and(|entry| entry.lane() == index);
        let lane = &mut self.lanes[index];
        lane.thaw();
        lane.landed(n);
        if stops && ours {
            lane.stopped = true;
        }
        if ours {
            self.finish(id, outcome);
        }
        if self.lanes[index].numbered.get(&n).is_some_and(|other| *other != id) {
            // The number is another item's: an older store gave it again (P-S6).
            self.unnumber_from(index, n);
        }
        if let Flow::Settling { accepted, known } = self.lanes[index].flow {
            let known = if n == known + 1 { n } else { known };
            self.lanes[index].flow = Flow::Settling { accepted, known };
            if n >= accepted {
                self.settle(index, accepted, known);
                self.draw_if_settled();
            }
        }
    }

    pub(super) fn held(&mut self, frame: &Hold) {
        let index = usize::from(frame.lane);
        let open = |lane: &Lane| !matches!(lane.flow, Flow::Closed | Flow::Settling { .. });
        if !self.lanes.get(index).is_some_and(open) {
            return;
        }
        self.tell_lost(frame.lane, frame.accepted);
        let after = frame.after.map(|ms| Duration::from_millis(ms.min(300_000)));
        self.lanes[index].hold(after, self.now.mono, &mut self.rng);
    }

    /// Held lanes whose wait is over send again.
    pub(super) fn thaw(&mut self) {
        for lane in &mut self.lanes {
            if matches!(lane.flow, Flow::Held { until } if until <= self.now.mono) {
                lane.open();
            }
        }
    }

    fn tell_lost(&mut self, lane: u8, accepted: u64) {
        let newly_lost = self.lanes[usize::from(lane)].newly_lost(accepted);
        if let Some((from, to)) = newly_lost {
            self.event(ApiEvent::AcceptedLost { lane, from, to });
        }
    }

    pub(super) fn link_down(&mut self, died: bool) {
        self.said = None;
        self.barrier_due = false;
        self.deferred.clear();
        self.writes.proof = Proof::Given;
        for index in 0..self.lanes.len() {
            let first = self.lanes[index].flight.first_key_value().map(|(n, _)| *n);
            let id = first.and_then(|n| self.lanes[index].numbered.get(&n).copied());
            self.lanes[index].close();
            if let Some(id) = id.filter(|_| died) {
                self.count_death(id);
            }
        }
    }

    fn count_death(&mut self, id: ItemId) {
        let Some(entry) = self.items.entry_mut(id) else { return };
        entry.record.deaths = entry.record.deaths.saturating_add(1);
        self.writes.marks.insert(id);
        if entry.record.deaths >= POISON_DEATHS {
            self.mark_skip(id, Code::POISON);
        }
    }

    /// After a fork: a new producer, once nothing has a number of the old one (P-S6).
    pub(super) fn draw_if_settled(&mut self) {
        let numbered = self.lanes.iter().any(|lane| !lane.numbered.is_empty());
        if !self.forked || numbered {
            return;
        }
        self.forked = false;
        self.producer = ProducerId(self.rng.u128(..));
        self.writes.producer = true;
        for lane in &mut self.lanes {
            lane.given = 0;
            lane.highest = 0;
            lane.close();
        }
        self.reconnect();
    }
}
