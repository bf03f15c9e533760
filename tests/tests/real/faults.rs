//! Faults of the systems Wardline replaces, where real sockets matter.

use super::{Site, soon};
use std::time::Duration;
use wardline::client::{Client, ClientEvent, Incoming, Status};
use wardline_tests::watch;

#[tokio::test(flavor = "multi_thread")]
async fn fault_6_all_typed_clients_share_one_connection() {
    let site = Site::start(&[("log", "memory")]).await;
    let client = site.client("ann");
    soon("connect", client.connect()).await.unwrap();
    let alerts = soon("alerts", client.alerts().subscribe_to_alerts(&[], &[])).await.unwrap();
    let handle = client.monitoring();
    let monitoring = soon("monitoring", handle.subscribe_to_events(&["all"])).await.unwrap();
    let video = soon("video", client.video().tenant_room()).await.unwrap();
    let mut video = soon("video", video.join()).await.unwrap();
    let room = soon("room", client.room("desk").join()).await.unwrap();
    // Another handle of the same room, and handles of the same kind, bring no connection either.
    let again = soon("room", client.clone().room("desk").join()).await.unwrap();
    let presence = soon("presence", client.presence("desk").enter()).await.unwrap();
    let metrics = site.server.metrics();
    assert_eq!(metrics.total_clients, 1);
    for namespace in ["alerts", "monitoring", "video", "default"] {
        assert_eq!(metrics.namespaces.get(namespace), Some(&1), "{namespace}");
    }
    // What one handle ends goes on for the others.
    soon("leave", room.leave()).await.unwrap();
    drop((alerts, monitoring, again, presence));
    let sent = video.send("camera:status", &serde_json::json!({"id": "7", "online": true}));
    soon("send", sent).await.unwrap();
    loop {
        if let Incoming::Event(event) = soon("event", video.next_event()).await.unwrap() {
            assert_eq!(event.name, "camera:status");
            break;
        }
    }
    assert_eq!(site.server.metrics().total_clients, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_4_an_application_can_tell_stop_from_retry() {
    let site = Site::start(&[("log", "memory"), ("inactive_tenants", "gone")]).await;
    let expired = site.token_of("t", "u", Duration::ZERO);
    let inactive = site.token_of("gone", "u", Duration::from_secs(60));
    // {"alg":"none"} and claims that would do.
    let unsigned = "eyJhbGciOiJub25lIn0.eyJ1c2VySWQiOiJ1IiwidGVuYW50SWQiOiJ0In0.".to_owned();
    for (token, status, close) in [
        (expired, Status::Unauthenticated, 4102),
        ("garbage-garbage".to_owned(), Status::Unauthenticated, 4101),
        (unsigned, Status::Unauthenticated, 4101),
        (inactive, Status::Disconnected, 4202),
    ] {
        watch::secret(&token);
        let client = Client::builder(site.server.url()).token(token).memory().build().unwrap();
        let mut events = client.events();
        let error = soon("refusal", client.connect()).await.unwrap_err();
        assert!(!error.is_retryable(), "{close}: {error}");
        watch::scan("an error", &format!("{error} {error:?}"));
        loop {
            let event = soon("status", events.next()).await.unwrap();
            watch::scan("an event", &format!("{event:?}"));
            if let ClientEvent::Status { status: now, reason, .. } = event
                && now == status
            {
                assert_eq!(reason.code, close);
                break;
            }
        }
    }
    // None at all.
    let client = Client::builder(site.server.url()).memory().build().unwrap();
    let error = soon("refusal", client.connect()).await.unwrap_err();
    assert_eq!((error.code().as_str(), error.is_retryable()), ("token_missing", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_2_a_client_without_protocol_pings_outlives_many_times_the_silence_allowed() {
    let site = Site::start(&[("log", "memory"), ("heartbeat_interval", "100")]).await;
    let client = site.client("ann");
    soon("connect", client.connect()).await.unwrap();
    let mut events = client.events();
    let mut room = soon("join", client.room("desk").join()).await.unwrap();
    // Ten times as long as silence is allowed, in which the application does nothing.
    let idle = tokio::time::timeout(Duration::from_secs(2), async {
        loop {
            if let Some(ClientEvent::Status { status, reason, .. }) = events.next().await {
                break (status, reason);
            }
        }
    });
    assert!(idle.await.is_err(), "the status changed");
    let sent = soon("send", room.send("note", &1)).await.unwrap();
    assert!(soon("outcome", sent.accepted()).await.unwrap().is_some());
    loop {
        if let Incoming::Event(event) = soon("event", room.next_event()).await.unwrap() {
            assert_eq!(event.name, "note");
            break;
        }
    }
}
