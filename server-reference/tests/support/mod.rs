//! A real server on a free port, and a client that knows nothing but WebSocket and JSON.

#![allow(dead_code, unreachable_pub)]

/// Shared with the tests of everything together.
#[path = "../../../tests/src/watch.rs"]
pub mod watch;

use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tokio::runtime::Runtime;
use tungstenite::{
    Message, WebSocket, client::IntoClientRequest, http::HeaderValue, protocol::CloseFrame,
};
use wardline_server::{Builder, Server, auth::NewToken};

pub const SECRET: &str = "a secret of more than thirty-two characters";
/// Longest wait for a frame; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server and the threads it runs on.
pub struct Site {
    pub server: Option<Server>,
    pub runtime: Runtime,
    pub addr: SocketAddr,
}

impl Site {
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, |builder| builder)
    }

    pub fn start_with(settings: &[(&str, &str)], more: impl FnOnce(Builder) -> Builder) -> Self {
        watch::begin();
        watch::secret(SECRET);
        let runtime = Runtime::new().unwrap();
        let mut builder = Server::builder()
            .set("jwt_secret", SECRET)
            .set("host", "127.0.0.1")
            .set("port", "0")
            .set("log", "memory");
        for (name, value) in settings {
            builder = builder.set(name, *value);
        }
        let server = runtime.block_on(more(builder).start()).unwrap();
        let addr = server.addr();
        Self { server: Some(server), runtime, addr }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn token(&self, tenant: &str, user: &str, roles: &[&str]) -> String {
        let token = NewToken {
            tenant: tenant.into(),
            user: user.into(),
            organization: None,
            roles: roles.iter().map(|role| (*role).into()).collect(),
            life: Some(Duration::from_secs(3600)),
        };
        let token = self.server().token(&token).unwrap();
        watch::secret(&token);
        token
    }

    pub fn shutdown(mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }

    /// A welcomed client.
    pub fn client(&self, tenant: &str, user: &str, roles: &[&str]) -> Peer {
        let mut peer = Peer::connect(self.addr);
        peer.hello(Some(&self.token(tenant, user, roles)));
        peer.expect("welcome");
        peer
    }

    pub fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        http(self.addr, method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.http("GET", path, &[], "")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let found = watch::findings();
        assert!(std::thread::panicking() || found.is_empty(), "{found:#?}");
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn http(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut text = String::new();
    // A server that refuses a body may reset before it is read to the end.
    let _ = stream.read_to_string(&mut text);
    watch::scan("an HTTP answer", &text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A raw client.
pub struct Peer {
    ws: WebSocket<TcpStream>,
    objects: VecDeque<Value>,
    /// Close code and reason, once it came.
    pub ended: Option<(u16, String)>,
    pub protocol: Option<String>,
}

impl Peer {
    pub fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, "/wardline", &[("sec-websocket-protocol", "wardline.v1.json")])
            .unwrap()
    }

    /// The refusal is the HTTP status.
    pub fn connect_with(
        addr: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://{addr}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((ws, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|value| value.to_str().unwrap().to_owned());
                Ok(Self { ws, objects: VecDeque::new(), ended: None, protocol })
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub fn socket(&mut self) -> &mut TcpStream {
        self.ws.get_mut()
    }

    pub fn send(&mut self, object: &Value) {
        self.text(&object.to_string());
    }

    pub fn text(&mut self, text: &str) {
        // The server may have closed already; the reading side tells.
        let _ = self.ws.send(Message::text(text));
    }

    pub fn binary(&mut self, bytes: &[u8]) {
        let _ = self.ws.send(Message::binary(bytes.to_vec()));
    }

    pub fn hello(&mut self, token: Option<&str>) {
        self.hello_as(token, rand_hex());
    }

    pub fn hello_as(&mut self, token: Option<&str>, producer: String) {
        let mut hello = json!({"type": "hello", "producer": producer, "lanes": {},
            "client": {"sdk": "raw", "version": "0", "platform": "test"}});
        if let Some(token) = token {
            hello["token"] = json!(token);
        }
        self.send(&hello);
    }

    /// The next object, or none when the connection was closed.
    pub fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(object) = self.objects.pop_front() {
                return Some(object);
            }
            if self.ended.is_some() {
                return None;
            }
            match self.ws.read() {
                Ok(Message::Text(text)) => {
                    watch::scan("a frame", &text);
                    let lines = text.split('\n').filter(|line| !line.is_empty());
                    self.objects.extend(lines.map(|line| serde_json::from_str(line).unwrap()));
                }
                Ok(Message::Close(frame)) => {
                    let CloseFrame { code, reason } = frame.expect("a close has a code");
                    watch::scan("a close", &reason);
                    self.ended = Some((code.into(), reason.to_string()));
                    let _ = self.ws.flush();
                }
                Ok(_) => {}
                Err(error) => panic!("no frame and no close: {error}"),
            }
        }
    }

    /// The next object of a type; pings are answered, others passed over.
    pub fn expect(&mut self, kind: &str) -> Value {
        let mut seen = Vec::new();
        loop {
            let Some(object) = self.next() else {
                panic!("closed with {:?} while waiting for {kind}; saw {seen:?}", self.ended);
            };
            if object["type"] == "ping" {
                self.send(&json!({"type": "pong"}));
            }
            if object["type"] == kind {
                return object;
            }
            seen.push(object);
        }
    }

    /// The first text message that contains these words, as it came.
    pub fn raw_until(&mut self, words: &str) -> String {
        loop {
            match self.ws.read().unwrap() {
                Message::Text(text) if text.contains(words) => return text.to_string(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The close code, whatever comes before it.
    pub fn closed(&mut self) -> u16 {
        while self.next().is_some() {}
        self.ended.as_ref().unwrap().0
    }

    pub fn join(&mut self, id: u64, room: &str) -> Value {
        self.send(&json!({"type": "join", "id": id, "room": room}));
        self.expect("joined")
    }

    /// The bytes the socket gives until its end.
    pub fn drain_raw(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.ws.get_mut().read_to_end(&mut bytes);
        bytes
    }
}

pub fn rand_hex() -> String {
    format!("{:016x}{:016x}", getrandom::u64().unwrap(), getrandom::u64().unwrap())
}
