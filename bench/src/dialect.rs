//! How each server is greeted, joined and spoken to.

use crate::{
    process::{self, Failure, Server},
    wire::{self, Wire},
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

/// A server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The pre-framed limit.
    Limit,
    /// Ours.
    Wardline,
    /// axum's WebSocket with 4 KiB buffers, coalesced.
    Axum,
    /// Socket.IO on Node.
    SocketIo,
}

const SECRET: &str = "a secret of the bench that is long enough to be accepted as one, 64+";

/// How Wardline keeps what it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Memory,
    Fsync,
}

impl Dialect {
    pub(crate) const ALL: [Self; 4] = [Self::Limit, Self::Wardline, Self::Axum, Self::SocketIo];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Wardline => "wardline",
            Self::Axum => "axum",
            Self::SocketIo => "socketio",
        }
    }

    /// Starts the server.
    pub(crate) fn start(self, level: Level) -> Result<Server, Failure> {
        let own = std::env::current_exe()?.display().to_string();
        match self {
            Self::Limit => Server::start(vec![own, "peer-limit".into()], &[]),
            Self::Axum => Server::start(vec![own, "peer-axum".into()], &[]),
            Self::SocketIo => {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
                Server::start(vec!["node".into(), format!("{folder}/socketio.mjs")], &[])
            }
            Self::Wardline => {
                let program = process::beside("wardline-server")?.display().to_string();
                let log = match level {
                    Level::Memory => "memory",
                    Level::Fsync => "embedded",
                };
                let data =
                    std::env::temp_dir().join(format!("wardline-bench-{}", std::process::id()));
                let _ = std::fs::remove_dir_all(&data);
                let words = ["serve", "--host", "127.0.0.1", "--port", "0", "--log", log, "--data"];
                let mut command = vec![program];
                command.extend(words.map(str::to_owned));
                command.push(data.display().to_string());
                let env = [
                    ("JWT_SECRET", SECRET.to_owned()),
                    ("LOG_LEVEL", "error".to_owned()),
                    ("RATE_LIMIT_POINTS", "1000000000".to_owned()),
                    ("MAX_CONNECTIONS_PER_TENANT", "1000000".to_owned()),
                ];
                Server::start(command, &env)
            }
        }
    }

    /// Connects, identifies and joins; ready when it returns.
    pub(crate) async fn connect(
        self,
        port: u16,
        index: usize,
        rooms: &[String],
        buffer: usize,
    ) -> Result<Wire, Failure> {
        let (path, protocol) = match self {
            Self::Limit | Self::Axum => ("/", None),
            Self::SocketIo => ("/socket.io/?EIO=4&transport=websocket", None),
            Self::Wardline => ("/wardline", Some("wardline.v1.json")),
        };
        let mut wire = Wire::connect(port, index, path, protocol, buffer).await?;
        let mut out = Vec::new();
        let mut awaited = rooms.len();
        match self {
            Self::Limit | Self::Axum => {
                wire::frame("E", &mut out);
                awaited += 1;
                for room in rooms {
                    wire::frame(&format!("J{room}"), &mut out);
                }
            }
            Self::SocketIo => {
                expect(&mut wire, |text| text.starts_with(b"0")).await?;
                wire::frame("40", &mut out);
                wire.write(&out).await?;
                out.clear();
                expect(&mut wire, |text| text.starts_with(b"40")).await?;
                for room in rooms {
                    wire::frame(&format!("420{}", json!(["join", room])), &mut out);
                }
            }
            Self::Wardline => {
                let hello = json!({
                    "type": "hello", "token": token(index)?, "producer": format!("{:032x}", index + 1),
                    "lanes": {}, "features": [], "client": { "sdk": "bench", "version": "0", "platform": "linux" },
                });
                let mut text = hello.to_string();
                awaited = 1 + 2 * rooms.len();
                for (id, room) in rooms.iter().enumerate() {
                    text.push('\n');
                    text.push_str(&json!({ "type": "join", "id": id, "room": room }).to_string());
                }
                wire::frame(&text, &mut out);
            }
        }
        if !out.is_empty() {
            wire.write(&out).await?;
        }
        while awaited > 0 {
            let text = wire.text().await?;
            match self {
                Self::Wardline => {
                    for object in text.split(|byte| *byte == b'\n') {
                        let kind = |kind: &str| {
                            object.starts_with(format!("{{\"type\":\"{kind}\"").as_bytes())
                        };
                        if kind("welcome") || kind("joined") || kind("live") {
                            awaited = awaited.saturating_sub(1);
                        } else if kind("left") || kind("lost") {
                            return Err(Failure(String::from_utf8_lossy(object).into_owned()));
                        }
                    }
                }
                _ => awaited -= 1,
            }
        }
        Ok(wire)
    }

    /// The rooms of the idle measure.
    pub(crate) fn three_rooms(index: usize) -> Vec<String> {
        vec![
            "alerts/tenant:bench".to_owned(),
            format!("default/group:{}", index % 100),
            format!("default/user:u{index}"),
        ]
    }

    /// A message to a room, framed; about 200 bytes of data. `n` counts from 1 per connection.
    pub(crate) fn publish(self, room: &str, n: u64, lanes: u64, out: &mut Vec<u8>) {
        let fill = "x".repeat(180);
        match self {
            Self::Limit | Self::Axum => {
                wire::frame(&format!("P{room} {{\"n\":{n},\"x\":\"{fill}\"}}"), out)
            }
            Self::SocketIo => {
                wire::frame(&format!("42[\"pub\",\"{room}\",{{\"n\":{n},\"x\":\"{fill}\"}}]"), out);
            }
            Self::Wardline => {
                let (lane, n) = ((n - 1) % lanes, (n - 1) / lanes + 1);
                let base = if n == 1 { ",\"base\":0" } else { "" };
                wire::frame(
                    &format!(
                        "{{\"type\":\"send\",\"lane\":{lane},\"n\":{n},\"id\":\"{:032x}\"{base},\"room\":\"{room}\",\
                         \"event\":\"m\",\"persist\":true,\"data\":{{\"n\":{n},\"x\":\"{fill}\"}}}}",
                        u128::from(n) << 8 | u128::from(lane),
                    ),
                    out,
                );
            }
        }
    }

    /// A message that is only answered, framed.
    pub(crate) fn ask(self, room: &str, n: u64, out: &mut Vec<u8>) {
        let fill = "x".repeat(180);
        match self {
            Self::Limit | Self::Axum => {
                wire::frame(&format!("E{{\"n\":{n},\"x\":\"{fill}\"}}"), out)
            }
            Self::SocketIo => {
                wire::frame(&format!("420[\"ask\",{{\"n\":{n},\"x\":\"{fill}\"}}]"), out)
            }
            Self::Wardline => self.publish(room, n, 1, out),
        }
    }

    /// How many deliveries a text frame holds.
    pub(crate) fn deliveries(self, text: &[u8]) -> u64 {
        match self {
            Self::Limit | Self::Axum => u64::from(text.starts_with(b"D")),
            Self::SocketIo => u64::from(text.starts_with(b"42[\"m\"")),
            Self::Wardline => count(text, b"{\"type\":\"event\""),
        }
    }

    /// How many answers to [`Self::ask`] a text frame holds.
    pub(crate) fn answers(self, text: &[u8]) -> u64 {
        match self {
            Self::Limit | Self::Axum => u64::from(text.starts_with(b"E")),
            Self::SocketIo => u64::from(text.starts_with(b"43")),
            Self::Wardline => count(text, b"{\"type\":\"ok\""),
        }
    }

    /// What the protocol owes the server for a frame: credit and pongs.
    pub(crate) fn owed(self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::SocketIo if text == b"2" => wire::frame("3", out),
            Self::Wardline if !text.starts_with(b"{\"type\":\"event\"") => {
                for object in text.split(|byte| *byte == b'\n') {
                    if object.starts_with(b"{\"type\":\"page\"") {
                        if let Ok(mut page) = serde_json::from_slice::<serde_json::Value>(object) {
                            page["type"] = "credit".into();
                            wire::frame(&page.to_string(), out);
                        }
                    } else if object.starts_with(b"{\"type\":\"ping\"") {
                        wire::frame("{\"type\":\"pong\"}", out);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Objects of one text frame that begin with `start`.
fn count(text: &[u8], start: &[u8]) -> u64 {
    if !text.contains(&b'\n') {
        return u64::from(text.starts_with(start));
    }
    let objects = text.split(|byte| *byte == b'\n');
    objects.map(|object| u64::from(object.starts_with(start))).sum()
}

async fn expect(wire: &mut Wire, fits: impl Fn(&[u8]) -> bool) -> Result<(), Failure> {
    loop {
        if fits(wire.text().await?) {
            return Ok(());
        }
    }
}

fn token(index: usize) -> Result<String, Failure> {
    let claims = json!({
        "tenantId": "bench", "userId": format!("u{index}"), "roles": ["service"], "exp": 4_000_000_000_u64,
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    Ok(jsonwebtoken::encode(&Header::default(), &claims, &key)?)
}
