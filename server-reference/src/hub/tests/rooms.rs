use super::*;
use wardline::protocol::Mark;

pub(super) fn rejoin(room: &str, at: Cursor) -> String {
    format!(
        r#"{{"type":"join","id":2,"room":"{room}","cursor":{{"seq":{},"mark":"{}"}}}}"#,
        at.seq, at.mark
    )
}

/// A bench with a sender and `count` entries in `alerts/a`.
pub(super) fn filled(count: u64) -> (Bench, ConnId) {
    let mut bench = Bench::new();
    let ann = bench.welcome("1/ann");
    for n in 1..=count {
        bench.send(ann, n, "alerts/a");
    }
    bench.take(ann);
    (bench, ann)
}

#[test]
fn p_r1_joins_begin_at_the_head_the_first_or_a_cursor() {
    let (mut bench, _) = filled(5);
    let bob = bench.welcome("1/bob");
    bench.take(bob);
    bench.join(bob, "alerts/a");
    let frames = bench.take(bob);
    let [ServerFrame::Joined(joined), ServerFrame::Live(live)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!((joined.cursor, joined.head.seq, live.seq), (joined.head, 5, 5));
    // A join of a joined room replaces it.
    bench.text(bob, r#"{"type":"join","id":7,"room":"alerts/a","from":"first"}"#);
    let frames = bench.take(bob);
    let kinds: Vec<_> = frames.iter().map(ServerFrame::kind).collect();
    assert_eq!(kinds, ["joined", "event", "event", "event", "event", "event", "live"]);
    assert_eq!(bench.hub.subscriptions(), 1);
    let third = cursor(&frames[3]);
    bench.text(bob, &rejoin("alerts/a", third));
    assert_eq!(bench.seqs(bob), [4, 5]);
    bench.text(bob, r#"{"type":"leave","id":8,"room":"alerts/a"}"#);
    assert_eq!(bench.kinds(bob), ["left"]);
    assert_eq!((bench.hub.rooms(), bench.hub.subscriptions()), (0, 0));
}

#[test]
fn p_r3_a_cursor_with_another_mark_is_lost_and_does_not_attach() {
    let (mut bench, ann) = filled(5);
    let bob = bench.welcome("1/bob");
    bench.take(bob);
    for seq in [3, 5, 9] {
        bench.text(bob, &rejoin("alerts/a", Cursor { seq, mark: Mark(77) }));
        let frames = bench.take(bob);
        let [ServerFrame::Lost(lost)] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!((lost.id, lost.first.seq, lost.head.seq), (Some(2), 0, 5));
    }
    bench.send(ann, 6, "alerts/a");
    assert!(bench.take(bob).is_empty());
}

#[test]
fn p_r10_members_of_a_view_share_one_output_and_prev_is_the_views() {
    let mut bench = Bench::new();
    let ann = bench.welcome("1/ann");
    let all: Vec<_> = (0..50).map(|n| bench.welcome(&format!("1/{n}"))).collect();
    for conn in &all[..40] {
        bench.join(*conn, "alerts/a");
    }
    for conn in &all[40..] {
        bench.text(*conn, r#"{"type":"join","id":1,"room":"alerts/a","filter":[{"events":["x","e"]},{"events":["e","x"]}]}"#);
    }
    for conn in &all {
        bench.take(*conn);
    }
    bench.fan_outs.clear();
    bench.send(ann, 1, "alerts/a");
    assert_eq!(bench.fan_outs, [40, 10]);
    for n in 2..=3 {
        let text = format!(
            r#"{{"type":"send","lane":1,"n":{n},"id":"{n:032x}","room":"alerts/a","event":"other","persist":true,"data":1}}"#
        );
        bench.text(ann, &text);
    }
    bench.send(ann, 4, "alerts/a");
    let prevs = |frames: Vec<ServerFrame>| -> Vec<_> {
        frames
            .iter()
            .map(|frame| match frame {
                ServerFrame::Event(event) => (event.seq, event.prev),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let whole = prevs(bench.take(all[0]));
    assert_eq!(whole, [(Some(1), None), (Some(2), None), (Some(3), None), (Some(4), None)]);
    assert_eq!(prevs(bench.take(all[49])), [(Some(1), None), (Some(4), Some(1))]);
    // Replay through the same filter says the same.
    let bob = bench.welcome("1/bob");
    bench.text(bob, r#"{"type":"join","id":1,"room":"alerts/a","from":"first","filter":[{"events":["e","x"]}]}"#);
    let replayed: Vec<_> = bench
        .take(bob)
        .into_iter()
        .filter(|frame| matches!(frame, ServerFrame::Event(_)))
        .collect();
    assert_eq!(prevs(replayed), [(Some(1), None), (Some(4), Some(1))]);
}

#[test]
fn p_r10_a_room_has_at_most_64_views() {
    let mut bench = Bench::new();
    for n in 0..65 {
        let conn = bench.welcome(&format!("1/{n}"));
        bench.take(conn);
        let text = format!(
            r#"{{"type":"join","id":1,"room":"alerts/a","filter":[{{"events":["{n}"]}}]}}"#
        );
        bench.text(conn, &text);
        let frames = bench.take(conn);
        if n < 64 {
            assert_eq!(frames[0].kind(), "joined");
        } else {
            let [ServerFrame::Left(left)] = &frames[..] else { panic!("{frames:?}") };
            assert_eq!(left.code.as_ref().unwrap().as_str(), "filters");
        }
    }
}

#[test]
fn p_f3_a_connection_has_at_most_its_rooms() {
    let mut config = HubConfig::default();
    config.limits.rooms = 2;
    let mut bench = Bench::with(config);
    let conn = bench.welcome("1/ann");
    bench.take(conn);
    for room in ["alerts/a", "alerts/b", "alerts/c", "alerts/a"] {
        bench.join(conn, room);
    }
    let codes: Vec<_> = bench
        .take(conn)
        .into_iter()
        .filter_map(|frame| match frame {
            ServerFrame::Left(left) => left.code.map(|code| code.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(codes, ["rooms"]);
}

#[test]
fn p_r5_two_unanswered_pages_and_a_live_member_falls_behind() {
    let mut bench = Bench::new();
    let (ann, bob, cat) = (bench.welcome("1/ann"), bench.welcome("1/bob"), bench.welcome("1/cat"));
    bench.join(bob, "alerts/a");
    bench.join(cat, "alerts/a");
    bench.take(bob);
    for n in 1..=1024 {
        bench.send(ann, n, "alerts/a");
    }
    let frames = bench.take(bob);
    assert!(matches!(frames.last(), Some(ServerFrame::Page(page)) if page.seq == 1024));
    bench.text(cat, r#"{"type":"credit","room":"alerts/a","seq":1024}"#);
    for n in 1025..=3000 {
        bench.send(ann, n, "alerts/a");
    }
    assert_eq!(bench.seqs(bob).last(), Some(&2048));
    assert_eq!(bench.seqs(cat).last(), Some(&3000));
    // It goes on where it was, and is live again.
    bench.text(bob, r#"{"type":"credit","room":"alerts/a","seq":2048}"#);
    let frames = bench.take(bob);
    assert!(matches!(frames.last(), Some(ServerFrame::Live(live)) if live.seq == 3000));
    let seqs: Vec<_> = frames
        .iter()
        .filter_map(|frame| match frame {
            ServerFrame::Event(event) => event.seq,
            _ => None,
        })
        .collect();
    assert_eq!(seqs, (2049..=3000).collect::<Vec<_>>());
    bench.send(ann, 3001, "alerts/a");
    assert_eq!(bench.seqs(bob), [3001]);
}

#[test]
fn p_r5_a_replay_asks_for_credit_too() {
    let (mut bench, ann) = filled(3000);
    let bob = bench.welcome("1/bob");
    bench.text(bob, r#"{"type":"join","id":1,"room":"alerts/a","from":"first"}"#);
    assert_eq!(bench.seqs(bob), (1..=2048).collect::<Vec<_>>());
    bench.send(ann, 3001, "alerts/a");
    assert!(bench.take(bob).is_empty());
    bench.text(bob, r#"{"type":"credit","room":"alerts/a","seq":1024}"#);
    assert_eq!(bench.seqs(bob), (2049..=3001).collect::<Vec<_>>());
}

#[test]
fn p_r4_who_does_not_read_falls_behind_and_is_read_on_later() {
    let (mut bench, ann) = filled(1);
    let bob = bench.welcome("1/bob");
    bench.join(bob, "alerts/a");
    bench.take(bob);
    bench.feed(Input::Unsent(bob, 100_000));
    bench.send(ann, 2, "alerts/a");
    assert_eq!(bench.seqs(bob), [2]);
    bench.feed(Input::Unsent(bob, 300_000));
    for n in 3..=900 {
        bench.send(ann, n, "alerts/a");
    }
    assert!(bench.take(bob).is_empty());
    bench.feed(Input::Unsent(bob, 70_000));
    assert!(bench.take(bob).is_empty());
    bench.feed(Input::Unsent(bob, 60_000));
    let frames = bench.take(bob);
    assert!(matches!(frames.last(), Some(ServerFrame::Live(live)) if live.seq == 900));
    assert_eq!(frames.iter().filter(|frame| frame.kind() == "event").count(), 898);
}

#[test]
fn p_r5_replay_stops_while_64_kib_are_unsent() {
    let (mut bench, _) = filled(2000);
    let bob = bench.welcome("1/bob");
    bench.take(bob);
    bench.feed(Input::Unsent(bob, 80_000));
    bench.text(bob, r#"{"type":"join","id":1,"room":"alerts/a","from":"first"}"#);
    assert_eq!(bench.kinds(bob), ["joined"]);
    bench.feed(Input::Unsent(bob, 0));
    assert_eq!(bench.seqs(bob), (1..=2000).collect::<Vec<_>>());
}

#[test]
fn p_r7_pings_tell_heads_that_moved() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.text(bob, r#"{"type":"join","id":1,"room":"alerts/a","filter":[{"events":["never"]}]}"#);
    bench.send(ann, 1, "alerts/a");
    bench.take(bob);
    let heads = |bench: &mut Bench| {
        bench.feed(Input::Progress(bob));
        bench.feed(Input::Progress(ann));
        bench.pass(Duration::from_secs(31));
        let pings: Vec<_> = bench
            .take(bob)
            .into_iter()
            .filter_map(|frame| match frame {
                ServerFrame::Ping(ping) => Some(ping.heads),
                _ => None,
            })
            .collect();
        pings.concat()
    };
    let first = heads(&mut bench);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].last, first[0].seq), (0, 1));
    assert!(heads(&mut bench).is_empty());
}

#[test]
fn joins_wait_for_the_log_or_are_refused_for_now() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.take(ann);
    bench.take(bob);
    bench.held = Some(VecDeque::new());
    bench.join(ann, "alerts/a");
    bench.join(bob, "alerts/a");
    let requests = bench.held.take().unwrap();
    assert_eq!(requests.len(), 1, "one question for all who wait");
    let Some(Request::Prove(ticket, ..)) = requests.front() else { panic!("{requests:?}") };
    bench.feed(Input::Log(Reply::Proved(*ticket, Err(crate::log::Unavailable))));
    for conn in [ann, bob] {
        let frames = bench.take(conn);
        let [ServerFrame::Left(left)] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(left.code.as_ref().unwrap().as_str(), "unavailable");
        assert!(left.after.is_some());
    }
    assert_eq!(bench.hub.rooms(), 0);
    bench.join(ann, "alerts/a");
    assert_eq!(bench.kinds(ann), ["joined", "live"]);
}

#[test]
fn p_r9_latest_rooms_tell_the_newest_of_each_key() {
    let mut config = HubConfig::default();
    config.namespaces.get_mut("dispatch").unwrap().latest.insert("asset".into());
    let mut bench = Bench::with(config);
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.take(ann);
    bench.take(bob);
    let mut n = 0;
    let mut put = |bench: &mut Bench, key: &str, data: &str| {
        n += 1;
        let base = if n == 1 { "\"base\":0," } else { "" };
        bench.text(ann, &format!(
            r#"{{"type":"send","lane":0,"n":{n},"id":"{n:032x}",{base}"room":"dispatch/asset:all","event":"pos","key":"{key}","persist":true,"data":{data}}}"#
        ));
    };
    for round in 0..50 {
        for key in ["a", "b"] {
            put(&mut bench, key, &round.to_string());
        }
    }
    bench.join(bob, "dispatch/asset:all");
    let frames = bench.take(bob);
    let ServerFrame::Joined(joined) = &frames[0] else { panic!("{frames:?}") };
    assert!(joined.full);
    assert_eq!(joined.mode, wardline::protocol::frames::RoomMode::Latest);
    let values = |frames: &[ServerFrame]| -> Vec<_> {
        frames
            .iter()
            .filter_map(|frame| match frame {
                ServerFrame::Event(event) => {
                    Some((event.key.clone().unwrap(), event.data.get().to_owned(), event.gone))
                }
                _ => None,
            })
            .collect()
    };
    assert_eq!(
        values(&frames),
        [("a".into(), "49".into(), false), ("b".into(), "49".into(), false)]
    );
    assert_eq!(frames.last().unwrap().kind(), "live");
    let at = cursor(frames.last().unwrap());
    // Under pressure: the newest of each dirty key, later.
    bench.feed(Input::Unsent(bob, 300_000));
    for round in 0..100 {
        put(&mut bench, "c", &round.to_string());
    }
    put(&mut bench, "a", "null");
    assert!(bench.take(bob).is_empty());
    bench.feed(Input::Unsent(bob, 0));
    let frames = bench.take(bob);
    let want = [("c".into(), "99".into(), false), ("a".into(), "null".into(), true)];
    assert_eq!(values(&frames), want);
    // From a proved cursor: what changed since.
    bench.text(bob, &rejoin("dispatch/asset:all", at));
    let frames = bench.take(bob);
    let ServerFrame::Joined(joined) = &frames[0] else { panic!("{frames:?}") };
    assert!(!joined.full);
    assert_eq!(values(&frames), want);
    // From one that is not: everything, and nothing is lost.
    bench.text(bob, &rejoin("dispatch/asset:all", Cursor { seq: 3, mark: Mark(1) }));
    let frames = bench.take(bob);
    assert!(matches!(&frames[0], ServerFrame::Joined(joined) if joined.full));
}

#[test]
fn p_s7_rooms_and_history_are_answered_with_permission() {
    let (mut bench, _) = filled(10);
    let bob = bench.welcome("1/bob");
    bench.join(bob, "alerts/b");
    bench.take(bob);
    let ask = |bench: &mut Bench, method: &str, params: &str| {
        bench.text(
            bob,
            &format!(r#"{{"type":"call","id":5,"method":"{method}","params":{params}}}"#),
        );
        let frames = bench.take(bob);
        let [ServerFrame::Reply(reply)] = &frames[..] else { panic!("{frames:?}") };
        match (&reply.result, &reply.error) {
            (Some(result), None) => result.get().to_owned(),
            (None, Some(error)) => error.code.to_string(),
            _ => panic!("{reply:?}"),
        }
    };
    assert_eq!(ask(&mut bench, "rooms", "{}"), r#"{"rooms":["alerts/b"]}"#);
    assert_eq!(ask(&mut bench, "zoom", "{}"), "unknown_method");
    assert_eq!(ask(&mut bench, "history", "{}"), "bad_params");
    for limit in ["0", "257", "18446744073709551615"] {
        let params = format!(r#"{{"room":"alerts/a","limit":{limit}}}"#);
        assert_eq!(ask(&mut bench, "history", &params), "bad_params", "{limit}");
    }
    assert_eq!(ask(&mut bench, "history", r#"{"room":"alerts/tenant:2"}"#), "forbidden");
    let seqs = |text: String| -> Vec<u64> {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let events = value["events"].as_array().unwrap();
        events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
    };
    let newest = ask(&mut bench, "history", r#"{"room":"alerts/a","limit":3}"#);
    assert_eq!(seqs(newest), [8, 9, 10]);
    let first = ask(&mut bench, "history", r#"{"room":"alerts/a","limit":2,"from":"first"}"#);
    assert_eq!(seqs(first.clone()), [1, 2]);
    let value: serde_json::Value = serde_json::from_str(&first).unwrap();
    let next = format!(r#"{{"room":"alerts/a","limit":2,"cursor":{}}}"#, value["cursor"]);
    assert_eq!(seqs(ask(&mut bench, "history", &next)), [3, 4]);
    let lost = r#"{"room":"alerts/a","cursor":{"seq":3,"mark":"00000000000000ff"}}"#;
    assert_eq!(ask(&mut bench, "history", lost), "gap");
    // An id past the integers of P-F1 names no call.
    bench.text(bob, r#"{"type":"call","id":9007199254740992,"method":"rooms","params":{}}"#);
    let frames = bench.take(bob);
    let [ServerFrame::Reply(reply)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(reply.error.as_ref().unwrap().code.as_str(), "bad_params");
}
