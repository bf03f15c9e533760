//! HTTP for back ends and operators: who may publish, revoke and read figures (V10, P-K5, P-C6a).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::json;
use support::{Peer, Site, rand_hex};

#[test]
fn p_k5_a_back_end_publishes_over_http() {
    let key = "k".repeat(40);
    let site = Site::start(&[("api_keys", &format!("acme={key}")), ("max_payload", "65536")]);
    let mut peer = site.client("acme", "u", &[]);
    peer.join(1, "alerts/tenant:acme");
    let mut stranger = site.client("other", "u", &[]);
    stranger.join(1, "alerts/tenant:other");

    let service = format!("Bearer {}", site.token("acme", "backend", &["service"]));
    let user = format!("Bearer {}", site.token("acme", "u", &[]));
    let events = |room: &str| {
        json!({"events": [{"room": room, "event": "alert:created", "data": {"n": 1}}]}).to_string()
    };
    let publish = |headers: &[(&str, &str)], body: &str| {
        let answer = site.http("POST", "/publish", headers, body);
        let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
        (answer.status, code)
    };
    let good = events("alerts/tenant:acme");
    let answer = site.http("POST", "/publish", &[("authorization", &service)], &good);
    assert_eq!((answer.status, answer.json()), (200, json!({"seqs": [1]})));
    assert_eq!(publish(&[("x-api-key", &key)], &good), (200, None));
    let first = peer.expect("event");
    assert_eq!(first["data"], json!({"n": 1}));
    assert_eq!(peer.expect("event")["seq"], 2);

    let refused = |status: u16, code: &str| (status, Some(code.to_owned()));
    assert_eq!(publish(&[], &good), refused(401, "token_missing"));
    assert_eq!(publish(&[("x-api-key", "wrong")], &good), refused(401, "token_invalid"));
    assert_eq!(publish(&[("authorization", &user)], &good), refused(403, "forbidden"));
    let other = good.replacen('{', "{\"tenant\": \"other\", ", 1);
    assert_eq!(publish(&[("x-api-key", &key)], &other), refused(403, "forbidden"));
    assert_eq!(publish(&[("x-api-key", &key)], &events("nowhere")), refused(400, "bad_room"));
    assert_eq!(publish(&[("x-api-key", &key)], "{"), refused(400, "bad_data"));
    let half = good.replace("{\"n\":1}", r#""\ud800""#);
    assert!(half.contains("ud800"), "{half}");
    assert_eq!(publish(&[("x-api-key", &key)], &half), refused(400, "bad_data"));
    let large = events(&"x".repeat(70_000));
    assert_eq!(publish(&[("x-api-key", &key)], &large), refused(413, "too_large"));

    // A number is done once; the same again is answered as then; a hole is refused.
    let numbered = |n: u64, id: &str| {
        good.replacen('{', &format!("{{\"producer\":\"billing\",\"n\":{n},\"id\":\"{id}\","), 1)
    };
    let id = rand_hex();
    for _ in 0..2 {
        let body = numbered(1, &id);
        let answer = site.http("POST", "/publish", &[("authorization", &service)], &body);
        assert_eq!((answer.status, answer.json()), (200, json!({"seqs": [3]})), "{answer:?}");
    }
    assert_eq!(
        publish(&[("authorization", &service)], &numbered(3, &rand_hex())),
        refused(409, "order")
    );
    // An id alone is remembered as well.
    let once = good.replacen('{', &format!("{{\"id\":\"{}\",", rand_hex()), 1);
    for _ in 0..2 {
        let answer = site.http("POST", "/publish", &[("authorization", &service)], &once);
        assert_eq!((answer.status, answer.json()), (200, json!({"seqs": [4]})), "{answer:?}");
    }
    peer.expect("event");
    assert_eq!(peer.expect("event")["seq"], 4);
    // The other tenant heard nothing of all this.
    stranger.send(&json!({"type": "ping"}));
    while let Some(object) = stranger.next() {
        assert_ne!(object["type"], "event", "{object}");
        if object["type"] == "pong" {
            break;
        }
    }
}

#[test]
fn p_c6a_a_revoked_back_end_publishes_no_more_over_http() {
    let site = Site::start(&[]);
    let token = site.token("t", "plant", &["service"]);
    let back_end = format!("Bearer {token}");
    let admin = format!("Bearer {}", site.token("t", "boss", &["admin"]));
    let event = json!({"events": [{"room": "default/plant", "event": "e", "data": 1}]}).to_string();
    let publish = |who: &str| site.http("POST", "/publish", &[("authorization", who)], &event);
    // Nobody of the tenant was here before: its revocations are read first.
    assert_eq!(publish(&back_end).status, 200);
    let mut peer = Peer::connect(site.addr);
    peer.hello(Some(&token));
    peer.expect("welcome");
    let body = json!({"user": "plant", "notBefore": u64::from(u32::MAX) * 1000}).to_string();
    assert_eq!(site.http("POST", "/revoke", &[("authorization", &admin)], &body).status, 202);
    // The revocation holds once it is durable; then it closes who is there.
    assert_eq!(peer.closed(), 4103);
    let refused = publish(&back_end);
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("token_revoked"));
    assert_eq!(publish(&admin).status, 200);
}

#[test]
fn p_c6a_what_revoke_promised_holds_at_once_and_its_body_is_read_strictly() {
    let site = Site::start(&[]);
    let admin = format!("Bearer {}", site.token("t", "boss", &["admin"]));
    let revoke =
        |body: &str| site.http("POST", "/revoke", &[("authorization", &admin)], body).status;
    assert_eq!(revoke(r#"{"usr": "u"}"#), 400, "a slip must not cut the whole tenant off");
    assert_eq!(revoke("[]"), 400);
    // Nobody of the tenant was here before.
    let body = json!({"user": "u", "notBefore": u64::from(u32::MAX) * 1000}).to_string();
    assert_eq!(revoke(&body), 202);
    let mut peer = Peer::connect(site.addr);
    peer.hello(Some(&site.token("t", "u", &[])));
    assert_eq!(peer.closed(), 4103);
}

#[test]
fn v16_a_page_of_another_origin_changes_nothing_with_a_visitors_cookie() {
    let site = Site::start(&[]);
    let cookie = format!("token={}", site.token("t", "boss", &["admin"]));
    let event = json!({"events": [{"room": "default/x", "event": "e"}]}).to_string();
    for (path, body) in [("/revoke", r#"{"user": "u"}"#), ("/publish", event.as_str())] {
        let from = |origin: &str| {
            let headers = [("cookie", cookie.as_str()), ("origin", origin)];
            site.http("POST", path, &headers, body)
        };
        let refused = from("https://elsewhere.example");
        assert_eq!(refused.status, 403);
        assert!(refused.body.contains("forbidden"));
        assert!(from("http://localhost:5173").status < 300);
    }
}

#[test]
fn p_f1_the_numbers_of_a_published_step_are_bounded() {
    let site = Site::start(&[]);
    let plant = format!("Bearer {}", site.token("t", "plant", &["service"]));
    let publish = |n: u64, base: u64| {
        let body = json!({
            "events": [{"room": "default/plant", "event": "e"}], "producer": "p", "n": n, "base": base,
        });
        let answer = site.http("POST", "/publish", &[("authorization", &plant)], &body.to_string());
        answer.status
    };
    assert_eq!(publish(u64::MAX, u64::MAX - 1), 400);
    assert_eq!(publish(1 << 53, (1 << 53) - 1), 400);
    assert_eq!(publish(3, 3), 400);
    assert_eq!(publish((1 << 53) - 1, (1 << 53) - 2), 200);
}

#[test]
fn v10_in_production_the_figures_of_tenants_are_for_who_may_see_all() {
    let (key, own, scraper) = ("k".repeat(40), "o".repeat(40), "m".repeat(40));
    let secret = "s".repeat(64);
    let keys = format!("*={key},acme={own}");
    let production =
        [("environment", "production"), ("jwt_secret", secret.as_str()), ("api_keys", &keys)];
    let ask = |site: &Site, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answer =
            site.http("GET", "/metrics", if token.is_empty() { &[] } else { &headers }, "");
        assert_eq!(answer.status == 200, answer.body.contains("websocket_"), "{answer:?}");
        answer.status
    };
    let site = Site::start(&production);
    let admin = site.token("acme", "boss", &["admin"]);
    assert_eq!([ask(&site, ""), ask(&site, &scraper)], [401, 401]);
    assert_eq!([ask(&site, &admin), ask(&site, &own), ask(&site, &key)], [403, 403, 200]);
    // Prometheus needs no key that may also publish.
    let site = Site::start(&[&production[..], &[("metrics_token", scraper.as_str())]].concat());
    assert_eq!([ask(&site, ""), ask(&site, &scraper), ask(&site, &key)], [401, 200, 200]);
    let publish = site.http("POST", "/publish", &[("x-api-key", &scraper)], "{}");
    assert_eq!(publish.status, 401);
    // While developing it is open, until it is told not to be.
    assert_eq!(ask(&Site::start(&[]), ""), 200);
    assert_eq!(ask(&Site::start(&[("metrics_token", scraper.as_str())]), ""), 401);
}

#[test]
fn an_unknown_caller_is_refused_before_a_body_is_awaited() {
    use std::io::{Read, Write};

    let site = Site::start(&[]);
    for path in ["/publish", "/revoke"] {
        let mut stream = std::net::TcpStream::connect(site.addr).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        // The body that is announced never comes.
        write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 401", "{path}");
    }
}
