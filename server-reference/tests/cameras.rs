//! Cameras over HTTP: one picture, or a stream of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};
use support::{Peer, Site};
use wardline::protocol::media;

#[test]
fn a_camera_is_seen_without_a_web_socket() {
    let site = Site::start(&[]);
    let mut camera = site.client("t", "camera", &["service"]);
    camera.join(1, "video/camera:7");
    camera.send(&json!({"type": "stream", "stream": 1, "room": "video/camera:7",
        "codec": "jpeg", "width": 64, "height": 48}));
    let picture = bytes::Bytes::from(vec![7u8; 20_000]);
    let show = |camera: &mut Peer, seq: u32| {
        for chunk in media::chunks(media::KIND_JPEG, true, 1, seq, 0, &picture) {
            camera.binary(&chunk.encode());
        }
        camera.send(&json!({"type": "ping"}));
        camera.expect("pong");
    };
    show(&mut camera, 1);

    let token = site.token("t", "viewer", &[]);
    let mut viewer = TcpStream::connect(site.addr).unwrap();
    viewer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        viewer,
        "GET /cameras/7/stream.mjpeg?token={token} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    // The camera is told that someone watches, and sends on.
    assert!(camera.expect("demand")["viewers"].as_u64().unwrap() >= 1);
    let mut seen = Vec::new();
    let mut seq = 2;
    let count =
        |seen: &[u8]| String::from_utf8_lossy(seen).matches("content-type: image/jpeg").count();
    while count(&seen) < 3 {
        show(&mut camera, seq);
        seq += 1;
        let mut buffer = [0; 65_536];
        let read = viewer.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "the stream goes on");
        seen.extend_from_slice(&buffer[..read]);
    }
    let bearer = format!("Bearer {token}");
    let one = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut stream = TcpStream::connect(site.addr).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            write!(
                stream,
                "GET /cameras/7/snapshot.jpg HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 authorization: {bearer}\r\n\r\n"
            )
            .unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        });
        while !asked.is_finished() {
            show(&mut camera, seq);
            seq += 1;
        }
        asked.join().unwrap()
    });
    assert!(one.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&one[..200]));
    assert!(one.ends_with(&picture), "{}", one.len());

    assert_eq!(site.get("/cameras/7/snapshot.jpg").status, 401);
    assert_eq!(
        site.http("GET", "/cameras/a%20b/snapshot.jpg", &[("authorization", &bearer)], "").status,
        400
    );
}

/// Announces a stream of the camera's room.
fn announce(camera: &mut Peer, stream: u16) {
    camera.send(&json!({"type": "stream", "stream": stream, "room": "video/camera:7",
        "codec": "jpeg", "width": 64, "height": 48}));
}

fn show(camera: &mut Peer, stream: u16, seq: u32) {
    let picture = bytes::Bytes::from_static(b"picture");
    for chunk in media::chunks(media::KIND_JPEG, true, stream, seq, 0, &picture) {
        camera.binary(&chunk.encode());
    }
    camera.send(&json!({"type": "ping"}));
    camera.expect("pong");
}

/// Reads an MJPEG response; the camera goes on until it ends. Gives what came.
fn watch_to_the_end(site: &Site, token: &str, camera: &mut Peer, mut then: impl FnMut()) -> String {
    let mut viewer = TcpStream::connect(site.addr).unwrap();
    viewer.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    write!(
        viewer,
        "GET /cameras/7/stream.mjpeg?token={token} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    assert!(camera.expect("demand")["viewers"].as_u64().unwrap() >= 1);
    let mut seen = Vec::new();
    for seq in 1.. {
        show(camera, 1, seq);
        let mut buffer = [0; 65_536];
        match viewer.read(&mut buffer).unwrap() {
            0 => break,
            read => seen.extend_from_slice(&buffer[..read]),
        }
        if seq == 1 {
            then();
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn p_c6a_a_stream_of_pictures_ends_with_its_tokens_revocation() {
    let site = Site::start(&[]);
    let mut camera = site.client("t", "camera", &["service"]);
    announce(&mut camera, 1);
    show(&mut camera, 1, 0);
    let admin = format!("Bearer {}", site.token("t", "boss", &["admin"]));
    let body = json!({"user": "viewer", "notBefore": u64::from(u32::MAX) * 1000}).to_string();
    let revoke = || {
        let answer = site.http("POST", "/revoke", &[("authorization", &admin)], &body);
        assert_eq!(answer.status, 202);
    };
    let token = site.token("t", "viewer", &[]);
    let seen = watch_to_the_end(&site, &token, &mut camera, revoke);
    assert!(seen.contains("content-type: image/jpeg"), "{seen}");
    assert!(seen.ends_with("0\r\n\r\n"), "ends as a whole answer does: {seen}");
    for path in ["/cameras/7/snapshot.jpg", "/cameras/7/stream.mjpeg"] {
        let bearer = format!("Bearer {token}");
        let refused = site.http("GET", path, &[("authorization", &bearer)], "");
        assert_eq!(refused.status, 401);
        assert_eq!(refused.json()["error"]["code"], "token_revoked");
    }
}

#[test]
fn p_c6_a_stream_of_pictures_ends_with_its_token() {
    let site = Site::start(&[]);
    let mut camera = site.client("t", "camera", &["service"]);
    announce(&mut camera, 1);
    show(&mut camera, 1, 0);
    let token = wardline_server::auth::NewToken {
        tenant: "t".into(),
        user: "viewer".into(),
        organization: None,
        roles: vec![],
        life: Some(Duration::from_secs(2)),
    };
    let token = site.server().token(&token).unwrap();
    let began = std::time::Instant::now();
    let seen = watch_to_the_end(&site, &token, &mut camera, || ());
    assert!(seen.contains("content-type: image/jpeg"), "{seen}");
    assert!(began.elapsed() < Duration::from_secs(2 + 5), "{:?}", began.elapsed());
}

#[test]
fn a_snapshot_passes_over_a_stream_that_sends_nothing() {
    let site = Site::start(&[]);
    let mut silent = site.client("t", "silent", &["service"]);
    announce(&mut silent, 1);
    let mut camera = site.client("t", "camera", &["service"]);
    announce(&mut camera, 2);
    let bearer = format!("Bearer {}", site.token("t", "viewer", &[]));
    show(&mut camera, 2, 1);
    let answer = site.http("GET", "/cameras/7/snapshot.jpg", &[("authorization", &bearer)], "");
    assert_eq!((answer.status, answer.body.as_str()), (200, "picture"));
}
