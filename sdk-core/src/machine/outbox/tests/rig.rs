//! A disk, a server and a link around one outbox.

use super::*;
use crate::protocol::{
    ServerFrame,
    frames::{Pong, Send},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) fn config(seed: u64) -> Config {
    Config {
        url: "ws://server".into(),
        client: ClientInfo::default(),
        auto_reconnect: true,
        max_attempts: None,
        has_token_provider: false,
        token: None,
        max_items: 20_000,
        max_bytes: 64 << 20,
        stop_lanes: vec![6],
        max_calls: 10,
        seed,
    }
}

pub(super) fn owner(user: &str) -> Owner {
    Owner { server: "ws://server".into(), tenant: "t".into(), user: user.into() }
}

pub(super) fn item(id: u128, lane: u8) -> NewItem {
    NewItem {
        id: ItemId(id),
        lane,
        room: "a/b".parse::<Address>().unwrap(),
        event: "e".into(),
        data: Json::parse("{\"x\":1}").unwrap(),
        key: None,
        persist: true,
        ttl: None,
        command: false,
    }
}

/// A store for one owner at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) owners: BTreeMap<Option<Owner>, Snapshot>,
    pub(super) bound: Option<Owner>,
    pub(super) failing: Option<StoreError>,
    /// Another process holds the lock.
    pub(super) locked: bool,
    pub(super) commits: usize,
}

impl Disk {
    pub(super) fn current(&mut self) -> &mut Snapshot {
        let snapshot = self.owners.entry(self.bound.clone()).or_default();
        snapshot.durable = true;
        snapshot
    }

    pub(super) fn load(&mut self, owner: Option<Owner>) -> Result<Snapshot, StoreError> {
        if self.locked {
            return Err(StoreError::NotOwner);
        }
        if let Some(error) = &self.failing {
            return Err(error.clone());
        }
        if owner.is_some() {
            self.bound = owner;
        }
        let mut snapshot = self.current().clone();
        snapshot.items.sort_by_key(|stored| stored.order);
        Ok(snapshot)
    }

    pub(super) fn commit(&mut self, ops: &[StoreOp]) -> Result<(), StoreError> {
        if let Some(error) = &self.failing {
            return Err(error.clone());
        }
        let needs_lock = ops.iter().any(|op| {
            matches!(
                op,
                StoreOp::Number(..) | StoreOp::Lane(..) | StoreOp::Producer(_) | StoreOp::Bind(_)
            )
        });
        if self.locked && needs_lock {
            return Err(StoreError::NotOwner);
        }
        self.commits += 1;
        for op in ops {
            self.apply(op.clone());
        }
        Ok(())
    }

    fn apply(&mut self, op: StoreOp) {
        if let StoreOp::Bind(owner) = &op {
            let mut snapshot = std::mem::take(self.current());
            snapshot.owner = Some(owner.clone());
            self.owners.remove(&self.bound);
            self.bound = Some(owner.clone());
            *self.current() = snapshot;
            return;
        }
        let snapshot = self.current();
        fn find(snapshot: &mut Snapshot, id: ItemId) -> Option<&mut StoredItem> {
            snapshot.items.iter_mut().find(|stored| stored.item.id == id)
        }
        match op {
            StoreOp::Producer(producer) => snapshot.producer = Some(producer),
            StoreOp::Put(stored) => {
                assert!(stored.n.is_none() && find(snapshot, stored.item.id).is_none());
                snapshot.items.push(*stored);
            }
            StoreOp::Number(id, n) => {
                if let Some(stored) = find(snapshot, id) {
                    stored.n = n;
                }
            }
            StoreOp::Skip(id, code) => {
                if let Some(stored) = find(snapshot, id) {
                    stored.skip = Some(code);
                }
            }
            StoreOp::Deaths(id, deaths) => {
                if let Some(stored) = find(snapshot, id) {
                    stored.deaths = deaths;
                }
            }
            StoreOp::Remove(id) => snapshot.items.retain(|stored| stored.item.id != id),
            StoreOp::Lane(lane, numbers) => snapshot.lanes.insert(lane, numbers),
            StoreOp::Bind(_) | StoreOp::Cursor(..) => {}
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) accepted: u64,
    pub(super) outcomes: VecDeque<(u64, ItemId, Outcome)>,
}

/// The rules of P-S2.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    pub(super) records: BTreeMap<ProducerId, BTreeMap<u8, Record>>,
    pub(super) log: Vec<(u8, ItemId)>,
    /// Answer the next so many numbers with `hold unavailable`.
    pub(super) unavailable: u32,
    /// Events refused for good.
    pub(super) forbidden: BTreeSet<ItemId>,
    /// Every id that came in a frame.
    pub(super) seen: BTreeSet<ItemId>,
}

fn frame_of(lane: u8, (n, id, outcome): &(u64, ItemId, Outcome)) -> ServerFrame {
    match outcome {
        Outcome::Accepted(seq) => Accepted { lane, n: *n, id: *id, seq: *seq }.into(),
        Outcome::Refused(code, message) => {
            Refused { lane, n: *n, id: *id, code: code.clone(), message: message.clone() }.into()
        }
        other => panic!("{other:?} is no outcome of a server"),
    }
}

impl Server {
    pub(super) fn hello(
        &self,
        producer: ProducerId,
        done: &Lanes,
    ) -> (Option<Lanes>, Vec<ServerFrame>) {
        let Some(record) = self.records.get(&producer) else { return (None, Vec::new()) };
        let accepted = record.iter().map(|(lane, record)| (*lane, record.accepted)).collect();
        let mut frames = Vec::new();
        for (lane, record) in record {
            let done = done.get(lane).copied().unwrap_or(0);
            let behind = record.outcomes.iter().filter(|(n, ..)| *n > done);
            frames.extend(behind.map(|outcome| frame_of(*lane, outcome)));
        }
        (Some(accepted), frames)
    }

    /// Takes one frame. `Err`: close 4010.
    fn take(&mut self, conn: &mut Conn, text: &str) -> Result<Option<ServerFrame>, ()> {
        let (lane, n, id, base, refuse) = match ClientFrame::decode(text).unwrap() {
            ClientFrame::Ping(_) => return Ok(Some(Pong {}.into())),
            ClientFrame::Send(Send { lane, n, id, base, .. }) => {
                let forbidden = self.forbidden.contains(&id);
                (lane, n, id, base, forbidden.then_some(Code::FORBIDDEN))
            }
            ClientFrame::Skip(skip) => (skip.lane, skip.n, skip.id, skip.base, Some(skip.code)),
            other => panic!("{other:?}"),
        };
        self.seen.insert(id);
        if base.is_none() && conn.held.contains(&lane) {
            return Ok(None);
        }
        assert!(base.is_some() || conn.based.contains(&lane), "a lane's first frame carries base");
        conn.held.remove(&lane);
        conn.based.insert(lane);
        let known = self.records.contains_key(&conn.producer);
        let mut lanes = self.records.get(&conn.producer).cloned().unwrap_or_default();
        let record = lanes.entry(lane).or_default();
        record.accepted = record.accepted.max(base.unwrap_or(0));
        let (accepted, outcome) = (record.accepted, record.outcomes.iter().find(|o| o.0 == n));
        if let Some(outcome) = outcome.filter(|outcome| n <= accepted && outcome.1 == id) {
            return Ok(Some(frame_of(lane, outcome)));
        }
        if n <= accepted {
            return Err(());
        }
        if n > accepted + 1 || self.unavailable > 0 {
            self.unavailable = self.unavailable.saturating_sub(1);
            conn.held.insert(lane);
            if known {
                self.records.insert(conn.producer, lanes);
            }
            return Ok(Some(Hold { lane, accepted, code: Code::ORDER, after: None }.into()));
        }
        record.accepted = n;
        let outcome = match refuse {
            Some(code) => Outcome::Refused(code, String::new()),
            None => {
                self.log.push((lane, id));
                Outcome::Accepted(Some(self.log.len() as u64))
            }
        };
        record.outcomes.push_back((n, id, outcome));
        if record.outcomes.len() > 32 {
            record.outcomes.pop_front();
        }
        let answer = record.outcomes.back().map(|outcome| frame_of(lane, outcome));
        self.records.insert(conn.producer, lanes);
        Ok(answer)
    }
}

fn number_of(text: &str) -> Option<(u64, ItemId)> {
    match ClientFrame::decode(text).unwrap() {
        ClientFrame::Send(send) => Some((send.n, send.id)),
        ClientFrame::Skip(skip) => Some((skip.n, skip.id)),
        _ => None,
    }
}

#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) producer: ProducerId,
    held: BTreeSet<u8>,
    based: BTreeSet<u8>,
    pub(super) up: VecDeque<String>,
    pub(super) down: VecDeque<ServerFrame>,
}

/// One client and all around it.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) outbox: Outbox,
    pub(super) disk: Disk,
    pub(super) server: Server,
    pub(super) now: Now,
    pub(super) conn: Option<Conn>,
    pub(super) user: &'static str,
    pub(super) limits: Limits,
    /// Batches are committed and answered at once.
    pub(super) prompt: bool,
    pub(super) asked: VecDeque<OutboxOutput>,
    /// All that was told of an item, in this life.
    pub(super) told: BTreeMap<ItemId, Vec<Outcome>>,
    pub(super) replies: BTreeMap<CallId, Result<ReplyValue, Error>>,
    pub(super) events: Vec<ApiEvent>,
    pub(super) reconnects: usize,
    next_call: u64,
    lives: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let start = Now { mono: Instant::new(Duration::ZERO), wall: UnixMillis(1_700_000_000_000) };
        Self {
            outbox: Outbox::new(&config(seed)),
            disk: Disk::default(),
            server: Server::default(),
            now: start,
            conn: None,
            user: "u",
            limits: Limits::default(),
            prompt: true,
            asked: VecDeque::new(),
            told: BTreeMap::new(),
            replies: BTreeMap::new(),
            events: Vec::new(),
            reconnects: 0,
            next_call: 0,
            lives: seed,
        }
    }

    /// A world whose store is loaded and whose client is welcomed.
    pub(super) fn connected(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.pump();
        assert!(world.connect());
        world
    }

    pub(super) fn call(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    pub(super) fn submit(&mut self, item: NewItem) -> CallId {
        let call = self.call();
        self.outbox.handle_submit(call, item, self.now);
        self.pump();
        call
    }

    pub(super) fn cancel(&mut self, id: u128) -> CallId {
        let call = self.call();
        self.outbox.handle_cancel(call, ItemId(id), self.now);
        self.pump();
        call
    }

    pub(super) fn pump(&mut self) {
        loop {
            while let Some(output) = self.outbox.poll_output() {
                match output {
                    OutboxOutput::Reply(call, result) => {
                        assert!(self.replies.insert(call, result).is_none(), "{call:?} twice");
                    }
                    OutboxOutput::Event(ApiEvent::Settled(id, outcome)) => {
                        self.told.entry(id).or_default().push(outcome);
                    }
                    OutboxOutput::Event(event) => self.events.push(event),
                    OutboxOutput::Reconnect => {
                        self.reconnects += 1;
                        self.drop_link(false);
                    }
                    asked => self.asked.push_back(asked),
                }
            }
            if !(self.prompt && self.store_one()) {
                break;
            }
        }
        self.transmit();
    }

    /// Does what the store was asked first.
    pub(super) fn store_one(&mut self) -> bool {
        match self.asked.pop_front() {
            Some(OutboxOutput::Load(owner)) => {
                let loaded = self.disk.load(owner);
                self.outbox.handle_loaded(loaded, self.now);
            }
            Some(OutboxOutput::Store(ticket, ops)) => {
                let result = self.disk.commit(&ops);
                self.outbox.handle_stored(ticket, result, self.now);
            }
            _ => return false,
        }
        true
    }

    fn transmit(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        while let Some(text) = self.outbox.poll_transmit(self.now, 64 * 1024) {
            if let Some((n, id)) = number_of(&text) {
                let stored = self.disk.current().items.iter().find(|stored| stored.item.id == id);
                assert_eq!(stored.and_then(|stored| stored.n), Some(n), "not stored: {text}");
            }
            conn.up.push_back(text);
        }
    }

    /// Dials, says hello, is welcomed and told the outcomes. False: no connection came of it.
    pub(super) fn connect(&mut self) -> bool {
        if !self.outbox.is_ready() || self.conn.is_some() {
            return false;
        }
        let (producer, lanes) = self.outbox.hello();
        let (accepted, down) = self.server.hello(producer, &lanes);
        self.conn = Some(Conn {
            producer,
            held: BTreeSet::new(),
            based: BTreeSet::new(),
            up: VecDeque::new(),
            down: down.into(),
        });
        if !self.outbox.handle_welcome(owner(self.user), accepted, &self.limits, self.now) {
            self.drop_link(false);
        }
        self.pump();
        self.conn.is_some()
    }

    /// The server takes one frame.
    pub(super) fn serve_one(&mut self) -> bool {
        let Some(conn) = &mut self.conn else { return false };
        let Some(text) = conn.up.pop_front() else { return false };
        match self.server.take(conn, &text) {
            Ok(answer) => conn.down.extend(answer),
            Err(()) => {
                self.outbox.handle_forked(self.now);
                self.drop_link(false);
                self.pump();
            }
        }
        true
    }

    /// The client takes one frame.
    pub(super) fn receive_one(&mut self) -> bool {
        let Some(conn) = &mut self.conn else { return false };
        let Some(frame) = conn.down.pop_front() else { return false };
        match frame {
            ServerFrame::Accepted(frame) => self.outbox.handle_accepted(frame, self.now),
            ServerFrame::Refused(frame) => self.outbox.handle_refused(frame, self.now),
            ServerFrame::Hold(frame) => {
                self.outbox.handle_settled(self.now);
                self.outbox.handle_hold(frame, self.now);
            }
            _ => self.outbox.handle_settled(self.now),
        }
        self.pump();
        true
    }

    pub(super) fn drop_link(&mut self, died: bool) {
        if self.conn.take().is_some() {
            self.outbox.handle_link_down(died, self.now);
        }
    }

    pub(super) fn cut(&mut self) {
        self.drop_link(true);
        self.pump();
    }

    /// Moves both clocks, stopping at deadlines.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        let begin = self.now;
        for _ in 0..10_000 {
            let next = self.outbox.deadline().filter(|at| *at <= end).unwrap_or(end);
            self.now.mono = next.max(self.now.mono);
            let passed = self.now.mono.since(begin.mono).as_millis() as u64;
            self.now.wall = UnixMillis(begin.wall.0 + passed);
            self.outbox.handle_timeout(self.now);
            self.pump();
            if next == end {
                return;
            }
        }
        panic!("deadlines without end");
    }

    /// The process dies and starts again on what the disk has.
    pub(super) fn restart(&mut self) {
        self.conn = None;
        self.asked.clear();
        self.told.clear();
        self.lives += 1;
        self.outbox = Outbox::new(&config(self.lives * 7919));
        self.pump();
    }

    /// Frames flow until nothing moves.
    pub(super) fn flow(&mut self) {
        while self.serve_one() || self.receive_one() {}
    }

    /// Everything works again; runs until the outbox is empty.
    pub(super) fn heal(&mut self) {
        self.disk.failing = None;
        self.disk.locked = false;
        self.prompt = true;
        self.server.unavailable = 0;
        self.pump();
        for _ in 0..200 {
            if self.conn.is_none() {
                self.connect();
            }
            self.outbox.handle_resume(6, self.now);
            self.pump();
            self.flow();
            if self.outbox.is_ours() && self.outbox.is_empty() {
                return;
            }
            self.pass(Duration::from_secs(10));
        }
        panic!("does not come to rest: {:?}", self.outbox);
    }

    pub(super) fn outcome(&self, id: u128) -> Option<&Outcome> {
        let told = self.told.get(&ItemId(id))?;
        assert_eq!(told.len(), 1, "{told:?}");
        told.first()
    }

    pub(super) fn logged(&self) -> Vec<u128> {
        self.server.log.iter().map(|(_, id)| id.0).collect()
    }

    pub(super) fn stored(&mut self, id: u128) -> Option<StoredItem> {
        let items = &self.disk.current().items;
        items.iter().find(|stored| stored.item.id == ItemId(id)).cloned()
    }

    /// The frames on their way up, decoded.
    pub(super) fn up(&self) -> Vec<ClientFrame> {
        let up = self.conn.iter().flat_map(|conn| &conn.up);
        up.map(|text| ClientFrame::decode(text).unwrap()).collect()
    }
}
