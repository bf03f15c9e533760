//! What a machine says of its numbers, judged against its store and the model (P-S1, P-S2).

use super::World;
use crate::{hold, violation::Checked};
use wardline::{model::ids::ItemId, protocol::frames::Hello};

impl World {
    pub(super) fn judge_hello(&mut self, client: usize, hello: &Hello) -> Checked {
        self.clients[client].producer = Some(hello.producer);
        for (lane, done) in &hello.lanes {
            self.judge_done(client, *lane, *done)?;
        }
        Ok(())
    }

    /// `done`: every number up to it was answered, or its item has its outcome (P-S2).
    fn judge_done(&self, client: usize, lane: u8, done: u64) -> Checked {
        let Some(producer) = self.clients[client].producer else { return Ok(()) };
        if self.disks[self.clients[client].disk].disturbed > 0 {
            // Another process may have given the same numbers.
            return Ok(());
        }
        let items = &self.model.items;
        let from = (producer, lane, 0);
        let to = (producer, lane, done);
        for ((_, _, n), id) in items.numbered.range(from..=to) {
            let answered = items.answered.contains(&(producer, lane, *n));
            let over = items.get(*id).is_none_or(|item| !item.outcomes.is_empty() || item.excused);
            hold!(
                answered || over,
                DoneAhead,
                "client {client} says done {done} of lane {lane}, {n} ({id}) was not answered"
            );
        }
        Ok(())
    }

    /// A number on the wire: it is in the store, and belongs to this item (P-S1).
    pub(super) fn judge_number(
        &mut self,
        client: usize,
        lane: u8,
        n: u64,
        id: ItemId,
        base: Option<u64>,
    ) -> Checked {
        let process = &self.clients[client];
        let stored = self.disks[process.disk].view(&process.session).and_then(|snapshot| {
            snapshot.items.iter().find(|stored| stored.item.id == id).map(|stored| stored.n)
        });
        let disturbed = self.disks[process.disk].disturbed > 0;
        // Another process on the store was told the end after this one loaded the item, and removed
        // it: the server repeats the outcome.
        let over = stored.is_none()
            && self.model.items.get(id).is_some_and(|item| item.was_told_elsewhere(client));
        hold!(
            stored == Some(Some(n)) || disturbed || over,
            UnnumberedOnWire,
            "client {client} sends {id} as {n} of lane {lane}, the store has {stored:?}"
        );
        if let Some(producer) = process.producer {
            self.model.items.numbered.insert((producer, lane, n), id);
        }
        if let Some(base) = base {
            self.judge_done(client, lane, base)?;
        }
        Ok(())
    }
}
