//! Random lives: many members of two rooms, a log that syncs late, loses its tail, tells entries
//! twice, late or not at all. Members check what they are handed.

use super::*;
use crate::log::Reply;
use wardline::{
    model::ids::ItemId,
    protocol::{Filter, Mark},
};

const ROOMS: [&str; 2] = ["alerts/a", "alerts/b"];

/// What a member knows.
#[derive(Clone, Debug, Default)]
struct Seat {
    /// The answers that must come before anything is believed again (P-R1).
    asked: usize,
    attached: bool,
    last: u64,
    cursor: Option<Cursor>,
    filter: Filter,
    /// Handed over since the membership began.
    got: Vec<(u64, Mark)>,
    /// Asked for by `page`.
    owed: Vec<u64>,
}

struct Life {
    bench: Bench,
    rng: fastrand::Rng,
    seats: BTreeMap<(ConnId, usize), Seat>,
    conns: Vec<ConnId>,
    senders: BTreeMap<ConnId, u64>,
    /// Replies on their way.
    under_way: VecDeque<Reply>,
    trace: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        bench.log = MemoryLog::with_sync(seed, Retention::default());
        bench.held = Some(VecDeque::new());
        Self {
            bench,
            rng: fastrand::Rng::with_seed(seed),
            seats: BTreeMap::new(),
            conns: Vec::new(),
            senders: BTreeMap::new(),
            under_way: VecDeque::new(),
            trace: Vec::new(),
        }
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    fn fail(&self, what: &str) -> ! {
        let from = self.trace.len().saturating_sub(25);
        panic!("{what}\n{}", self.trace[from..].join("\n"));
    }

    /// The log takes what it was asked.
    fn ask_log(&mut self) {
        let held = std::mem::take(self.bench.held.as_mut().unwrap());
        for request in held {
            self.trace.push(format!("{request:?}"));
            let replies = self.bench.log.handle_request(request, START);
            self.under_way.extend(replies);
        }
    }

    fn sync(&mut self) {
        self.ask_log();
        let replies = self.bench.log.sync();
        self.under_way.extend(replies);
    }

    /// The hub hears some of what is under way. `honest`: all of it, in order.
    fn deliver(&mut self, honest: bool) {
        while let Some(reply) = self.under_way.pop_front() {
            if let Reply::Entry(key, entry) = &reply
                && !honest
            {
                match self.rng.u32(..20) {
                    0 => {
                        self.note(format!("untold {} {}", key.room, entry.seq));
                        continue;
                    }
                    1 => self.bench.feed(Input::Log(reply.clone())),
                    2 => {
                        self.under_way.push_back(reply);
                        if self.rng.bool() {
                            break;
                        }
                        continue;
                    }
                    _ => {}
                }
            }
            self.bench.feed(Input::Log(reply));
            self.read_all();
            if !honest && self.rng.u32(..8) == 0 {
                break;
            }
        }
        self.read_all();
    }

    fn read_all(&mut self) {
        for conn in std::mem::take(&mut self.bench.closed).into_keys() {
            self.forget(conn);
        }
        for conn in self.conns.clone() {
            for frame in self.bench.take(conn) {
                self.read(conn, frame);
            }
        }
    }

    fn forget(&mut self, conn: ConnId) {
        self.conns.retain(|other| *other != conn);
        self.seats.retain(|(other, _), _| *other != conn);
        self.senders.remove(&conn);
    }

    fn read(&mut self, conn: ConnId, frame: ServerFrame) {
        let room = match &frame {
            ServerFrame::Joined(f) => &f.room,
            ServerFrame::Live(f) => &f.room,
            ServerFrame::Left(f) => &f.room,
            ServerFrame::Lost(f) => &f.room,
            ServerFrame::Event(f) => &f.room,
            ServerFrame::Page(f) => &f.room,
            ServerFrame::Hold(f) => {
                // Sends again from the first unanswered: here, all are answered in order.
                self.senders.insert(conn, f.accepted);
                return;
            }
            _ => return,
        };
        let Some(index) = ROOMS.iter().position(|known| known == room) else {
            self.fail(&format!("a frame of no room: {frame:?}"));
        };
        self.trace.push(format!("{conn:?} {}", frame.encode()));
        let seat = self.seats.entry((conn, index)).or_default();
        let answer = match &frame {
            ServerFrame::Joined(_) => true,
            ServerFrame::Left(f) => f.id.is_some(),
            ServerFrame::Lost(f) => f.id.is_some(),
            _ => false,
        };
        if answer {
            seat.asked -= 1;
        }
        if seat.asked > 0 {
            return;
        }
        let mut wrong = None;
        match frame {
            ServerFrame::Joined(f) => {
                *seat = Seat {
                    asked: seat.asked,
                    attached: true,
                    last: f.cursor.seq,
                    cursor: Some(f.cursor),
                    filter: seat.filter.clone(),
                    ..Seat::default()
                };
            }
            ServerFrame::Left(_) => seat.attached = false,
            ServerFrame::Lost(f) => {
                seat.attached = false;
                seat.cursor = Some(if f.head.seq % 2 == 0 { f.first } else { f.head });
            }
            ServerFrame::Live(f) => {
                if f.seq < seat.last {
                    wrong = Some("live behind what was handed over");
                }
                seat.last = f.seq;
                seat.cursor = Some(Cursor { seq: f.seq, mark: f.mark });
            }
            ServerFrame::Event(f) => {
                let (seq, mark) = (f.seq.unwrap(), f.mark.unwrap());
                let prev = f.prev.unwrap_or(seq - 1);
                if !seat.attached {
                    wrong = Some("an event without a membership");
                } else if !(prev <= seat.last && seat.last < seq) {
                    wrong = Some("a hole or a double");
                } else if seat.filter.is_everything() && seq != seat.last + 1 {
                    wrong = Some("a silent gap");
                } else if !seat.filter.passes(&f.event, f.data.get()) {
                    wrong = Some("an event the filter does not pass");
                }
                seat.last = seq;
                seat.cursor = Some(Cursor { seq, mark });
                seat.got.push((seq, mark));
            }
            ServerFrame::Page(f) => {
                seat.owed.push(f.seq);
            }
            _ => {}
        }
        if let Some(wrong) = wrong {
            let (name, room) = (format!("{conn:?}"), ROOMS[index]);
            self.trace.retain(|line| line.contains(&name) && line.contains(room));
            self.fail(&format!("{wrong}: {conn:?} {:?}", self.seats[&(conn, index)]));
        }
    }

    fn step(&mut self) {
        let pick = self.rng.u32(..100);
        let conn = (!self.conns.is_empty()).then(|| self.conns[self.rng.usize(..self.conns.len())]);
        let index = self.rng.usize(..ROOMS.len());
        match (pick, conn) {
            (0..5, _) | (_, None) => {
                let user = self.rng.u32(..5);
                let conn = self.bench.welcome(&format!("1/{user}"));
                self.conns.push(conn);
                self.note(format!("welcome {conn:?}"));
            }
            (5..7, Some(conn)) => {
                self.note(format!("close {conn:?}"));
                self.bench.feed(Input::Closed(conn, None));
                self.forget(conn);
            }
            (7..22, Some(conn)) => self.join(conn, index),
            (22..24, Some(conn)) => {
                let seat = self.seats.entry((conn, index)).or_default();
                seat.asked += 1;
                let room = ROOMS[index];
                self.note(format!("leave {conn:?} {room}"));
                self.bench.text(conn, &format!(r#"{{"type":"leave","id":1,"room":"{room}"}}"#));
            }
            (24..50, Some(conn)) => {
                for _ in 0..self.rng.u32(1..30) {
                    let n = self.senders.entry(conn).or_default();
                    *n += 1;
                    let n = *n;
                    let kind = if self.rng.bool() { "e" } else { "other" };
                    let id = ItemId(u128::from(conn.0) << 64 | u128::from(n));
                    self.bench.text(
                        conn,
                        &format!(
                            r#"{{"type":"send","lane":0,"n":{n},"id":"{id}","base":{},"room":"{}","event":"{kind}","persist":true,"data":{n}}}"#,
                            n - 1, ROOMS[index]
                        ),
                    );
                }
            }
            (50..70, _) => self.sync(),
            (70..85, _) => self.deliver(false),
            (85..88, Some(conn)) => {
                let unsent = [0, 70_000, 300_000][self.rng.usize(..3)];
                self.note(format!("unsent {conn:?} {unsent}"));
                self.bench.feed(Input::Unsent(conn, unsent));
            }
            (88..93, Some(conn)) => self.credit(conn, index),
            (93..97, _) => {
                for conn in self.conns.clone() {
                    self.bench.feed(Input::Progress(conn));
                }
                let span = Duration::from_millis(self.rng.u64(..20_000));
                self.bench.pass(span);
            }
            (97..98, _) => {
                self.ask_log();
                let lost = self.rng.usize(..4);
                self.note(format!("fail over, lost {lost}"));
                let replies = self.bench.log.fail_over(lost);
                self.under_way.extend(replies);
            }
            _ => {
                self.note("unavailable".to_owned());
                self.bench.log.set_available(false);
                self.ask_log();
                self.deliver(true);
                self.bench.log.set_available(true);
            }
        }
        self.read_all();
    }

    fn join(&mut self, conn: ConnId, index: usize) {
        let filtered = self.rng.u32(..3) == 0;
        let seat = self.seats.entry((conn, index)).or_default();
        if seat.asked > 0 {
            return;
        }
        seat.asked += 1;
        seat.attached = false;
        seat.filter = if filtered {
            serde_json::from_str(r#"[{"events":["e"]}]"#).unwrap()
        } else {
            Filter::default()
        };
        let filter = if filtered { r#","filter":[{"events":["e"]}]"# } else { "" };
        let from = match (seat.cursor, self.rng.u32(..4)) {
            (Some(at), 0..3) => {
                format!(r#","cursor":{{"seq":{},"mark":"{}"}}"#, at.seq, at.mark)
            }
            (_, 3) => r#","from":"first""#.to_owned(),
            _ => String::new(),
        };
        let room = ROOMS[index];
        let text = format!(r#"{{"type":"join","id":1,"room":"{room}"{filter}{from}}}"#);
        self.note(format!("{conn:?} {text}"));
        self.bench.text(conn, &text);
    }

    fn credit(&mut self, conn: ConnId, index: usize) {
        let Some(seat) = self.seats.get_mut(&(conn, index)) else { return };
        for seq in std::mem::take(&mut seat.owed) {
            let room = ROOMS[index];
            self.note(format!("credit {conn:?} {room} {seq}"));
            self.bench.text(conn, &format!(r#"{{"type":"credit","room":"{room}","seq":{seq}}}"#));
        }
    }

    /// All works again: everyone catches up with the log.
    fn heal(&mut self) {
        self.note("heal".to_owned());
        for _ in 0..40 {
            self.sync();
            self.deliver(true);
            for conn in self.conns.clone() {
                self.bench.feed(Input::Unsent(conn, 0));
                self.bench.feed(Input::Progress(conn));
                for index in 0..ROOMS.len() {
                    self.credit(conn, index);
                }
            }
            self.bench.pass(Duration::from_secs(5));
            self.read_all();
        }
        for _ in 0..3 {
            self.sync();
            self.deliver(true);
        }
        let unanswered = &self.bench.hub.waiting;
        assert!(unanswered.is_empty(), "the log answers everything: {unanswered:?}");
        for ((conn, index), seat) in self.seats.clone() {
            let (name, room) = (format!("{conn:?}"), ROOMS[index]);
            if seat.asked > 0 {
                self.trace.retain(|line| line.contains(&name) && line.contains(room));
                self.fail(&format!("{conn:?} waits for an answer about {}", ROOMS[index]));
            }
            if !seat.attached {
                continue;
            }
            let key = permissions::room_key(&"1".into(), &ROOMS[index].parse().unwrap());
            let mut log = self.bench.log.clone();
            let mut truth = BTreeMap::new();
            let mut after = 0;
            let head = loop {
                let asked = Request::Read(Ticket(0), key.clone(), after);
                match log.handle_request(asked, START).pop() {
                    Some(Reply::Page(_, Ok((entries, extent)))) => {
                        let Some(last) = entries.last() else { break extent.head };
                        after = last.seq;
                        truth.extend(entries.iter().map(|entry| (entry.seq, entry.mark)));
                    }
                    other => panic!("{other:?}"),
                }
            };
            for (seq, mark) in &seat.got {
                if truth.get(seq) != Some(mark) {
                    self.fail(&format!("{conn:?} has {seq} {mark}, the log {:?}", truth.get(seq)));
                }
            }
            self.trace.retain(|line| line.contains(&name) && line.contains(room) || line == "heal");
            if seat.filter.is_everything() && seat.last != head.seq {
                self.fail(&format!("{conn:?} is at {} of {}", seat.last, head.seq));
            }
        }
    }
}

#[test]
fn members_of_random_lives_see_no_gap_no_double_and_nothing_that_was_lost() {
    for seed in 0..60 {
        let mut life = Life::new(seed);
        for _ in 0..250 {
            life.step();
        }
        life.heal();
    }
}

#[test]
fn same_seed_same_trace() {
    let run = |seed| {
        let mut life = Life::new(seed);
        for _ in 0..200 {
            life.step();
        }
        life.trace
    };
    assert_eq!(run(7), run(7));
}

/// The faults of rooms that this test would let pass are none.
#[cfg(feature = "planted")]
#[test]
fn planted_faults_of_rooms_are_found() {
    use wardline::planted::{Bug, plant};
    for bug in [Bug::PrevOffByOne, Bug::DropUnchecked, Bug::ProveWithoutMark] {
        let found = (0..200).any(|seed| {
            std::panic::catch_unwind(|| {
                plant(Some(bug));
                let mut life = Life::new(seed);
                for _ in 0..250 {
                    life.step();
                }
                life.heal();
            })
            .is_err()
        });
        plant(None);
        assert!(found, "{bug:?}");
    }
}
