//! A log with marks, a server with one connection, and a checker of what each subscription is told.

use super::*;
use crate::protocol::ClientFrame;
use std::collections::BTreeMap;
use std::collections::VecDeque;

pub(super) const ROOM: &str = "a/b";

pub(super) fn address() -> Address {
    ROOM.parse().unwrap()
}

pub(super) fn config(seed: u64) -> Config {
    Config {
        url: "ws://server".into(),
        client: ClientInfo::default(),
        auto_reconnect: true,
        max_attempts: None,
        has_token_provider: false,
        token: None,
        max_items: 10,
        max_bytes: 1 << 20,
        stop_lanes: Vec::new(),
        max_calls: 10,
        seed,
    }
}

pub(super) fn only(events: &[&str]) -> Filter {
    let events = events.iter().map(|event| (*event).to_owned()).collect();
    Filter(vec![Clause { events, ..Clause::default() }]).canonical().unwrap()
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) parent: Mark,
    pub(super) name: String,
}

/// Every entry that ever was, by mark: lost tails stay known to the checker.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage(BTreeMap<Mark, Entry>);

#[derive(Clone, Debug)]
pub(super) struct Log {
    /// Position before the first entry still held.
    pub(super) first: Cursor,
    pub(super) entries: VecDeque<(Cursor, String)>,
    rng: fastrand::Rng,
    pub(super) lineage: Lineage,
}

impl Log {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let first = Cursor { seq: 0, mark: Mark(rng.u64(..)) };
        Self { first, entries: VecDeque::new(), rng, lineage: Lineage::default() }
    }

    pub(super) fn head(&self) -> Cursor {
        self.entries.back().map_or(self.first, |(cursor, _)| *cursor)
    }

    fn append(&mut self, name: &str) -> Cursor {
        let head = self.head();
        let cursor = Cursor { seq: head.seq + 1, mark: Mark(self.rng.u64(..)) };
        self.entries.push_back((cursor, name.to_owned()));
        let entry = Entry { seq: cursor.seq, parent: head.mark, name: name.to_owned() };
        self.lineage.0.insert(cursor.mark, entry);
        cursor
    }

    fn is_proved(&self, cursor: Cursor) -> bool {
        cursor == self.first || self.entries.iter().any(|(known, _)| *known == cursor)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) filter: Filter,
    at: u64,
    /// The last event of the view that was written, or the beginning.
    last: u64,
    live: bool,
    pages: VecDeque<u64>,
    since_page: u32,
}

/// The connection's end at the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Conn {
    pub(super) up: VecDeque<ClientFrame>,
    pub(super) down: VecDeque<ServerFrame>,
    pub(super) member: Option<Member>,
}

/// What the checker knows of a subscription.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) filter: Filter,
    /// Handed over up to here; none: not begun.
    pub(super) last: Option<Cursor>,
    pub(super) handed: Vec<Cursor>,
    /// Where it began, and began again.
    pub(super) bases: Vec<Cursor>,
    pub(super) done: usize,
    pub(super) gaps: usize,
    pub(super) lives: usize,
    pub(super) casts: usize,
    pub(super) left: Option<Code>,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) rooms: Rooms,
    pub(super) log: Log,
    pub(super) conn: Option<Conn>,
    pub(super) now: Now,
    /// Refuse joins with this answer.
    pub(super) refuse: Option<(Code, Option<u64>)>,
    pub(super) stored: Table<(String, Address), Cursor>,
    pub(super) commits: usize,
    pub(super) store_fails: bool,
    pub(super) watches: BTreeMap<SubId, Watch>,
    pub(super) replies: BTreeMap<CallId, Result<ReplyValue, Error>>,
    pub(super) wanted: Vec<(SubId, Cursor)>,
    pub(super) calls: BTreeMap<CallId, SubId>,
    pub(super) sent: Vec<ClientFrame>,
    pub(super) page_every: u32,
    next: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            rooms: Rooms::new(&config(seed)),
            log: Log::new(seed),
            conn: None,
            now: Now::default(),
            refuse: None,
            stored: Table::new(),
            commits: 0,
            store_fails: false,
            watches: BTreeMap::new(),
            replies: BTreeMap::new(),
            wanted: Vec::new(),
            calls: BTreeMap::new(),
            sent: Vec::new(),
            page_every: 1024,
            next: 0,
        };
        world.rooms.handle_loaded(Table::new(), world.now);
        world
    }

    pub(super) fn connected(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.connect();
        world
    }

    pub(super) fn call(&mut self) -> CallId {
        self.next += 1;
        CallId(self.next)
    }

    pub(super) fn subscribe(&mut self, subscribe: Subscribe) -> SubId {
        let call = self.call();
        let sub = SubId(self.next);
        let watch = Watch {
            filter: subscribe.filter.clone().canonical().unwrap(),
            last: None,
            handed: Vec::new(),
            bases: Vec::new(),
            done: 0,
            gaps: 0,
            lives: 0,
            casts: 0,
            left: None,
        };
        self.watches.insert(sub, watch);
        self.calls.insert(call, sub);
        self.rooms.handle_subscribe(call, sub, address(), subscribe, self.now);
        self.pump();
        sub
    }

    pub(super) fn unsubscribe(&mut self, sub: SubId) -> CallId {
        let call = self.call();
        self.rooms.handle_unsubscribe(call, sub, self.now);
        self.watches.remove(&sub);
        self.pump();
        call
    }

    /// The application is done with the next `count` events of a subscription.
    pub(super) fn done(&mut self, sub: SubId, count: usize) {
        let Some(watch) = self.watches.get_mut(&sub) else { return };
        watch.done = (watch.done + count).min(watch.handed.len());
        if let Some(last) = watch.done.checked_sub(1).and_then(|at| watch.handed.get(at)) {
            let seq = last.seq;
            self.rooms.handle_done(sub, seq, self.now);
        }
        self.pump();
    }

    pub(super) fn connect(&mut self) {
        if self.conn.is_some() {
            return;
        }
        let joins = self.rooms.joins_for_hello(self.now);
        let mut conn = Conn::default();
        conn.up.extend(joins.into_iter().map(ClientFrame::Join));
        self.sent.extend(conn.up.iter().cloned());
        self.conn = Some(conn);
        self.pump();
    }

    pub(super) fn cut(&mut self) {
        if self.conn.take().is_some() {
            self.rooms.handle_link_down(self.now);
            self.pump();
        }
    }

    pub(super) fn pump(&mut self) {
        while let Some(output) = self.rooms.poll_output() {
            match output {
                RoomsOutput::Send(frame) => {
                    self.sent.push(frame.clone());
                    self.conn.as_mut().expect("frames only while linked").up.push_back(frame);
                }
                RoomsOutput::Reply(call, result) => {
                    if let Some(sub) = self.calls.get(&call) {
                        match &result {
                            Ok(ReplyValue::Joined { cursor, .. }) => {
                                if let Some(watch) = self.watches.get_mut(sub) {
                                    watch.last.get_or_insert(*cursor);
                                    watch.bases.push(*cursor);
                                }
                            }
                            _ => drop(self.watches.remove(sub)),
                        }
                    }
                    assert!(self.replies.insert(call, result).is_none(), "{call:?} answered twice");
                }
                RoomsOutput::Store(ticket, ops) => {
                    let result = self.commit(ops);
                    self.rooms.handle_stored(ticket, result, self.now);
                }
                RoomsOutput::Event(event) => self.told(event),
            }
        }
    }

    fn commit(&mut self, ops: Vec<StoreOp>) -> Result<(), StoreError> {
        self.commits += 1;
        if self.store_fails {
            return Err(StoreError::Io("full".into()));
        }
        for op in ops {
            let StoreOp::Cursor(name, room, cursor) = op else { panic!("{op:?}") };
            self.stored.insert((name, room), cursor);
        }
        Ok(())
    }

    fn told(&mut self, event: ApiEvent) {
        match event {
            ApiEvent::Event(sub, event) => {
                let lineage = &self.log.lineage;
                let watch = self.watches.get_mut(&sub).expect("a subscription that ended is told");
                assert!(watch.filter.passes(&event.event, event.data.get()), "{event:?}");
                let Some(seq) = event.seq else {
                    watch.casts += 1;
                    return;
                };
                let at = Cursor { seq, mark: event.mark.unwrap() };
                watch.handed.push(at);
                if let Some(last) = watch.last.replace(at) {
                    assert!(seq > last.seq, "{sub:?} is handed {seq} after {}", last.seq);
                    // Back along the chain: nothing of this filter was left out.
                    let mut entry = &lineage.0[&at.mark];
                    while entry.parent != last.mark {
                        entry = lineage.0.get(&entry.parent).expect("a silent gap");
                        assert!(entry.seq > last.seq, "{sub:?}: {at:?} does not follow {last:?}");
                        let passes = watch.filter.passes(&entry.name, "null");
                        assert!(!passes, "{sub:?} misses {}", entry.seq);
                    }
                }
            }
            ApiEvent::Gap { sub, to, .. } => {
                let watch = self.watches.get_mut(&sub).unwrap();
                watch.gaps += 1;
                watch.last = to;
                watch.bases.extend(to);
            }
            ApiEvent::Live(sub) => self.watches.get_mut(&sub).unwrap().lives += 1,
            ApiEvent::Left(sub, code) => {
                if let Some(watch) = self.watches.get_mut(&sub) {
                    watch.left = Some(code);
                }
            }
            ApiEvent::SnapshotWanted(sub, head) => self.wanted.push((sub, head)),
            other => panic!("{other:?}"),
        }
    }

    /// The hook answers with the log's head as it is now, or fails.
    pub(super) fn answer_hook(&mut self, good: bool) -> bool {
        let Some((sub, _)) = self.wanted.pop() else { return false };
        if !self.watches.contains_key(&sub) {
            return true;
        }
        let head = self.log.head();
        let result = if good { Ok(Some(head)) } else { Err("no".to_owned()) };
        if let Some(watch) = self.watches.get_mut(&sub).filter(|_| good) {
            watch.last = Some(head);
            watch.bases.push(head);
        }
        self.rooms.handle_snapshot(sub, result, self.now);
        self.pump();
        true
    }

    // The server.

    pub(super) fn append(&mut self, name: &str) {
        self.log.append(name);
        self.write();
    }

    pub(super) fn cast(&mut self, name: &str) {
        let Some(conn) = &mut self.conn else { return };
        if conn.member.as_ref().is_some_and(|member| member.filter.passes(name, "null")) {
            conn.down.push_back(event(None, None, name).into());
        }
    }

    /// Retention takes the oldest entries.
    pub(super) fn retain(&mut self, count: usize) {
        while self.log.entries.len() > count {
            self.log.first = self.log.entries.pop_front().unwrap().0;
        }
        let first = self.log.first;
        let Some(conn) = &mut self.conn else { return };
        if conn.member.as_ref().is_some_and(|member| member.at < first.seq) {
            self.lose(None);
        }
    }

    /// The log loses its newest entries, with live nodes (P-K2).
    pub(super) fn lose_tail(&mut self, count: usize) {
        for _ in 0..count.min(self.log.entries.len()) {
            self.log.entries.pop_back();
        }
        if self.conn.as_ref().is_some_and(|conn| conn.member.is_some()) {
            self.lose(None);
        }
    }

    fn lose(&mut self, id: Option<u64>) {
        let (first, head) = (self.log.first, self.log.head());
        let Some(conn) = &mut self.conn else { return };
        conn.member = None;
        conn.down.push_back(Lost { id, room: ROOM.into(), first, head }.into());
    }

    /// Takes the membership away.
    pub(super) fn evict(&mut self, code: Code) {
        let Some(conn) = &mut self.conn else { return };
        if conn.member.take().is_some() {
            let left = Left { id: None, room: ROOM.into(), code: Some(code), after: None };
            conn.down.push_back(left.into());
        }
    }

    pub(super) fn ping(&mut self) {
        let head = self.log.head();
        let Some(conn) = &mut self.conn else { return };
        let Some(member) = conn.member.as_ref().filter(|member| member.live) else { return };
        let heads =
            vec![Head { room: ROOM.into(), last: member.last, seq: head.seq, mark: head.mark }];
        conn.down.push_back(crate::protocol::frames::Ping { heads }.into());
    }

    /// The server takes one frame.
    pub(super) fn serve_one(&mut self) -> bool {
        let Some(conn) = &mut self.conn else { return false };
        let Some(frame) = conn.up.pop_front() else { return false };
        match frame {
            ClientFrame::Join(join) => self.take_join(&join),
            ClientFrame::Leave(leave) => {
                conn.member = None;
                let left = Left { id: Some(leave.id), room: leave.room, code: None, after: None };
                conn.down.push_back(left.into());
            }
            ClientFrame::Credit(credit) => {
                if let Some(member) = &mut conn.member {
                    member.pages.retain(|page| *page > credit.seq);
                }
                self.write();
            }
            other => panic!("{other:?}"),
        }
        true
    }

    fn take_join(&mut self, join: &Join) {
        let head = self.log.head();
        let proved = join.cursor.is_none_or(|cursor| self.log.is_proved(cursor));
        let Some(conn) = &mut self.conn else { return };
        conn.member = None;
        if let Some((code, after)) = &self.refuse {
            let (code, after) = (Some(code.clone()), *after);
            let left = Left { id: Some(join.id), room: ROOM.into(), code, after };
            return conn.down.push_back(left.into());
        }
        if !proved {
            return self.lose(Some(join.id));
        }
        let cursor = match (join.cursor, join.from) {
            (Some(cursor), _) => cursor,
            (None, Some(Start::First)) => self.log.first,
            (None, _) => head,
        };
        let joined = Joined {
            id: join.id,
            room: ROOM.into(),
            cursor,
            head,
            mode: RoomMode::Log,
            full: false,
        };
        conn.down.push_back(joined.into());
        conn.member = Some(Member {
            filter: join.filter.clone(),
            at: cursor.seq,
            last: cursor.seq,
            live: false,
            pages: VecDeque::new(),
            since_page: 0,
        });
        self.write();
    }

    /// Writes what the member has not got yet, unless it owes credit.
    fn write(&mut self) {
        let head = self.log.head();
        let Some(Conn { down, member: Some(member), .. }) = &mut self.conn else { return };
        for (cursor, name) in &self.log.entries {
            if cursor.seq <= member.at || member.pages.len() >= 2 {
                continue;
            }
            member.at = cursor.seq;
            if !member.filter.passes(name, "null") {
                continue;
            }
            let prev = (member.last + 1 != cursor.seq).then_some(member.last);
            down.push_back(event(Some(*cursor), prev, name).into());
            member.last = cursor.seq;
            member.since_page += 1;
            if member.since_page == self.page_every {
                member.since_page = 0;
                member.pages.push_back(cursor.seq);
                down.push_back(Page { room: ROOM.into(), seq: cursor.seq }.into());
            }
        }
        if member.at == head.seq && !member.live {
            member.live = true;
            down.push_back(Live { room: ROOM.into(), seq: head.seq, mark: head.mark }.into());
        }
        member.live &= member.at == head.seq;
    }

    /// The client takes one frame.
    pub(super) fn receive_one(&mut self) -> bool {
        let Some(conn) = &mut self.conn else { return false };
        let Some(frame) = conn.down.pop_front() else { return false };
        self.receive(frame);
        true
    }

    pub(super) fn receive(&mut self, frame: ServerFrame) {
        let now = self.now;
        match frame {
            ServerFrame::Joined(frame) => self.rooms.handle_joined(frame, now),
            ServerFrame::Lost(frame) => self.rooms.handle_lost(frame, now),
            ServerFrame::Left(frame) => self.rooms.handle_left(frame, now),
            ServerFrame::Live(frame) => self.rooms.handle_live(&frame, now),
            ServerFrame::Page(frame) => self.rooms.handle_page(frame, now),
            ServerFrame::Event(frame) => self.rooms.handle_event(frame, now),
            ServerFrame::Ping(frame) => self.rooms.handle_heads(&frame.heads, now),
            other => panic!("{other:?}"),
        }
        self.pump();
    }

    pub(super) fn flow(&mut self) {
        while self.serve_one() || self.receive_one() {}
    }

    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        for _ in 0..10_000 {
            let next = self.rooms.deadline().filter(|at| *at <= end).unwrap_or(end);
            self.now.mono = next.max(self.now.mono);
            self.rooms.handle_timeout(self.now);
            self.pump();
            if next == end {
                return;
            }
        }
        panic!("deadlines without end");
    }

    /// The process dies; a new one has what was stored.
    pub(super) fn restart(&mut self) {
        self.conn = None;
        self.watches.clear();
        self.calls.clear();
        self.wanted.clear();
        self.next += 1000;
        self.rooms = Rooms::new(&config(self.next));
        self.rooms.handle_loaded(self.stored.clone(), self.now);
        self.pump();
    }

    pub(super) fn joins(&self) -> usize {
        self.sent.iter().filter(|frame| matches!(frame, ClientFrame::Join(_))).count()
    }

    pub(super) fn seqs(&self, sub: SubId) -> Vec<u64> {
        self.watches[&sub].handed.iter().map(|cursor| cursor.seq).collect()
    }

    pub(super) fn member(&self) -> Option<&Member> {
        self.conn.as_ref().and_then(|conn| conn.member.as_ref())
    }
}

pub(super) fn event(cursor: Option<Cursor>, prev: Option<u64>, name: &str) -> Event {
    Event {
        room: ROOM.into(),
        seq: cursor.map(|cursor| cursor.seq),
        prev,
        mark: cursor.map(|cursor| cursor.mark),
        id: None,
        time: 0,
        from: String::new(),
        event: name.into(),
        key: None,
        gone: false,
        data: Json::null(),
    }
}
