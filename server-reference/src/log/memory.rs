//! A log in memory: for level `memory`, for tests and for the simulation.
//!
//! [`MemoryLog::new`] makes a log for which everything is durable at once. One made by
//! [`MemoryLog::with_sync`] holds its answers until [`sync`](MemoryLog::sync), as a store does
//! until its fsync, and can crash, fail over with a lost tail and forget a producer.

mod tables;

use super::{
    Extent, Outcome, ProducerKey, Record, Reply, Request, Retention, RoomKey, Step, Stepped,
    Unavailable,
    mark::Epoch,
    state::{self, Effect, Lane, LaneChange},
};
use std::collections::VecDeque;
use tables::Tables;
use wardline::{
    model::ids::{ItemId, TenantId},
    planted::{Bug, planted},
    protocol::Cursor,
};

/// Durable changes that a fail-over may still lose.
const TAIL: usize = 256;

/// A log in memory. Cloning it clones the whole log.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    tables: Tables,
    available: bool,
    /// None: everything is durable at once.
    disk: Option<Disk>,
}

/// What stands in for a disk.
#[derive(Clone, Debug)]
struct Disk {
    /// Durable beyond any fault.
    base: Tables,
    /// Durable, the newest last; a fail-over may lose them.
    tail: VecDeque<Change>,
    /// Applied, not durable.
    pending: Vec<Change>,
    /// Answers that wait for `pending`, each with the lane it is about.
    held: Vec<(Option<(ProducerKey, u8)>, Reply)>,
}

/// One change of the tables.
#[derive(Clone, Debug)]
enum Change {
    Step(Box<Effect>),
    Expire(u64),
    Forget(ProducerKey),
}

impl MemoryLog {
    /// Makes a log for which everything is durable at once.
    #[must_use]
    pub fn new(seed: u64, retention: Retention) -> Self {
        let epoch = Epoch(fastrand::Rng::with_seed(seed).u128(..));
        Self { tables: Tables::new(retention, epoch), available: true, disk: None }
    }

    /// Makes a log whose answers wait for [`sync`](Self::sync).
    #[must_use]
    pub fn with_sync(seed: u64, retention: Retention) -> Self {
        let mut log = Self::new(seed, retention);
        log.disk = Some(Disk {
            base: log.tables.clone(),
            tail: VecDeque::new(),
            pending: Vec::new(),
            held: Vec::new(),
        });
        log
    }

    /// Takes a request at `now`, ms since 1970; returns what may be told at once, in order.
    pub fn handle_request(&mut self, request: Request, now: u64) -> Vec<Reply> {
        let about = match &request {
            Request::Step(_, Step { producer: Some(number), .. }) => {
                Some((number.key.clone(), number.lane))
            }
            _ => None,
        };
        if !self.available {
            let accepted =
                about.as_ref().map_or(0, |(key, lane)| self.durable_accepted(key, *lane));
            return unavailable(&request, accepted).into_iter().collect();
        }
        let mut replies = Vec::new();
        self.answer(request, now, &mut replies);
        let Some(disk) = &mut self.disk else { return replies };
        if disk.pending.is_empty() && disk.held.is_empty() {
            return replies;
        }
        let early = planted(Bug::RepeatBeforeFsync)
            && matches!(replies[..], [Reply::Stepped(_, Stepped::Repeated(_))]);
        if early {
            return replies;
        }
        disk.held.extend(replies.into_iter().map(|reply| (about.clone(), reply)));
        Vec::new()
    }

    /// Makes everything durable and returns the answers that waited for it, in order.
    pub fn sync(&mut self) -> Vec<Reply> {
        let Some(disk) = self.disk.as_mut().filter(|_| self.available) else { return Vec::new() };
        disk.tail.extend(disk.pending.drain(..));
        while disk.tail.len() > TAIL {
            if let Some(change) = disk.tail.pop_front() {
                disk.base.change(&change);
            }
        }
        disk.held.drain(..).map(|(_, reply)| reply).collect()
    }

    /// Whether anything waits for [`sync`](Self::sync).
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| !disk.pending.is_empty() || !disk.held.is_empty())
    }

    /// The process dies: what was not synced is gone, and no answer to it is ever given.
    pub fn crash(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.pending.clear();
            disk.held.clear();
        }
        self.reload();
    }

    /// The store fails over under a living server, and loses what was not synced and the last
    /// `lost` durable changes. Returns the answers that are now unavailable.
    pub fn fail_over(&mut self, lost: usize) -> Vec<Reply> {
        let Some(disk) = &mut self.disk else { return Vec::new() };
        disk.pending.clear();
        let held = std::mem::take(&mut disk.held);
        disk.tail.truncate(disk.tail.len().saturating_sub(lost));
        self.reload();
        let mut replies = Vec::new();
        for (about, reply) in held {
            let accepted = about.map_or(0, |(key, lane)| self.durable_accepted(&key, lane));
            replies.extend(match reply {
                Reply::Stepped(ticket, _) => {
                    Some(Reply::Stepped(ticket, Stepped::Unavailable { accepted }))
                }
                Reply::Producer(ticket, _) => Some(Reply::Producer(ticket, Err(Unavailable))),
                Reply::Proved(ticket, _) => Some(Reply::Proved(ticket, Err(Unavailable))),
                Reply::Page(ticket, _) => Some(Reply::Page(ticket, Err(Unavailable))),
                Reply::Entry(..) => None,
            });
        }
        replies
    }

    /// Loses a producer's record, as a store does that was restored without it.
    pub fn forget(&mut self, producer: &ProducerKey) {
        self.note(Change::Forget(producer.clone()));
    }

    /// Lets the log answer, or answer only that it cannot.
    pub fn set_available(&mut self, available: bool) {
        self.available = available;
    }

    /// Drops what is past its time at `now`, ms since 1970.
    pub fn expire(&mut self, now: u64) {
        if self.available {
            self.note(Change::Expire(now));
        }
    }

    /// Entries now held, over all rooms.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.tables.entries()
    }

    /// Where a room stands, durable or not.
    #[must_use]
    pub fn peek(&self, room: &RoomKey) -> Extent {
        self.tables.extent(room)
    }

    /// The producers with a record.
    pub fn producers(&self) -> impl Iterator<Item = &ProducerKey> {
        self.tables.producers()
    }

    /// Changes that are durable but which [`fail_over`](Self::fail_over) may lose.
    #[must_use]
    pub fn loseable(&self) -> usize {
        self.disk.as_ref().map_or(0, |disk| disk.tail.len())
    }

    /// Applies a change that is durable at once where there is no disk, else with the next sync.
    fn note(&mut self, change: Change) {
        self.tables.change(&change);
        if let Some(disk) = &mut self.disk {
            disk.pending.push(change);
        }
    }

    fn reload(&mut self) {
        if let Some(disk) = &self.disk {
            self.tables = disk.base.clone();
            disk.tail.iter().for_each(|change| self.tables.change(change));
        }
    }

    fn durable_accepted(&self, key: &ProducerKey, lane: u8) -> u64 {
        let pending = self.disk.as_ref().and_then(|disk| {
            disk.pending.iter().find_map(|change| match change {
                Change::Step(effect) => {
                    let of_lane = |c: &&LaneChange| c.key == *key && c.lane == lane;
                    effect.lane.as_ref().filter(of_lane).map(|change| change.before)
                }
                _ => None,
            })
        });
        pending.unwrap_or_else(|| self.tables.accepted(key, lane))
    }

    fn answer(&mut self, request: Request, now: u64, replies: &mut Vec<Reply>) {
        match request {
            Request::Step(ticket, step) => {
                match state::step(&mut Access { log: self, now }, step, now) {
                    Ok((stepped, effect)) => {
                        if let Some(effect) = effect {
                            let told = effect.entries.iter();
                            replies.extend(
                                told.map(|(room, e)| Reply::Entry(room.clone(), e.clone())),
                            );
                            self.note(Change::Step(Box::new(effect)));
                        }
                        replies.push(Reply::Stepped(ticket, stepped));
                    }
                    Err(Unavailable) => {
                        replies.push(Reply::Stepped(ticket, Stepped::Unavailable { accepted: 0 }));
                    }
                }
            }
            Request::Producer(ticket, key) => {
                let record = self.tables.use_producer(&key, now);
                let record = record.map_or_else(Record::default, |producer| producer.record());
                replies.push(Reply::Producer(ticket, Ok(record)));
            }
            Request::Prove(ticket, room, cursor) => {
                let extent = self.tables.extent(&room);
                let proved = cursor.is_none_or(|cursor| {
                    let at = self.tables.entry(&room, cursor.seq).map(|entry| entry.mark);
                    let behind = cursor.seq.checked_add(1);
                    let behind = behind.and_then(|seq| self.tables.entry(&room, seq));
                    state::proves(cursor, extent.head, at, behind.map(|entry| entry.prev_mark))
                });
                replies.push(Reply::Proved(ticket, Ok((extent, proved))));
            }
            Request::Read(ticket, room, after) => {
                let extent = self.tables.extent(&room);
                replies.push(Reply::Page(ticket, Ok((self.tables.page(&room, after), extent))));
            }
            Request::Keys(ticket, room, after) => {
                let extent = self.tables.extent(&room);
                replies.push(Reply::Page(ticket, Ok((self.tables.keys(&room, after), extent))));
            }
        }
    }
}

/// The answer to a request where the log cannot answer.
fn unavailable(request: &Request, accepted: u64) -> Option<Reply> {
    Some(match request {
        Request::Step(ticket, _) => Reply::Stepped(*ticket, Stepped::Unavailable { accepted }),
        Request::Producer(ticket, _) => Reply::Producer(*ticket, Err(Unavailable)),
        Request::Prove(ticket, ..) => Reply::Proved(*ticket, Err(Unavailable)),
        Request::Read(ticket, ..) | Request::Keys(ticket, ..) => {
            Reply::Page(*ticket, Err(Unavailable))
        }
    })
}

/// A log as a step sees it.
struct Access<'a> {
    log: &'a mut MemoryLog,
    now: u64,
}

impl state::Tables for Access<'_> {
    fn head(&mut self, room: &RoomKey) -> Result<Cursor, Unavailable> {
        Ok(self.log.tables.extent(room).head)
    }

    fn lane(&mut self, producer: &ProducerKey, lane: u8) -> Result<Option<&Lane>, Unavailable> {
        Ok(self.log.tables.lane(producer, lane))
    }

    fn once(&mut self, tenant: &TenantId, id: ItemId) -> Result<Option<Outcome>, Unavailable> {
        Ok(self.log.tables.once(tenant, id, self.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Ticket;
    use crate::log::suite::{
        self, Subject, do_step, log_suite, new_entry, number, own, room, send,
    };

    impl Subject for MemoryLog {
        fn ask(&mut self, request: Request, now: u64) -> Vec<Reply> {
            let mut replies = self.handle_request(request, now);
            replies.extend(self.sync());
            replies
        }

        fn expire(&mut self, now: u64) {
            MemoryLog::expire(self, now);
            self.sync();
        }
    }

    fn with_sync() -> MemoryLog {
        MemoryLog::with_sync(1, Retention::uniform(suite::TTL))
    }

    mod at_once {
        use super::*;
        log_suite!(MemoryLog::new(1, Retention::uniform(suite::TTL)));
    }

    mod synced {
        use super::*;
        log_suite!(with_sync());
    }

    fn step(log: &mut MemoryLog, ticket: u64, step: Step) -> Vec<Reply> {
        log.handle_request(Request::Step(Ticket(ticket), step), 0)
    }

    #[test]
    fn nothing_is_told_before_it_is_durable() {
        let (room, ann) = (room("a"), suite::producer(1));
        let mut log = with_sync();
        assert_eq!(step(&mut log, 1, send(&room, number(&ann, 0, 1, 1))), []);
        assert_eq!(step(&mut log, 2, send(&room, number(&ann, 0, 1, 1))), [], "nor a repetition");
        assert_eq!(log.handle_request(Request::Producer(Ticket(3), ann.clone()), 0), []);
        assert_eq!(log.handle_request(Request::Read(Ticket(4), room.clone(), 0), 0), []);
        let told = log.sync();
        assert!(matches!(
            &told[..],
            [
                Reply::Entry(..),
                Reply::Stepped(Ticket(1), Stepped::New(_)),
                Reply::Stepped(Ticket(2), Stepped::Repeated(_)),
                Reply::Producer(Ticket(3), _),
                Reply::Page(Ticket(4), _),
            ]
        ));
        assert!(!log.is_dirty());
    }

    #[test]
    fn a_crash_takes_what_was_not_synced_and_nothing_else() {
        let (room, ann) = (room("a"), suite::producer(1));
        let mut log = with_sync();
        do_step(&mut log, send(&room, number(&ann, 0, 1, 1)), 0);
        let kept = suite::prove(&mut log, &room, None).0;
        step(&mut log, 9, send(&room, number(&ann, 0, 2, 2)));
        log.crash();
        assert_eq!(log.sync(), []);
        assert_eq!(suite::prove(&mut log, &room, None).0, kept);
        let again = do_step(&mut log, send(&room, number(&ann, 0, 2, 2)), 0).1;
        assert_eq!(again, Stepped::New(Outcome::Accepted(Some(2).into())));
    }

    #[test]
    fn a_fail_over_loses_a_durable_tail_and_answers_what_waited() {
        let (room, ann) = (room("a"), suite::producer(1));
        let mut log = with_sync();
        let mut heads = Vec::new();
        for n in 1..=5 {
            do_step(&mut log, send(&room, number(&ann, 0, n, n.into())), 0);
            heads.push(suite::prove(&mut log, &room, None).0.head);
        }
        step(&mut log, 9, send(&room, number(&ann, 0, 6, 6)));
        let told = log.fail_over(2);
        assert_eq!(told, [Reply::Stepped(Ticket(9), Stepped::Unavailable { accepted: 3 })]);
        assert_eq!(suite::prove(&mut log, &room, None).0.head, heads[2]);
        // The same id at the same number over another prefix proves nothing.
        do_step(&mut log, own(vec![new_entry(&room, 77, "7")]), 0);
        do_step(&mut log, send(&room, number(&ann, 0, 4, 5)), 0);
        assert!(!suite::prove(&mut log, &room, Some(heads[4])).1);
        assert!(suite::prove(&mut log, &room, Some(heads[2])).1);
    }

    #[test]
    fn an_unavailable_log_says_so_and_names_only_what_is_durable() {
        let (room, ann) = (room("a"), suite::producer(1));
        let mut log = with_sync();
        do_step(&mut log, send(&room, number(&ann, 0, 1, 1)), 0);
        step(&mut log, 8, send(&room, number(&ann, 0, 2, 2)));
        log.set_available(false);
        let answer = step(&mut log, 9, send(&room, number(&ann, 0, 3, 3)));
        assert_eq!(answer, [Reply::Stepped(Ticket(9), Stepped::Unavailable { accepted: 1 })]);
        assert_eq!(log.sync(), [], "nothing becomes durable meanwhile");
        log.set_available(true);
        assert_eq!(log.sync().len(), 2);
    }

    #[test]
    fn a_lost_record_is_gone_and_base_mends_it() {
        let (room, ann) = (room("a"), suite::producer(1));
        let mut log = with_sync();
        do_step(&mut log, send(&room, number(&ann, 0, 1, 1)), 0);
        log.forget(&ann);
        log.sync();
        assert_eq!(suite::record(&mut log, &ann, 0).accepted, None);
        let next = suite::number(&ann, 0, 2, 2);
        assert_eq!(
            do_step(&mut log, send(&room, next.clone()), 0).1,
            Stepped::Early { accepted: 0 }
        );
        let based = super::super::Number { base: Some(1), ..next };
        assert!(matches!(do_step(&mut log, send(&room, based), 0).1, Stepped::New(_)));
    }
}
