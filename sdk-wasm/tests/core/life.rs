//! A whole life: dial, hello, welcome, a room, its events, the end.

use crate::{
    border::{self, Said},
    host::{EPOCH_MS, Host, config},
};
use serde_json::{Value, json};
use wardline::{
    model::ids::ItemId,
    protocol::{
        ClientFrame, Cursor, Json, Mark,
        frames::{Event, Joined, Left, Live, Lost, Pong, RoomMode},
    },
};
use wasm_bindgen_test::wasm_bindgen_test;

const ROOM: &str = "notes/gate";

pub(crate) fn cursor(seq: u64) -> Cursor {
    Cursor { seq, mark: mark(seq) }
}

/// Marks use all of their 64 bits.
fn mark(seq: u64) -> Mark {
    Mark(u64::MAX - seq)
}

pub(crate) fn event(seq: u64) -> Event {
    Event {
        room: ROOM.into(),
        seq: Some(seq),
        prev: None,
        mark: Some(mark(seq)),
        id: Some(ItemId(u128::MAX - u128::from(seq))),
        time: 1_700_000_000_123,
        from: "zoë".into(),
        event: "seen".into(),
        key: None,
        gone: false,
        data: Json::parse(&format!(r#"{{"n":{seq},"text":"ü\n\u0000😀"}}"#)).unwrap(),
    }
}

/// A host that is a live member of the room from `seq` on, as subscription 7.
fn joined(seq: u64, fields: Value) -> Host {
    let mut host = Host::connected();
    let mut join = json!({ "sub": 7, "room": "gate" });
    join.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let call = host.call("join", join);
    let frames = host.frames();
    let [ClientFrame::Join(join)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(join.room, ROOM, "a name is within the client's namespace");
    let (cursor, mode) = (cursor(seq), RoomMode::Log);
    let id = join.id;
    host.say(Joined { id, room: ROOM.into(), cursor, head: cursor, mode, full: false });
    host.say(Live { room: ROOM.into(), seq, mark: mark(seq) });
    let answer = host.answer(call).expect("an answer").unwrap();
    assert_eq!(answer["cursor"], json!({ "seq": seq, "mark": format!("{:016x}", mark(seq).0) }));
    host
}

#[wasm_bindgen_test]
fn connect_dials_says_hello_and_is_answered_at_the_welcome() {
    let mut host = Host::new();
    assert_eq!(host.core.due(), f64::INFINITY, "nothing is due before anyone asked");
    let call = host.call("connect", json!({}));
    assert!(host.has(&Said::Dial(host.generation, "ws://server/wardline".into())));
    assert!(host.frames().is_empty() && host.answer(call).is_none());
    host.link("opened", json!({}));
    let frames = host.frames();
    let [ClientFrame::Hello(hello)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(hello.token.as_ref().unwrap().expose(), "t0");
    assert_eq!((&*hello.client.sdk, &*hello.client.platform), ("tests", "here"));
    assert!(hello.producer.0 > u128::from(u64::MAX), "all bits are drawn: {:?}", hello.producer);
    host.say(crate::host::welcome());
    assert_eq!(host.answer(call), Some(Ok(Value::Null)));
    let status: Vec<_> = host.events("status").iter().map(|e| e["status"].clone()).collect();
    assert_eq!(status, ["connecting", "connected"]);
    let established = host.events("established").remove(0);
    assert_eq!(
        (&established["tenantId"], &established["userId"], &established["limits"]["message"]),
        (&json!("acme"), &json!("ann"), &json!(1024 * 1024))
    );
}

#[wasm_bindgen_test]
fn events_are_handed_over_exactly_and_are_done_when_the_next_are_taken() {
    let begin = 1 << 40;
    let mut host = joined(begin, json!({ "durable": "desk" }));
    let mut seam = Vec::new();
    host.turn(|core| seam = border::take(core, 7, 10));
    assert_eq!(seam, [json!({ "type": "live" })]);
    host.out.clear();
    host.hear(
        &[1, 2, 3]
            .map(|n| wardline::protocol::ServerFrame::from(event(begin + n)).encode())
            .join("\n"),
    );
    assert_eq!(host.out.iter().filter(|said| **said == Said::Ready(7)).count(), 1, "told once");
    let mut taken = Vec::new();
    host.turn(|core| taken = border::take(core, 7, 2));
    let shown = |n: u64| {
        json!({
            "type": "event", "event": "seen", "from": "zoë", "timestamp": 1_700_000_000_123_u64,
            "data": { "n": begin + n, "text": "ü\n\u{0}😀" },
            "id": format!("{:032x}", u128::MAX - u128::from(begin + n)),
            "cursor": { "seq": begin + n, "mark": format!("{:016x}", mark(begin + n).0) },
        })
    };
    assert_eq!(taken, [shown(1), shown(2)]);
    host.turn(|core| taken = border::take(core, 7, 2));
    assert_eq!(taken, [shown(3)]);
    // Only what was done is stored, and the last is not until the next take.
    let stored = |host: &Host| {
        let mut found = host.medium.entries.iter().filter(|(key, _)| key.contains("/c/"));
        found.next().map(|(_, value)| value.clone())
    };
    host.pass(300.0);
    let before = stored(&host);
    let is_at = |value: &Option<String>, n: u64| {
        value.as_ref().is_some_and(|text| text.contains(&format!("{:016x}", mark(begin + n).0)))
    };
    assert!(is_at(&before, 2), "{before:?}");
    host.turn(|core| taken = border::take(core, 7, 10));
    host.pass(300.0);
    let after = stored(&host);
    assert!(taken.is_empty() && is_at(&after, 3), "{taken:?} {after:?}");
}

#[wasm_bindgen_test]
fn an_event_of_a_ghost_and_one_that_was_there_before_are_dropped() {
    let mut host = joined(5, json!({}));
    host.turn(|core| drop(border::take(core, 7, 10)));
    host.out.clear();
    let ghost = host.generation + 1;
    let text = wardline::protocol::ServerFrame::from(event(6)).encode();
    host.turn(|core| core.text(ghost, text));
    host.say(event(5));
    assert!(host.out.is_empty(), "{:?}", host.out);
    let mut taken = vec![Value::Null];
    host.turn(|core| taken = border::take(core, 7, 10));
    assert!(taken.is_empty(), "{taken:?}");
}

#[wasm_bindgen_test]
fn a_loss_calls_the_hook_and_its_cursor_goes_back_exactly() {
    let mut host = joined(5, json!({ "hook": true }));
    host.out.clear();
    let (first, head) = (cursor(1 << 33), cursor((1 << 33) + 100));
    host.say(Lost { id: None, room: ROOM.into(), first, head });
    // The hooks of many clients are spread.
    host.pass(5_000.0);
    let wanted = host.out.iter().find_map(|said| match said {
        Said::Wanted(7, head) => Some(head.clone()),
        _ => None,
    });
    let shown = json!({ "seq": head.seq, "mark": format!("{:016x}", head.mark.0) });
    assert_eq!(wanted, Some(shown.clone()));
    host.frames();
    host.tell("snapshot", json!({ "sub": 7, "cursor": shown }));
    let frames = host.frames();
    let joins: Vec<_> = frames
        .iter()
        .filter_map(|frame| match frame {
            ClientFrame::Join(join) => join.cursor,
            _ => None,
        })
        .collect();
    assert_eq!(joins, [head], "{frames:?}");
}

#[wasm_bindgen_test]
fn what_ends_is_told_and_leave_and_disconnect_are_answered() {
    let mut host = joined(5, json!({}));
    let leave = host.call("leave", json!({ "sub": 7 }));
    let frames = host.frames();
    let [ClientFrame::Leave(left)] = &frames[..] else { panic!("{frames:?}") };
    let (id, room) = (Some(left.id), left.room.clone());
    host.say(Left { id, room, code: None, after: None });
    assert_eq!(host.answer(leave), Some(Ok(Value::Null)));
    let disconnect = host.call("disconnect", json!({}));
    let closes = host.out.iter().filter(|said| matches!(said, Said::Close(_, 1000, _))).count();
    assert_eq!(closes, 1, "{:?}", host.out);
    host.link("closed", json!({ "code": 1000, "reason": "" }));
    assert_eq!(host.answer(disconnect), Some(Ok(Value::Null)));
    assert_eq!(host.core.due(), f64::INFINITY, "who left wants nothing any more");
}

#[wasm_bindgen_test]
fn due_is_when_something_happens_and_nothing_happens_before() {
    let mut host = Host::connected();
    let due = host.core.due();
    assert!(due > host.mono && due <= host.mono + 40_000.0, "a probe within the ping: {due}");
    // A timer that fires too early costs nothing.
    for part in [0.1, 0.5, 0.9] {
        let at = host.mono;
        host.jump((due - at) * part);
        host.tell("timeout", json!({}));
        assert!(host.out.is_empty(), "{:?} at {} of {due}", host.out, host.mono);
        host.jump(at - host.mono);
    }
    host.pass(due - host.mono);
    let kinds: Vec<_> = host.frames().iter().map(|frame| frame.kind().to_owned()).collect();
    assert_eq!(kinds, ["ping"]);
    host.say(Pong {});
    // Cut: the next dial is due at the moment that is told.
    host.link("closed", json!({ "code": 1006, "reason": "" }));
    let status = host.events("status").pop().unwrap();
    assert_eq!(status["status"], "reconnecting");
    let span = status["retryIn"].as_f64().unwrap();
    assert!((host.core.due() - host.mono - span).abs() <= 1.0, "{span}, {}", host.core.due());
    host.out.clear();
    host.pass(span + 1.0);
    assert!(host.out.iter().any(|said| matches!(said, Said::Dial(..))), "{:?}", host.out);
}

#[wasm_bindgen_test]
fn clocks_with_fractions_and_years_of_uptime_work_and_wrong_ones_do_no_harm() {
    let mut host = Host::new();
    // performance.now() after a year, in steps of 5 µs.
    host.jump(365.0 * 86_400_000.0 + 0.005);
    host.call("connect", json!({}));
    host.accept();
    assert!(host.core.due() > host.mono && host.core.due() < host.mono + 60_000.0);
    for wrong in [f64::NAN, -1.0, f64::INFINITY, 0.0] {
        host.core.turn(wrong, wrong);
        border::tell(&mut host.core, "timeout", &json!({}));
        border::drain(&mut host.core);
    }
}

#[wasm_bindgen_test]
fn the_same_seed_is_the_same_life_and_another_is_another() {
    let producer = |seed: u64| {
        let mut config = config();
        config["seed"] = seed.into();
        let mut host = Host::with(&config, Default::default());
        host.call("connect", json!({}));
        host.link("opened", json!({}));
        let frames = host.frames();
        let [ClientFrame::Hello(hello)] = &frames[..] else { panic!("{frames:?}") };
        hello.producer
    };
    // As the host draws it: all the bits a JavaScript number has.
    let largest = (1 << 53) - 1;
    assert_eq!(producer(largest), producer(largest));
    assert_ne!(producer(largest), producer(largest - 1));
    assert_ne!(producer(1), producer(1 << 32 | 1), "the high bits count");
}

#[wasm_bindgen_test]
fn the_walls_clock_travels_into_the_store_exactly() {
    let mut host = Host::new();
    host.call(
        "submit",
        json!({ "id": format!("{:032x}", 1), "lane": 0, "room": "gate", "event": "x", "data": 1, "ttl": 1_000, "persist": true }),
    );
    let listed = border::outbox(&host.core);
    assert_eq!(listed[0]["expires"].as_f64(), Some(EPOCH_MS + 1000.0), "{listed:?}");
}
