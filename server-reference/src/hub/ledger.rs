//! A part's dealings with the log: the internal rooms it folds, and what it appends, tried again
//! until it is durable.

use super::fold::{Entries, Fold, Folded, RETRY, Tickets, Turn};
use crate::log::{Entry, Intent, NewEntry, Reply, Request, RoomKey, Step, Stepped, Ticket};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use wardline::{
    model::ids::{ItemId, TenantId},
    protocol::Cursor,
    time::{Instant, Now},
};

/// Folds and appends of one part.
#[derive(Debug)]
pub struct Ledger {
    folds: BTreeMap<RoomKey, Fold>,
    /// Whose answer is awaited.
    asked: BTreeMap<Ticket, RoomKey>,
    /// Folds that try again later.
    waiting: BTreeSet<(Instant, RoomKey)>,
    /// Appends under way.
    steps: BTreeMap<Ticket, Append>,
    /// Appends that try again later.
    retries: VecDeque<(Instant, Append)>,
    tickets: Tickets,
    requests: VecDeque<Request>,
}

#[derive(Clone, Debug)]
struct Append {
    once: (TenantId, ItemId),
    entries: Vec<NewEntry>,
}

impl Ledger {
    /// A ledger with a part's own range of tickets.
    #[must_use]
    pub const fn new(part: u8) -> Self {
        Self {
            folds: BTreeMap::new(),
            asked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            steps: BTreeMap::new(),
            retries: VecDeque::new(),
            tickets: Tickets::of_part(part),
            requests: VecDeque::new(),
        }
    }

    /// Begins to fold a room, unless it is folded already.
    pub fn open(&mut self, key: &RoomKey, entries: Entries) {
        if !self.folds.contains_key(key) {
            self.folds.insert(key.clone(), Fold::new(key.clone(), entries));
            self.prove(key);
        }
    }

    /// Whether a room's state is the log's.
    #[must_use]
    pub fn is_live(&self, key: &RoomKey) -> bool {
        self.folds.get(key).is_some_and(Fold::is_live)
    }

    /// Where a room's state stands.
    #[must_use]
    pub fn head(&self, key: &RoomKey) -> Option<Cursor> {
        self.folds.get(key).and_then(Fold::head)
    }

    /// Appends all or none, once: an append with this id that was made within 10 min is not made
    /// again (P-K5). The entries come back through the folds.
    pub fn append(&mut self, tenant: &TenantId, id: ItemId, entries: Vec<NewEntry>) {
        self.step(Append { once: (tenant.clone(), id), entries });
    }

    /// Appends that are not durable yet.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.steps.len() + self.retries.len()
    }

    /// The id of the append a ticket asks for.
    #[must_use]
    pub fn append_of(&self, ticket: Ticket) -> Option<ItemId> {
        self.steps.get(&ticket).map(|append| append.once.1)
    }

    /// Proves every fold anew: after an outage of the store (P-K2).
    pub fn refresh(&mut self) {
        for key in self.folds.keys().cloned().collect::<Vec<_>>() {
            self.prove(&key);
        }
    }

    /// Reads a room from the beginning; the caller resets its state.
    pub fn restart(&mut self, key: &RoomKey) {
        let Some(fold) = self.folds.get_mut(key) else { return };
        let request = fold.restart(&mut self.tickets);
        self.ask(key, request);
    }

    /// The log told an entry of any room; what is to be done with that room's state.
    pub fn handle_entry(&mut self, key: &RoomKey, entry: &Arc<Entry>) -> Vec<Folded> {
        let Some(fold) = self.folds.get_mut(key) else { return Vec::new() };
        let turn = fold.handle_entry(entry, &mut self.tickets);
        self.take(key, turn)
    }

    /// The log's answer to one of this ledger's tickets: the room whose state changes, and how.
    pub fn handle_reply(&mut self, reply: &Reply, now: Now) -> Option<(RoomKey, Vec<Folded>)> {
        let ticket = match reply {
            Reply::Stepped(ticket, stepped) => {
                let append = self.steps.remove(ticket)?;
                if matches!(stepped, Stepped::Unavailable { .. }) {
                    self.retries.push_back((now.mono + RETRY, append));
                }
                return None;
            }
            Reply::Proved(ticket, _) | Reply::Page(ticket, _) => ticket,
            Reply::Producer(..) | Reply::Entry(..) => return None,
        };
        let key = self.asked.remove(ticket)?;
        let fold = self.folds.get_mut(&key)?;
        let turn = fold.handle_reply(reply, now, &mut self.tickets);
        self.waiting.extend(fold.poll_timeout().map(|at| (at, key.clone())));
        let folded = self.take(&key, turn);
        Some((key, folded))
    }

    /// Tries again what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((_, append)) = self.retries.pop_front_if(|(at, _)| *at <= now.mono) {
            self.step(append);
        }
        while self.waiting.first().is_some_and(|(at, _)| *at <= now.mono) {
            if let Some((_, key)) = self.waiting.pop_first()
                && let Some(fold) = self.folds.get_mut(&key)
                && let Some(request) = fold.handle_timeout(now, &mut self.tickets)
            {
                self.ask(&key, request);
            }
        }
    }

    /// The next moment for [`Ledger::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let retry = self.retries.front().map(|(at, _)| *at);
        let fold = self.waiting.first().map(|(at, _)| *at);
        retry.into_iter().chain(fold).min()
    }

    /// The next question to the log.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    fn prove(&mut self, key: &RoomKey) {
        let Some(fold) = self.folds.get_mut(key) else { return };
        if let Some(request) = fold.refresh(&mut self.tickets) {
            self.ask(key, request);
        }
    }

    fn take(&mut self, key: &RoomKey, turn: Turn) -> Vec<Folded> {
        if let Some(request) = turn.request {
            self.ask(key, request);
        }
        turn.folded
    }

    fn ask(&mut self, key: &RoomKey, request: Request) {
        if let Request::Prove(ticket, ..) | Request::Read(ticket, ..) | Request::Keys(ticket, ..) =
            &request
        {
            self.asked.insert(*ticket, key.clone());
        }
        self.requests.push_back(request);
    }

    fn step(&mut self, append: Append) {
        let ticket = self.tickets.draw();
        let step = Step {
            producer: None,
            once: Some(append.once.clone()),
            intent: Intent::Append(append.entries.clone()),
        };
        self.steps.insert(ticket, append);
        self.requests.push_back(Request::Step(ticket, step));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::log::{MemoryLog, Retention};
    use std::time::Duration;
    use wardline::{protocol::Json, time::UnixMillis};

    pub(in super::super) fn at(ms: u64) -> Now {
        Now { mono: Instant::new(Duration::from_millis(ms)), wall: UnixMillis(ms) }
    }

    fn entry(key: &RoomKey) -> NewEntry {
        NewEntry {
            room: key.clone(),
            id: ItemId(4),
            from: "".into(),
            event: "e".into(),
            key: None,
            gone: false,
            data: Json::null(),
        }
    }

    #[test]
    fn an_append_is_tried_until_it_is_durable_and_made_once() {
        let key = RoomKey { tenant: "t".into(), room: "x/~y".parse().unwrap() };
        let mut log = MemoryLog::new(1, Retention::uniform(1 << 40));
        let mut ledger = Ledger::new(1);
        let run = |ledger: &mut Ledger, log: &mut MemoryLog, now: Now| {
            let mut folded = Vec::new();
            while let Some(request) = ledger.poll_request() {
                for reply in log.handle_request(request, now.wall.0) {
                    match &reply {
                        Reply::Entry(key, entry) => folded.extend(ledger.handle_entry(key, entry)),
                        _ => folded.extend(
                            ledger.handle_reply(&reply, now).map(|(_, f)| f).into_iter().flatten(),
                        ),
                    }
                }
            }
            folded
        };
        log.set_available(false);
        ledger.open(&key, Entries::All);
        ledger.append(&key.tenant, ItemId(4), vec![entry(&key)]);
        assert_eq!(run(&mut ledger, &mut log, at(0)), []);
        assert_eq!((ledger.under_way(), ledger.poll_timeout()), (1, Some(at(1000).mono)));
        log.set_available(true);
        ledger.handle_timeout(at(1000));
        assert_eq!(run(&mut ledger, &mut log, at(1000)).len(), 2);
        assert!(ledger.is_live(&key) && ledger.under_way() == 0);
        ledger.append(&key.tenant, ItemId(4), vec![entry(&key)]);
        assert_eq!(run(&mut ledger, &mut log, at(1001)), []);
        assert_eq!(ledger.head(&key).unwrap().seq, 1);
        assert_eq!(ledger.poll_timeout(), None);
    }
}
