//! The hub opposite a log in memory, on a clock the tests move.

mod connections;
mod handlers;
mod parts;
mod proof;
mod random;
mod rooms;
mod sends;
mod taps;

use super::*;
use crate::log::{MemoryLog, Retention};
use std::{collections::BTreeMap, time::Duration};
use wardline::{
    protocol::{Cursor, ServerFrame, Token},
    time::{Instant, UnixMillis},
};

/// A hub, its log, and what every connection was written.
struct Bench {
    hub: Hub,
    log: MemoryLog,
    now: Now,
    /// Requests the log gets only when the test says so; none: at once.
    held: Option<VecDeque<Request>>,
    written: BTreeMap<ConnId, Vec<String>>,
    closed: BTreeMap<ConnId, (u16, String)>,
    hooks: Vec<Hook>,
    published: Vec<(CallId, Published)>,
    media: Vec<(ConnId, bytes::Bytes)>,
    pictures: Vec<(media::TapId, Arc<media::Picture>)>,
    taps: Vec<(media::TapId, Result<(), Code>)>,
    /// Outputs to many, with how many.
    fan_outs: Vec<usize>,
    next: u64,
    wakes: Option<Instant>,
}

type Published = Result<Vec<Option<u64>>, wardline::protocol::frames::ErrorBody>;

const START: u64 = 1_700_000_000_000;

impl Bench {
    fn new() -> Self {
        Self::with(HubConfig::default())
    }

    fn with(config: HubConfig) -> Self {
        Self {
            hub: Hub::new(config, 1),
            log: MemoryLog::new(2, Retention::default()),
            now: Now { mono: Instant::new(Duration::from_secs(100)), wall: UnixMillis(START) },
            held: None,
            written: BTreeMap::new(),
            closed: BTreeMap::new(),
            hooks: Vec::new(),
            published: Vec::new(),
            media: Vec::new(),
            pictures: Vec::new(),
            taps: Vec::new(),
            fan_outs: Vec::new(),
            next: 0,
            wakes: None,
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.hub.handle_input(input, self.now);
            loop {
                match self.hub.poll_output() {
                    Output::Text(to, bytes) => {
                        let text = String::from_utf8(bytes.to_vec()).unwrap();
                        match to {
                            To::One(conn) => self.written.entry(conn).or_default().push(text),
                            To::Many(conns) => {
                                self.fan_outs.push(conns.len());
                                for conn in conns.iter() {
                                    self.written.entry(*conn).or_default().push(text.clone());
                                }
                            }
                        }
                    }
                    Output::Close(conn, code, reason) => {
                        self.closed.insert(conn, (code, reason));
                    }
                    Output::Verify(conn, token) => {
                        let verified = verify(&token);
                        inputs.push_back(Input::Verified(conn, verified));
                    }
                    Output::Log(request) => match &mut self.held {
                        Some(held) => held.push_back(request),
                        None => inputs.extend(
                            self.log
                                .handle_request(request, self.now.wall.0)
                                .into_iter()
                                .map(Input::Log),
                        ),
                    },
                    Output::Hook(hook) => self.hooks.push(hook),
                    Output::Published(call, result) => self.published.push((call, result)),
                    Output::Media(conn, bytes) => self.media.push((conn, bytes)),
                    Output::Picture(tap, picture) => self.pictures.push((tap, picture)),
                    Output::Tap(tap, told) => self.taps.push((tap, told)),
                    Output::Timeout(at) => {
                        self.wakes = at;
                        break;
                    }
                }
            }
            if inputs.is_empty() && self.wakes.is_some_and(|at| at <= self.now.mono) {
                inputs.push_back(Input::Timeout);
            }
        }
    }

    /// Answers what the log was asked while it was held.
    fn release(&mut self) {
        for request in self.held.take().unwrap_or_default() {
            for reply in self.log.handle_request(request, self.now.wall.0) {
                self.feed(Input::Log(reply));
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        while let Some(at) = self.wakes.filter(|at| *at <= end) {
            self.move_to(at.max(self.now.mono));
            self.feed(Input::Timeout);
        }
        self.move_to(end);
        self.feed(Input::Timeout);
    }

    fn move_to(&mut self, at: Instant) {
        let span = at.since(self.now.mono);
        self.now.mono = at;
        self.now.wall.0 += u64::try_from(span.as_millis()).unwrap();
    }

    fn open(&mut self) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        self.feed(Input::Open(conn, Opened::default()));
        conn
    }

    fn text(&mut self, conn: ConnId, text: &str) {
        self.feed(Input::Text(conn, text.to_owned()));
    }

    /// Welcomes a user of tenant 1, with a producer of its own.
    fn welcome(&mut self, token: &str) -> ConnId {
        let conn = self.open();
        let producer = conn.0;
        let hello = format!(
            r#"{{"type":"hello","token":"{token}","producer":"{producer:032x}","lanes":{{}}}}"#
        );
        self.text(conn, &hello);
        conn
    }

    /// Takes what a connection was written.
    fn take(&mut self, conn: ConnId) -> Vec<ServerFrame> {
        let texts = self.written.remove(&conn).unwrap_or_default();
        texts.iter().map(|text| ServerFrame::decode(text).unwrap()).collect()
    }

    fn kinds(&mut self, conn: ConnId) -> Vec<String> {
        self.take(conn).iter().map(|frame| frame.kind().to_owned()).collect()
    }

    fn join(&mut self, conn: ConnId, room: &str) {
        self.text(conn, &format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#));
    }

    fn send(&mut self, conn: ConnId, n: u64, room: &str) {
        let base = if n == 1 { r#""base":0,"# } else { "" };
        let id = u128::from(conn.0) << 64 | u128::from(n);
        self.text(
            conn,
            &format!(
                r#"{{"type":"send","lane":1,"n":{n},"id":"{id:032x}",{base}"room":"{room}","event":"e","persist":true,"data":{{"n":{n}}}}}"#
            ),
        );
    }

    /// What a connection was handed: numbers of the events, in order.
    fn seqs(&mut self, conn: ConnId) -> Vec<u64> {
        self.take(conn)
            .into_iter()
            .filter_map(|frame| match frame {
                ServerFrame::Event(event) => event.seq,
                _ => None,
            })
            .collect()
    }
}

/// Tokens of the tests: `tenant/user[/role…]`, `expires:MS/…`.
fn verify(token: &Token) -> Result<Principal, AuthError> {
    let mut text = token.expose();
    let mut expires = None;
    if let Some(rest) = text.strip_prefix("expires:") {
        let (at, rest) = rest.split_once('/').unwrap();
        expires = Some(at.parse().unwrap());
        text = rest;
    }
    let mut parts = text.split('/');
    let tenant = parts.next().unwrap_or_default();
    match tenant {
        "bad" => return Err(AuthError::Invalid),
        "inactive" => return Err(AuthError::TenantInactive),
        _ => {}
    }
    let user = parts.next().unwrap_or_default();
    let mut organization = None;
    let mut roles = Vec::new();
    for part in parts {
        match part.strip_prefix("org=") {
            Some(org) => organization = Some(org.into()),
            None => roles.push(part.into()),
        }
    }
    Ok(Principal {
        tenant: tenant.into(),
        user: user.into(),
        organization,
        roles,
        token_id: Some(token.expose().into()),
        issued: START - 1000,
        expires,
    })
}

fn cursor(frame: &ServerFrame) -> Cursor {
    match frame {
        ServerFrame::Joined(joined) => joined.cursor,
        ServerFrame::Live(live) => Cursor { seq: live.seq, mark: live.mark },
        ServerFrame::Event(event) => Cursor { seq: event.seq.unwrap(), mark: event.mark.unwrap() },
        other => panic!("no cursor in {other:?}"),
    }
}
