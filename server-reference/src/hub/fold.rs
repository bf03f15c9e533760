//! Folds: state that is nothing but the entries of one internal room, read once and then followed.
//!
//! Every node that folds the same log comes to the same state, and a restart rebuilds it. Internal
//! rooms have a name that begins with `~`; no client may join, read or write them.
//!
//! ```text
//!           start                 page at the head
//! Idle ─────────────▶ Reading ──────────────────────▶ Live ──┐ entry that fits: applied
//!                      │  ▲                            │  ▲  │
//!         unavailable  │  │ proved           entry that│  └──┘
//!                      ▼  │                  does not  ▼
//!                    Waiting ─── retry ──────────▶ Proving ── not proved: Reset, Reading from 0
//! ```

use crate::log::{Entry, Reply, Request, RoomKey, Ticket};
use std::{sync::Arc, time::Duration};
use wardline::{
    protocol::{Address, Cursor},
    time::{Instant, Now},
};

/// The bit that tickets of the hub's parts have and the hub's own lack.
const PARTS: u64 = 1 << 63;
/// Time to the next try when the log cannot answer.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Whether a room is the server's own: one of its parts begins with `~`.
#[must_use]
pub fn is_internal(room: &Address) -> bool {
    room.parts().any(|part| part.starts_with('~'))
}

/// A part's own range of tickets, so that a reply finds its part.
#[derive(Clone, Debug)]
pub struct Tickets {
    next: u64,
}

impl Tickets {
    /// The range of one part.
    #[must_use]
    pub const fn of_part(part: u8) -> Self {
        Self { next: PARTS | ((part as u64) << 48) }
    }

    /// The next ticket.
    pub const fn draw(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    /// The part a ticket belongs to; none: it is the hub's own.
    #[must_use]
    pub const fn part(ticket: Ticket) -> Option<u8> {
        if ticket.0 & PARTS == 0 { None } else { Some((ticket.0 >> 48) as u8 & 0x7f) }
    }
}

/// Which entries make up the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// All that the log holds.
    All,
    /// The newest of each key.
    Latest,
}

/// What to do with the state, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Folded {
    /// Forget everything: the log is another than it was.
    Reset,
    /// Apply an entry.
    Entry(Arc<Entry>),
    /// The state is the log's, up to its head.
    Live,
}

/// What one turn gave.
#[derive(Debug, Default)]
pub struct Turn {
    /// For the state.
    pub folded: Vec<Folded>,
    /// For the log.
    pub request: Option<Request>,
}

/// The position of one fold in its room's log.
#[derive(Debug)]
pub struct Fold {
    key: RoomKey,
    entries: Entries,
    /// Applied up to here; none: nothing was read yet.
    head: Option<Cursor>,
    phase: Phase,
    /// The highest number told while the fold could not apply it.
    told: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Proving(Ticket),
    Reading(Ticket),
    Live,
    Waiting(Instant),
}

impl Fold {
    /// A fold that has read nothing.
    #[must_use]
    pub const fn new(key: RoomKey, entries: Entries) -> Self {
        Self { key, entries, head: None, phase: Phase::Idle, told: 0 }
    }

    /// The room.
    #[must_use]
    pub const fn key(&self) -> &RoomKey {
        &self.key
    }

    /// Whether the state is the log's.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Where the state stands, once something was read.
    #[must_use]
    pub const fn head(&self) -> Option<Cursor> {
        self.head
    }

    /// Begins to read, or proves the state anew: at the start, on wake-up, after an outage (P-K2).
    pub fn refresh(&mut self, tickets: &mut Tickets) -> Option<Request> {
        match self.phase {
            Phase::Proving(_) | Phase::Reading(_) => None,
            Phase::Idle | Phase::Live | Phase::Waiting(_) => Some(self.prove(tickets)),
        }
    }

    /// Forgets everything and reads from the beginning. The caller resets the state.
    pub fn restart(&mut self, tickets: &mut Tickets) -> Request {
        self.head = None;
        self.read(tickets)
    }

    /// The log told an entry of this room.
    pub fn handle_entry(&mut self, entry: &Arc<Entry>, tickets: &mut Tickets) -> Turn {
        let mut turn = Turn::default();
        let Some(head) = self.head.filter(|_| self.is_live()) else {
            self.told = self.told.max(entry.seq);
            return turn;
        };
        if entry.seq == head.seq + 1 && entry.prev_mark == head.mark {
            self.head = Some(entry.cursor());
            turn.folded.push(Folded::Entry(Arc::clone(entry)));
        } else if entry.cursor() != head {
            self.told = self.told.max(entry.seq);
            turn.request = Some(self.prove(tickets));
        }
        turn
    }

    /// The log's answer. What is not this fold's is passed over.
    pub fn handle_reply(&mut self, reply: &Reply, now: Now, tickets: &mut Tickets) -> Turn {
        let mut turn = Turn::default();
        match (reply, self.phase) {
            (Reply::Proved(ticket, proved), Phase::Proving(asked)) if *ticket == asked => {
                match proved {
                    Ok((_, true)) => {}
                    Ok((_, false)) => self.reset(&mut turn),
                    Err(_) => {
                        self.phase = Phase::Waiting(now.mono + RETRY);
                        return turn;
                    }
                }
                turn.request = Some(self.read(tickets));
            }
            (Reply::Page(ticket, page), Phase::Reading(asked)) if *ticket == asked => {
                let Ok((entries, extent)) = page else {
                    self.phase = Phase::Waiting(now.mono + RETRY);
                    return turn;
                };
                self.apply(entries, extent.head, &mut turn, tickets);
            }
            _ => {}
        }
        turn
    }

    /// Tries again where the log could not answer.
    pub fn handle_timeout(&mut self, now: Now, tickets: &mut Tickets) -> Option<Request> {
        match self.phase {
            Phase::Waiting(at) if at <= now.mono => Some(self.prove(tickets)),
            _ => None,
        }
    }

    /// When to try again.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(at) => Some(at),
            _ => None,
        }
    }

    fn apply(
        &mut self,
        page: &[Arc<Entry>],
        log_head: Cursor,
        turn: &mut Turn,
        tickets: &mut Tickets,
    ) {
        let fits = |head: Cursor, entry: &Entry| match self.entries {
            Entries::All => entry.seq == head.seq + 1 && entry.prev_mark == head.mark,
            Entries::Latest => entry.seq > head.seq,
        };
        // What was proved may be lost or overtaken before it was read: begin again.
        let holds = self.head.is_none_or(|head| {
            log_head.seq >= head.seq && page.first().is_none_or(|entry| fits(head, entry))
        });
        if !holds {
            self.reset(turn);
            turn.request = Some(self.read(tickets));
            return;
        }
        for entry in page {
            turn.folded.push(Folded::Entry(Arc::clone(entry)));
        }
        let last = page.last().map(|entry| entry.cursor());
        let at = last.or(self.head);
        let at_head = at.is_some_and(|at| at.seq >= log_head.seq);
        if !at_head && last.is_some() {
            self.head = last;
            turn.request = Some(self.read(tickets));
            return;
        }
        self.head = Some(log_head);
        // Told while this page was on its way. What is told is durable: one more read has it, or it
        // is lost again.
        if std::mem::take(&mut self.told) > log_head.seq {
            turn.request = Some(self.read(tickets));
            return;
        }
        self.phase = Phase::Live;
        turn.folded.push(Folded::Live);
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.head = None;
        turn.folded.push(Folded::Reset);
    }

    fn prove(&mut self, tickets: &mut Tickets) -> Request {
        let Some(head) = self.head else { return self.read(tickets) };
        let ticket = tickets.draw();
        self.phase = Phase::Proving(ticket);
        Request::Prove(ticket, self.key.clone(), Some(head))
    }

    fn read(&mut self, tickets: &mut Tickets) -> Request {
        let ticket = tickets.draw();
        self.phase = Phase::Reading(ticket);
        let after = self.head.map_or(0, |head| head.seq);
        match self.entries {
            Entries::All => Request::Read(ticket, self.key.clone(), after),
            Entries::Latest => Request::Keys(ticket, self.key.clone(), after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Intent, MemoryLog, NewEntry, Retention, Step};
    use wardline::{model::ids::ItemId, protocol::Json, time::UnixMillis};

    fn key() -> RoomKey {
        RoomKey { tenant: "t".into(), room: "x/~fold".parse().unwrap() }
    }

    fn at(ms: u64) -> Now {
        Now { mono: Instant::new(Duration::from_millis(ms)), wall: UnixMillis(ms) }
    }

    fn append(log: &mut MemoryLog, id: u128, slot: Option<&str>, gone: bool) -> Vec<Reply> {
        let entry = NewEntry {
            room: key(),
            id: ItemId(id),
            from: "".into(),
            event: "e".into(),
            key: slot.map(Arc::from),
            gone,
            data: Json::of(&id.to_string()).unwrap(),
        };
        let step = Step { producer: None, once: None, intent: Intent::Append(vec![entry]) };
        log.handle_request(Request::Step(Ticket(1), step), 0)
    }

    /// A fold over a log, and the ids that make up its state.
    struct Rig {
        log: MemoryLog,
        fold: Fold,
        tickets: Tickets,
        state: Vec<u128>,
        lives: usize,
    }

    impl Rig {
        fn new(entries: Entries) -> Self {
            Self {
                log: MemoryLog::new(1, Retention::uniform(1 << 40)),
                fold: Fold::new(key(), entries),
                tickets: Tickets::of_part(3),
                state: Vec::new(),
                lives: 0,
            }
        }

        fn take(&mut self, turn: Turn) {
            for folded in turn.folded {
                match folded {
                    Folded::Reset => self.state.clear(),
                    Folded::Entry(entry) => self.state.push(entry.id.0),
                    Folded::Live => self.lives += 1,
                }
            }
            if let Some(request) = turn.request {
                self.ask(request);
            }
        }

        fn ask(&mut self, request: Request) {
            for reply in self.log.handle_request(request, 0) {
                let turn = self.fold.handle_reply(&reply, at(0), &mut self.tickets);
                self.take(turn);
            }
        }

        fn refresh(&mut self) {
            if let Some(request) = self.fold.refresh(&mut self.tickets) {
                self.ask(request);
            }
        }

        fn tell(&mut self, replies: &[Reply]) {
            for reply in replies {
                if let Reply::Entry(_, entry) = reply {
                    let turn = self.fold.handle_entry(entry, &mut self.tickets);
                    self.take(turn);
                }
            }
        }
    }

    #[test]
    fn a_fold_reads_what_is_there_and_follows() {
        let mut rig = Rig::new(Entries::All);
        for id in 1..=600 {
            append(&mut rig.log, id, None, false);
        }
        rig.refresh();
        assert_eq!(rig.state, (1..=600).collect::<Vec<_>>());
        assert!(rig.fold.is_live() && rig.lives == 1);
        let told = append(&mut rig.log, 601, None, false);
        rig.tell(&told);
        rig.tell(&told);
        assert_eq!((rig.state.len(), rig.state.last()), (601, Some(&601)));
    }

    #[test]
    fn an_entry_told_while_a_page_is_on_its_way_is_not_missed() {
        let mut rig = Rig::new(Entries::All);
        append(&mut rig.log, 1, None, false);
        let request = rig.fold.refresh(&mut rig.tickets).unwrap();
        let page = rig.log.handle_request(request, 0);
        let told = append(&mut rig.log, 2, None, false);
        rig.tell(&told);
        for reply in page {
            let turn = rig.fold.handle_reply(&reply, at(0), &mut rig.tickets);
            rig.take(turn);
        }
        assert_eq!((&*rig.state, rig.fold.is_live()), (&[1, 2][..], true));
    }

    #[test]
    fn p_k2_a_missed_entry_is_read_and_a_lost_tail_rebuilds_the_state() {
        let mut rig = Rig::new(Entries::All);
        append(&mut rig.log, 1, None, false);
        rig.refresh();
        append(&mut rig.log, 2, None, false);
        let told = append(&mut rig.log, 3, None, false);
        rig.tell(&told);
        assert_eq!(rig.state, [1, 2, 3]);
        let mut other = MemoryLog::new(2, Retention::uniform(1 << 40));
        append(&mut other, 1, None, false);
        let told = append(&mut other, 9, None, false);
        rig.log = other;
        rig.tell(&told);
        assert_eq!((&*rig.state, rig.fold.is_live()), (&[1, 9][..], true));
    }

    #[test]
    fn a_keyed_fold_reads_the_newest_of_each_key() {
        let mut rig = Rig::new(Entries::Latest);
        for (id, slot) in [(1, "a"), (2, "b"), (3, "a")] {
            append(&mut rig.log, id, Some(slot), false);
        }
        rig.refresh();
        assert_eq!(rig.state, [2, 3]);
        let told = append(&mut rig.log, 4, Some("b"), true);
        rig.tell(&told);
        rig.refresh();
        assert_eq!((&*rig.state, rig.lives), (&[2, 3, 4][..], 2));
    }

    #[test]
    fn an_unavailable_log_is_asked_again_later() {
        let mut rig = Rig::new(Entries::All);
        rig.log.set_available(false);
        rig.refresh();
        assert_eq!(rig.fold.poll_timeout(), Some(at(1000).mono));
        rig.log.set_available(true);
        assert_eq!(rig.fold.handle_timeout(at(999), &mut rig.tickets), None);
        let request = rig.fold.handle_timeout(at(1000), &mut rig.tickets).unwrap();
        rig.ask(request);
        assert!(rig.fold.is_live());
    }

    #[test]
    fn tickets_name_their_part() {
        let mut tickets = Tickets::of_part(5);
        assert_eq!(Tickets::part(tickets.draw()), Some(5));
        assert_eq!(Tickets::part(Ticket(77)), None);
    }
}
