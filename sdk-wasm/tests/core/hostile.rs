//! What a broken host or a broken server may say. A panic here would be the end of the module, and of every client on the page.

use crate::{
    border,
    host::{Host, config},
};
use serde_json::json;
use wardline::protocol::ServerFrame;
use wasm_bindgen_test::wasm_bindgen_test;

const KINDS: &[&str] = &[
    "opened",
    "closed",
    "failed",
    "unsent",
    "loaded",
    "stored",
    "token",
    "provided",
    "signal",
    "poked",
    "timeout",
    "connect",
    "disconnect",
    "cancel",
    "resume",
    "submit",
    "cast",
    "query",
    "status",
    "answer",
    "stream",
    "join",
    "leave",
    "snapshot",
    "done",
    "seen",
    "look",
    "nonsense",
    "",
];

#[wasm_bindgen_test]
fn an_input_that_cannot_be_read_does_nothing() {
    let mut host = Host::connected();
    let before = border::outbox(&host.core);
    let nested = "[".repeat(100_000);
    for text in [
        "",
        " ",
        "null",
        "[]",
        "7",
        "{",
        "{}",
        "\"c\"",
        r#"{"c":7}"#,
        r#"{"c":"opened""#,
        "\u{feff}{}",
        &nested,
    ] {
        host.turn(|core| border::tell_raw(core, text));
        assert!(host.out.is_empty(), "{text:.20}: {:?}", host.out);
    }
    assert_eq!(border::outbox(&host.core), before);
}

#[wasm_bindgen_test]
fn an_input_without_its_fields_or_with_wrong_ones_is_refused_or_ignored() {
    let mut host = Host::connected();
    let wrong =
        [json!(null), json!(-1), json!(1e300), json!("x"), json!([]), json!({}), json!(true)];
    for kind in KINDS {
        // These are what they are without any field.
        if ["connect", "disconnect", "poked", "timeout"].contains(kind) {
            continue;
        }
        for value in &wrong {
            let mut fields = json!({});
            for name in [
                "gen", "code", "reason", "bytes", "lock", "durable", "entries", "batch", "error",
                "signal", "id", "lane", "room", "event", "data", "ttl", "sub", "seq", "cursor",
                "stream", "filter",
            ] {
                fields[name] = value.clone();
            }
            host.tell(kind, fields.clone());
            assert!(host.frames().is_empty(), "{kind} {value} was sent");
            fields["call"] = 77.into();
            host.tell(kind, fields);
            host.out.clear();
        }
    }
    let mut fresh = Host::new();
    for kind in KINDS {
        fresh.tell(kind, json!({}));
    }
}

#[wasm_bindgen_test]
fn a_store_with_entries_that_cannot_be_read_is_an_error_with_a_code() {
    for entries in [
        json!([["last", "x"]]),
        json!([["owner/1", "{}"]]),
        json!([["0/i/zz", "{}"]]),
        json!([["0/i/0000000000000001", "{\"id\":7}"]]),
        json!([["0/l/9", ""]]),
        json!([["0/p", "short"]]),
    ] {
        let mut core = border::make(&config()).unwrap();
        core.turn(0.0, 0.0);
        border::tell(&mut core, "timeout", &json!({}));
        border::drain(&mut core);
        border::tell(
            &mut core,
            "loaded",
            &json!({ "lock": 1, "durable": true, "entries": entries }),
        );
        let said = border::drain(&mut core);
        let told = format!("{said:?}");
        assert!(told.contains("storage"), "{entries}: {told}");
    }
}

#[wasm_bindgen_test]
fn frames_of_a_broken_server_never_panic() {
    let rng = &mut fastrand::Rng::with_seed(7);
    let good = [
        ServerFrame::from(crate::host::welcome()).encode(),
        ServerFrame::from(crate::life::event(3)).encode(),
        r#"{"type":"presence","room":"notes/gate","version":1,"members":[{"user":"ü","status":"online"}]}"#.to_owned(),
        r#"{"type":"hold","lane":1,"accepted":18446744073709551615,"code":"rate","after":18446744073709551615}"#.to_owned(),
        r#"{"type":"ok","lane":255,"n":18446744073709551615,"id":"ffffffffffffffffffffffffffffffff","seq":18446744073709551615}"#.to_owned(),
        r#"{"type":"drain","spread":[18446744073709551615,0],"reason":"x"}"#.to_owned(),
        r#"{"type":"page","room":"notes/gate","seq":18446744073709551615}"#.to_owned(),
    ];
    for round in 0..200 {
        let mut host = Host::connected();
        host.call("join", json!({ "sub": 1, "room": "gate", "watch": true }));
        for _ in 0..20 {
            let mut bytes = good[rng.usize(..good.len())].clone().into_bytes();
            for _ in 0..rng.usize(..4) {
                let at = rng.usize(..bytes.len());
                match rng.u8(..3) {
                    0 => bytes[at] = rng.u8(32..127),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b"0123456789{}[],:\"\\"[rng.usize(..18)]),
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            host.hear(&text);
            if rng.u8(..4) == 0 {
                host.pass(f64::from(rng.u32(..5_000)));
            }
        }
        assert!(
            host.core.due() >= host.mono - 1.0,
            "{round}: {} at {}",
            host.core.due(),
            host.mono
        );
    }
}
