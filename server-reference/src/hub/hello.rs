//! From `hello` to `welcome`, and new tokens in place (P-C1, P-C2, P-C6).

use super::{
    AuthError, ConnId, Hook, Hub, Output, Principal, Waiting,
    connections::{Greeting, Session, State},
    rooms::Members,
    sends::{Lane, MOST},
};
use crate::log::{Outcome, ProducerKey, Record, Request, Ticket, Unavailable};
use std::{array, collections::VecDeque, mem, sync::Arc, time::Duration};
use wardline::{
    model::ids::ConnectionId,
    protocol::{
        ClientFrame,
        address::PUBLIC_TENANT,
        close,
        codec::BadFrame,
        frames::{Accepted, Auth, Authorized, Hello, Refused, Welcome},
        limits::{HELLO_BYTES, LANES},
    },
};

/// Time for the edge to verify a token, and for the log to tell a record.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// Bytes kept unread behind `hello`. Joins of as many rooms as a connection may have fit well.
const BEHIND_HELLO: usize = 512 * 1024;

impl Hub {
    /// Text that came before `welcome`.
    pub(super) fn handle_early_text(&mut self, conn: ConnId, text: String) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        match &mut connection.state {
            State::Awaiting { .. } => self.handle_first_text(conn, text),
            State::Verifying(greeting) | State::Settling(greeting, ..) => {
                greeting.bytes += text.len();
                if greeting.bytes > BEHIND_HELLO {
                    self.close(conn, close::TOO_BIG, "too much before welcome");
                } else {
                    greeting.behind.push(text);
                }
            }
            State::Ready(_) => {}
        }
    }

    fn handle_first_text(&mut self, conn: ConnId, mut text: String) {
        let end = text.find('\n').unwrap_or(text.len());
        let first = text[..end].trim_end_matches('\r');
        if first.len() > HELLO_BYTES {
            self.close(conn, close::TOO_BIG, "hello is larger than 16 KiB");
            return;
        }
        match ClientFrame::decode(first) {
            Ok(ClientFrame::Hello(hello)) => {
                text.drain(..(end + 1).min(text.len()));
                self.handle_hello(conn, hello, text);
            }
            Ok(_) => self.close(conn, close::HELLO_TWICE, "the first frame must be hello"),
            Err(BadFrame(_)) => self.close_bad_frame(conn),
        }
    }

    fn handle_hello(&mut self, conn: ConnId, mut hello: Hello, behind: String) {
        if hello.lanes.iter().any(|(lane, done)| *lane >= LANES || *done > MOST) {
            let reason = "hello: lanes 0 to 7, each at most 2^53 - 1";
            self.close(conn, close::BAD_FRAME, reason);
            return;
        }
        let until = self.now.mono + SETTLE_WITHIN;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let State::Awaiting { token: header } = &mut connection.state else { return };
        let Some(token) = hello.token.take().or_else(|| header.take()) else {
            self.close_unauthorized(conn, AuthError::Missing);
            return;
        };
        let bytes = behind.len();
        let behind = if behind.is_empty() { Vec::new() } else { vec![behind] };
        connection.state = State::Verifying(Box::new(Greeting { hello, behind, bytes, until }));
        self.outputs.push_back(Output::Verify(conn, token));
        self.rearm(conn);
    }

    /// Whether nothing more of this connection needs to be read until its token is verified
    /// (P-C1).
    #[must_use]
    pub fn is_settling(&self, conn: ConnId) -> bool {
        self.connections.get(conn).is_some_and(|connection| {
            matches!(connection.state, State::Verifying(_) | State::Settling(..))
        })
    }

    /// The edge verified a token.
    pub(super) fn handle_verified(&mut self, conn: ConnId, verified: Result<Principal, AuthError>) {
        let verified = match verified.and_then(|principal| self.admit(principal)) {
            Ok(principal) => match self.check_revoked(conn, principal) {
                Some(checked) => checked,
                None => return,
            },
            refused => refused,
        };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        match (&mut connection.state, verified) {
            (State::Verifying(_) | State::Ready(_), Err(error)) => {
                self.close_unauthorized(conn, error);
            }
            (State::Verifying(_), Ok(principal)) => self.settle(conn, principal),
            (State::Ready(_), Ok(principal)) => self.authorized(conn, principal),
            (State::Awaiting { .. } | State::Settling(..), _) => {}
        }
    }

    /// What holds for every token, at `hello` and at `auth` (P-C6a).
    fn admit(&self, principal: Principal) -> Result<Principal, AuthError> {
        if principal.tenant.as_str() == PUBLIC_TENANT {
            return Err(AuthError::Invalid);
        }
        if principal.expires.is_some_and(|end| end <= self.now.wall.0) {
            return Err(AuthError::Expired);
        }
        Ok(principal)
    }

    /// The token is good: take over from an older connection of the same outbox, and ask for the
    /// producer's record.
    fn settle(&mut self, conn: ConnId, principal: Principal) {
        let Some(connection) = self.connections.get(conn) else { return };
        let State::Verifying(greeting) = &connection.state else { return };
        let producer = ProducerKey {
            tenant: principal.tenant.clone(),
            user: principal.user.clone(),
            producer: greeting.hello.producer,
        };
        if let Some(older) = self.connections.by_producer.get(&producer).copied() {
            self.close(older, close::REPLACED, "a newer connection took over");
        }
        if let Err(refusal) = self.parts.connect(&principal, self.now) {
            let (code, reason) = refusal.close();
            self.close(conn, code, &reason);
            return;
        }
        self.connections.count(&principal);
        self.connections.by_producer.insert(producer.clone(), conn);
        let ticket = self.ticket(Waiting::Producer(conn));
        self.ask(Request::Producer(ticket, producer));
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let awaiting = State::Awaiting { token: None };
        if let State::Verifying(greeting) = mem::replace(&mut connection.state, awaiting) {
            connection.state = State::Settling(greeting, Arc::new(principal), ticket);
        }
    }

    /// The log tells a producer's record (P-S6).
    pub(super) fn handle_producer(
        &mut self,
        ticket: Ticket,
        conn: ConnId,
        record: Result<Record, Unavailable>,
    ) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if !matches!(&connection.state, State::Settling(.., asked) if *asked == ticket) {
            return;
        }
        let Ok(record) = record else {
            let after = Duration::from_secs(1);
            self.close_after(conn, close::OVERLOADED, after, "the log cannot answer");
            return;
        };
        let awaiting = State::Awaiting { token: None };
        if let State::Settling(greeting, principal, _) =
            mem::replace(&mut connection.state, awaiting)
        {
            self.welcome(conn, *greeting, principal, record);
        }
    }

    fn welcome(
        &mut self,
        conn: ConnId,
        greeting: Greeting,
        principal: Arc<Principal>,
        record: Record,
    ) {
        let Greeting { hello, behind, .. } = greeting;
        let accepted_of =
            |lane: u8| record.accepted.as_ref().and_then(|lanes| lanes.get(&lane)).copied();
        let lanes = array::from_fn(|lane| {
            let lane = u8::try_from(lane).unwrap_or_default();
            Lane::new(accepted_of(lane).unwrap_or_default())
        });
        let welcome = Welcome {
            connection: ConnectionId::from(format!("{:016x}", self.rng.u64(..))),
            tenant: principal.tenant.clone(),
            user: principal.user.clone(),
            accepted: record.accepted.clone(),
            ping: u64::try_from(self.config.ping.as_millis()).unwrap_or(u64::MAX),
            expires_in: self.expires_in(&principal),
            time: self.now.wall.0,
            limits: self.config.limits,
            features: self.config.features.clone(),
        };
        let session = Session {
            producer: ProducerKey {
                tenant: principal.tenant.clone(),
                user: principal.user.clone(),
                producer: hello.producer,
            },
            principal: Arc::clone(&principal),
            lanes,
            members: Members::default(),
            answers: VecDeque::new(),
            next_answer: 0,
            joins: 0,
            queue: VecDeque::new(),
            reading: None,
            calls: 0,
            unsent: 0,
            over: 0,
            hidden: hello.hidden,
            auth: None,
            ping: self.now.mono + self.config.ping,
            lost: Vec::new(),
            unknown: 0,
        };
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.state = State::Ready(Box::new(session));
        }
        self.write(conn, &welcome.into());
        for (lane, n, id, outcome) in record.outcomes {
            let done = hello.lanes.get(&lane).copied().unwrap_or_default();
            if n > done && accepted_of(lane).is_some_and(|accepted| n <= accepted) {
                self.write_outcome(conn, (lane, n, id), outcome);
            }
        }
        self.parts.welcomed(conn, &principal, hello.hidden, self.now);
        self.hook(Hook::Connected(conn, principal));
        self.rearm(conn);
        for text in behind {
            self.handle_text(conn, text);
        }
    }

    /// Tells what became of an item (P-S3).
    pub(super) fn write_outcome(
        &mut self,
        conn: ConnId,
        (lane, n, id): (u8, u64, wardline::model::ids::ItemId),
        outcome: Outcome,
    ) {
        match outcome {
            Outcome::Accepted(seqs) => {
                let seq = seqs.first();
                self.write(conn, &Accepted { lane, n, id, seq }.into());
            }
            Outcome::Refused(code, message) => {
                self.write(conn, &Refused { lane, n, id, code, message }.into());
            }
        }
    }

    /// `auth` (P-C6).
    pub(super) fn handle_auth(&mut self, conn: ConnId, Auth { token }: Auth) {
        let Some(session) = self.session_mut(conn) else { return };
        match &mut session.auth {
            Some(next) => *next = Some(token),
            none => {
                *none = Some(None);
                self.outputs.push_back(Output::Verify(conn, token));
            }
        }
    }

    /// A new token is good: every membership is asked about again in this very turn.
    fn authorized(&mut self, conn: ConnId, principal: Principal) {
        let Some(session) = self.session_mut(conn) else { return };
        let Some(next) = session.auth.take() else { return };
        let old = &session.principal;
        if (&old.tenant, &old.user) != (&principal.tenant, &principal.user) {
            self.close(conn, close::OWNER_CHANGED, "the token names another owner");
            return;
        }
        session.principal = Arc::new(principal.clone());
        let expires_in = self.expires_in(&principal);
        self.write(conn, &Authorized { expires_in }.into());
        self.reevaluate(conn);
        self.reevaluate_commands(conn);
        self.rearm(conn);
        if let Some(token) = next {
            self.handle_auth(conn, Auth { token });
        }
    }

    fn expires_in(&self, principal: &Principal) -> Option<u64> {
        principal.expires.map(|end| end.saturating_sub(self.now.wall.0))
    }
}
