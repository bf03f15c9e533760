//! Who is let in, and how everyone else is told why not (V3, V16, P-C1, P-C7, P-F).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use std::io::Write;
use support::{Peer, SECRET, Site};

/// Signs claims as another system would: HS256 by hand would only test itself, so the same crate.
fn signed(claims: &Value) -> String {
    use jsonwebtoken::{EncodingKey, Header, encode};
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

const V1: (&str, &str) = ("sec-websocket-protocol", "wardline.v1.json");

#[test]
fn v3_a_token_in_any_dialect_and_place_lets_in() {
    let site = Site::start(&[]);
    let exp = 4_000_000_000u64;
    for claims in [
        json!({"userId": "u", "tenantId": "t", "organizationId": "o", "roles": ["admin"]}),
        json!({"sub": "u", "organization_id": "t", "exp": exp, "roles": []}),
        json!({"sub": "u", "tenantId": "t", "exp": exp}),
    ] {
        let token = signed(&claims);
        let mut peer = Peer::connect(site.addr);
        assert_eq!(peer.protocol.as_deref(), Some("wardline.v1.json"));
        peer.hello(Some(&token));
        let welcome = peer.expect("welcome");
        assert_eq!((&welcome["tenant"], &welcome["user"]), (&json!("t"), &json!("u")), "{claims}");
        assert_eq!(welcome["expires_in"].is_u64(), claims.get("exp").is_some());
    }
    let token = signed(&json!({"userId": "u", "tenantId": "t"}));
    let bearer = format!("Bearer {token}");
    let cookie = format!("a=b; token={token}");
    for (path, headers) in [
        ("/wardline".to_owned(), vec![V1, ("authorization", bearer.as_str())]),
        ("/wardline".to_owned(), vec![V1, ("cookie", cookie.as_str())]),
        (format!("/wardline?token={token}"), vec![V1]),
    ] {
        let mut peer = Peer::connect_with(site.addr, &path, &headers).unwrap();
        peer.hello(None);
        assert_eq!(peer.expect("welcome")["user"], "u");
    }
}

#[test]
fn fault_4_a_wrong_token_is_told_which_way_it_is_wrong() {
    let site = Site::start(&[("inactive_tenants", "gone")]);
    let expired = signed(&json!({"userId": "u", "tenantId": "t", "exp": 1}));
    let inactive = signed(&json!({"userId": "u", "tenantId": "gone"}));
    let nobody = signed(&json!({"roles": ["admin"]}));
    let public = signed(&json!({"userId": "u", "tenantId": "~public"}));
    let mut forged = signed(&json!({"userId": "u", "tenantId": "t"}));
    forged.truncate(forged.len() - 6);
    forged.push_str("AAAAAA");
    for (token, code) in [
        (None, 4100),
        (Some("garbage"), 4101),
        (Some(forged.as_str()), 4101),
        (Some(nobody.as_str()), 4101),
        (Some(public.as_str()), 4101),
        (Some(expired.as_str()), 4102),
        (Some(inactive.as_str()), 4202),
    ] {
        let mut peer = Peer::connect(site.addr);
        peer.hello(token);
        assert_eq!(peer.closed(), code, "{token:?}");
    }
    let metrics = site.get("/metrics").body;
    assert!(metrics.contains("websocket_errors_total{type=\"token_expired\"} 1"), "{metrics}");
}

#[test]
fn p_f5_v16_version_and_origin_are_refused_by_code() {
    let site = Site::start(&[("cors_origins", "https://app.example")]);
    let mut other =
        Peer::connect_with(site.addr, "/wardline", &[("sec-websocket-protocol", "graphql-ws")])
            .unwrap();
    // A browser fails without a code unless its offer is named.
    assert_eq!(other.protocol.as_deref(), Some("graphql-ws"));
    assert_eq!(other.closed(), 4201);
    assert_eq!(Peer::connect_with(site.addr, "/wardline", &[]).unwrap().closed(), 4201);
    let evil = [V1, ("origin", "https://app.example.evil")];
    assert_eq!(Peer::connect_with(site.addr, "/wardline", &evil).unwrap().closed(), 4205);
    let good = [V1, ("origin", "https://app.example")];
    let mut page = Peer::connect_with(site.addr, "/wardline", &good).unwrap();
    page.hello(Some(&site.token("t", "u", &[])));
    page.expect("welcome");
    assert_eq!(Peer::connect_with(site.addr, "/other", &[V1]).err(), Some(404));
}

#[test]
fn p_f2_bad_input_is_answered_as_the_specification_says() {
    let site = Site::start(&[("max_payload", "65536")]);
    let first = |text: &str| {
        let mut peer = Peer::connect(site.addr);
        peer.text(text);
        peer.closed()
    };
    assert_eq!(first("garbage"), 4200);
    assert_eq!(first("{\"no\":\"type\"}"), 4200);
    assert_eq!(first("[]"), 4200);
    assert_eq!(first(&"[".repeat(10_000)), 4200);
    assert_eq!(first("{\"type\":\"ping\"}"), 4204);
    // Larger than a hello may be, refused at the header (P-F3).
    assert_eq!(first(&"x".repeat(17_000)), 1009);

    let mut peer = site.client("t", "u", &[]);
    peer.send(&json!({"type": "juggle", "id": 7, "more": true}));
    let reply = peer.expect("reply");
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(7), &json!("unknown_type")));
    peer.send(&json!({"type": "juggle"}));
    peer.send(&json!({"type": "ping", "unknown": "field"}));
    peer.expect("pong");
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let id = support::rand_hex();
    peer.text(&format!(
        "{{\"type\":\"send\",\"lane\":0,\"n\":1,\"id\":\"{id}\",\"base\":0,\
         \"room\":\"alerts/tenant:t\",\"event\":\"e\",\"persist\":true,\"data\":{deep}}}"
    ));
    // Deeper than is read at all: refused with the number consumed, or closed as no frame.
    match peer.next() {
        Some(object) => assert_eq!(
            (&object["type"], &object["code"]),
            (&json!("refused"), &json!("bad_data")),
            "{object}"
        ),
        None => assert_eq!(peer.ended.as_ref().unwrap().0, 4200),
    }

    let mut peer = site.client("t", "u", &[]);
    peer.send(&json!({"type": "send", "lane": 0, "n": 1, "id": support::rand_hex(), "base": 0,
        "room": "alerts/tenant:t:", "event": "e", "persist": true, "data": 1}));
    assert_eq!(peer.expect("refused")["code"], "bad_room");
    peer.hello(None);
    assert_eq!(peer.closed(), 4204);

    let mut peer = site.client("t", "u", &[]);
    peer.text(&"x".repeat(65_537));
    assert_eq!(peer.closed(), 1009);
    let mut peer = site.client("t", "u", &[]);
    peer.text("{\"type\":");
    assert_eq!(peer.closed(), 4200);
}

#[test]
fn frames_that_break_rfc_6455_are_closed_by_its_codes() {
    let site = Site::start(&[]);
    let raw = |bytes: &[u8]| {
        let mut peer = site.client("t", "u", &[]);
        peer.socket().write_all(bytes).unwrap();
        peer.closed()
    };
    assert_eq!(raw(&[0x81, 0x01, b'x']), 1002, "not masked");
    assert_eq!(raw(&[0xc1, 0x81, 0, 0, 0, 0, b'x']), 1002, "reserved bit");
    assert_eq!(raw(&[0x81, 0x81, 0, 0, 0, 0, 0xff]), 1007, "not UTF-8");
    assert_eq!(raw(&[0x82, 0x81, 0, 0, 0, 0, 0xff]), 4200, "no media chunk");
    // A terabyte is announced; nothing is waited for or allocated.
    assert_eq!(raw(&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1009);
}

#[test]
fn p_c1_no_hello_in_time_is_closed() {
    let site = Site::start(&[("hello_timeout", "100")]);
    assert_eq!(Peer::connect(site.addr).closed(), 4004);
}

#[test]
fn v11_p_c3_silence_is_closed_and_a_ping_is_life() {
    let site = Site::start(&[("heartbeat_interval", "200")]);
    let mut silent = site.client("t", "silent", &[]);
    assert_eq!(silent.closed(), 4002);
    // Silence and interval are two settings (§8.9).
    let other = Site::start(&[("heartbeat_interval", "200"), ("heartbeat_timeout", "700")]);
    let mut patient = other.client("t", "silent", &[]);
    let mut pings = 0;
    while let Some(object) = patient.next() {
        pings += u32::from(object["type"] == "ping");
    }
    assert_eq!(patient.ended.unwrap().0, 4002);
    assert!(pings >= 2, "{pings}");
    // Someone who answers is still there long after the other is gone.
    let mut awake = site.client("t", "awake", &[]);
    for _ in 0..5 {
        awake.expect("ping");
    }
    awake.send(&json!({"type": "ping"}));
    awake.expect("pong");
}

#[test]
fn v11_a_message_is_as_large_as_it_may_be_and_not_a_byte_larger() {
    let site = Site::start(&[]);
    let most = 1024 * 1024;
    let frame = |length: usize| {
        let mut frame = json!({"type": "send", "lane": 0, "n": 1, "id": support::rand_hex(),
            "base": 0, "room": "alerts/tenant:t", "event": "e", "persist": true, "data": ""});
        let rest = length - frame.to_string().len();
        frame["data"] = json!("x".repeat(rest));
        frame.to_string()
    };
    let mut peer = site.client("t", "u", &[]);
    peer.text(&frame(most));
    peer.expect("ok");
    let mut peer = site.client("t", "v", &[]);
    peer.text(&frame(most + 1));
    assert_eq!(peer.closed(), 1009);
}

#[test]
fn v6_a_user_and_a_tenant_have_their_most_connections() {
    let site = Site::start(&[("user_connections", "2"), ("tenant_connections", "3")]);
    let mut kept: Vec<_> = ["u", "u", "v"].map(|user| site.client("t", user, &[])).into();
    let refused = |user: &str| {
        let mut peer = Peer::connect(site.addr);
        peer.hello(Some(&site.token("t", user, &[])));
        peer.closed()
    };
    assert_eq!(refused("u"), 4301, "three of one user");
    assert_eq!(refused("w"), 4301, "four of one tenant");
    kept.push(site.client("other", "u", &[]));
    assert_eq!(site.server().metrics().total_clients, 4);
}

#[test]
fn v6_one_connection_too_many_is_told_to_wait() {
    let site = Site::start(&[("max_connections", "1")]);
    let first = site.client("t", "u", &[]);
    let mut second = Peer::connect(site.addr);
    assert_eq!(second.closed(), 4302);
    assert!(second.ended.as_ref().unwrap().1.starts_with("after="));
    drop(first);
}

#[test]
fn v3_a_key_that_was_never_seen_is_fetched_while_the_client_waits() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
    use std::io::Read;

    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("k1".into());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let body = json!({"keys": [jwk]}).to_string();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            // Away when the server starts.
            let (status, body) = if count == 0 { (503, "") } else { (200, body.as_str()) };
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
        }
    });
    let settings = [("jwt_algorithm", "ES256"), ("jwt_jwks_url", &url), ("jwt_jwks_cooldown", "1")];
    let site = Site::start(&settings);
    let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::ES256) };
    let token = encode(&header, &json!({"userId": "u", "tenantId": "t"}), &key).unwrap();
    // Told to come again while the issuer does not answer, then let in.
    let began = std::time::Instant::now();
    loop {
        let mut peer = Peer::connect(site.addr);
        peer.hello(Some(&token));
        match peer.next() {
            Some(welcome) => {
                assert_eq!(welcome["type"], "welcome");
                break;
            }
            None => assert_eq!(peer.ended.as_ref().map(|(code, _)| *code), Some(4302)),
        }
        assert!(began.elapsed().as_secs() < 30, "never let in");
    }
}
