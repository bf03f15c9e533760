//! The server's own TLS: the Rust client over it, what is written through a full kernel, and who
//! does not speak it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::Duration,
};
use support::Site;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use wardline::client::{Client, Incoming};

/// A server with a certificate of its own, and that certificate.
struct Secure {
    site: Site,
    root: Vec<u8>,
    files: tempfile::TempDir,
}

/// Writes a certificate and its key into a folder; gives the certificate.
fn certify(files: &Path) -> Vec<u8> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(files.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(files.join("key.pem"), made.key_pair.serialize_pem()).unwrap();
    made.cert.der().to_vec()
}

impl Secure {
    fn start(settings: &[(&str, &str)]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let root = certify(files.path());
        let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
        let mut all =
            vec![("tls_cert", cert.to_str().unwrap()), ("tls_key", key.to_str().unwrap())];
        all.extend_from_slice(settings);
        Self { site: Site::start(&all), root, files }
    }

    fn dial(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_slice(&self.root)).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(self.site.addr).unwrap();
        // A reader that stops is noticed early.
        socket2::SockRef::from(&tcp).set_recv_buffer_size(4096).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        StreamOwned::new(tls, tcp)
    }
}

#[test]
fn the_rust_client_speaks_with_it_and_nothing_is_lost() {
    let secure = Secure::start(&[("rate_points", "0")]);
    let site = &secure.site;
    assert!(site.server().url().starts_with("wss://"));
    site.runtime.block_on(async {
        let client = |user: &str, root: Option<Vec<u8>>| {
            let url = format!("wss://localhost:{}", site.addr.port());
            let mut builder = Client::builder(url).token(site.token("acme", user, &[]));
            if let Some(root) = root {
                builder = builder.root_certificate(root);
            }
            builder.build().unwrap()
        };
        let (ann, bob) =
            (client("ann", Some(secure.root.clone())), client("bob", Some(secure.root.clone())));
        ann.connect().await.unwrap();
        bob.connect().await.unwrap();
        let mut room = bob.room("tenant:acme").join().await.unwrap();
        // More than a session or a kernel buffer holds, both ways.
        let text = "x".repeat(100_000);
        let mut sent = Vec::new();
        for n in 0..40 {
            sent.push(
                ann.send("tenant:acme", "note", &json!({"n": n, "text": text})).await.unwrap(),
            );
        }
        for item in sent {
            item.accepted().await.unwrap();
        }
        let mut next = 0;
        while next < 40 {
            let Some(Incoming::Event(event)) = room.next_event().await else { continue };
            let data: serde_json::Value = event.data.to().unwrap();
            assert_eq!(
                (&data["n"], data["text"].as_str().map(str::len)),
                (&json!(next), Some(100_000))
            );
            next += 1;
        }
        // A client that does not trust the certificate does not get as far as a token.
        let stranger = client("eve", None);
        assert!(tokio::time::timeout(Duration::from_secs(2), stranger.connect()).await.is_err());
    });
    secure.site.shutdown();
}

#[test]
fn http_is_answered_whole_and_ends_with_a_goodbye() {
    let secure = Secure::start(&[]);
    let mut stream = secure.dial();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    // An end without a goodbye would be an error here.
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('}'), "{answer}");
}

#[test]
fn a_reader_that_stops_for_a_while_gets_everything_through_tls() {
    let secure = Secure::start(&[("send_buffer", "8192"), ("rate_points", "0")]);
    let site = &secure.site;
    let mut request = String::from("GET /wardline HTTP/1.1\r\nhost: localhost\r\n");
    for line in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        "sec-websocket-protocol: wardline.v1.json",
    ] {
        request.push_str(&format!("{line}\r\n"));
    }
    let mut stream = secure.dial();
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let mut ws =
        tungstenite::WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Client, None);
    let token = site.token("acme", "u", &[]);
    let hello =
        json!({"type": "hello", "token": token, "producer": support::rand_hex(), "lanes": {}});
    let join = json!({"type": "join", "id": 1, "room": "alerts/tenant:acme"});
    ws.send(format!("{hello}\n{join}").into()).unwrap();
    let mut left = std::collections::VecDeque::<serde_json::Value>::new();
    let mut until = |kind: &str| {
        loop {
            while let Some(object) = left.pop_front() {
                if object["type"] == "page" {
                    let credit =
                        json!({"type": "credit", "room": object["room"], "seq": object["seq"]});
                    ws.send(credit.to_string().into()).unwrap();
                }
                if object["type"] == kind {
                    return object;
                }
            }
            let text = ws.read().unwrap().into_text().unwrap();
            left.extend(
                text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()),
            );
        }
    };
    until("live");
    // Far more than kernel and session take, while nobody reads.
    let text = "y".repeat(2000);
    site.runtime.block_on(async {
        for n in 0..200 {
            let data = wardline::protocol::Json::of(&json!({"n": n, "text": text})).unwrap();
            site.server().broadcast("alerts", "tenant:acme", "note", data).await.unwrap();
        }
    });
    for seq in 1..=200u64 {
        assert_eq!(until("event")["seq"], seq);
    }
}

#[test]
fn a_renewed_certificate_is_shown_to_who_comes_and_a_bad_one_is_not() {
    let mut secure = Secure::start(&[]);
    let health = |secure: &Secure| -> std::io::Result<String> {
        let mut tls = secure.dial();
        tls.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let reload = |secure: &Secure| {
        let server = secure.site.server();
        secure.site.runtime.block_on(server.reload_certificate())
    };
    assert!(health(&secure).unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(reload(&secure), Ok(false));

    // A connection that is there goes on with the certificate it was shown.
    let mut there = secure.dial();
    there.write_all(b"GET /health/live HTTP/1.1\r\n").unwrap();
    let renewed = certify(secure.files.path());
    assert_eq!(reload(&secure), Ok(true));
    there.write_all(b"host: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    there.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(health(&secure).is_err(), "the old one is shown no more");
    secure.root = renewed;
    assert!(health(&secure).unwrap().starts_with("HTTP/1.1 200"));

    support::watch::expect("the certificate there was is shown on");
    std::fs::write(secure.files.path().join("cert.pem"), "no certificate").unwrap();
    assert!(reload(&secure).unwrap_err().0.contains("cert.pem"));
    assert!(health(&secure).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn who_does_not_speak_tls_hears_nothing() {
    let secure = Secure::start(&[]);
    let answer = secure.site.get("/health");
    assert!(!answer.head.contains("200") && answer.status == 0, "{answer:?}");
}

#[test]
fn files_that_are_no_certificate_are_refused_by_name() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("empty.pem");
    std::fs::write(&path, "").unwrap();
    let path = path.to_str().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let started = runtime.block_on(
        wardline_server::Server::builder()
            .jwt_secret(support::SECRET)
            .port(0)
            .in_memory()
            .set("tls_cert", path)
            .set("tls_key", path)
            .start(),
    );
    let error = started.err().unwrap().to_string();
    assert!(error.contains("empty.pem") && error.contains("certificate"), "{error}");
}
