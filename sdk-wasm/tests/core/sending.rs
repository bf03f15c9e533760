//! The outbox: stored before it is told, numbered before it is sent, settled once.

use crate::{
    border::{self, Said},
    host::{Host, config, welcome},
};
use serde_json::{Value, json};
use wardline::{
    model::ids::ItemId,
    protocol::{
        ClientFrame,
        frames::{Accepted, Refused, Send},
    },
};
use wasm_bindgen_test::wasm_bindgen_test;

const ID: ItemId = ItemId(u128::MAX - 7);

fn item(id: ItemId, lane: u8) -> Value {
    json!({
        "id": format!("{:032x}", id.0), "lane": lane, "room": "gate", "event": "note",
        "data": { "text": "ü\n\u{0}😀", "n": 9_007_199_254_740_991_u64 }, "persist": true,
    })
}

fn sends(host: &mut Host) -> Vec<Send> {
    let send = |frame| match frame {
        ClientFrame::Send(send) => Some(send),
        _ => None,
    };
    host.frames().into_iter().filter_map(send).collect()
}

fn state(host: &Host) -> Vec<Value> {
    border::outbox(&host.core).iter().map(|item| item["state"].clone()).collect()
}

#[wasm_bindgen_test]
fn what_was_submitted_before_the_connection_is_stored_then_sent_then_settled() {
    let mut host = Host::new();
    host.stores = false;
    let call = host.call("submit", item(ID, 3));
    assert!(host.answer(call).is_none(), "not stored yet");
    host.store();
    assert_eq!(host.answer(call), Some(Ok(Value::Null)));
    assert_eq!(border::outbox(&host.core)[0]["id"], format!("{:032x}", ID.0));
    host.call("connect", json!({}));
    host.accept();
    assert!(sends(&mut host).is_empty(), "its number is not stored yet");
    while host.out.iter().any(|said| matches!(said, Said::Store(..))) {
        host.store();
    }
    let sent = sends(&mut host);
    let [send] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((send.id, send.lane, send.n, &*send.room), (ID, 3, 1, "notes/gate"));
    assert_eq!(send.data.get(), item(ID, 3)["data"].to_string());
    let seq = Some((1 << 53) - 1);
    host.stores = true;
    host.say(Accepted { lane: 3, n: 1, id: ID, seq });
    while host.out.iter().any(|said| matches!(said, Said::Store(..))) {
        host.store();
    }
    let settled = host.events("settled");
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0]["id"], format!("{:032x}", ID.0));
    assert_eq!(settled[0]["outcome"], json!({ "outcome": "accepted", "seq": seq }));
    assert!(state(&host).is_empty());
    assert!(!host.medium.entries.keys().any(|key| key.contains("/i/")), "{:?}", host.medium);
}

#[wasm_bindgen_test]
fn what_is_in_the_store_is_sent_by_the_next_machine_with_its_number() {
    let mut host = Host::connected();
    host.call("submit", item(ID, 0));
    let first = sends(&mut host);
    // The tab is gone before an answer.
    let mut next = Host::with(&config(), host.medium);
    assert_eq!(state(&next).len(), 1);
    next.call("connect", json!({}));
    next.accept();
    let again = sends(&mut next);
    assert_eq!((again[0].id, again[0].n), (first[0].id, first[0].n));
    assert_eq!(again[0].data.get(), first[0].data.get());
    next.say(Accepted { lane: 0, n: 1, id: ID, seq: Some(1) });
    assert_eq!(next.events("settled").len(), 1);
}

#[wasm_bindgen_test]
fn a_store_that_fails_or_belongs_to_another_tab_answers_with_a_code() {
    let mut host = Host::new();
    host.stores = false;
    let call = host.call("submit", item(ID, 0));
    let at = host.out.iter().position(|said| matches!(said, Said::Store(..))).unwrap();
    let Said::Store(batch, _) = host.out.remove(at) else { unreachable!() };
    host.tell("stored", json!({ "batch": batch, "error": "QuotaExceededError: the disk is full" }));
    assert_eq!(host.answer(call), Some(Err("storage".into())));
    assert!(state(&host).is_empty());
    // Another took the lock: what needs it fails, and nothing is sent.
    let mut host = Host::connected();
    host.medium.lock += 1;
    host.call("submit", item(ID, 0));
    assert!(sends(&mut host).is_empty(), "sent without a stored number");
}

#[wasm_bindgen_test]
fn a_refusal_ends_an_item_with_its_code_and_words() {
    let mut host = Host::connected();
    host.call("submit", item(ID, 7));
    let n = sends(&mut host)[0].n;
    let message = "not in this room \u{2014} \"gate\"".to_owned();
    host.say(Refused {
        lane: 7,
        n,
        id: ID,
        code: "forbidden".to_owned().into(),
        message: message.clone(),
    });
    let outcome = host.events("settled").remove(0)["outcome"].clone();
    assert_eq!(
        (&outcome["outcome"], &outcome["code"], &outcome["reason"]),
        (&json!("refused"), &json!("forbidden"), &json!(message))
    );
}

#[wasm_bindgen_test]
fn an_urgent_lane_passes_another_and_the_order_within_a_lane_stands() {
    let mut host = Host::new();
    let given = [(1, 7), (2, 7), (3, 0), (4, 7), (5, 0)];
    for (id, lane) in given {
        host.call("submit", item(ItemId(id), lane));
    }
    let orders: Vec<_> = border::outbox(&host.core)
        .iter()
        .map(|one| one["order"].as_str().unwrap().to_owned())
        .collect();
    assert!(orders.iter().all(|order| order.len() == 16), "{orders:?}");
    host.call("connect", json!({}));
    host.accept();
    let sent: Vec<_> = sends(&mut host).iter().map(|send| send.id.0).collect();
    assert_eq!(sent, [3, 5, 1, 2, 4]);
}

#[wasm_bindgen_test]
fn bad_calls_are_answered_with_their_codes() {
    let mut host = Host::connected();
    let with = |name: &str, value: Value| {
        let mut item = item(ID, 0);
        item[name] = value;
        item
    };
    let bad = [
        ("submit", with("lane", 8.into()), "bad_params"),
        ("submit", with("room", "no such:Room".into()), "bad_room"),
        ("submit", with("id", "7".into()), "bad_params"),
        ("submit", with("ttl", (-1).into()), "bad_params"),
        ("submit", with("data", nested(40)), "bad_data"),
        ("join", json!({ "sub": 1, "room": "" }), "bad_room"),
        ("no such call", json!({}), "bad_params"),
    ];
    for (name, fields, code) in bad {
        let call = host.call(name, fields.clone());
        assert_eq!(host.answer(call), Some(Err(code.to_owned())), "{name} {fields}");
    }
    assert!(host.frames().is_empty() && state(&host).is_empty());
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

#[wasm_bindgen_test]
fn a_server_that_forgot_is_told_of_with_the_numbers() {
    let mut host = Host::connected();
    host.call("submit", item(ID, 2));
    let n = sends(&mut host)[0].n;
    host.say(Accepted { lane: 2, n, id: ID, seq: Some(9) });
    host.link("closed", json!({ "code": 1006, "reason": "" }));
    host.out.clear();
    while !host.out.iter().any(|said| matches!(said, Said::Dial(..))) {
        host.pass(1_000.0);
    }
    host.link("opened", json!({}));
    host.say(welcome());
    let lost = host.events("acceptedLost");
    assert_eq!(lost.len(), 1, "{:?}", host.out);
    assert_eq!(
        (&lost[0]["lane"], &lost[0]["from"], &lost[0]["to"]),
        (&json!(2), &json!(1), &json!(1))
    );
}
