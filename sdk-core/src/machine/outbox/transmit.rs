//! What goes to the socket next: decided when the socket takes it, lowest lane first (P-S10).

use super::{
    Outbox,
    item::{Entry, Stage},
    lane::{Flow, Flying},
};
use crate::{
    model::ids::ItemId,
    protocol::{
        Code,
        frames::{Ping, Send, Skip},
        limits::REPLAY_BYTES,
    },
};

impl Outbox {
    pub(super) fn transmit(&mut self, budget: usize) -> Option<String> {
        if budget == 0 || self.said.is_none() {
            return None;
        }
        if std::mem::take(&mut self.barrier_due) {
            return Some(Ping::default().encode());
        }
        if !self.is_ours() || self.forked {
            return None;
        }
        self.expire();
        let flying: usize = self.lanes.iter().map(|lane| lane.flight.len()).sum();
        if flying == 1 && self.suspect_flies() {
            return None;
        }
        for index in 0..self.lanes.len() {
            let Some((n, id, base)) = self.next_of(index) else { continue };
            let Some(entry) = self.items.entry(id) else { continue };
            if entry.is_suspect() && flying > 0 {
                // It goes alone (P-S9); less urgent lanes let it.
                return None;
            }
            let bytes = if entry.record.skip.is_some() { 0 } else { entry.bytes };
            if !self.lanes[index].may_send(bytes) {
                continue;
            }
            if bytes > budget && budget < REPLAY_BYTES {
                return None;
            }
            let text = self.encode(entry, n, base);
            if let Some(entry) = self.items.entry_mut(id) {
                entry.stage = Stage::Numbered { n, sent: true };
            }
            self.lanes[index].sent(n, Flying { at: self.now.mono, bytes });
            return Some(text);
        }
        None
    }

    fn suspect_flies(&self) -> bool {
        self.lanes.iter().any(|lane| {
            let n = lane.flight.first_key_value().map(|(n, _)| *n);
            let id = n.and_then(|n| lane.numbered.get(&n));
            id.and_then(|id| self.items.entry(*id)).is_some_and(Entry::is_suspect)
        })
    }

    /// The item a lane would send next: committed number, id and the `base` that is due.
    fn next_of(&self, index: usize) -> Option<(u64, ItemId, Option<u64>)> {
        let lane = &self.lanes[index];
        let Flow::Open { next, base_due } = lane.flow else { return None };
        if lane.stopped {
            return None;
        }
        let (n, id) = lane.numbered.from_key(&next).next()?;
        let entry = self.items.entry(*id)?;
        let committed = matches!(entry.stage, Stage::Numbered { .. });
        committed.then_some((*n, *id, base_due.then(|| lane.done())))
    }

    fn encode(&self, entry: &Entry, n: u64, base: Option<u64>) -> String {
        let item = &entry.record.item;
        match &entry.record.skip {
            Some(code) => {
                Skip { lane: item.lane, n, id: item.id, base, code: skip_code(code) }.encode()
            }
            None => Send {
                lane: item.lane,
                n,
                id: item.id,
                base,
                room: item.room.as_str().to_owned(),
                event: item.event.clone(),
                key: item.key.clone(),
                ttl: (item.ttl.is_some() || item.command)
                    .then(|| entry.record.expires.0.saturating_sub(self.wall().0)),
                persist: item.persist,
                data: item.data.clone(),
            }
            .encode(),
        }
    }
}

/// `skip` carries one of three codes (P-S5, P-S9).
fn skip_code(code: &Code) -> Code {
    if *code == Code::CANCELLED || *code == Code::EXPIRED { code.clone() } else { Code::POISON }
}
