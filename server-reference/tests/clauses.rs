//! Clauses of the protocol at the edge, frame by frame.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{Peer, Site, rand_hex};

fn send(n: u64, id: &str, base: Option<u64>, data: &Value) -> Value {
    let mut send = json!({"type": "send", "lane": 0, "n": n, "id": id, "room": "default/desk",
        "event": "note", "persist": true, "data": data});
    if let Some(base) = base {
        send["base"] = json!(base);
    }
    send
}

fn text_of(n: u64, data: &str) -> String {
    format!(
        "{{\"type\":\"send\",\"lane\":0,\"n\":{n},\"id\":\"{}\",\"room\":\"default/desk\",\
         \"event\":\"note\",\"persist\":true,\"data\":{data}}}",
        rand_hex()
    )
}

#[test]
fn p_f1_several_objects_travel_in_one_message_of_64_kib_and_blank_lines_are_none() {
    let site = Site::start(&[]);
    let mut peer = site.client("t", "u", &[]);
    let calls: Vec<String> = (0..20)
        .map(|id| json!({"type": "call", "id": id, "method": "rooms"}).to_string())
        .collect();
    peer.text(&format!("\n{}\n\r\n", calls.join("\n\n")));
    for id in 0..20 {
        assert_eq!(peer.expect("reply")["id"], id);
    }
    // One object may be larger, several may not.
    let large = json!({"type": "ping", "padding": "x".repeat(70_000)}).to_string();
    peer.text(&large);
    peer.expect("pong");
    peer.text(&format!("{large}\n{{\"type\":\"ping\"}}"));
    assert_eq!(peer.closed(), 4200);
}

#[test]
fn p_f1_data_is_checked_and_minified_where_it_enters() {
    let site = Site::start(&[]);
    let mut peer = site.client("t", "u", &[]);
    peer.join(1, "default/desk");
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let mut n = 0;
    let mut answer = |peer: &mut Peer, data: &str| {
        n += 1;
        peer.text(&text_of(n, data));
        loop {
            let object = peer.next().unwrap_or_else(|| panic!("closed: {:?}", peer.ended));
            if object["type"] == "ok" || object["type"] == "refused" {
                assert_eq!(object["n"], n);
                return object["code"].as_str().unwrap_or("ok").to_owned();
            }
        }
    };
    for (data, code) in [
        (nested(32), "ok"),
        (nested(33), "bad_data"),
        (nested(200), "bad_data"),
        (nested(100_000), "bad_data"),
        (objects(32), "ok"),
        (objects(33), "bad_data"),
        (objects(100_000), "bad_data"),
        (r#"{"a":1,"b":{"a":1}}"#.into(), "ok"),
        (r#"{"a":1,"a":1}"#.into(), "bad_data"),
        (r#"{"a":1,"\u0061":2}"#.into(), "bad_data"),
        (r#"[{"x":{"k":[],"k":[]}}]"#.into(), "bad_data"),
        (r#"{"s":"\ud800"}"#.into(), "bad_data"),
        (r#"{"s":"\ud83d\ude00"}"#.into(), "ok"),
        ("1e999".into(), "bad_data"),
        ("9".repeat(100_000), "bad_data"),
    ] {
        assert_eq!(answer(&mut peer, &data), code, "{data:.60}");
    }
    // What passes is stored without white space, and spliced as it is: no number is rounded.
    assert_eq!(
        answer(&mut peer, " {\t\"big\" : 12345678901234567890.50 ,  \"s\":\" \\n \" } "),
        "ok"
    );
    let mut reader = site.client("t", "v", &[]);
    reader.send(&json!({"type": "join", "id": 1, "room": "default/desk", "from": "first"}));
    let raw = reader.raw_until("12345678901234567890");
    let data = r#""data":{"big":12345678901234567890.50,"s":" \n "}"#;
    assert!(raw.contains(data), "{raw}");
}

#[test]
fn p_f2_broken_envelopes_close_and_unknown_types_do_not() {
    let site = Site::start(&[]);
    let deep = "[".repeat(100_000);
    for text in [
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"join","id":1,"id":2,"room":"default/desk"}"#,
        r#"{"type":"join","id":1,"room":7}"#,
        r#"{"type":"join","id":-1,"room":"default/desk"}"#,
        r#"{"type":"join","id":1,"room":"default/desk","cursor":{"seq":1,"mark":"xyz"}}"#,
        r#"{"type":"send","lane":8,"n":1,"id":"00000000000000000000000000000001","room":"default/desk","event":"e","data":1}"#,
        r#"{"type":"send","lane":0,"n":0,"id":"00000000000000000000000000000001","room":"default/desk","event":"e","data":1}"#,
        r#"{"type":"send","lane":0,"n":2,"base":2,"id":"00000000000000000000000000000001","room":"default/desk","event":"e","data":1}"#,
        r#"{"type":"send","lane":0,"n":9007199254740992,"id":"00000000000000000000000000000001","room":"default/desk","event":"e","data":1}"#,
        r#"{"type":"send","lane":0,"n":1,"id":"no id","room":"default/desk","event":"e","data":1}"#,
        r#"{"type":"skip","lane":0,"n":1,"id":"00000000000000000000000000000001","code":"bored"}"#,
        r#"{"type":"status","status":"sleepy"}"#,
        r#"{"type":"ping"} {"type":"ping"}"#,
        r#"{"type":"ping""#,
        "null",
        "7",
        "\u{feff}{\"type\":\"ping\"}",
        deep.as_str(),
    ] {
        let mut peer = site.client("t", "u", &[]);
        peer.text(text);
        assert_eq!(peer.closed(), 4200, "{text:.120}");
    }
    let mut peer = site.client("t", "u", &[]);
    for garbage in [&[][..], &[0_u8; 3], &[0xff; 17_000], b"{\"type\":\"ping\"}"] {
        peer.binary(garbage);
        assert_eq!(peer.closed(), 4200);
        peer = site.client("t", "u", &[]);
    }
    // A chunk of a stream that is not there crosses on the way.
    peer.binary(&[0xff; 64]);
    // Unknown: answered with the id as it came, of any type; without one passed over.
    for id in ["1", "-7", "\"x\"", "{\"a\":[1]}", "[null]", "true"] {
        peer.text(&format!("{{\"id\":{id},\"type\":\"juggle\",\"deep\":{}}}", "[[[[]]]]"));
        let reply = peer.expect("reply");
        assert_eq!(reply["id"].to_string(), id);
        assert_eq!(reply["error"]["code"], "unknown_type");
    }
    peer.text("{\"type\":\"juggle\"}\n{\"type\":\"juggle\",\"id\":null}\n{\"type\":\"ping\"}");
    while peer.next().unwrap()["type"] != "pong" {}
}

#[test]
fn p_c2_welcome_then_the_outcomes_then_the_answers_to_the_joins_in_their_order() {
    let site = Site::start(&[]);
    let (token, producer) = (site.token("t", "u", &[]), rand_hex());
    let mut peer = Peer::connect(site.addr);
    peer.hello_as(Some(&token), producer.clone());
    peer.expect("welcome");
    let ids: Vec<String> = (0..3).map(|_| rand_hex()).collect();
    for (n, id) in (1..).zip(&ids) {
        peer.send(&send(n, id, (n == 1).then_some(0), &json!(n)));
        peer.expect("ok");
    }
    let mut again = Peer::connect(site.addr);
    again.send(&json!({"type": "hello", "token": token, "producer": producer, "lanes": {"0": 1}}));
    for (id, room) in (1..).zip(["default/b", "default/tenant:x", "default/a", "no room"]) {
        again.send(&json!({"type": "join", "id": id, "room": room}));
    }
    let told: Vec<Value> = (0..3).map(|_| again.next().unwrap()).collect();
    assert_eq!((&told[0]["type"], &told[0]["accepted"]), (&json!("welcome"), &json!({"0": 3})));
    for (at, n) in [(1, 2), (2, 3)] {
        assert_eq!((&told[at]["type"], &told[at]["n"]), (&json!("ok"), &json!(n)));
        assert_eq!(told[at]["id"], ids[n - 1]);
    }
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let object = again.next().unwrap();
        if let Some(id) = object["id"].as_u64() {
            let code = object["code"].as_str().unwrap_or_default().to_owned();
            answers.push((object["type"].as_str().unwrap().to_owned(), id, code));
        }
    }
    let joined = |id| ("joined".to_owned(), id, String::new());
    let left = |id, code: &str| ("left".to_owned(), id, code.to_owned());
    assert_eq!(answers, [joined(1), left(2, "forbidden"), joined(3), left(4, "bad_room")]);
}

#[test]
fn p_s2_numbers_are_done_held_repeated_or_forked() {
    let site = Site::start(&[]);
    let (token, producer) = (site.token("t", "u", &[]), rand_hex());
    let connect = || {
        let mut peer = Peer::connect(site.addr);
        peer.hello_as(Some(&token), producer.clone());
        peer.expect("welcome");
        peer
    };
    let ids: Vec<String> = (0..40).map(|_| rand_hex()).collect();
    let id = |n: usize| ids[n].as_str();
    let mut peer = connect();
    // (2) the next number, and (1) base raises what is accepted.
    peer.send(&send(5, id(5), Some(4), &json!(5)));
    assert_eq!(peer.expect("ok")["seq"], 1);
    // (3) too early: nothing is consumed, and the lane is deaf until a frame with base.
    peer.send(&send(8, id(8), None, &json!(8)));
    let hold = peer.expect("hold");
    assert_eq!((&hold["accepted"], &hold["code"]), (&json!(5), &json!("order")));
    peer.send(&send(6, id(6), None, &json!(6)));
    peer.send(&send(6, id(6), Some(5), &json!(6)));
    let ok = peer.next().unwrap();
    assert_eq!((&ok["type"], &ok["n"], &ok["seq"]), (&json!("ok"), &json!(6), &json!(2)));
    // (4) the same number with the same id: repeated, whatever else it carries, and not done again.
    peer.send(&send(6, id(6), None, &json!("other")));
    assert_eq!(peer.expect("ok")["seq"], 2);
    for n in 7..39 {
        peer.send(&send(n, id(usize::try_from(n).unwrap()), None, &json!(n)));
    }
    for n in 7..39 {
        assert_eq!(peer.expect("ok")["n"], n);
    }
    // The last 32 are held: 7 to 38.
    peer.send(&send(7, id(7), None, &json!(7)));
    assert_eq!(peer.expect("ok")["seq"], 3);
    // (5) a number that is held no more, or with another id: two outboxes use this producer.
    peer.send(&send(6, id(6), None, &json!(6)));
    assert_eq!(peer.closed(), 4010);
    let mut peer = connect();
    peer.send(&send(38, id(39), None, &json!("another")));
    assert_eq!(peer.closed(), 4010);
    // Nothing of all that was appended twice, or at all.
    let mut reader = site.client("t", "v", &[]);
    assert_eq!(reader.join(1, "default/desk")["head"]["seq"], 34);
}

#[test]
fn p_s6a_the_producer_used_least_recently_goes_when_a_user_has_more_than_64() {
    let site = Site::start(&[]);
    let token = site.token("t", "u", &[]);
    let connect = |producer: &str| {
        let mut peer = Peer::connect(site.addr);
        peer.hello_as(Some(&token), producer.to_owned());
        let accepted = peer.expect("welcome")["accepted"].clone();
        (peer, accepted)
    };
    let producers: Vec<String> = (0..66).map(|_| rand_hex()).collect();
    for producer in &producers {
        let (mut peer, accepted) = connect(producer);
        // A record appears with the first accepted item.
        assert_eq!(accepted, Value::Null);
        peer.send(&send(1, &rand_hex(), Some(0), &json!(1)));
        peer.expect("ok");
    }
    assert_eq!(connect(&producers[0]).1, Value::Null);
    assert_eq!(connect(&producers[1]).1, Value::Null);
    assert_eq!(connect(&producers[65]).1, json!({"0": 1}));
    assert_eq!(connect(&producers[2]).1, json!({"0": 1}));
}
