//! Connections: what each state owns, and who is connected.

use super::numbers::NumberMap;
use super::{
    AuthError, ConnId, Hook, Hub, Input, Opened, Output, Principal, To,
    rooms::{Answer, Members, RoomId},
    sends::Lane,
    timers::Timer,
};
use crate::log::{ProducerKey, RoomKey, Ticket};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use wardline::{
    model::ids::TenantId,
    protocol::{
        ServerFrame, Token, close,
        frames::Hello,
        limits::{BEHIND_BYTES, HELLO_WITHIN, LANES, REPLAY_BYTES},
    },
    time::Instant,
};

/// Bytes the hub writes to a connection that does not read, before it closes it.
const OVER_BYTES: usize = 1024 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// When anything was last heard of it, or written to it with success (P-C3).
    pub(super) heard: Instant,
    /// How far it is.
    pub(super) state: State,
}

/// How far a connection is.
///
/// ```text
/// Awaiting ──hello──▶ Verifying ──verified──▶ Settling ──record──▶ Ready
/// ```
#[derive(Debug)]
pub(super) enum State {
    /// `hello` is awaited.
    Awaiting {
        /// From the `Authorization` header.
        token: Option<Token>,
    },
    /// The token is being verified.
    Verifying(Box<Greeting>),
    /// The log is asked for the producer's record.
    Settling(Box<Greeting>, Arc<Principal>, Ticket),
    /// Welcomed.
    Ready(Box<Session>),
}

/// What came before `welcome`.
#[derive(Debug)]
pub(super) struct Greeting {
    /// The first frame.
    pub(super) hello: Hello,
    /// What came behind it, unread.
    pub(super) behind: Vec<String>,
    /// Bytes of it.
    pub(super) bytes: usize,
    /// When this state must have ended.
    pub(super) until: Instant,
}

/// A welcomed connection.
#[derive(Debug)]
pub(super) struct Session {
    /// Who the token speaks for.
    pub(super) principal: Arc<Principal>,
    /// The outbox.
    pub(super) producer: ProducerKey,
    /// The lanes of the outbox, as this connection sees them.
    pub(super) lanes: [Lane; LANES as usize],
    /// Memberships.
    pub(super) members: Members,
    /// Answers to joins and leaves, in the order of the questions.
    pub(super) answers: VecDeque<Answer>,
    /// The number of the newest of these.
    pub(super) next_answer: u64,
    /// Joins among them.
    pub(super) joins: usize,
    /// Rooms with something to replay, in turn.
    pub(super) queue: VecDeque<RoomId>,
    /// The page under way.
    pub(super) reading: Option<Ticket>,
    /// Calls under way.
    pub(super) calls: usize,
    /// Bytes the edge holds for it.
    pub(super) unsent: usize,
    /// Bytes written although it is behind.
    pub(super) over: usize,
    /// No one can see this client (P-C3).
    pub(super) hidden: bool,
    /// A token is being verified; with the one that came after it.
    pub(super) auth: Option<Option<Token>>,
    /// The next ping.
    pub(super) ping: Instant,
    /// Rooms whose membership was lost and did not begin again: presence in them goes on (P-R6).
    pub(super) lost: Vec<RoomKey>,
    /// Types this version does not know (P-F2).
    pub(super) unknown: u64,
}

impl Session {
    /// Steps the log has not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.lanes.iter().map(|lane| lane.in_flight).sum()
    }
}

/// The connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    by_id: NumberMap<ConnId, Connection>,
    /// The newest connection of each outbox.
    pub(super) by_producer: HashMap<ProducerKey, ConnId>,
    tenants: BTreeMap<TenantId, usize>,
    ready: usize,
}

impl Connections {
    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn session(&self, id: ConnId) -> Option<&Session> {
        match &self.by_id.get(&id)?.state {
            State::Ready(session) => Some(session),
            _ => None,
        }
    }

    pub(super) fn session_mut(&mut self, id: ConnId) -> Option<&mut Session> {
        match &mut self.by_id.get_mut(&id)?.state {
            State::Ready(session) => Some(session),
            _ => None,
        }
    }

    /// All of them, in order.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Welcomed connections.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Connections by tenant.
    pub(super) fn by_tenant(&self) -> BTreeMap<TenantId, usize> {
        self.tenants.clone()
    }

    /// Counts a connection whose token is good.
    pub(super) fn count(&mut self, principal: &Principal) {
        self.ready += 1;
        *self.tenants.entry(principal.tenant.clone()).or_default() += 1;
    }

    fn uncount(&mut self, principal: &Principal) {
        self.ready -= 1;
        if let Some(connections) = self.tenants.get_mut(&principal.tenant) {
            *connections -= 1;
            if *connections == 0 {
                self.tenants.remove(&principal.tenant);
            }
        }
    }
}

impl Hub {
    /// Something of a connection.
    pub(super) fn handle_connection(&mut self, conn: ConnId, input: Input) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.heard = self.now.mono;
        }
        match input {
            Input::Open(_, opened) => self.handle_open(conn, opened),
            Input::Text(_, text) => self.handle_text(conn, text),
            Input::Binary(_, message) => self.handle_binary(conn, &message),
            Input::Closed(_, code) => self.forget(conn, code.unwrap_or(1006)),
            _ => {}
        }
    }

    fn handle_open(&mut self, conn: ConnId, Opened { token, .. }: Opened) {
        if self.drain.is_some() {
            self.outputs.push_back(Output::Close(conn, close::SHUTDOWN, "draining".to_owned()));
            return;
        }
        let heard = self.now.mono;
        let state = State::Awaiting { token };
        self.connections.by_id.insert(conn, Connection { heard, state });
        self.timers.arm(Timer::Connection(conn), heard + HELLO_WITHIN);
    }

    /// The edge tells how much it holds for a connection (P-R4, P-R5).
    pub(super) fn handle_unsent(&mut self, conn: ConnId, unsent: usize) {
        let Some(session) = self.session_mut(conn) else { return };
        session.unsent = unsent;
        if unsent <= BEHIND_BYTES {
            session.over = 0;
        } else {
            let rooms: Vec<_> = session.members.rooms().collect();
            for room in rooms {
                self.fall_behind(conn, room);
            }
        }
        if unsent < REPLAY_BYTES {
            self.enqueue_all(conn);
            self.pump(conn);
        }
    }

    /// Borrows a welcomed connection.
    pub(super) fn session(&self, conn: ConnId) -> Option<&Session> {
        self.connections.session(conn)
    }

    /// Borrows a welcomed connection to change it.
    pub(super) fn session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.connections.session_mut(conn)
    }

    /// Writes a frame to one connection.
    pub(super) fn write(&mut self, conn: ConnId, frame: &ServerFrame) {
        self.write_bytes(conn, frame.encode().into());
    }

    /// Writes an encoded frame to one connection. One that does not read is closed before what
    /// is kept for it grows without bound.
    pub(super) fn write_bytes(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(session) = self.session_mut(conn) else { return };
        if session.unsent > BEHIND_BYTES {
            session.over += bytes.len();
            if session.over > OVER_BYTES {
                self.close(conn, close::SLOW, "too much unread");
                return;
            }
        }
        self.outputs.push_back(Output::Text(To::One(conn), bytes));
    }

    /// Writes the same frame to many.
    pub(super) fn write_many(&mut self, conns: Arc<Vec<ConnId>>, frame: &ServerFrame) {
        if !conns.is_empty() {
            self.outputs.push_back(Output::Text(To::Many(conns), frame.encode().into()));
        }
    }

    /// Closes a connection, and forgets it.
    pub(super) fn close(&mut self, conn: ConnId, code: u16, reason: &str) {
        if self.connections.get(conn).is_some() {
            self.outputs.push_back(Output::Close(conn, code, reason.to_owned()));
            self.forget(conn, code);
        }
    }

    /// Closes with a time to wait in the reason (P-C7).
    pub(super) fn close_after(&mut self, conn: ConnId, code: u16, after: Duration, why: &str) {
        self.close(conn, code, &format!("after={} {why}", after.as_millis()));
    }

    /// Closes for a token that does not let in; each reason has its code (P-C7).
    pub(super) fn close_unauthorized(&mut self, conn: ConnId, error: AuthError) {
        self.hook(Hook::AuthFailed(conn, error));
        let (code, reason) = match error {
            AuthError::Missing => (close::TOKEN_MISSING, "no token"),
            AuthError::Invalid => (close::TOKEN_INVALID, "the token does not verify"),
            AuthError::Expired => (close::TOKEN_EXPIRED, "the token has expired"),
            AuthError::Revoked => (close::TOKEN_REVOKED, "the token is revoked"),
            AuthError::TenantInactive => (close::TENANT_INACTIVE, "the tenant is inactive"),
            AuthError::Unavailable => (close::OVERLOADED, "after=1000 no keys to verify with"),
        };
        self.close(conn, code, reason);
    }

    fn uncount(&mut self, principal: &Principal) {
        self.connections.uncount(principal);
        self.parts.disconnect(principal);
    }

    /// A connection ended: nothing of it stays.
    fn forget(&mut self, conn: ConnId, code: u16) {
        // Before the memberships end: presence looks at how the connection did.
        self.parts.closed(conn, code, self.now);
        self.leave_all(conn);
        let Some(connection) = self.connections.by_id.remove(&conn) else { return };
        self.timers.disarm(Timer::Connection(conn));
        self.stalled.remove(&conn);
        let principal = match connection.state {
            State::Ready(session) => {
                self.uncount(&session.principal);
                if self.connections.by_producer.get(&session.producer) == Some(&conn) {
                    self.connections.by_producer.remove(&session.producer);
                }
                Some(session.principal)
            }
            State::Settling(greeting, principal, _) => {
                let producer = ProducerKey {
                    tenant: principal.tenant.clone(),
                    user: principal.user.clone(),
                    producer: greeting.hello.producer,
                };
                if self.connections.by_producer.get(&producer) == Some(&conn) {
                    self.connections.by_producer.remove(&producer);
                }
                self.uncount(&principal);
                Some(principal)
            }
            State::Awaiting { .. } | State::Verifying(_) => None,
        };
        self.hook(Hook::Disconnected(conn, principal, code));
    }
}
