use super::*;
use wardline::protocol::close;

#[test]
fn hello_welcome_join_send_ok_event() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    assert_eq!(bench.kinds(ann), ["welcome"]);
    bench.join(bob, "alerts/tenant:1");
    assert_eq!(bench.kinds(bob), ["welcome", "joined", "live"]);
    bench.send(ann, 1, "alerts/tenant:1");
    assert_eq!(bench.kinds(ann), ["ok"]);
    let frames = bench.take(bob);
    let [ServerFrame::Event(event)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((event.seq, event.prev, &*event.from), (Some(1), None, "ann"));
    assert_eq!(bench.hub.connections(), 2);
    assert_eq!((bench.hub.rooms(), bench.hub.subscriptions()), (1, 1));
}

#[test]
fn p_c1_a_hello_is_due_within_five_seconds() {
    let mut bench = Bench::new();
    let conn = bench.open();
    bench.pass(Duration::from_millis(4900));
    assert!(bench.closed.is_empty());
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.closed[&conn].0, close::HELLO_TIMEOUT);
}

#[test]
fn p_f1_a_hello_whose_lanes_there_are_not_is_refused() {
    let mut bench = Bench::new();
    let hello = |bench: &mut Bench, lanes: &str| {
        let conn = bench.open();
        let producer = conn.0;
        bench.text(
            conn,
            &format!(
                r#"{{"type":"hello","token":"1/ann","producer":"{producer:032x}","lanes":{lanes}}}"#
            ),
        );
        bench.closed.get(&conn).map(|(code, _)| *code)
    };
    for lanes in [r#"{"8":1}"#, r#"{"0":1,"255":0}"#, r#"{"0":9007199254740992}"#] {
        assert_eq!(hello(&mut bench, lanes), Some(wardline::protocol::close::BAD_FRAME), "{lanes}");
    }
    assert_eq!(hello(&mut bench, r#"{"7":9007199254740991}"#), None);
}

#[test]
fn p_c1_joins_behind_hello_are_answered_after_welcome_in_their_order() {
    let mut bench = Bench::new();
    let conn = bench.open();
    bench.held = Some(VecDeque::new());
    bench.text(
        conn,
        "{\"type\":\"hello\",\"token\":\"1/ann\",\"producer\":\"00000000000000000000000000000001\"}\n{\"type\":\"join\",\"id\":1,\"room\":\"alerts/a\"}",
    );
    assert!(bench.hub.is_settling(conn));
    bench.text(conn, "{\"type\":\"join\",\"id\":2,\"room\":\"nope\"}\n{\"type\":\"join\",\"id\":3,\"room\":\"alerts/b\"}");
    assert!(bench.take(conn).is_empty());
    bench.release();
    let frames = bench.take(conn);
    let kinds: Vec<_> = frames.iter().map(ServerFrame::kind).collect();
    assert_eq!(kinds, ["welcome", "joined", "left", "live", "joined", "live"]);
}

#[test]
fn p_c7_tokens_that_do_not_let_in_have_their_codes() {
    for (token, code) in [
        ("bad/x", close::TOKEN_INVALID),
        ("inactive/x", close::TENANT_INACTIVE),
        ("expires:5/1/x", close::TOKEN_EXPIRED),
        ("~public/x", close::TOKEN_INVALID),
    ] {
        let mut bench = Bench::new();
        let conn = bench.welcome(token);
        assert_eq!(bench.closed[&conn].0, code, "{token}");
        assert!(bench.hooks.iter().any(|hook| matches!(hook, Hook::AuthFailed(..))));
        assert_eq!(bench.hub.connections(), 0);
    }
    let mut bench = Bench::new();
    let conn = bench.open();
    bench.text(conn, r#"{"type":"hello","producer":"00000000000000000000000000000001"}"#);
    assert_eq!(bench.closed[&conn].0, close::TOKEN_MISSING);
}

#[test]
fn p_f2_what_is_no_frame_closes_and_unknown_types_are_answered() {
    let mut bench = Bench::new();
    for (text, code) in [
        ("garbage", close::BAD_FRAME),
        ("{\"no\":\"type\"}", close::BAD_FRAME),
        ("{\"type\":\"join\",\"id\":\"x\"}", close::BAD_FRAME),
        (
            "{\"type\":\"send\",\"lane\":9,\"n\":1,\"id\":\"00000000000000000000000000000001\",\"room\":\"a/b\",\"event\":\"e\",\"data\":1}",
            close::BAD_FRAME,
        ),
        (
            "{\"type\":\"hello\",\"producer\":\"00000000000000000000000000000001\"}",
            close::HELLO_TWICE,
        ),
    ] {
        let conn = bench.welcome("1/ann");
        bench.text(conn, text);
        assert_eq!(bench.closed[&conn].0, code, "{text}");
    }
    let conn = bench.open();
    bench.text(conn, "{\"type\":\"ping\"}");
    assert_eq!(bench.closed[&conn].0, close::HELLO_TWICE);
    let conn = bench.open();
    let long = format!("{{\"type\":\"hello\",\"x\":\"{}\"}}", "x".repeat(17_000));
    bench.text(conn, &long);
    assert_eq!(bench.closed[&conn].0, close::TOO_BIG);
    let conn = bench.welcome("1/ann");
    bench.take(conn);
    bench.text(
        conn,
        "{\"type\":\"zoom\"}\n{\"type\":\"zoom\",\"id\":[7]}\n{\"type\":\"ping\",\"new\":1}",
    );
    let frames = bench.take(conn);
    let [ServerFrame::Reply(reply), ServerFrame::Pong(_)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(reply.id.get(), "[7]");
    assert_eq!(reply.error.as_ref().unwrap().code.as_str(), "unknown_type");
    let batch =
        format!("{{\"type\":\"ping\"}}\n{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(70_000));
    bench.text(conn, &batch);
    assert_eq!(bench.closed[&conn].0, close::BAD_FRAME);
}

#[test]
fn p_c7_a_newer_connection_of_the_same_outbox_takes_over() {
    let mut bench = Bench::new();
    let hello = r#"{"type":"hello","token":"1/ann","producer":"00000000000000000000000000000009"}"#;
    let old = bench.open();
    bench.text(old, hello);
    bench.join(old, "alerts/a");
    let new = bench.open();
    bench.text(new, hello);
    assert_eq!(bench.closed[&old].0, close::REPLACED);
    assert_eq!(bench.kinds(new), ["welcome"]);
    assert_eq!((bench.hub.connections(), bench.hub.subscriptions()), (1, 0));
    // Another user's outbox of the same name is another outbox.
    let other = bench.open();
    bench.text(other, &hello.replace("ann", "bob"));
    assert_eq!(bench.closed.len(), 1);
}

#[test]
fn p_c3_pings_go_out_and_silence_closes() {
    let mut bench = Bench::new();
    let (quiet, hidden) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.text(hidden, "{\"type\":\"status\",\"hidden\":true}");
    bench.take(quiet);
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.kinds(quiet), ["ping"]);
    assert!(bench.closed.is_empty());
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.closed[&quiet].0, close::IDLE);
    assert!(!bench.closed.contains_key(&hidden));
    bench.pass(Duration::from_secs(10));
    bench.feed(Input::Progress(hidden));
    bench.pass(Duration::from_secs(74));
    assert!(!bench.closed.contains_key(&hidden));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.closed[&hidden].0, close::IDLE);
}

#[test]
fn p_c3_a_server_that_slept_closes_no_one_for_it() {
    let mut bench = Bench::new();
    let conn = bench.welcome("1/ann");
    bench.move_to(bench.now.mono + Duration::from_secs(3600));
    bench.feed(Input::Timeout);
    assert!(bench.closed.is_empty());
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.closed[&conn].0, close::IDLE);
}

#[test]
fn p_c6_an_expired_token_is_cut_within_five_seconds() {
    let mut bench = Bench::new();
    let conn = bench.welcome(&format!("expires:{}/1/ann", START + 10_000));
    bench.join(conn, "alerts/a");
    bench.pass(Duration::from_millis(9_900));
    assert!(bench.closed.is_empty());
    bench.pass(Duration::from_millis(5_000));
    assert_eq!(bench.closed[&conn].0, close::TOKEN_EXPIRED);
    assert_eq!(bench.hub.subscriptions(), 0);
}

#[test]
fn p_c6_the_wall_clock_may_jump_past_the_end() {
    let mut bench = Bench::new();
    let conn = bench.welcome(&format!("expires:{}/1/ann", START + 3_600_000));
    bench.now.wall.0 += 3_600_001;
    bench.feed(Input::Timeout);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.closed[&conn].0, close::TOKEN_EXPIRED);
}

#[test]
fn p_c6_a_new_token_in_place_is_followed_by_a_look_at_every_membership() {
    let mut bench = Bench::new();
    let conn = bench.welcome("1/ann/org=o1");
    bench.join(conn, "alerts/org:o1");
    bench.join(conn, "alerts/a");
    bench.take(conn);
    bench.text(conn, "{\"type\":\"auth\",\"token\":\"1/ann/org=o2\"}");
    let frames = bench.take(conn);
    let [ServerFrame::Authorized(_), ServerFrame::Left(left)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!((left.id, &*left.room), (None, "alerts/org:o1"));
    assert_eq!(left.code.as_ref().unwrap().as_str(), "forbidden");
    assert_eq!(bench.hub.subscriptions(), 1);
    bench.text(conn, "{\"type\":\"auth\",\"token\":\"1/bob\"}");
    assert_eq!(bench.closed[&conn].0, close::OWNER_CHANGED);
}

#[test]
fn v6_users_and_tenants_have_their_most_connections() {
    let mut config = HubConfig::default();
    config.parts.buckets.user_connections = 1;
    config.parts.buckets.tenant_connections = 2;
    let mut bench = Bench::with(config);
    let first = bench.welcome("1/ann");
    let second = bench.welcome("1/ann");
    assert_eq!(bench.closed[&second].0, close::CONNECTION_LIMIT);
    bench.welcome("1/bob");
    let fourth = bench.welcome("1/cat");
    assert_eq!(bench.closed[&fourth].0, close::CONNECTION_LIMIT);
    bench.feed(Input::Closed(first, Some(1000)));
    let fifth = bench.welcome("1/ann");
    assert!(!bench.closed.contains_key(&fifth));
    bench.welcome("2/ann");
    assert_eq!(bench.hub.connections(), 3);
}

#[test]
fn v6_reconnecting_too_often_is_told_when_to_come_back() {
    let mut config = HubConfig::default();
    config.parts.buckets.connects = Some(buckets::Rate::new(2, Duration::from_secs(10)));
    let mut bench = Bench::with(config);
    let conns: Vec<_> = (0..3).map(|_| bench.welcome("1/ann")).collect();
    let (code, reason) = &bench.closed[&conns[2]];
    assert_eq!((*code, close::after_ms(reason)), (close::RATE_LIMITED, Some(5000)));
}

#[test]
fn p_c6a_a_revocation_cuts_and_keeps_out() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.feed(Input::Revoke(
        None,
        Revocation {
            tenant: "1".into(),
            user: Some("ann".into()),
            token_id: None,
            not_before: START,
        },
    ));
    assert_eq!(bench.closed[&ann].0, close::TOKEN_REVOKED);
    assert!(!bench.closed.contains_key(&bob));
    let again = bench.welcome("1/ann");
    assert_eq!(bench.closed[&again].0, close::TOKEN_REVOKED);
}

#[test]
fn p_c8_a_drain_answers_what_was_accepted_before_it_closes() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.take(ann);
    bench.held = Some(VecDeque::new());
    bench.send(ann, 1, "alerts/a");
    bench.feed(Input::Drain { spread: [0, 0], reason: "update".into() });
    assert_eq!(bench.closed[&bob].0, close::SHUTDOWN);
    assert!(!bench.closed.contains_key(&ann));
    bench.release();
    assert_eq!(bench.kinds(ann), ["drain", "ok"]);
    assert_eq!(bench.closed[&ann].0, close::SHUTDOWN);
    let late = bench.open();
    assert_eq!(bench.closed[&late].0, close::SHUTDOWN);
}

#[test]
fn a_client_that_does_not_read_is_closed_before_it_costs_more() {
    let mut bench = Bench::new();
    let conn = bench.welcome("1/ann");
    bench.feed(Input::Unsent(conn, 300_000));
    for _ in 0..200_000 {
        bench.text(conn, "{\"type\":\"ping\"}");
        if bench.closed.contains_key(&conn) {
            break;
        }
    }
    assert_eq!(bench.closed[&conn].0, close::SLOW);
}
