//! A hub whose log is not what it was told: proved, read on, or lost (P-K2).

use super::{rooms::filled, *};
use crate::log::{Entry, Extent};
use std::sync::Arc;
use wardline::protocol::Mark;

#[test]
fn p_k2_an_entry_that_does_not_fit_is_proved_and_read_on() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.join(bob, "alerts/a");
    bench.send(ann, 1, "alerts/a");
    bench.take(bob);
    // Entries 2 and 3 are told in no order, twice, or not at all.
    bench.held = Some(VecDeque::new());
    for n in 2..=5 {
        bench.send(ann, n, "alerts/a");
    }
    let requests = bench.held.take().unwrap();
    let mut told: Vec<Reply> = requests
        .into_iter()
        .flat_map(|request| bench.log.handle_request(request, START))
        .filter(|reply| matches!(reply, Reply::Entry(..)))
        .collect();
    assert_eq!(told.len(), 4);
    told.remove(0);
    let first = told.remove(0);
    bench.feed(Input::Log(told[1].clone()));
    assert_eq!(bench.seqs(bob), [2, 3, 4, 5]);
    for reply in told.into_iter().chain([first]) {
        bench.feed(Input::Log(reply));
    }
    assert!(bench.take(bob).is_empty());
    bench.send(ann, 6, "alerts/a");
    assert_eq!(bench.seqs(bob), [6]);
}

#[test]
fn p_k2_a_lost_tail_is_told_to_every_member() {
    let mut bench = Bench::new();
    bench.log = MemoryLog::with_sync(2, Retention::default());
    let sync = |bench: &mut Bench| {
        for reply in bench.log.sync() {
            bench.feed(Input::Log(reply));
        }
    };
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    sync(&mut bench);
    bench.join(bob, "alerts/a");
    sync(&mut bench);
    for n in 1..=4 {
        bench.send(ann, n, "alerts/a");
    }
    sync(&mut bench);
    assert_eq!(bench.seqs(bob), [1, 2, 3, 4]);
    bench.log.fail_over(2);
    // The next entry takes number 3 a second time, with another mark.
    let cat = bench.welcome("1/cat");
    bench.send(cat, 1, "alerts/a");
    for _ in 0..3 {
        sync(&mut bench);
    }
    bench.send(cat, 1, "alerts/a");
    for _ in 0..3 {
        sync(&mut bench);
    }
    let frames = bench.take(bob);
    let [ServerFrame::Lost(lost)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((lost.id, lost.head.seq), (None, 3));
    assert_eq!(bench.hub.subscriptions(), 0);
}

#[test]
fn p_k2_the_head_is_proved_once_in_a_while() {
    let (mut bench, _) = filled(3);
    let bob = bench.welcome("1/bob");
    bench.join(bob, "alerts/a");
    bench.take(bob);
    // A deaf subscription: the entry is in the log, and no one told.
    bench.held = Some(VecDeque::new());
    let cat = bench.welcome("1/cat");
    bench.release();
    bench.held = Some(VecDeque::new());
    bench.send(cat, 1, "alerts/a");
    for request in bench.held.take().unwrap() {
        bench.log.handle_request(request, START);
    }
    bench.pass(Duration::from_secs(30));
    let seqs = bench.seqs(bob);
    assert_eq!(seqs, [4]);
}

#[test]
fn an_entry_told_before_the_head_is_known_is_not_lost() {
    let (mut bench, ann) = filled(2);
    let bob = bench.welcome("1/bob");
    bench.take(bob);
    bench.held = Some(VecDeque::new());
    bench.join(bob, "alerts/a");
    let asked = bench.held.take().unwrap().pop_front().unwrap();
    let Request::Prove(ticket, key, _) = asked.clone() else { panic!("{asked:?}") };
    let answer = bench.log.handle_request(asked, START).remove(0);
    // Number 3 is told before the answer that knows only of 2.
    bench.send(ann, 3, "alerts/a");
    bench.feed(Input::Log(answer));
    let frames = bench.take(bob);
    let kinds: Vec<_> = frames.iter().map(ServerFrame::kind).collect();
    let seen = match &frames[0] {
        ServerFrame::Joined(joined) => joined.head.seq,
        other => panic!("{other:?}"),
    };
    assert!(
        (seen == 2 && kinds == ["joined", "live", "event"])
            || (seen == 3 && kinds == ["joined", "live"]),
        "{frames:?}"
    );
    assert_eq!(key.room.as_str(), "alerts/a");
    let _ = ticket;
}

#[test]
fn a_page_that_does_not_chain_is_a_lost_member_not_a_silent_gap() {
    let (mut bench, _) = filled(600);
    let bob = bench.welcome("1/bob");
    bench.take(bob);
    bench.feed(Input::Unsent(bob, 80_000));
    bench.text(bob, r#"{"type":"join","id":1,"room":"alerts/a","from":"first"}"#);
    bench.held = Some(VecDeque::new());
    bench.feed(Input::Unsent(bob, 0));
    let asked = bench.held.take().unwrap().pop_front().unwrap();
    let Request::Read(ticket, ..) = asked else { panic!("{asked:?}") };
    // Retention overtook it: the page begins later.
    let entry = Entry {
        seq: 100,
        mark: Mark(1),
        prev_mark: Mark(2),
        time: 0,
        id: wardline::model::ids::ItemId(1),
        from: "".into(),
        event: "e".into(),
        key: None,
        gone: false,
        data: wardline::protocol::Json::null(),
    };
    let extent = Extent {
        first: Cursor { seq: 99, mark: Mark(2) },
        head: Cursor { seq: 600, mark: Mark(3) },
    };
    bench.feed(Input::Log(Reply::Page(ticket, Ok((vec![Arc::new(entry)], extent)))));
    let frames = bench.take(bob);
    let kinds: Vec<_> = frames.iter().map(ServerFrame::kind).collect();
    assert_eq!(kinds, ["joined", "lost"]);
    assert_eq!(bench.hub.subscriptions(), 0);
}
