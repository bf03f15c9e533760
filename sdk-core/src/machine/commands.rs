//! What the application asks, handed to the part it concerns.

use super::{
    Machine,
    connection::Connection,
    intent::Intent,
    io::{CallId, Command, Error, NewItem, Output, ReplyValue, Signal},
};
use crate::{
    protocol::{
        Code, Json, Limits,
        frames::{Answer, Cast},
        limits::{COMMAND_TTL, RESULT_BYTES},
        media::Chunk,
        wire::words,
    },
    time::Now,
};

/// Unsent bytes past which what is not queued is refused.
const CAST_BYTES: usize = 256 * 1024;

impl Machine {
    pub(super) fn handle_command(&mut self, command: Command, now: Now) {
        match command {
            Command::Connect(call) => self.connect(call, now),
            Command::Disconnect(call) => self.disconnect(call, now),
            Command::SetToken(token) => self.set_token(token, now),
            Command::Submit(call, item) => self.submit(call, item, now),
            Command::Cancel(call, id) => self.outbox.handle_cancel(call, id, now),
            Command::Resume(call, lane) => {
                self.outbox.handle_resume(lane, now);
                self.reply(call, Ok(()));
            }
            Command::Subscribe(call, sub, room, subscribe) => {
                let watch = subscribe.watch;
                self.rooms.handle_subscribe(call, sub, room.clone(), subscribe, now);
                if watch {
                    self.drain_rooms(now);
                    let watchers = self.rooms.watchers(room.as_str());
                    self.presence.tell(&room, &watchers);
                }
            }
            Command::Unsubscribe(call, sub) => {
                self.rooms.handle_unsubscribe(call, sub, now);
                self.forget_unwatched();
            }
            Command::Done(sub, seq) => self.rooms.handle_done(sub, seq, now),
            Command::Snapshot(sub, result) => self.rooms.handle_snapshot(sub, result, now),
            Command::Cast(call, cast) => {
                let result = self.cast(cast);
                self.reply(call, result);
            }
            Command::Query(call, method, params) => self.query(call, method, params, now),
            Command::SetStatus(call, status, meta) => {
                let result = self.presence.handle_set_status(status, meta);
                let result = result.map(|frame| {
                    if self.connection.session().is_some() {
                        self.write(frame.encode());
                    }
                });
                self.reply(call, result);
            }
            Command::Answer(call, answer) => {
                let result = self.answer(answer);
                self.reply(call, result);
            }
            Command::Stream(call, stream) => {
                let result = self.media.handle_announce(stream.clone());
                let result = result.map(|()| {
                    if self.connection.session().is_some() {
                        self.write(stream.encode());
                    }
                });
                self.reply(call, result);
            }
            Command::Media(chunk) => self.send_chunk(&chunk),
            Command::Seen(seen) => {
                if self.connection.session().is_some() {
                    self.write(seen.encode());
                }
            }
        }
    }

    pub(super) fn handle_signal(&mut self, signal: Signal, now: Now) {
        match signal {
            // Never believed alone (P-C4).
            Signal::Offline => {}
            Signal::Online | Signal::Woke | Signal::NetworkChanged => {
                self.suspect(now);
                self.shorten_backoff(now);
            }
            Signal::Visible => {
                self.set_hidden(false);
                self.suspect(now);
                self.shorten_backoff(now);
            }
            Signal::Hidden => self.set_hidden(true),
            Signal::Suspending => self.rooms.handle_suspending(now),
        }
    }

    fn set_hidden(&mut self, hidden: bool) {
        if let Some(frame) = self.presence.handle_hidden(hidden)
            && self.connection.session().is_some()
        {
            self.write(frame.encode());
        }
    }

    fn submit(&mut self, call: CallId, mut item: NewItem, now: Now) {
        if item.command {
            item.ttl.get_or_insert(COMMAND_TTL);
            if !self.calls.expect_result(item.id) {
                let text = "too many commands wait for their results".into();
                return self.reply(call, Err(Error { code: Code::QUEUE_FULL, text }));
            }
            self.submitting.insert(call, item.id);
        }
        self.outbox.handle_submit(call, item, now);
    }

    fn query(&mut self, call: CallId, method: String, params: Json, now: Now) {
        let code = match (&self.intent, &self.connection) {
            (Intent::Down, _) => Code::DISCONNECTED,
            (_, Connection::Unauthenticated) => Code::UNAUTHENTICATED,
            _ => return self.calls.handle_query(call, method, params, now.mono),
        };
        let text = "a query needs a connection, or one in the making".into();
        self.reply(call, Err(Error { code, text }));
    }

    fn cast(&mut self, cast: Cast) -> Result<(), Error> {
        let limits = self.limits()?;
        let text = cast.encode();
        if text.len() > limits.message {
            let text = words("larger than the server's limit of ", limits.message as u64, " bytes");
            return Err(Error { code: Code::TOO_LARGE, text });
        }
        if self.unsent() + text.len() > CAST_BYTES.max(limits.message) {
            let text = "the connection is too slow for more ephemeral messages".into();
            return Err(Error { code: Code::QUEUE_FULL, text });
        }
        self.write(text);
        Ok(())
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Error> {
        self.limits()?;
        if answer.result.as_ref().is_some_and(|json| json.get().len() > RESULT_BYTES) {
            let text = words("a command's result is at most ", RESULT_BYTES as u64, " bytes");
            return Err(Error { code: Code::TOO_LARGE, text });
        }
        self.write(answer.encode());
        Ok(())
    }

    fn limits(&self) -> Result<Limits, Error> {
        let session = self.connection.session();
        session.map(|session| session.limits).ok_or_else(|| {
            let text = "this call does not wait for a connection".into();
            Error { code: Code::DISCONNECTED, text }
        })
    }

    fn send_chunk(&mut self, chunk: &Chunk) {
        let (connected, unsent) = (self.connection.session().is_some(), self.unsent());
        if self.media.takes(chunk, connected, unsent)
            && let Some(link) = self.connection.link_mut()
        {
            let (generation, bytes) = (link.generation, chunk.encode());
            link.heartbeat.handle_written(bytes.len());
            // What announces the stream goes first.
            self.flush_flight();
            self.output.push_back(Output::Binary(generation, bytes));
        }
    }

    pub(super) fn reply(&mut self, call: CallId, result: Result<(), Error>) {
        self.output.push_back(Output::Reply(call, result.map(|()| ReplyValue::Done)));
    }
}
