//! Sizes that a 32-bit host cannot count.

use crate::{
    border,
    host::{Host, config, welcome},
};
use serde_json::{Value, json};
use wardline::protocol::{ClientFrame, ServerFrame};
use wasm_bindgen_test::wasm_bindgen_test;

const LARGE: u64 = 5 << 30;

#[wasm_bindgen_test]
fn a_bound_above_the_memory_is_no_bound() {
    for name in ["maxBytes", "maxItems"] {
        for bound in [LARGE, u64::from(u32::MAX), 1 << 53] {
            let mut config = config();
            config[name] = bound.into();
            let mut host = Host::with(&config, Default::default());
            let call = host.call("submit", submit(100_000));
            assert_eq!(host.answer(call), Some(Ok(Value::Null)), "{name} {bound}");
        }
        let mut config = config();
        config[name] = 0.into();
        let mut host = Host::with(&config, Default::default());
        let call = host.call("submit", submit(10));
        assert_eq!(host.answer(call), Some(Err("queue_full".to_owned())), "{name} 0");
    }
}

fn submit(bytes: usize) -> Value {
    json!({
        "id": format!("{:032x}", 1), "lane": 0, "room": "gate", "event": "x", "persist": true,
        "data": "x".repeat(bytes),
    })
}

#[wasm_bindgen_test]
fn a_server_with_limits_above_the_memory_is_welcome() {
    let mut host = Host::new();
    let call = host.call("connect", json!({}));
    host.link("opened", json!({}));
    let text = ServerFrame::from(welcome()).encode();
    let large = text.replace(r#""message":1048576"#, &format!(r#""message":{LARGE}"#));
    assert_ne!(text, large);
    host.hear(&large);
    assert_eq!(host.answer(call), Some(Ok(Value::Null)), "{:?}", host.out);
    host.frames();
    // More than the usual limit goes out.
    host.call("submit", submit(1_500_000));
    let frames = host.frames();
    assert!(matches!(&frames[..], [ClientFrame::Send(_)]), "{frames:?}");
}

#[wasm_bindgen_test]
fn numbers_of_64_bits_within_data_pass_as_they_are() {
    let mut host = Host::connected();
    // As texts they are the application's; no one here reads them.
    let data = r#"{"u":18446744073709551615,"i":-9223372036854775808,"f":1e400,"d":0.1000}"#;
    let text = format!(
        r#"{{"c":"submit","call":99,"id":"{:032x}","lane":0,"room":"gate","event":"x","data":{data}}}"#,
        5
    );
    host.turn(|core| border::tell_raw(core, &text));
    let frames = host.frames();
    let [ClientFrame::Send(send)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(send.data.get(), data);
}

#[wasm_bindgen_test]
fn a_frame_of_two_megabytes_is_read_and_given_back() {
    let mut host = Host::connected();
    let pages = core::arch::wasm32::memory_size(0);
    for n in 0..50 {
        let text = json!({ "type": "event", "room": "notes/gate", "event": "x", "time": n, "from": "a", "data": "x".repeat(2_000_000) });
        host.hear(&text.to_string());
    }
    let grown = core::arch::wasm32::memory_size(0) - pages;
    // 100 MB came; a few copies of one may live at a time.
    assert!(grown * 65_536 <= 24 << 20, "{grown} pages");
    host.out.clear();
    host.tell("timeout", json!({}));
}
