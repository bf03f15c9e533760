use super::*;
use wardline::{
    model::ids::ItemId,
    protocol::{Json, close},
};

fn send(lane: u8, n: u64, id: u64, base: Option<u64>) -> String {
    let base = base.map_or(String::new(), |base| format!("\"base\":{base},"));
    format!(
        r#"{{"type":"send","lane":{lane},"n":{n},"id":"{id:032x}",{base}"room":"alerts/a","event":"e","persist":true,"data":{n}}}"#
    )
}

fn code_of(frame: &ServerFrame) -> &str {
    match frame {
        ServerFrame::Refused(refused) => refused.code.as_str(),
        ServerFrame::Hold(hold) => hold.code.as_str(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn p_s2_a_gap_is_held_until_base() {
    let mut bench = Bench::new();
    let conn = bench.welcome("1/ann");
    bench.take(conn);
    bench.text(conn, &send(0, 1, 1, Some(0)));
    assert_eq!(bench.kinds(conn), ["ok"]);
    bench.text(conn, &send(0, 3, 3, None));
    let frames = bench.take(conn);
    let [ServerFrame::Hold(hold)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((hold.accepted, hold.code.as_str()), (1, "order"));
    // Held: even the next number is dropped, until one with `base`. Other lanes go on.
    bench.text(conn, &send(0, 2, 2, None));
    assert!(bench.take(conn).is_empty());
    bench.text(conn, &send(3, 1, 9, Some(0)));
    assert_eq!(bench.kinds(conn), ["ok"]);
    bench.text(conn, &send(0, 2, 2, Some(1)));
    bench.text(conn, &send(0, 3, 3, None));
    assert_eq!(bench.kinds(conn), ["ok", "ok"]);
}

#[test]
fn p_s3_what_is_in_flight_behind_a_hold_is_dropped_unanswered() {
    let mut bench = Bench::new();
    let conn = bench.welcome("1/ann");
    bench.take(conn);
    bench.held = Some(VecDeque::new());
    for n in 2..6 {
        bench.text(conn, &send(0, n, n, None));
    }
    bench.release();
    assert_eq!(bench.kinds(conn), ["hold"]);
}

#[test]
fn p_s6_a_new_connection_is_told_what_became_of_its_items() {
    let mut bench = Bench::new();
    let conn = bench.welcome("1/ann");
    for n in 1..=3 {
        bench.text(conn, &send(0, n, n, Some(0).filter(|_| n == 1)));
    }
    bench.text(conn, &send(0, 4, 4, None).replace("alerts/a", "nowhere/a"));
    bench.take(conn);
    let again = bench.open();
    bench.text(
        again,
        r#"{"type":"hello","token":"1/ann","producer":"00000000000000000000000000000001","lanes":{"0":2}}"#,
    );
    let frames = bench.take(again);
    let [ServerFrame::Welcome(welcome), ServerFrame::Accepted(ok), ServerFrame::Refused(refused)] =
        &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!(welcome.accepted.as_ref().unwrap().get(&0), Some(&4));
    assert_eq!((ok.n, ok.id, ok.seq), (3, ItemId(3), Some(3)));
    assert_eq!((refused.n, refused.code.as_str()), (4, "forbidden"));
    // A resend is answered from the record, and appends nothing.
    bench.text(again, &send(0, 3, 3, Some(2)));
    assert_eq!(bench.kinds(again), ["ok"]);
    bench.text(again, &send(0, 3, 99, None));
    assert_eq!(bench.closed[&again].0, close::FORKED);
}

#[test]
fn p_s3_refusals_consume_their_number() {
    let mut bench = Bench::new();
    let conn = bench.welcome("1/ann");
    bench.take(conn);
    let deep = "[".repeat(40) + &"]".repeat(40);
    let long = "x".repeat(200);
    for (n, (from, to, code)) in [
        ("alerts/a", "alerts", "bad_room"),
        ("alerts/a", "alerts/tenant:2", "forbidden"),
        ("alerts/a", "alerts/public:x", "forbidden"),
        ("\"data\":7", "\"data\":{\"a\":1,\"a\":2}", "bad_data"),
        ("\"data\":7", &format!("\"data\":{deep}"), "bad_data"),
        ("\"event\":\"e\"", "\"event\":\"\"", "bad_event"),
        ("\"event\":\"e\"", &format!("\"event\":\"{long}\""), "bad_event"),
        ("\"event\":\"e\"", "\"event\":\"system:restart\"", "bad_event"),
        ("\"event\":\"e\"", "\"event\":\"e\",\"ttl\":0", "expired"),
    ]
    .into_iter()
    .enumerate()
    {
        let n = n as u64 + 1;
        let text = send(0, n, n, (n == 1).then_some(0))
            .replace(&format!("\"data\":{n}}}"), "\"data\":7}")
            .replace(from, to);
        bench.text(conn, &text);
        let frames = bench.take(conn);
        assert_eq!(frames.len(), 1, "{text}");
        assert_eq!(code_of(&frames[0]), code, "{text}");
    }
    bench.text(conn, &send(0, 10, 10, None));
    assert_eq!(bench.kinds(conn), ["ok"]);
}

#[test]
fn p_s5_the_answer_to_a_skip_decides() {
    let mut bench = Bench::new();
    let conn = bench.welcome("1/ann");
    bench.take(conn);
    bench.text(conn, &send(0, 1, 1, Some(0)));
    bench.text(conn, r#"{"type":"skip","lane":0,"n":1,"id":"00000000000000000000000000000001","code":"cancelled"}"#);
    assert_eq!(bench.kinds(conn), ["ok", "ok"]);
    bench.text(conn, r#"{"type":"skip","lane":0,"n":2,"id":"00000000000000000000000000000002","code":"expired"}"#);
    let frames = bench.take(conn);
    assert_eq!(code_of(&frames[0]), "expired");
    bench.text(conn, r#"{"type":"skip","lane":0,"n":3,"id":"00000000000000000000000000000003","code":"forbidden"}"#);
    assert_eq!(bench.closed[&conn].0, close::BAD_FRAME);
}

#[test]
fn p_r8_what_is_not_kept_reaches_who_is_live_once() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.join(bob, "alerts/a");
    bench.take(bob);
    bench.take(ann);
    bench.text(ann, r#"{"type":"cast","room":"alerts/a","event":"typing","data":1}"#);
    let item = send(0, 1, 1, Some(0)).replace("\"persist\":true", "\"persist\":false");
    bench.text(ann, &item);
    bench.text(ann, &item);
    bench.text(ann, r#"{"type":"cast","room":"alerts/tenant:2","event":"typing","data":1}"#);
    let frames = bench.take(bob);
    let [ServerFrame::Event(cast), ServerFrame::Event(sent)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!((cast.seq, cast.id, &*cast.from), (None, None, "ann"));
    assert_eq!((sent.seq, sent.id), (None, Some(ItemId(1))));
    let frames = bench.take(ann);
    let [ServerFrame::Accepted(first), ServerFrame::Accepted(_)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(first.seq, None);
}

#[test]
fn p_k5_a_publish_is_one_step_and_its_id_is_remembered() {
    let mut bench = Bench::new();
    let ann = bench.welcome("1/ann");
    bench.join(ann, "alerts/a");
    bench.join(ann, "alerts/public:news");
    bench.take(ann);
    let event = |room: &str, id, persist| PublishEvent {
        room: room.parse().unwrap(),
        event: "e".into(),
        id: ItemId(id),
        key: None,
        persist,
        data: Json::parse("[1, 2]").unwrap(),
    };
    let publish = Publish {
        tenant: "1".into(),
        by: None,
        events: vec![
            event("alerts/b", 1, true),
            event("alerts/a", 1, true),
            event("alerts/a", 2, false),
            event("alerts/public:news", 3, true),
        ],
        number: None,
        from: "".into(),
    };
    bench.feed(Input::Publish(CallId(1), publish.clone()));
    bench.feed(Input::Publish(CallId(2), publish.clone()));
    assert_eq!(bench.published[0], (CallId(1), Ok(vec![Some(1), Some(1), None, Some(1)])));
    assert_eq!(bench.published[1].1, bench.published[0].1, "the whole first answer again");
    assert_eq!(bench.kinds(ann), ["event", "event", "event"]);
    let mut bad = publish;
    bad.events[1].room = "nowhere/a".parse().unwrap();
    bench.feed(Input::Publish(CallId(3), bad));
    assert!(bench.published[2].1.is_err());
}

fn kept(room: &str, id: u128) -> PublishEvent {
    PublishEvent {
        room: room.parse().unwrap(),
        event: "e".into(),
        id: ItemId(id),
        key: None,
        persist: true,
        data: Json::null(),
    }
}

fn publish(events: Vec<PublishEvent>) -> Publish {
    Publish { tenant: "1".into(), by: None, events, number: None, from: "".into() }
}

#[test]
fn p_k5_a_number_published_again_repeats_the_whole_first_answer() {
    let mut bench = Bench::new();
    bench.feed(Input::Publish(CallId(9), publish(vec![kept("default/b", 90)])));
    let number = crate::log::Number {
        key: crate::log::ProducerKey {
            tenant: "1".into(),
            user: "billing".into(),
            producer: wardline::model::ids::ProducerId(5),
        },
        lane: 0,
        n: 1,
        id: ItemId(1),
        base: None,
    };
    // Alerts by a back end carry an entry of their own into the step; it is not in the answer.
    let alert = PublishEvent {
        event: "alert:created".into(),
        data: Json::parse(r#"{"id":"a1","type":"intrusion","severity":"high"}"#).unwrap(),
        ..kept("alerts/tenant:1", 1)
    };
    let cast = PublishEvent { persist: false, ..kept("default/b", 2) };
    let events = vec![alert, cast, kept("default/b", 3), kept("default/c", 4)];
    let publish = Publish { number: Some(number), ..publish(events) };
    // The first may find the tenant's alerts unread.
    for call in 1..=3 {
        bench.feed(Input::Publish(CallId(call), publish.clone()));
    }
    let answers: Vec<_> = bench.published.iter().filter(|(call, _)| call.0 < 9).collect();
    for (_, answer) in &answers {
        assert_eq!(*answer, Ok(vec![Some(1), None, Some(2), Some(1)]), "{answers:?}");
    }
}

#[test]
fn p_k5_an_id_published_again_with_other_events_is_a_conflict() {
    let mut bench = Bench::new();
    let one = || kept("default/b", 1);
    let cast = PublishEvent { persist: false, ..kept("default/b", 2) };
    let others = [
        vec![one(), kept("default/b", 2)],
        vec![one(), kept("default/b", 2), kept("default/b", 3)],
    ];
    let conflicts = |bench: &Bench| {
        let is = |answer: &Published| matches!(answer, Err(error) if error.code == wardline::protocol::Code::CONFLICT);
        bench.published.iter().filter(|(_, answer)| is(answer)).count()
    };
    // While the first is under way, and when it is done.
    bench.held = Some(VecDeque::new());
    bench.feed(Input::Publish(CallId(1), publish(vec![one()])));
    for other in &others {
        bench.feed(Input::Publish(CallId(2), publish(other.clone())));
    }
    bench.feed(Input::Publish(CallId(3), publish(vec![one()])));
    assert_eq!((conflicts(&bench), bench.published.len()), (2, 2));
    bench.release();
    for other in &others {
        bench.feed(Input::Publish(CallId(4), publish(other.clone())));
    }
    assert_eq!((conflicts(&bench), bench.published.len()), (4, 6));
    // What is not kept is not of the step.
    bench.feed(Input::Publish(CallId(5), publish(vec![one(), cast])));
    assert_eq!(bench.published.last().unwrap().1, Ok(vec![Some(1), None]));
}

#[test]
fn p_f4_a_publish_to_a_room_of_another_tenant_is_forbidden() {
    let mut bench = Bench::new();
    let rooms =
        ["default/tenant:10", "default/notifications:2:u:all", "default/user", "alerts/x:org"];
    for (call, room) in (1..).zip(rooms) {
        bench.feed(Input::Publish(CallId(call), publish(vec![kept(room, u128::from(call))])));
        let (_, Err(error)) = &bench.published[bench.published.len() - 1] else {
            panic!("{room} was published to")
        };
        assert_eq!(error.code, wardline::protocol::Code::FORBIDDEN, "{room}");
        assert!(!error.message.is_empty());
    }
    bench.feed(Input::Publish(CallId(9), publish(vec![kept("default/tenant:1", 9)])));
    assert_eq!(bench.published.last().unwrap().1, Ok(vec![Some(1)]));
}

#[test]
fn p_s8_a_command_that_would_not_be_kept_is_refused() {
    let mut bench = Bench::new();
    let command = PublishEvent { persist: false, ..kept("default/commands", 1) };
    bench.feed(Input::Publish(CallId(1), publish(vec![command])));
    let [(_, Err(error))] = &bench.published[..] else { panic!("{:?}", bench.published) };
    assert_eq!(error.code, wardline::protocol::Code::BAD_PARAMS);
}
