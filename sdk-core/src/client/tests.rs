//! The handles over the real machine, with a peer that the test plays.

use super::*;
use crate::{
    driver::{
        MemoryStorage, SocketEvent,
        fake::{FakePlatform, Peer, Peers, Wrote},
    },
    model::{
        AlertEvent, PresenceEvent,
        alert::{Alert, Severity},
        ids::ItemId,
        video::{Quality, StreamInfo},
    },
    protocol::{
        ClientFrame, Code, Cursor, Json, Limits, Mark, ServerFrame,
        frames::{
            self, Accepted, CommandResult, Event as EventFrame, Joined, Left, Lost, Page, Presence,
            Stream, Welcome,
        },
        media::{KIND_JPEG, chunks},
    },
};
use bytes::Bytes;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

fn number() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).into()
}

struct World {
    client: Client,
    peers: Peers,
    driver: tokio::task::JoinHandle<()>,
}

fn world() -> World {
    let (platform, peers) = FakePlatform::new();
    let options = Options { token: Some("secret".into()), ..Options::new("ws://server") };
    let (client, driver) =
        options.start(platform, MemoryStorage::default(), number, false).unwrap();
    World { client, peers, driver: tokio::task::spawn_local(driver) }
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(test).await
}

fn welcome() -> Welcome {
    Welcome {
        connection: "c1".into(),
        tenant: "acme".into(),
        user: "ann".into(),
        accepted: None,
        ping: 30_000,
        expires_in: None,
        time: 1,
        limits: Limits::default(),
        features: Vec::new(),
    }
}

impl World {
    /// Connects, and plays the server up to `welcome`.
    async fn connected(&mut self) -> Peer {
        let client = self.client.clone();
        let connect = tokio::task::spawn_local(async move { client.connect().await });
        let mut peer = self.peers.recv().await.unwrap();
        assert!(matches!(peer.frame().await, ClientFrame::Hello(_)));
        peer.say(welcome());
        connect.await.unwrap().unwrap();
        peer
    }
}

fn at(seq: u64) -> Cursor {
    Cursor { seq, mark: Mark(seq) }
}

async fn join_frame(peer: &mut Peer) -> frames::Join {
    match peer.frame().await {
        ClientFrame::Join(join) => join,
        other => panic!("no join: {other:?}"),
    }
}

async fn send_frame(peer: &mut Peer) -> frames::Send {
    match peer.frame().await {
        ClientFrame::Send(send) => send,
        other => panic!("no send: {other:?}"),
    }
}

fn joined(join: &frames::Join, head: u64) -> Joined {
    let (id, room) = (join.id, join.room.clone());
    let cursor = join.cursor.unwrap_or_else(|| at(head));
    Joined { id, room, cursor, head: at(head), mode: Default::default(), full: false }
}

fn event(room: &str, seq: u64, name: &str, data: &str) -> EventFrame {
    EventFrame {
        room: room.into(),
        seq: Some(seq),
        prev: None,
        mark: Some(Mark(seq)),
        id: Some(ItemId(seq.into())),
        time: 5,
        from: "bob".into(),
        event: name.into(),
        key: None,
        gone: false,
        data: Json::parse(data).unwrap(),
    }
}

/// Runs a call of the client while the test plays the server.
macro_rules! meanwhile {
    ($call:expr, $server:expr) => {{
        let call = tokio::task::spawn_local($call);
        $server;
        call.await.unwrap()
    }};
}

#[tokio::test(start_paused = true)]
async fn c3_connect_returns_at_the_first_welcome_and_tells_who_the_client_is() {
    local(async {
        let mut world = world();
        let mut events = world.client.events();
        assert_eq!((world.client.status(), world.client.identity()), (Status::Disconnected, None));
        let _peer = world.connected().await;
        assert_eq!(world.client.status(), Status::Connected);
        let identity = world.client.identity().unwrap();
        assert_eq!((identity.tenant.as_str(), identity.user.as_str()), ("acme", "ann"));
        let mut seen = Vec::new();
        while seen.last() != Some(&Status::Connected) {
            if let Some(ClientEvent::Status { status, .. }) = events.next().await {
                seen.push(status);
            }
        }
        assert_eq!(seen, [Status::Connecting, Status::Connected]);
        assert!(!format!("{:?}", world.client).contains("secret"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn c7_alerts_are_filtered_on_the_server_and_arrive_typed() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let alerts = world.client.alerts();
        let mut room = meanwhile!(
            async move { alerts.subscribe_to_alerts(&["fire"], &["high", "critical"]).await },
            {
                let join = join_frame(&mut peer).await;
                assert_eq!(join.room, "alerts/tenant:acme");
                let filter = serde_json::to_string(&join.filter).unwrap();
                assert_eq!(filter, r#"[{"types":["fire"],"severities":["critical","high"]}]"#);
                peer.say(joined(&join, 4));
            }
        )
        .unwrap();
        let data = r#"{"id":"a1","type":"fire","severity":"high","title":"Smoke"}"#;
        peer.say(event("alerts/tenant:acme", 5, "alert:created", data));
        peer.say(event("alerts/tenant:acme", 6, "alert:escalated", "[1]"));
        let next = loop {
            match room.next_event().await.unwrap() {
                Incoming::Event(event) => break event,
                other => assert_eq!(other, Incoming::Live),
            }
        };
        assert_eq!((next.room.as_str(), next.from.as_str()), ("tenant:acme", "bob"));
        assert_eq!((next.cursor, next.id), (Some(at(5)), Some(ItemId(5))));
        let AlertEvent::Created(alert) = next.data else { panic!("{:?}", next.data) };
        assert_eq!((alert.id.as_str(), alert.severity), ("a1", Severity::High));
        let Some(Incoming::Event(next)) = room.next_event().await else { panic!() };
        assert!(
            matches!(next.data, AlertEvent::Unknown { event, .. } if event == "alert:escalated")
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p_r5_credit_is_given_when_the_application_has_taken_what_it_is_for() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let mut room = world.client.room("log").from_first().open().unwrap();
        let join = join_frame(&mut peer).await;
        assert_eq!((join.room.as_str(), join.from), ("default/log", Some(frames::Start::First)));
        peer.say(Joined { cursor: at(0), ..joined(&join, 2) });
        peer.say(event("default/log", 1, "x", "1"));
        peer.say(event("default/log", 2, "x", "2"));
        peer.say(Page { room: "default/log".into(), seq: 2 });
        let batch = loop {
            let batch = room.next_batch(10).await;
            if batch.len() == 2 {
                break batch;
            }
        };
        assert!(matches!(&batch[1], Incoming::Event(event) if event.cursor == Some(at(2))));
        // Both are taken; that they are done is said by asking for more.
        let quiet = tokio::time::timeout(Duration::from_millis(100), peer.frame()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        let more = tokio::time::timeout(Duration::from_millis(100), room.next_event()).await;
        assert!(more.is_err());
        let ClientFrame::Credit(credit) = peer.frame().await else { panic!() };
        assert_eq!(credit.seq, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn c4_what_is_sent_offline_is_queued_and_accepted_after_the_connect() {
    local(async {
        let mut world = world();
        let first = world.client.send("notes", "note", &"one").await.unwrap();
        let second = world.client.send("notes", "note", &"two").await.unwrap();
        let mut peer = world.connected().await;
        let (a, b) = (send_frame(&mut peer).await, send_frame(&mut peer).await);
        assert_eq!((a.n, a.id, a.data.get()), (1, first.id(), "\"one\""));
        assert_eq!((b.n, b.room.as_str(), b.persist), (2, "default/notes", true));
        for (send, seq) in [(&a, 10), (&b, 11)] {
            peer.say(Accepted { lane: send.lane, n: send.n, id: send.id, seq: Some(seq) });
        }
        assert_eq!(first.accepted().await, Ok(Some(10)));
        assert_eq!(second.outcome().await, Ok(Outcome::Accepted(Some(11))));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p_s5_an_item_that_was_not_sent_is_taken_back_locally() {
    local(async {
        let world = world();
        let sending = world.client.send("notes", "note", &1).await.unwrap();
        let id = sending.id();
        assert_eq!(sending.cancel().await, Ok(Outcome::Cancelled));
        let again = world.client.cancel(id).await.unwrap_err();
        assert_eq!(again.code(), &Code::NOT_FOUND);
        let bad = world.client.send("not a room", "note", &1).await.unwrap_err();
        assert_eq!(bad.code(), &Code::BAD_ROOM);
        assert!(matches!(bad, Error::Invalid { .. }));
        let lane = world.client.send("notes", "note", &1).lane(8).await.unwrap_err();
        assert_eq!(lane.code(), &Code::BAD_PARAMS);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p_s8_a_command_waits_for_its_result_and_an_error_is_typed() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let video = world.client.video();
        let stream = meanwhile!(async move { video.start_stream("7", Quality::Low).await }, {
            let send = send_frame(&mut peer).await;
            assert_eq!(
                (send.room.as_str(), send.event.as_str()),
                ("video/commands", "stream:start")
            );
            assert_eq!(send.data.get(), r#"{"cameraId":"7","quality":"low"}"#);
            assert!(send.ttl.is_some_and(|ttl| ttl <= 30_000));
            peer.say(Accepted { lane: send.lane, n: send.n, id: send.id, seq: Some(1) });
            let result = Json::parse(r#"{"cameraId":"7","streamUrl":"http://x"}"#).ok();
            peer.say(CommandResult { id: send.id, result, error: None });
        });
        let StreamInfo { url, .. } = stream.unwrap();
        assert_eq!(url.as_deref(), Some("http://x"));
        let alerts = world.client.alerts();
        let refused = meanwhile!(async move { alerts.acknowledge("a1", None).await }, {
            let send = send_frame(&mut peer).await;
            peer.say(Accepted { lane: send.lane, n: send.n, id: send.id, seq: Some(2) });
            let error = frames::ErrorBody { code: Code::NOT_FOUND, message: "a1".into() };
            peer.say(CommandResult { id: send.id, result: None, error: Some(error) });
        });
        assert!(matches!(refused, Err(Error::Refused { code, .. }) if code == Code::NOT_FOUND));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p_s8_a_service_takes_commands_and_answers_them() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let client = world.client.clone();
        let mut commands = meanwhile!(async move { client.handle_commands("video").await }, {
            let join = join_frame(&mut peer).await;
            assert_eq!(join.room, "video/commands");
            peer.say(joined(&join, 0));
        })
        .unwrap();
        peer.say(event("video/commands", 1, "stream:start", r#"{"cameraId":"7"}"#));
        peer.say(event("video/commands", 2, "stream:dance", "{}"));
        let first = commands.next().await.unwrap();
        assert_eq!((first.event.as_str(), first.seq, first.id), ("stream:start", 1, ItemId(1)));
        let done = meanwhile!(async move { first.answer(&"started").await }, {
            let ClientFrame::Answer(answer) = peer.frame().await else { panic!() };
            assert_eq!((answer.seq, answer.result), (1, Json::parse("\"started\"").ok()));
        });
        done.unwrap();
        let second = commands.next().await.unwrap();
        second.refuse(Code::NOT_FOUND, "no such command").await.unwrap();
        let ClientFrame::Answer(answer) = peer.frame().await else { panic!() };
        assert_eq!(answer.error.map(|error| error.code), Some(Code::NOT_FOUND));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p_v_a_viewer_gets_whole_pictures_and_says_what_it_has_seen() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let video = world.client.video();
        let mut pictures = meanwhile!(async move { video.watch("7").await }, {
            let join = join_frame(&mut peer).await;
            assert_eq!(join.room, "video/camera:7");
            peer.say(joined(&join, 0));
        })
        .unwrap();
        let (room, codec) = ("video/camera:7".to_owned(), "jpeg".to_owned());
        peer.say(Stream { stream: 3, room, codec, width: 8, height: 4 });
        let picture = Bytes::from(vec![9; 20_000]);
        for chunk in chunks(KIND_JPEG, true, 3, 41, 7, &picture) {
            peer.report(SocketEvent::Binary(chunk.encode()));
        }
        let seen = pictures.next().await.unwrap();
        assert_eq!((seen.seq, seen.pts_us, seen.data), (41, 7, picture));
        let ClientFrame::Seen(seen) = peer.frame().await else { panic!() };
        assert_eq!((seen.stream, seen.seq), (3, 41));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p_v_a_publisher_announces_and_its_pictures_go_out_in_chunks() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let video = world.client.video();
        let mut publisher = meanwhile!(async move { video.publish("7", 1, "jpeg", 8, 4).await }, {
            let ClientFrame::Stream(stream) = peer.frame().await else { panic!() };
            assert_eq!((stream.room.as_str(), stream.stream), ("video/camera:7", 1));
        })
        .unwrap();
        assert_eq!(publisher.viewers(), 0);
        peer.say(frames::Demand { stream: 1, viewers: 2 });
        assert!(publisher.wanted().await);
        assert_eq!(publisher.push(&Bytes::from(vec![1; 20_000]), 0, true), 1);
        for _ in 0..2 {
            let Wrote::Binary(message) = peer.wrote().await else { panic!() };
            assert!(message.len() <= 16 * 1024 + 16);
        }
        drop(publisher);
        let ClientFrame::Stream(stream) = peer.frame().await else { panic!() };
        assert!(stream.codec.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn c11_presence_is_everyone_and_then_differences() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let client = world.client.clone();
        let mut presence =
            meanwhile!(async move { client.presence("lobby").meta(&1).enter().await }, {
                let join = join_frame(&mut peer).await;
                assert!(join.present && join.watch && join.meta.is_some());
                peer.say(joined(&join, 0));
            })
            .unwrap();
        let member = |user: &str| frames::Member {
            user: user.into(),
            status: crate::model::presence::Status::Online,
            meta: None,
        };
        let members = Some(vec![member("ann"), member("bob")]);
        let room = || "default/lobby".to_owned();
        peer.say(Presence { room: room(), version: 1, members, ..Presence::default() });
        assert!(
            matches!(presence.next().await, Some(PresenceEvent::Everyone(all)) if all.len() == 2)
        );
        let changes =
            vec![frames::Change { user: "bob".into(), status: None, meta: None, gone: true }];
        peer.say(Presence { room: room(), version: 2, changes, ..Presence::default() });
        assert_eq!(presence.next().await, Some(PresenceEvent::Left("bob".into())));
        let left: Vec<_> = presence.members().map(|info| info.user_id.to_string()).collect();
        assert_eq!(left, ["ann"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p_f1_metadata_with_a_key_twice_is_refused_at_once() {
    local(async {
        let world = world();
        let twice = serde_json::from_str(r#"{"a":1,"a":2}"#).unwrap();
        let error = world.client.set_presence(None, Some(twice)).await.unwrap_err();
        assert_eq!(error.code(), &Code::BAD_DATA);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn p_r6_a_gap_is_told_before_anything_newer_and_the_hook_fetches_the_state() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let room = world.client.room("log").cursor(at(3));
        let room = room.snapshot(|head| async move { Ok(Some(Cursor { seq: 8, ..head })) });
        let mut room = room.open().unwrap();
        let join = join_frame(&mut peer).await;
        assert_eq!(join.cursor, Some(at(3)));
        let (id, name) = (Some(join.id), join.room.clone());
        peer.say(Lost { id, room: name, first: at(5), head: at(9) });
        let Some(Incoming::Gap { from, .. }) = room.next_event().await else { panic!() };
        assert_eq!(from, at(3));
        // Reading on runs the hook; its cursor is where the room goes on.
        let next = tokio::task::spawn_local(async move { room.next_event().await });
        let join = join_frame(&mut peer).await;
        assert_eq!(join.cursor.map(|cursor| cursor.seq), Some(8));
        peer.say(joined(&join, 9));
        peer.say(event("default/log", 9, "x", "9"));
        let next = next.await.unwrap();
        assert!(matches!(next, Some(Incoming::Event(event)) if event.cursor == Some(at(9))));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_room_is_an_error_of_join_and_is_read_from_open() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let refuse = |join: &frames::Join| Left {
            id: Some(join.id),
            room: join.room.clone(),
            code: Some(Code::FORBIDDEN),
            after: None,
        };
        let client = world.client.clone();
        let error = meanwhile!(async move { client.room("org:2").join().await.map(|_| ()) }, {
            let join = join_frame(&mut peer).await;
            peer.say(refuse(&join));
        });
        assert_eq!(error.unwrap_err().code(), &Code::FORBIDDEN);
        let mut room = world.client.room("org:3").open().unwrap();
        let mut join = join_frame(&mut peer).await;
        while join.room != "default/org:3" {
            join = join_frame(&mut peer).await;
        }
        peer.say(refuse(&join));
        assert_eq!(room.next_event().await, Some(Incoming::Left(Code::FORBIDDEN)));
    })
    .await;
}

/// Fault 6 of the old systems: one connection per client, yet each typed client opens its own.
#[tokio::test(start_paused = true)]
async fn fault_6_every_typed_client_rides_on_the_one_connection() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let client = world.client.clone();
        let rooms = (
            client.video().room("a").open().unwrap(),
            client.alerts().room("a").open().unwrap(),
            client.monitoring().room("a").open().unwrap(),
            client.dispatch().room("a").open().unwrap(),
            client.room("a").open().unwrap(),
        );
        let mut names = Vec::new();
        for _ in 0..5 {
            names.push(join_frame(&mut peer).await.room);
        }
        names.sort();
        assert_eq!(names, ["alerts/a", "default/a", "dispatch/a", "monitoring/a", "video/a"]);
        assert!(world.peers.try_recv().is_err(), "a second transport was dialled");
        drop(rooms);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_room_leaves_it_and_dropping_the_last_handle_closes_with_1000() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let room = world.client.room("a").open().unwrap();
        let join = join_frame(&mut peer).await;
        peer.say(joined(&join, 0));
        let World { client, peers: _peers, driver } = world;
        drop(client);
        // The room is a handle too.
        let quiet = tokio::time::timeout(Duration::from_millis(50), peer.frame()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        drop(room);
        let ClientFrame::Leave(leave) = peer.frame().await else { panic!() };
        assert_eq!(leave.room, "default/a");
        peer.say(Left { id: Some(leave.id), room: leave.room, code: None, after: None });
        let Wrote::Close(close) = peer.wrote().await else { panic!() };
        assert_eq!(close.code, 1000);
        peer.report(SocketEvent::Closed(close));
        driver.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_query_is_answered_and_rooms_come_back_as_they_were_joined() {
    local(async {
        let mut world = world();
        let mut peer = world.connected().await;
        let client = world.client.clone();
        let rooms = meanwhile!(async move { client.query_rooms().await }, {
            let ClientFrame::Call(call) = peer.frame().await else { panic!() };
            assert_eq!(call.method, "rooms");
            let id = Json::of(&call.id).unwrap();
            let result = Json::parse(r#"{"rooms":["default/investigation:1","alerts/x"]}"#).ok();
            peer.say(ServerFrame::Reply(frames::Reply { id, result, error: None }));
        });
        assert_eq!(rooms.unwrap(), ["investigation:1", "alerts/x"]);
    })
    .await;
}

#[test]
fn an_alert_is_sent_between_threads_and_handles_are_send() {
    fn send<T: Send>() {}
    send::<Client>();
    send::<Room<AlertEvent>>();
    send::<PictureStream>();
    send::<CommandStream>();
    send::<Alert>();
}
