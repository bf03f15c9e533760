//! What a machine is made of, and what is refused.

use crate::{border, host::config};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;

fn with(name: &str, value: Value) -> Value {
    let mut config = config();
    config[name] = value;
    config
}

fn refused(config: &Value) -> String {
    border::make(config).map(drop).unwrap_err()
}

#[wasm_bindgen_test]
fn a_bad_configuration_is_refused_with_its_code() {
    for url in ["", "ws://", "wss://", "http://server", "server", "WS"] {
        assert_eq!(refused(&with("url", url.into())), "bad_config", "{url}");
    }
    for namespace in ["", "A", "a b", "a/b", "ä"] {
        assert_eq!(refused(&with("namespace", namespace.into())), "bad_room", "{namespace}");
    }
}

#[wasm_bindgen_test]
fn an_option_of_another_type_is_refused_by_its_name() {
    let wrong = [
        ("seed", json!("seven")),
        ("seed", json!(-1)),
        ("seed", json!(0.5)),
        ("maxItems", json!("many")),
        ("maxItems", json!(-1)),
        ("maxBytes", json!(1.5)),
        ("maxAttempts", json!(4_294_967_296_u64)),
        ("stopLanes", json!([256])),
        ("stopLanes", json!(1)),
        ("autoReconnect", json!("yes")),
        ("token", json!(1)),
        ("sdk", json!({})),
    ];
    for (name, value) in wrong {
        assert_eq!(refused(&with(name, value)), name);
    }
    let mut unseeded = config();
    unseeded.as_object_mut().unwrap().remove("seed");
    assert_eq!(
        refused(&unseeded),
        "seed",
        "a constant seed would make all clients reconnect together"
    );
}

#[wasm_bindgen_test]
fn what_is_no_object_is_refused() {
    for text in ["", "null", "[]", "{", "{\"url\":}", "\"ws://server\"", "\u{0}", "{}{}"] {
        assert!(wardline_wasm::Core::new(text).is_err(), "{text}");
    }
}

#[wasm_bindgen_test]
fn many_machines_live_and_end_beside_each_other() {
    // Each is freed at its end, so the memory does not grow with their number.
    let pages = core::arch::wasm32::memory_size(0);
    let large = "x".repeat(100_000);
    for _ in 0..500 {
        let core = border::make(&with("platform", large.as_str().into())).unwrap();
        drop(core);
    }
    let grown = core::arch::wasm32::memory_size(0) - pages;
    assert!(grown <= 32, "{grown} pages more after 50 MB that were given back");
}
