//! Events from end to end, publishing, restarts, slow readers, drain (V2, V10, V12, P-K5, P-C8).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{Peer, Site, rand_hex};
use wardline::protocol::Json;

fn json_of(value: &Value) -> Json {
    Json::of(value).unwrap()
}

#[test]
fn v10_health_metrics_and_stats_have_their_names() {
    let site = Site::start(&[]);
    let mut peer = site.client("acme", "u", &[]);
    peer.join(1, "alerts/tenant:acme");
    let health = site.get("/health");
    assert_eq!(health.status, 200);
    let body = health.json();
    assert_eq!((&body["status"], &body["websocket_connected"]), (&json!("healthy"), &json!(1)));
    for key in ["running", "connected", "topics", "group_id"] {
        assert!(body["kafka_status"].get(key).is_some(), "{key}");
    }
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(site.get("/health/live").status, 200);
    assert_eq!(site.get("/health/ready").status, 200);
    let metrics = site.get("/metrics").body;
    for name in [
        "websocket_active_connections{tenant=\"acme\",status=\"connected\"} 1",
        "websocket_connections_total 1",
        "websocket_messages_sent_total 3",
        "websocket_messages_received_total 2",
        "websocket_message_latency_ms_bucket",
        "websocket_active_rooms 1",
        "websocket_room_subscriptions 1",
        "websocket_errors_total{type=",
        "websocket_redis_latency_ms 0",
        "websocket_event_loop_lag_ms ",
    ] {
        assert!(metrics.contains(name), "{name} in\n{metrics}");
    }
    let stats = site.get("/stats").json();
    assert_eq!(stats["total"], 1);
    assert_eq!(stats["byTenant"], json!({"acme": 1}));
    assert_eq!(stats["byChannel"], json!({"alerts/tenant:acme": 1}));
    assert_eq!(stats["kafka_consumer_running"], false);
    assert!(stats["redis_stats"].get("used_memory_human").is_some());
    let missing = site.get("/nope");
    assert_eq!(
        (missing.status, missing.json()["error"]["code"].as_str()),
        (404, Some("not_found"))
    );
    assert_eq!(site.http("POST", "/health", &[], "").status, 405);
    assert_eq!(site.get("/wardline").status, 426);
}

#[test]
fn v2_the_library_publishes_counts_and_tells() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let site = Site::start_with(&[("shards", "3")], |builder| {
        builder.on(move |hook| heard.lock().unwrap().push(format!("{hook:?}")))
    });
    let mut peers: Vec<Peer> = ["a", "b", "c", "d"]
        .iter()
        .map(|tenant| {
            let mut peer = site.client(tenant, "u", &[]);
            peer.join(1, &format!("alerts/tenant:{tenant}"));
            peer.join(2, "alerts/public:news");
            peer
        })
        .collect();
    let server = site.server();
    site.runtime.block_on(async {
        let data = json_of(&json!({"x": 1}));
        let seq = server.broadcast("alerts", "tenant:b", "one", data.clone()).await.unwrap();
        assert_eq!(seq, Some(1));
        assert_eq!(server.broadcast_to_all("alerts", "two", data.clone()).await.unwrap(), 4);
        server.broadcast("alerts", "public:news", "three", data.clone()).await.unwrap();
        let error = server.broadcast("alerts", "camera:1", "x", data).await.unwrap_err();
        assert_eq!(error.code.as_str(), "bad_room");
    });
    assert_eq!(peers[1].expect("event")["event"], "one");
    for peer in &mut peers {
        assert_eq!(peer.expect("event")["event"], "two");
        // A public room is one room, whatever shard its reader is on.
        assert_eq!(peer.expect("event")["event"], "three");
    }
    let metrics = server.metrics();
    assert_eq!(metrics.total_clients, 4);
    assert_eq!(metrics.namespaces.get("alerts"), Some(&4));
    assert_eq!(metrics.namespaces.get("video"), Some(&0));
    let hooks = told.lock().unwrap().join("\n");
    assert!(hooks.contains("Connected") && hooks.contains("Joined"), "{hooks}");
}

#[test]
fn v2_hooks_tell_every_client_event_with_tenant_and_user() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let say = |told: &Arc<Mutex<Vec<String>>>| {
        let told = told.clone();
        move |words: String| told.lock().unwrap().push(words)
    };
    let (a, b, c, d, e) = (say(&told), say(&told), say(&told), say(&told), say(&told));
    let site = Site::start_with(&[], |builder| {
        builder
            .on_connected(move |_, who| a(format!("connected {}/{}", who.tenant, who.user)))
            .on_disconnected(move |_, who, code| b(format!("gone {} {code}", who.user)))
            .on_event("video", "video:stream:start", move |event| {
                c(format!(
                    "start by {}/{} {}",
                    event.from.tenant,
                    event.from.user,
                    event.data.get()
                ))
            })
            .on_message(move |event| d(format!("{} in {}", event.event, event.room)))
            .on_error(move |_, who, code| {
                e(format!("{code} for {:?}", who.map(|w| w.user.as_str())))
            })
            .on_command("video", |_| async { Ok(json_of(&json!(1))) })
    });
    let mut peer = site.client("t", "u", &[]);
    peer.send(&json!({"type": "send", "lane": 0, "n": 1, "id": rand_hex(), "base": 0,
        "persist": true, "room": "video/commands", "event": "stream:start", "data": {"camera": 7}}));
    peer.expect("ok");
    peer.send(&json!({"type": "cast", "room": "default/tenant:t", "event": "typing", "data": 1}));
    peer.send(&json!({"type": "join", "id": 5, "room": "alerts/tenant:other"}));
    peer.expect("left");
    let mut stranger = Peer::connect(site.addr);
    stranger.hello(Some("x.y.z"));
    assert_eq!(stranger.closed(), 4101);
    drop(peer);
    site.shutdown();
    let told = told.lock().unwrap();
    for words in [
        "connected t/u",
        "start by t/u {\"camera\":7}",
        "stream:start in video/commands",
        "typing in default/tenant:t",
        "forbidden for Some(\"u\")",
        "token_invalid for None",
    ] {
        assert!(told.iter().any(|line| line == words), "{words}: {told:?}");
    }
    assert!(told.iter().any(|line| line.starts_with("gone u ")), "{told:?}");
}

#[test]
fn v1_a_namespace_of_its_own_has_rooms_limits_latest_and_handlers() {
    let text = r#"{"plant": {"rooms": "organization", "latest": ["gauge"],
        "rate": {"points": 3, "duration": 60}}}"#;
    let site = Site::start_with(&[("namespaces", text)], |builder| {
        builder.on_command("plant", |command| async move {
            Ok(json_of(&json!({"did": &*command.event, "for": &*command.from})))
        })
    });
    let mut peer = site.client("acme", "u", &[]);
    peer.send(&json!({"type": "join", "id": 1, "room": "plant/gauge:1"}));
    assert_eq!(peer.expect("left")["code"], "forbidden", "no room of an organization");
    let token = wardline_server::auth::NewToken {
        tenant: "acme".into(),
        user: "v".into(),
        organization: Some("o1".into()),
        roles: vec![],
        life: Some(Duration::from_secs(60)),
    };
    let token = site.server().token(&token).unwrap();
    let mut peer = Peer::connect(site.addr);
    peer.hello(Some(&token));
    peer.expect("welcome");
    assert_eq!(peer.join(1, "plant/gauge:org:o1")["mode"], "latest");
    let frame = |n: u64, room: &str, event: &str| {
        let mut frame = json!({"type": "send", "lane": 0, "n": n, "id": rand_hex(), "room": room,
            "event": event, "persist": true, "key": "k", "data": n});
        if n == 1 {
            frame["base"] = json!(0);
        }
        frame
    };
    peer.send(&frame(1, "plant/gauge:org:o1", "level"));
    assert_eq!(peer.expect("event")["key"], "k");
    peer.expect("ok");
    peer.send(&frame(2, "plant/commands", "valve:open"));
    peer.expect("ok");
    assert_eq!(peer.expect("result")["result"], json!({"did": "valve:open", "for": "v"}));
    peer.send(&frame(3, "plant/gauge:org:o1", "level"));
    peer.expect("ok");
    peer.send(&frame(4, "plant/gauge:org:o1", "level"));
    assert_eq!(peer.expect("hold")["code"], "rate", "3 points in a minute");
}

#[test]
fn v10_a_disk_without_space_is_not_ready_and_takes_nothing() {
    support::watch::expect("the disk is full; nothing is taken");
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(&[
        ("log", "embedded"),
        ("data", folder.path().to_str().unwrap()),
        // No disk has so much left.
        ("disk_reserve", &u64::MAX.to_string()),
    ]);
    let ready = site.get("/health/ready");
    assert_eq!((ready.status, ready.json()), (503, json!({"status": "disk full"})));
    assert_eq!(site.get("/health/live").status, 200, "a restart makes no space");
    let health = site.get("/health").json();
    assert_eq!(
        (&health["status"], &health["log"]["trouble"]),
        (&json!("degraded"), &json!("disk full"))
    );
    let mut peer = site.client("t", "u", &[]);
    peer.join(1, "alerts/tenant:t");
    peer.send(&json!({"type": "send", "lane": 0, "n": 1, "id": rand_hex(), "base": 0,
        "room": "alerts/tenant:t", "event": "note", "persist": true, "data": 1}));
    assert_eq!(peer.expect("hold")["code"], "unavailable");
}

/// One client's persistent send, accepted.
fn send(peer: &mut Peer, n: u64, room: &str, data: &Value) -> Value {
    let mut frame = json!({"type": "send", "lane": 0, "n": n, "id": rand_hex(), "room": room,
        "event": "note", "persist": true, "data": data});
    if n == 1 {
        frame["base"] = json!(0);
    }
    peer.send(&frame);
    peer.expect("ok")
}

#[test]
fn what_was_accepted_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let settings = [("log", "embedded"), ("data", data)];
    let producer = rand_hex();
    let site = Site::start(&settings);
    let token = site.token("t", "u", &[]);
    let mut peer = Peer::connect(site.addr);
    peer.hello_as(Some(&token), producer.clone());
    assert_eq!(peer.expect("welcome")["accepted"], Value::Null);
    let cursor = peer.join(1, "alerts/tenant:t")["cursor"].clone();
    for n in 1..=20 {
        assert_eq!(send(&mut peer, n, "alerts/tenant:t", &json!({"n": n}))["seq"], n);
    }
    site.shutdown();

    let site = Site::start(&settings);
    let mut peer = Peer::connect(site.addr);
    peer.hello_as(Some(&token), producer);
    assert_eq!(peer.expect("welcome")["accepted"], json!({"0": 20}));
    peer.send(&json!({"type": "join", "id": 1, "room": "alerts/tenant:t", "cursor": cursor}));
    assert_eq!(peer.expect("joined")["head"]["seq"], 20);
    for n in 1..=20 {
        let event = peer.expect("event");
        assert_eq!((&event["seq"], &event["data"]), (&json!(n), &json!({"n": n})));
    }
    peer.expect("live");
}

#[test]
fn v12_a_drain_answers_says_so_and_closes() {
    let site = Site::start(&[("drain_spread", "300")]);
    let mut peer = site.client("t", "u", &[]);
    peer.join(1, "alerts/tenant:t");
    let addr = site.addr;
    let mut late = Peer::connect(addr);
    let drained = std::thread::spawn(move || site.shutdown());
    let drain = peer.expect("drain");
    assert_eq!(drain["spread"], json!([0, 300]));
    // Announced, so refused from now on; what is open is still served.
    let refused =
        Peer::connect_with(addr, "/wardline", &[("sec-websocket-protocol", "wardline.v1.json")]);
    assert_eq!(refused.err(), Some(503));
    assert_eq!(support::http(addr, "GET", "/health/ready", &[], "").status, 503);
    assert_eq!(send(&mut peer, 1, "alerts/tenant:t", &json!(1))["seq"], 1);
    assert_eq!(peer.closed(), 4000);
    assert_eq!(late.closed(), 4000);
    drained.join().unwrap();
}

#[test]
fn p_r4_a_reader_that_stops_falls_behind_and_reads_on_later() {
    let site =
        Site::start(&[("max_unsent", "600000"), ("send_buffer", "16384"), ("rate_points", "0")]);
    let mut reader = site.client("t", "reader", &[]);
    reader.join(1, "alerts/tenant:t");
    let mut stuck = site.client("t", "stuck", &[]);
    stuck.join(1, "alerts/tenant:t");
    let text = "x".repeat(8000);
    let data = json_of(&json!(text));
    for n in 1..=1000 {
        site.runtime
            .block_on(site.server().broadcast("alerts", "tenant:t", "big", data.clone()))
            .unwrap();
        let event = reader.expect("event");
        assert_eq!(event["seq"], n);
        if n % 10 == 0 {
            reader.send(&json!({"type": "credit", "room": "alerts/tenant:t", "seq": n}));
        }
    }
    // 8 MB went by. The server held no more for the one that did not read than its bound, or it
    // would have closed it; what is missing comes from the log.
    for n in 1..=1000 {
        let event = loop {
            let object = stuck.next().unwrap_or_else(|| panic!("closed: {:?}", stuck.ended));
            if object["type"] == "page" {
                stuck
                    .send(&json!({"type": "credit", "room": object["room"], "seq": object["seq"]}));
            }
            if object["type"] == "event" {
                break object;
            }
        };
        assert_eq!(event["seq"], n);
    }
}

#[test]
fn many_members_get_the_same_events_in_order() {
    let site = Site::start(&[("rate_points", "0")]);
    let mut members: Vec<Peer> = (0..50)
        .map(|index| {
            let mut peer = site.client("t", &format!("u{index}"), &[]);
            peer.join(1, "monitoring/tenant:t");
            peer
        })
        .collect();
    let mut sender = site.client("t", "sender", &[]);
    for n in 1..=100 {
        send(&mut sender, n, "monitoring/tenant:t", &json!({"n": n}));
    }
    for member in &mut members {
        for n in 1..=100 {
            assert_eq!(member.expect("event")["seq"], n);
        }
    }
}

#[test]
fn p_c6a_a_revoked_user_is_cut_and_stays_out() {
    let site = Site::start(&[]);
    let token = site.token("t", "u", &[]);
    let mut peer = Peer::connect(site.addr);
    peer.hello(Some(&token));
    peer.expect("welcome");
    let admin = format!("Bearer {}", site.token("t", "boss", &["admin"]));
    let mine = format!("Bearer {token}");
    let body = json!({"user": "u", "notBefore": u64::from(u32::MAX) * 1000}).to_string();
    assert_eq!(site.http("POST", "/revoke", &[("authorization", &mine)], &body).status, 403);
    assert_eq!(site.http("POST", "/revoke", &[("authorization", &admin)], &body).status, 202);
    assert_eq!(peer.closed(), 4103);
    let mut again = Peer::connect(site.addr);
    again.hello(Some(&token));
    assert_eq!(again.closed(), 4103);
}

#[test]
fn p_c7_the_same_outbox_twice_closes_the_older() {
    let site = Site::start(&[]);
    let producer = rand_hex();
    let token = site.token("t", "u", &[]);
    let mut older = Peer::connect(site.addr);
    older.hello_as(Some(&token), producer.clone());
    older.expect("welcome");
    let mut newer = Peer::connect(site.addr);
    newer.hello_as(Some(&token), producer);
    newer.expect("welcome");
    assert_eq!(older.closed(), 4001);
    newer.send(&json!({"type": "ping"}));
    newer.expect("pong");
}

#[test]
fn p_c6_an_expired_token_is_cut_within_five_seconds() {
    let site = Site::start(&[]);
    let token = wardline_server::auth::NewToken {
        tenant: "t".into(),
        user: "u".into(),
        organization: None,
        roles: vec![],
        life: Some(Duration::from_secs(2)),
    };
    let token = site.server().token(&token).unwrap();
    let mut peer = Peer::connect(site.addr);
    peer.hello(Some(&token));
    peer.expect("welcome");
    assert_eq!(peer.closed(), 4102);
    // Refreshed in place, another lives on.
    let mut peer = site.client("t", "v", &[]);
    let fresh = site.token("t", "v", &[]);
    peer.send(&json!({"type": "auth", "token": fresh}));
    assert!(peer.expect("authorized")["expires_in"].is_u64());
}

#[test]
fn p_s8_a_handler_in_the_process_answers_commands() {
    let site = Site::start_with(&[], |builder| {
        builder.on_command("video", |command| async move {
            let asked: Value = command.data.to().unwrap();
            Ok(json_of(&json!({"did": &*command.event, "camera": asked["cameraId"]})))
        })
    });
    let mut peer = site.client("t", "u", &[]);
    let id = rand_hex();
    peer.send(&json!({"type": "send", "lane": 0, "n": 1, "id": id, "base": 0, "persist": true,
        "room": "video/commands", "event": "video:stream:start",
        "data": {"cameraId": "7"}, "ttl": 30000}));
    assert_eq!(peer.expect("ok")["id"], json!(id));
    let result = peer.expect("result");
    assert_eq!(result["id"], json!(id));
    assert_eq!(result["result"], json!({"did": "video:stream:start", "camera": "7"}));
}
