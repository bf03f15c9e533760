//! An attempt: store, token, dial, `hello`, `welcome` (P-C1, P-C2).

use super::{
    Machine,
    backoff::SETTLED_AFTER,
    connection::{Connection, Link, Session},
    intent::Intent,
    io::{ApiEvent, Config, Generation, Output, Owner, Reason, ReplyValue, Status},
    loss::Loss,
    probe::{Heartbeat, LIVED_AFTER},
    timers::Timer,
    tokens::Purpose,
};
use crate::{
    planted::{Bug, planted},
    protocol::{
        close::{self, CloseClass},
        frames::{Auth, Hello, SetStatus, Welcome},
        limits::{HELLO_BYTES, PATH},
    },
    time::Now,
};
use std::time::Duration;

/// The host gives a dial up after 20 s; one that does not say so is given up here.
const DIAL_WITHIN: Duration = Duration::from_secs(25);

/// A provider that takes longer is asked again with the next attempt.
const TOKEN_WITHIN: Duration = Duration::from_secs(30);

impl Machine {
    /// An attempt from the start: store, token, dial.
    pub(super) fn begin(&mut self, now: Now) {
        if !self.outbox.is_ready() {
            self.connection = Connection::Loading;
        } else if self.tokens.is_spent() && self.tokens.has_provider() {
            self.fetch_token(Purpose::Attempt, now);
            self.connection = Connection::Fetching;
        } else {
            self.attempt(now);
        }
    }

    /// An attempt with the token that is there.
    pub(super) fn attempt(&mut self, now: Now) {
        if !self.outbox.is_ready() {
            self.connection = Connection::Loading;
        } else if self.tokens.current().is_some() {
            if planted(Bug::ResetBackoffEarly) {
                self.backoff.reset();
            }
            self.generation += 1;
            let generation = Generation(self.generation);
            self.connection = Connection::Dialing { generation };
            self.timers.set(Timer::Dial, now.mono + DIAL_WITHIN);
            self.output.push_back(Output::Dial(generation, dial_url(&self.config.url)));
        } else if self.tokens.has_provider() {
            self.fetch_token(Purpose::Attempt, now);
            self.connection = Connection::Fetching;
        } else {
            self.wait_for_token(close::TOKEN_MISSING, "no token was set");
        }
    }

    /// `hello`, and the joins in the same flight (P-C1).
    pub(super) fn open(&mut self, generation: Generation, now: Now) {
        self.timers.stop(Timer::Dial);
        self.timers.set(Timer::Lived, now.mono + LIVED_AFTER);
        let token = self.tokens.current().cloned();
        let hidden = self.presence.is_hidden();
        let (producer, lanes) = self.outbox.hello();
        let hello = Hello {
            token: token.clone(),
            producer,
            lanes,
            features: Vec::new(),
            client: self.config.client.clone(),
            hidden,
        };
        let heartbeat = Heartbeat::new(self.leniency, now.mono);
        self.connection = Connection::Opening(Link { generation, heartbeat, token, hidden });
        let hello = hello.encode();
        if hello.len() > HELLO_BYTES {
            let text = "the token and the client's description are larger than hello may be";
            let loss = Loss::own(CloseClass::Stop, close::BAD_FRAME, text);
            return self.lose(&loss, now);
        }
        self.write(hello);
        // The server refuses a larger first frame unread: joins go in frames of their own.
        self.flush_flight();
        for join in self.rooms.joins_for_hello(now) {
            self.write(join.encode());
        }
        // A limit for the answer to hello is the probe of P-C4.
    }

    /// Takes `welcome`: whose connection this is, and what follows from that.
    pub(super) fn greet(&mut self, welcome: Welcome, now: Now) {
        let owner = Owner {
            server: server_of(&self.config.url),
            tenant: welcome.tenant.clone(),
            user: welcome.user.clone(),
        };
        self.tokens.handle_taken();
        if !self.outbox.handle_welcome(owner.clone(), welcome.accepted, &welcome.limits, now) {
            // Nothing of this outbox travels under another owner's token (P-S1a). The rooms stay if
            // they were never the other owner's: so at the start, or behind a close 4203.
            let text = "the token names another owner than the outbox";
            let mut loss = Loss::own(CloseClass::Retry, close::SHUTDOWN, text);
            loss.again = true;
            if self.welcomed_as.as_ref().is_some_and(|known| *known != owner) {
                loss.class = CloseClass::OwnerChanged;
            }
            self.lose(&loss, now);
            self.rooms.handle_store_changed(now);
            return;
        }
        self.welcomed_as = Some(owner);
        if !self.rooms.is_loaded() && self.outbox.is_loaded() {
            // The token named another owner and now names this one again.
            self.output.push_back(Output::Load(self.outbox.owner().cloned()));
        }
        let Connection::Opening(link) = std::mem::replace(&mut self.connection, Connection::Idle)
        else {
            return;
        };
        let expires = self.schedule_refresh(welcome.expires_in, now);
        let (carried, was_hidden) = (link.token.clone(), link.hidden);
        self.connection = Connection::Welcomed(link, Session { limits: welcome.limits, expires });
        self.timers.set(Timer::Settled, now.mono + SETTLED_AFTER);

        self.tell(Status::Connected, Reason { code: 0, text: "welcome".into() }, None);
        self.output.push_back(Output::Event(ApiEvent::Established {
            connection: welcome.connection,
            tenant: welcome.tenant,
            user: welcome.user,
            limits: welcome.limits,
        }));
        if let Intent::Up { calls, welcomed } = &mut self.intent {
            *welcomed = true;
            for call in std::mem::take(calls) {
                self.output.push_back(Output::Reply(call, Ok(ReplyValue::Done)));
            }
        }

        // What changed while hello was under way, and what each connection is told anew.
        if self.tokens.current() != carried.as_ref() {
            self.write_auth();
        }
        if let Some(status) = self.presence.retold() {
            self.write(status.encode());
        }
        if self.presence.is_hidden() != was_hidden {
            let hidden = Some(!was_hidden);
            let status = SetStatus { hidden, ..SetStatus::default() };
            self.write(status.encode());
        }
        for stream in self.media.handle_welcome() {
            self.write(stream.encode());
        }
        self.calls.handle_welcome(now.mono);
    }

    pub(super) fn fetch_token(&mut self, purpose: Purpose, now: Now) {
        if self.tokens.ask(purpose) {
            self.timers.set(Timer::Token, now.mono + TOKEN_WITHIN);
            self.output.push_back(Output::FetchToken);
        }
    }

    /// Writes `auth` with the token that is there.
    pub(super) fn write_auth(&mut self) {
        let Some(token) = self.tokens.current().cloned() else { return };
        if let Some(link) = self.connection.link_mut() {
            link.token = Some(token.clone());
            self.write(Auth { token }.encode());
        }
    }
}

/// The url with the default path where it has none.
fn dial_url(url: &str) -> String {
    let host = without_scheme(url).unwrap_or(url);
    let end = host.bytes().position(|byte| b"/?#".contains(&byte)).unwrap_or(host.len());
    let (host, tail) = url.split_at(url.len() - host.len() + end);
    match tail.strip_prefix('/').unwrap_or(tail) {
        query if query.is_empty() || query.starts_with(['?', '#']) => [host, PATH, query].concat(),
        _ => url.to_owned(),
    }
}

/// The server an outbox belongs to: the url without its query, which may hold secrets.
fn server_of(url: &str) -> String {
    let mut url = dial_url(url);
    let end = url.bytes().position(|byte| b"?#".contains(&byte)).unwrap_or(url.len());
    url.truncate(end);
    url
}

/// What follows the scheme.
fn without_scheme(url: &str) -> Option<&str> {
    ["ws://", "wss://"].iter().find_map(|scheme| url.strip_prefix(scheme))
}

/// Whether the configuration can be used; the text says what is wrong.
pub(super) fn check(config: &Config) -> Result<(), String> {
    match without_scheme(&config.url) {
        None => Err("the url does not begin with ws:// or wss://".into()),
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => {
            Err("the url names no host".into())
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_one() {
        for (url, dialled) in [
            ("ws://host", "ws://host/wardline"),
            ("ws://host:9001/", "ws://host:9001/wardline"),
            ("wss://host?x=1", "wss://host/wardline?x=1"),
            ("wss://host/?x=1", "wss://host/wardline?x=1"),
            ("wss://host/live", "wss://host/live"),
        ] {
            assert_eq!(dial_url(url), dialled);
        }
        assert_eq!(server_of("wss://host?token=s3cret"), "wss://host/wardline");
    }
}
