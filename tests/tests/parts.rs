//! Commands, alerts, presence and pictures between a real server and real clients.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use std::{future::Future, time::Duration};
use wardline::{
    client::{Client, Incoming},
    model::{
        AlertEvent,
        alert::{AlertStatus, NewAlert},
        presence::Status,
        video::Quality,
    },
    protocol::{Code, Json},
};
use wardline_server::{Server, auth::NewToken};

const SECRET: &str = "a secret of more than thirty-two characters";

async fn server() -> Server {
    let settings =
        [("jwt_secret", SECRET), ("host", "127.0.0.1"), ("port", "0"), ("log", "memory")];
    let builder = settings.iter().fold(Server::builder(), |b, (name, value)| b.set(name, *value));
    builder.start().await.unwrap()
}

fn client(server: &Server, user: &str, roles: &[&str]) -> Client {
    let token = NewToken {
        tenant: "t".into(),
        user: user.into(),
        organization: None,
        roles: roles.iter().map(|role| (*role).into()).collect(),
        life: Some(Duration::from_secs(3600)),
    };
    let token = server.token(&token).unwrap();
    Client::builder(server.url()).token(token).memory().build().unwrap()
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let within = Duration::from_secs(20);
    tokio::time::timeout(within, work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

#[tokio::test(flavor = "multi_thread")]
async fn p_s8_a_command_outlives_the_connection_of_its_handler() {
    let server = server().await;
    let site = client(&server, "site", &["service"]);
    let ann = client(&server, "ann", &[]);
    soon("connect", site.connect()).await.unwrap();
    soon("connect", ann.connect()).await.unwrap();
    let refused = soon("refusal", ann.video().stop_stream("7")).await.unwrap_err();
    assert_eq!(*refused.code(), Code::NO_HANDLER);
    let mut commands = soon("join", site.handle_commands("video")).await.unwrap();
    let asked = tokio::spawn({
        let ann = ann.clone();
        async move { ann.video().start_stream("7", Quality::default()).await }
    });
    let first = soon("command", commands.next()).await.unwrap();
    assert_eq!((first.event.as_str(), first.from.as_str()), ("stream:start", "ann"));
    // Taken, and not answered when the connection ends.
    soon("disconnect", site.disconnect()).await.unwrap();
    soon("connect", site.connect()).await.unwrap();
    let again = soon("command again", commands.next()).await.unwrap();
    assert_eq!(again.id, first.id);
    let body = Json::parse(r#"{"cameraId":"7","url":"/cameras/7"}"#).unwrap();
    soon("answer", again.answer(&body)).await.unwrap();
    let stream = soon("result", asked).await.unwrap().unwrap();
    assert_eq!(stream.url.as_deref(), Some("/cameras/7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn c7_alerts_from_client_to_client() {
    let server = server().await;
    let (ann, bob) = (client(&server, "ann", &[]), client(&server, "bob", &[]));
    soon("connect", ann.connect()).await.unwrap();
    soon("connect", bob.connect()).await.unwrap();
    let mut heard = soon("join", bob.alerts().subscribe_to_alerts(&["fire"], &[])).await.unwrap();
    let new =
        |kind: &str| NewAlert { kind: kind.into(), title: "Smoke".into(), ..NewAlert::default() };
    soon("create", ann.alerts().create(new("door"))).await.unwrap();
    let raised = soon("create", ann.alerts().create(new("fire"))).await.unwrap();
    assert_eq!(raised.created_by, Some("ann".into()));
    let (of_ann, of_bob) = (ann.alerts(), bob.alerts());
    let taken = of_bob.acknowledge(raised.id.clone(), None);
    assert_eq!(soon("acknowledge", taken).await.unwrap().status, AlertStatus::Acknowledged);
    let over = of_ann.resolve(raised.id.clone(), Some("steam".into()));
    assert_eq!(soon("resolve", over).await.unwrap().note.as_deref(), Some("steam"));
    let twice = soon("resolve", ann.alerts().resolve(raised.id.clone(), None)).await.unwrap_err();
    assert_eq!(*twice.code(), Code::CONFLICT);
    let mut told = Vec::new();
    while told.len() < 3 {
        if let Some(Incoming::Event(event)) = soon("event", heard.next_event()).await {
            assert_eq!(event.data.alert().unwrap().id, raised.id);
            told.push(event.data.name().to_owned());
        }
    }
    assert_eq!(told, ["alert:created", "alert:acknowledged", "alert:resolved"]);
    assert!(AlertEvent::NAMES.contains(&told[0].as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn p_p1_presence_from_client_to_client() {
    let server = server().await;
    let (ann, bob) = (client(&server, "ann", &[]), client(&server, "bob", &[]));
    soon("connect", ann.connect()).await.unwrap();
    soon("connect", bob.connect()).await.unwrap();
    let mut seen = soon("watch", ann.presence("investigation:1").watch()).await.unwrap();
    let own = soon("enter", bob.presence("investigation:1").enter()).await.unwrap();
    let bob_is = |members: &wardline::client::Presence, status: Option<Status>| {
        members.members().find(|m| m.user_id.as_str() == "bob").map(|m| m.status) == status
    };
    while !bob_is(&seen, Some(Status::Online)) {
        soon("bob", seen.next()).await.unwrap();
    }
    soon("status", own.set_status(Status::Busy, None)).await.unwrap();
    while !bob_is(&seen, Some(Status::Busy)) {
        soon("busy", seen.next()).await.unwrap();
    }
    let asked = soon("query", ann.presence("investigation:1").query()).await.unwrap();
    assert_eq!((asked.len(), asked[0].status), (1, Status::Busy));
    soon("leave", own.leave()).await.unwrap();
    while !bob_is(&seen, None) {
        soon("gone", seen.next()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p_v_pictures_from_client_to_client() {
    let server = server().await;
    let (site, ann) = (client(&server, "site", &["service"]), client(&server, "ann", &[]));
    soon("connect", site.connect()).await.unwrap();
    soon("connect", ann.connect()).await.unwrap();
    let mut camera = soon("publish", site.video().publish("7", 1, "jpeg", 64, 48)).await.unwrap();
    assert_eq!(camera.viewers(), 0);
    let mut pictures = soon("watch", ann.video().watch("7")).await.unwrap();
    assert!(soon("demand", camera.wanted()).await);
    let mut last = None;
    for n in 0..20u8 {
        camera.push(&Bytes::from(vec![n; 40_000]), u64::from(n), true);
        let picture = soon("picture", pictures.next()).await.unwrap();
        assert_eq!((picture.width, picture.codec.as_str()), (64, "jpeg"));
        assert!(last.replace(picture.seq).is_none_or(|last| last < picture.seq));
    }
    soon("leave", pictures.leave()).await.unwrap();
}
