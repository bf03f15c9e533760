//! Results of commands, kept for their senders (P-S8).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use wardline::{model::ids::ItemId, protocol::frames::CommandResult};

/// The results of one group, oldest first; bounded in time, number and bytes.
#[derive(Debug, Default)]
pub(super) struct Results {
    by_command: BTreeMap<(Arc<str>, ItemId), Stored>,
    order: VecDeque<(Arc<str>, ItemId)>,
    bytes: usize,
}

#[derive(Debug)]
struct Stored {
    /// ms since 1970.
    until: u64,
    bytes: usize,
    result: CommandResult,
}

impl Results {
    /// Keeps the first result of a sender's command; says whether it was the first.
    pub(super) fn keep(&mut self, user: &Arc<str>, result: CommandResult, until: u64) -> bool {
        let key = (Arc::clone(user), result.id);
        if self.by_command.contains_key(&key) {
            return false;
        }
        let body = result.result.as_ref().map_or(0, |json| json.get().len());
        let error = result.error.as_ref().map_or(0, |error| error.message.len());
        let bytes = body + error + 128;
        self.bytes += bytes;
        self.order.push_back(key.clone());
        self.by_command.insert(key, Stored { until, bytes, result });
        true
    }

    /// Forgets what is past its time, and the oldest past the bounds.
    pub(super) fn trim(&mut self, now: u64, most: usize, most_bytes: usize) {
        while let Some(oldest) = self.order.front() {
            let due = self.by_command.get(oldest).is_none_or(|stored| stored.until <= now);
            if !due && self.order.len() <= most && self.bytes <= most_bytes {
                return;
            }
            if let Some(stored) = self.by_command.remove(oldest) {
                self.bytes -= stored.bytes;
            }
            self.order.pop_front();
        }
    }

    /// The result of a sender's command.
    pub(super) fn of(&self, user: &str, id: ItemId) -> Option<&CommandResult> {
        // The map is keyed by shared text; a lookup makes one for the time of the question.
        self.by_command.get(&(Arc::from(user), id)).map(|stored| &stored.result)
    }
}
