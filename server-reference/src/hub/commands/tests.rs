use super::*;
use crate::{
    hub::ledger::tests::at,
    log::{Intent, MemoryLog, Retention, Step, Ticket},
};
use wardline::protocol::limits::RESULT_BYTES;

const SITE: ConnId = ConnId(1);
const SPARE: ConnId = ConnId(2);

fn key() -> RoomKey {
    RoomKey { tenant: "t".into(), room: "video/commands".parse().unwrap() }
}

/// Groups over a log.
struct Rig {
    log: MemoryLog,
    part: Commands,
    out: Vec<Output>,
}

impl Rig {
    fn new(log: MemoryLog, config: Config) -> Self {
        let mut part = Commands::new(config, 3);
        part.open(&"t".into());
        let mut rig = Self { log, part, out: Vec::new() };
        rig.run(at(0));
        rig
    }

    fn fresh() -> Self {
        Self::new(MemoryLog::new(1, Retention::uniform(1 << 40)), Config::default())
    }

    fn restarted(&self, now: Now) -> Self {
        let mut part = Commands::new(Config::default(), 4);
        part.open(&"t".into());
        let mut rig = Self { log: self.log.clone(), part, out: Vec::new() };
        rig.run(now);
        rig
    }

    fn tell(&mut self, replies: Vec<Reply>, now: Now) {
        for reply in replies {
            match &reply {
                Reply::Entry(key, entry) => self.part.handle_entry(key, entry, now),
                _ => self.part.handle_reply(&reply, now),
            }
        }
    }

    fn run(&mut self, now: Now) {
        while let Some(output) = self.part.poll_output() {
            match output {
                Output::Log(request) => {
                    let replies = self.log.handle_request(request, now.wall.0);
                    self.tell(replies, now);
                }
                other => self.out.push(other),
            }
        }
    }

    fn send(&mut self, id: u128, ttl: Option<u64>, now: Now) {
        let command = NewEntry {
            room: key(),
            id: ItemId(id),
            from: "ann".into(),
            event: "video:stream:start".into(),
            key: None,
            gone: false,
            data: Json::null(),
        };
        let entries = self.part.entries(command, ttl);
        let step = Step { producer: None, once: None, intent: Intent::Append(entries) };
        let replies = self.log.handle_request(Request::Step(Ticket(9), step), now.wall.0);
        self.tell(replies, now);
        self.run(now);
    }

    fn join(&mut self, conn: ConnId, now: Now) {
        self.part.join(conn, &key(), (7, None), now);
        self.run(now);
    }

    fn timeout(&mut self, now: Now) {
        self.part.handle_timeout(now);
        self.run(now);
    }

    fn answer(&mut self, conn: ConnId, seq: u64, text: &str, now: Now) -> Result<(), Code> {
        let result = Some(Json::of(text).unwrap());
        let answer = Answer { room: "video/commands".into(), seq, result, error: None };
        let done = self.part.answer(conn, &"t".into(), &key().room, answer);
        self.run(now);
        done
    }

    fn results(&mut self, ids: &[u128], now: Now) -> Vec<CommandResult> {
        let ids = ids.iter().map(|id| ItemId(*id)).collect();
        self.part.ask_results(SPARE, 5, &"t".into(), &"ann".into(), ids);
        self.run(now);
        match self.out.pop() {
            Some(Output::Results(SPARE, 5, results)) => results,
            other => panic!("{other:?}"),
        }
    }

    /// The (prev, seq) handed to a connection since last asked.
    fn fed(&mut self, conn: ConnId) -> Vec<(Option<u64>, u64)> {
        let mut fed = Vec::new();
        self.out.retain(|output| match output {
            Output::Frame(to, ServerFrame::Event(event)) if *to == conn => {
                fed.push((event.prev, event.seq.unwrap()));
                false
            }
            _ => true,
        });
        fed
    }

    /// The results pushed since last asked: id and error code.
    fn pushed(&mut self) -> Vec<(u128, Option<Code>)> {
        let mut pushed = Vec::new();
        self.out.retain(|output| match output {
            Output::Result(_, user, result) => {
                assert_eq!(user.as_str(), "ann");
                pushed.push((result.id.0, result.error.as_ref().map(|error| error.code.clone())));
                false
            }
            _ => true,
        });
        pushed
    }
}

fn numbers(fed: &[(Option<u64>, u64)]) -> Vec<u64> {
    fed.iter().map(|(_, seq)| *seq).collect()
}

#[test]
fn p_s8_a_command_goes_to_one_member_and_its_answer_to_the_sender() {
    let mut rig = Rig::fresh();
    rig.join(SITE, at(0));
    rig.join(SPARE, at(0));
    let joined = rig.out.iter().filter(
        |o| matches!(o, Output::Frame(_, ServerFrame::Joined(j)) if j.id == 7 && j.cursor.seq == 0),
    );
    assert_eq!(joined.count(), 2);
    rig.send(1, None, at(10));
    rig.send(2, None, at(10));
    assert_eq!((rig.fed(SITE), rig.fed(SPARE)), (vec![(None, 1), (None, 2)], vec![]));
    assert_eq!(rig.answer(SITE, 2, "b", at(20)), Ok(()));
    assert_eq!(rig.answer(SITE, 1, "a", at(20)), Ok(()));
    assert_eq!(rig.pushed(), [(2, None), (1, None)]);
    assert_eq!(rig.answer(SITE, 1, "again", at(20)), Err(Code::NOT_FOUND));
    assert_eq!(rig.answer(ConnId(77), 1, "stranger", at(20)), Err(Code::NOT_JOINED));
    let results = rig.results(&[1, 3, 2], at(20));
    let texts: Vec<_> = results.iter().map(|r| r.result.as_ref().unwrap().get()).collect();
    assert_eq!(texts, [r#""a""#, r#""b""#]);
}

#[test]
fn p_s8_the_next_member_goes_on_from_the_groups_position() {
    let mut rig = Rig::fresh();
    rig.join(SITE, at(0));
    rig.send(1, None, at(0));
    rig.answer(SITE, 1, "x", at(0)).unwrap();
    rig.join(SPARE, at(1));
    for id in 2..=6 {
        rig.send(id, None, at(2));
    }
    for seq in [2, 4] {
        rig.answer(SITE, seq, "x", at(3)).unwrap();
    }
    assert_eq!(numbers(&rig.fed(SITE)), [1, 2, 3, 4, 5, 6]);
    rig.part.closed(SITE, at(4));
    rig.run(at(4));
    // Joined at 1; 2 and 4 were answered by the other.
    assert_eq!(rig.fed(SPARE), [(Some(1), 3), (Some(3), 5), (None, 6)]);
    rig.join(SITE, at(5));
    let Some(Output::Frame(SITE, ServerFrame::Live(live))) = rig.out.last() else { panic!() };
    assert_eq!(live.seq, 2, "all below is answered");
    rig.part.leave(SPARE, &key(), at(6));
    rig.run(at(6));
    assert_eq!(rig.fed(SITE), [(None, 3), (Some(3), 5), (None, 6)]);
}

#[test]
fn p_s8_at_most_32_are_unanswered() {
    let mut rig = Rig::fresh();
    rig.join(SITE, at(0));
    for id in 1..=40 {
        rig.send(id, None, at(0));
    }
    assert_eq!(numbers(&rig.fed(SITE)), (1..=32).collect::<Vec<_>>());
    rig.answer(SITE, 5, "x", at(1)).unwrap();
    rig.answer(SITE, 6, "x", at(1)).unwrap();
    assert_eq!(numbers(&rig.fed(SITE)), [33, 34]);
}

#[test]
fn p_s8_a_ttl_that_passed_before_it_was_taken_is_expired_and_silence_is_a_timeout() {
    let mut rig = Rig::fresh();
    rig.join(SITE, at(0));
    rig.part.closed(SITE, at(1));
    rig.send(1, None, at(1000));
    rig.send(2, Some(5000), at(1000));
    rig.send(3, Some(600_000), at(1000));
    rig.timeout(at(5999));
    assert_eq!(rig.pushed(), []);
    rig.timeout(at(6000));
    assert_eq!(rig.pushed(), [(2, Some(Code::EXPIRED))]);
    rig.timeout(at(31_000));
    assert_eq!(rig.pushed(), [(1, Some(Code::EXPIRED))]);
    rig.join(SITE, at(40_000));
    assert_eq!(numbers(&rig.fed(SITE)), [3]);
    assert_eq!(rig.part.poll_timeout(), Some(at(100_000).mono));
    rig.timeout(at(100_000));
    assert_eq!(rig.pushed(), [(3, Some(Code::TIMEOUT))]);
    assert_eq!(rig.answer(SITE, 3, "late", at(100_001)), Err(Code::NOT_FOUND));
    assert!(rig.part.groups[&key()].pending.is_empty());
}

#[test]
fn p_s8_position_and_results_survive_a_restart() {
    let mut rig = Rig::fresh();
    rig.join(SITE, at(0));
    for id in 1..=4 {
        rig.send(id, None, at(1000));
    }
    rig.send(5, Some(100), at(1000));
    rig.answer(SITE, 1, "one", at(1100)).unwrap();
    rig.answer(SITE, 3, "three", at(1100)).unwrap();
    let mut next = rig.restarted(at(9000));
    assert_eq!(next.results(&[1, 2, 3], at(9000)).len(), 2);
    // Whether 5 was taken before is not known: no `expired`.
    next.timeout(at(9000));
    assert_eq!(next.pushed(), [(5, Some(Code::TIMEOUT))]);
    next.join(SITE, at(9000));
    assert_eq!(next.fed(SITE), [(None, 2), (Some(2), 4)]);
    next.answer(SITE, 2, "two", at(9001)).unwrap();
    assert_eq!(next.pushed(), [(2, None)]);
    assert_eq!(next.part.admit(&key(), "video:stream:stop"), Admission::Take);
    assert_eq!(next.restarted(at(9002)).results(&[1, 2, 3], at(9002)).len(), 3);
}

#[test]
fn p_s8_results_live_for_a_day_and_belong_to_their_sender() {
    let mut rig = Rig::fresh();
    rig.join(SITE, at(0));
    rig.send(1, None, at(0));
    rig.answer(SITE, 1, "x", at(0)).unwrap();
    let eve = |rig: &mut Rig| {
        rig.part.ask_results(SITE, 1, &"t".into(), &"eve".into(), vec![ItemId(1)]);
        rig.part.ask_results(SITE, 1, &"u".into(), &"ann".into(), vec![ItemId(1)]);
        rig.run(at(1));
        let all =
            rig.out.drain(..).filter(|o| matches!(o, Output::Results(_, _, r) if r.is_empty()));
        all.count()
    };
    assert_eq!(eve(&mut rig), 2);
    assert_eq!(rig.restarted(at(86_399_999)).results(&[1], at(86_399_999)).len(), 1);
    assert_eq!(rig.restarted(at(86_400_000)).results(&[1], at(86_400_000)).len(), 0);
}

#[test]
fn p_s8_results_are_bounded() {
    let config = Config { results: 3, ..Config::default() };
    let mut rig = Rig::new(MemoryLog::new(1, Retention::uniform(1 << 40)), config);
    rig.join(SITE, at(0));
    for id in 1..=5 {
        rig.send(id, None, at(0));
        let large = "x".repeat(if id == 5 { RESULT_BYTES } else { 10 });
        rig.answer(SITE, id as u64, &large, at(0)).unwrap();
    }
    let results = rig.results(&[1, 2, 3, 4, 5], at(0));
    assert_eq!(results.iter().map(|r| r.id.0).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(results[2].error.as_ref().unwrap().code, Code::HANDLER);
}

#[test]
fn p_s8_no_handler_only_where_no_group_was_ever_registered() {
    let mut rig = Rig::fresh();
    let admit = |rig: &Rig| rig.part.admit(&key(), "video:stream:start");
    assert!(matches!(admit(&rig), Admission::Refuse(code, _) if code == Code::NO_HANDLER));
    rig.join(SITE, at(0));
    assert_eq!(admit(&rig), Admission::Take);
    rig.part.closed(SITE, at(1));
    assert_eq!(admit(&rig), Admission::Take);
    assert_eq!(admit(&rig.restarted(at(2))), Admission::Take);
    let other = rig.part.admit(&key(), "video:explode");
    assert!(matches!(other, Admission::Refuse(code, _) if code == Code::BAD_EVENT));
    let alerts = RoomKey { tenant: "t".into(), room: "alerts/commands".parse().unwrap() };
    assert_eq!(rig.part.admit(&alerts, "alert:create"), Admission::Take);
    let unread = Commands::new(Config::default(), 1).admit(&key(), "video:stream:start");
    assert_eq!(unread, Admission::Hold(Code::UNAVAILABLE, Some(LOADING)));
}

#[test]
fn p_s8_too_many_unanswered_hold_the_senders() {
    let config = Config { pending: 2, ..Config::default() };
    let mut rig = Rig::new(MemoryLog::new(1, Retention::uniform(1 << 40)), config);
    rig.join(SITE, at(0));
    rig.send(1, None, at(0));
    rig.send(2, None, at(0));
    let held = rig.part.admit(&key(), "video:stream:start");
    assert!(matches!(held, Admission::Hold(code, Some(_)) if code == Code::RATE));
    rig.answer(SITE, 1, "x", at(0)).unwrap();
    assert_eq!(rig.part.admit(&key(), "video:stream:start"), Admission::Take);
}

#[test]
fn the_servers_own_code_answers_with_effects_in_one_step() {
    let spec = Namespace { window: 1, ..Namespace::in_process(&["video:*"]) };
    let mut config = Config::default();
    config.namespaces.insert("video".into(), Arc::new(spec));
    let mut rig = Rig::new(MemoryLog::new(1, Retention::uniform(1 << 40)), config);
    rig.send(1, None, at(0));
    rig.send(2, None, at(0));
    let handled = |rig: &mut Rig| {
        let all = rig.out.drain(..).filter_map(|output| match output {
            Output::Handle(_, entry) => Some(entry.seq),
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    assert_eq!(handled(&mut rig), [1]);
    let room = RoomKey { tenant: "t".into(), room: "video/camera:1".parse().unwrap() };
    let effect = internal(&room, ItemId(50), "video:stream:started", Json::null());
    rig.log.set_available(false);
    rig.part.answer_in_process(&key(), 1, Ok(Json::null()), vec![effect]).unwrap();
    rig.run(at(1));
    assert_eq!(
        rig.part.answer_in_process(&key(), 1, Ok(Json::null()), vec![]),
        Err(Code::NOT_FOUND)
    );
    assert!(handled(&mut rig).is_empty());
    rig.log.set_available(true);
    rig.timeout(at(1001));
    assert_eq!(handled(&mut rig), [2]);
    let page = rig.log.handle_request(Request::Read(Ticket(1), room, 0), 1001);
    assert!(matches!(&page[..], [Reply::Page(_, Ok((entries, _)))] if entries.len() == 1));
}

#[test]
fn p_k2_after_a_lost_tail_the_group_is_rebuilt_and_its_members_join_again() {
    let mut log = MemoryLog::with_sync(1, Retention::uniform(1 << 40));
    log.sync();
    let mut rig = Rig { log, part: Commands::new(Config::default(), 3), out: Vec::new() };
    rig.part.open(&"t".into());
    let sync = |rig: &mut Rig, now: Now| {
        for _ in 0..8 {
            rig.run(now);
            let told = rig.log.sync();
            rig.tell(told, now);
        }
    };
    sync(&mut rig, at(0));
    rig.join(SITE, at(0));
    sync(&mut rig, at(0));
    rig.send(1, None, at(0));
    sync(&mut rig, at(0));
    rig.answer(SITE, 1, "x", at(1)).unwrap();
    sync(&mut rig, at(1));
    assert_eq!((rig.pushed().len(), rig.part.groups[&key()].pending.len()), (1, 0));
    rig.fed(SITE);
    // The answer is lost, the command is not.
    let told = rig.log.fail_over(1);
    rig.tell(told, at(2));
    rig.part.refresh();
    sync(&mut rig, at(2));
    assert!(rig.out.iter().any(|o| matches!(o, Output::Frame(SITE, ServerFrame::Lost(_)))));
    rig.join(SITE, at(3));
    assert_eq!(rig.fed(SITE), [(None, 1)], "at least once");
    rig.answer(SITE, 1, "y", at(4)).unwrap();
    sync(&mut rig, at(4));
    assert_eq!(rig.results(&[1], at(5))[0].result.as_ref().unwrap().get(), r#""y""#);
}

#[test]
fn p_s8_a_member_with_a_position_of_its_own_meets_no_hole() {
    let mut rig = Rig::fresh();
    rig.join(SITE, at(0));
    for id in 1..=4 {
        rig.send(id, None, at(0));
    }
    for seq in [1, 2] {
        rig.answer(SITE, seq, "x", at(0)).unwrap();
    }
    rig.part.closed(SITE, at(1));
    let mark = wardline::protocol::Mark(0);
    rig.part.join(SPARE, &key(), (8, Some(Cursor { seq: 1, mark })), at(1));
    rig.run(at(1));
    assert_eq!(rig.fed(SPARE), [(Some(1), 3), (None, 4)]);
}
