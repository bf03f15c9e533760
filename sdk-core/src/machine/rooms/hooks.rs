//! Snapshot hooks: at most four at once, spread out, tried again (P-R6).

use super::{ApiEvent, Rooms, sub::Place};
use crate::table::{Set, Table};
use crate::{machine::io::SubId, protocol::Cursor, time::Instant};
use std::time::Duration;

/// Hooks that run at once.
const AT_ONCE: usize = 4;
/// Time over which the calls of many hooks are spread.
const SPREAD_MS: u64 = 5000;

/// The hooks that are due or running.
#[derive(Clone, Debug, Default)]
pub(super) struct Hooks {
    due: Set<(Instant, SubId)>,
    /// Those that run; true: the room was lost again meanwhile, the answer does not count.
    running: Table<SubId, bool>,
    failures: Table<SubId, u32>,
}

impl Hooks {
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn forget(&mut self, sub: SubId) {
        self.due.retain(|(_, id)| *id != sub);
        self.running.remove(&sub);
        self.failures.remove(&sub);
    }
}

impl Rooms {
    /// A subscription needs a snapshot: at a random moment, so that a fail-over does not bring all
    /// clients' requests at once.
    pub(super) fn want_hook(&mut self, sub: SubId) {
        if let Some(again) = self.hooks.running.get_mut(&sub) {
            *again = true;
            return;
        }
        let at = self.now
            + Duration::from_millis(crate::machine::backoff::up_to(&mut self.rng, SPREAD_MS));
        self.hooks.forget(sub);
        self.hooks.due.insert((at, sub));
        self.run_hooks();
    }

    pub(super) fn run_hooks(&mut self) {
        while self.hooks.deadline().is_some_and(|at| at <= self.now) {
            let Some((_, sub)) = self.hooks.due.pop_first() else { return };
            if let Some(head) = self.snapshot_head(sub) {
                self.hooks.running.insert(sub, false);
                self.event(ApiEvent::SnapshotWanted(sub, head));
            }
        }
    }

    fn snapshot_head(&self, sub: SubId) -> Option<Cursor> {
        let room = self.rooms.get(self.subs.get(&sub)?.as_str())?;
        match room.subs.get(&sub)?.place {
            Place::Snapshot { head } => Some(head),
            _ => None,
        }
    }

    pub(super) fn snapshot(&mut self, sub: SubId, result: Result<Option<Cursor>, String>) {
        let Some(again) = self.hooks.running.remove(&sub) else { return };
        if again {
            return self.want_hook(sub);
        }
        let Some(head) = self.snapshot_head(sub) else { return self.run_hooks() };
        match result {
            Ok(cursor) => {
                self.hooks.failures.remove(&sub);
                let Some(key) = self.subs.get(&sub).map(|room| room.as_str().to_owned()) else {
                    return;
                };
                if let Some(entry) =
                    self.rooms.get_mut(&key).and_then(|room| room.subs.get_mut(&sub))
                {
                    entry.restart(cursor.unwrap_or(head));
                }
                self.grant(&key);
                self.sync(&key);
            }
            Err(_) => {
                let failures = self.hooks.failures.or_insert_with(sub, Default::default);
                *failures += 1;
                let k = *failures;
                let at = self.now + self.delay(k);
                self.hooks.due.insert((at, sub));
            }
        }
        self.run_hooks();
    }
}
