//! What the server sends, handed to the part it concerns.
//!
//! Nothing a server sends panics: what is unknown or out of place is counted and passed over, what
//! breaks the framing ends the link.

use super::{
    Machine,
    connection::{Connection, Happening},
    io::{ApiEvent, Generation, Output},
    loss::Loss,
};
use crate::{
    protocol::{
        ServerFrame,
        close::{self, CloseClass},
        codec,
        frames::{Left, Ping, Pong},
        limits::CLIENT_OBJECT_BYTES,
        media::Chunk,
    },
    time::Now,
};
use bytes::Bytes;

impl Machine {
    /// A text frame of the transport that counts.
    pub(super) fn handle_text(&mut self, text: &str, now: Now) {
        let generation = self.connection.generation();
        self.handle_life(now);
        for object in codec::objects(text) {
            if object.len() > CLIENT_OBJECT_BYTES {
                return self.break_off(close::TOO_BIG, "an object is larger than 2 MiB", now);
            }
            match ServerFrame::decode(object) {
                Ok(frame) => self.handle_frame(frame, now),
                Err(error) => return self.break_off(close::BAD_FRAME, &error.words(), now),
            }
            if self.connection.generation() != generation {
                return;
            }
        }
    }

    /// A binary message of the transport that counts.
    pub(super) fn handle_binary(&mut self, message: &Bytes, now: Now) {
        self.handle_life(now);
        match Chunk::decode(message) {
            Ok(chunk) if self.connection.session().is_some() && self.media.knows(&chunk) => {
                self.output.push_back(Output::Event(ApiEvent::Media(chunk)));
            }
            Ok(_) | Err(_) => self.ignored += 1,
        }
    }

    fn handle_life(&mut self, now: Now) {
        if let Some(link) = self.connection.link_mut() {
            link.heartbeat.handle_frame(now.mono);
        }
    }

    fn break_off(&mut self, code: u16, text: &str, now: Now) {
        let text = self.tokens.scrub(text);
        let mut loss = Loss::own(CloseClass::RetryAtCap, code, &text);
        loss.died = true;
        self.advance(Happening::Lost(loss), now);
    }

    fn handle_frame(&mut self, frame: ServerFrame, now: Now) {
        match (&self.connection, frame) {
            (Connection::Opening(_), ServerFrame::Welcome(welcome)) => {
                self.advance(Happening::Welcomed(Box::new(welcome)), now);
            }
            (Connection::Opening(_) | Connection::Welcomed(..), ServerFrame::Drain(drain)) => {
                self.handle_drain(&drain, now);
            }
            (Connection::Opening(_), ServerFrame::Ping(_)) => self.write_pong(),
            (Connection::Opening(_), ServerFrame::Pong(_)) => {}
            (Connection::Welcomed(..), frame) => self.handle_welcomed(frame, now),
            _ => self.ignored += 1,
        }
    }

    fn handle_welcomed(&mut self, frame: ServerFrame, now: Now) {
        // The outcomes come first behind `welcome`: anything else says that they are complete.
        if !matches!(frame, ServerFrame::Accepted(_) | ServerFrame::Refused(_)) {
            self.outbox.handle_settled(now);
        }
        match frame {
            ServerFrame::Accepted(frame) => self.outbox.handle_accepted(frame, now),
            ServerFrame::Refused(frame) => self.outbox.handle_refused(frame, now),
            ServerFrame::Hold(frame) => self.outbox.handle_hold(frame, now),
            ServerFrame::Joined(frame) => self.rooms.handle_joined(frame, now),
            ServerFrame::Lost(frame) => self.rooms.handle_lost(frame, now),
            ServerFrame::Left(frame) => self.handle_left(frame, now),
            ServerFrame::Live(frame) => self.rooms.handle_live(&frame, now),
            ServerFrame::Page(frame) => self.rooms.handle_page(frame, now),
            ServerFrame::Event(frame) => self.rooms.handle_event(frame, now),
            ServerFrame::Authorized(frame) => {
                self.tokens.handle_taken();
                let expires = self.schedule_refresh(frame.expires_in, now);
                if let Connection::Welcomed(_, session) = &mut self.connection {
                    session.expires = expires;
                }
                self.rooms.handle_authorized(now);
            }
            ServerFrame::Reply(reply) => {
                self.ignored += u64::from(!self.calls.handle_reply(reply));
            }
            ServerFrame::Result(result) => self.calls.handle_result(result),
            ServerFrame::Presence(frame) => {
                let watchers = self.rooms.watchers(&frame.room);
                self.presence.handle_frame(frame, &watchers, now.mono);
            }
            ServerFrame::Stream(stream) => {
                if self.media.handle_stream(&stream) {
                    self.output.push_back(Output::Event(ApiEvent::Stream(stream)));
                } else {
                    self.ignored += 1;
                }
            }
            ServerFrame::Demand(demand) => {
                self.output.push_back(Output::Event(ApiEvent::Demand(demand)));
            }
            ServerFrame::Ping(Ping { heads }) => {
                self.rooms.handle_heads(&heads, now);
                self.write_pong();
            }
            ServerFrame::Pong(_) => {}
            ServerFrame::Drain(_) | ServerFrame::Welcome(_) | ServerFrame::Unknown { .. } => {
                self.ignored += 1;
            }
        }
    }

    fn handle_left(&mut self, frame: Left, now: Now) {
        let room = frame.room.clone();
        self.rooms.handle_left(frame, now);
        if !self.rooms.joined().any(|joined| joined.as_str() == room) {
            for stream in self.media.handle_left(&room) {
                self.output.push_back(Output::Event(ApiEvent::Stream(stream)));
            }
        }
        self.forget_unwatched();
    }

    /// Forgets the mirrors of rooms that no subscription watches.
    pub(super) fn forget_unwatched(&mut self) {
        let rooms = &self.rooms;
        self.presence.retain(|room| !rooms.watchers(room.as_str()).is_empty());
    }

    fn write_pong(&mut self) {
        self.write(Pong {}.encode());
    }

    /// Whether a transport's reports count (P-C5).
    pub(super) fn is_current(&self, generation: Generation) -> bool {
        self.connection.generation() == Some(generation)
            || crate::planted::planted(crate::planted::Bug::StaleGeneration)
    }
}
