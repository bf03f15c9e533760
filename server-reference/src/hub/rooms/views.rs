//! Views: the members of a room with one filter receive the same bytes (P-R10).

use super::{Ephemeral, Room};
use crate::{
    hub::{ConnId, Output, To, encode},
    log::Entry,
};
use bytes::Bytes;
use std::{collections::VecDeque, sync::Arc};
use wardline::{
    planted::{Bug, planted},
    protocol::{
        Cursor, Filter,
        frames::RoomMode,
        limits::{PAGE_BYTES, PAGE_EVENTS, VIEWS},
    },
};

/// One canonical filter's members.
#[derive(Clone, Debug)]
pub(in super::super) struct View {
    /// What passes.
    pub(super) filter: Filter,
    /// Live members; a member knows its index. Shared with outputs that are not taken yet.
    pub(super) live: Arc<Vec<ConnId>>,
    /// Members, live or not. A view without any is a free slot.
    pub(super) members: usize,
    /// The number of the last event that passed; at first the head. Never above what a live
    /// member has.
    pub(super) last: u64,
    /// Events since credit was asked for (P-R5).
    events: u64,
    /// Bytes since then.
    bytes: usize,
}

impl View {
    fn new(filter: Filter, last: u64) -> Self {
        Self { filter, live: Arc::default(), members: 0, last, events: 0, bytes: 0 }
    }

    /// Counts what was written to every live member; says whether credit is to be asked for.
    fn count(&mut self, bytes: usize) -> bool {
        self.events += 1;
        self.bytes += bytes;
        let full = self.events >= PAGE_EVENTS || self.bytes >= PAGE_BYTES;
        if full {
            (self.events, self.bytes) = (0, 0);
        }
        full
    }
}

impl Room {
    /// Finds the view of a filter, or a slot for it; none when there are as many as may be.
    pub(super) fn view_of(&mut self, filter: &Filter) -> Option<usize> {
        let used = |view: &View| view.members > 0;
        if let Some(found) = self.views.iter().position(|v| used(v) && v.filter == *filter) {
            return Some(found);
        }
        let new = View::new(filter.clone(), self.head.seq);
        if let Some(free) = self.views.iter().position(|view| !used(view)) {
            self.views[free] = new;
            return Some(free);
        }
        if self.views.len() == VIEWS {
            return None;
        }
        self.views.push(new);
        Some(self.views.len() - 1)
    }

    /// Makes an entry that fits the head, and writes it to the live members of every view it
    /// passes: one output per view, the bytes made once. Returns the views that want credit.
    pub(super) fn accept(
        &mut self,
        entry: Arc<Entry>,
        outputs: &mut VecDeque<Output>,
    ) -> Vec<usize> {
        self.head = Cursor { seq: entry.seq, mark: entry.mark };
        let mut encoded = None;
        let mut full = Vec::new();
        for (index, view) in self.views.iter_mut().enumerate() {
            if view.members == 0 || !view.filter.passes(&entry.event, entry.data.get()) {
                continue;
            }
            let prev = match self.mode {
                RoomMode::Log => view.last + u64::from(planted(Bug::PrevOffByOne)),
                RoomMode::Latest => entry.seq - 1,
            };
            view.last = entry.seq;
            if view.live.is_empty() {
                continue;
            }
            let bytes = encoded
                .get_or_insert_with(|| encode::Encoded::of(&self.key.room, &entry))
                .with_prev(entry.seq, prev);
            if view.count(bytes.len()) {
                full.push(index);
            }
            outputs.push_back(Output::Text(To::Many(Arc::clone(&view.live)), bytes));
        }
        self.tail.push(entry, encoded);
        full
    }

    /// Writes an event that is not kept to the live members of every view it passes (P-R8).
    pub(in super::super) fn cast(&self, event: &Ephemeral, outputs: &mut VecDeque<Output>) {
        let mut encoded: Option<Bytes> = None;
        for view in &self.views {
            if view.live.is_empty() || !view.filter.passes(&event.event, event.data.get()) {
                continue;
            }
            let bytes = encoded.get_or_insert_with(|| encode::ephemeral(&self.key.room, event));
            outputs.push_back(Output::Text(To::Many(Arc::clone(&view.live)), bytes.clone()));
        }
    }
}
