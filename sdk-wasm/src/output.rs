//! What the machine wants done, as the host reads it.

use crate::Core;
use std::time::Duration;
use wardline::{
    client::Error,
    driver::{enqueue, entries::EntryBatch},
    machine::{ApiEvent, Command, Input, Outcome, Output, ReplyValue, Status, SubId},
    protocol::{Code, frames::ErrorBody, wire::Writer},
    time::micros,
};

const fn word(status: Status) -> &'static str {
    match status {
        Status::Connecting => "connecting",
        Status::Connected => "connected",
        Status::Reconnecting => "reconnecting",
        Status::Disconnected => "disconnected",
        Status::Unauthenticated => "unauthenticated",
    }
}

pub(crate) fn ms(span: Duration) -> u64 {
    micros(span).div_ceil(1000)
}

/// The fields of an error.
fn error(out: &mut Writer, error: &Error) {
    let kind = match error {
        Error::Invalid { .. } => "invalid",
        Error::Refused { .. } => "refused",
        Error::Later { .. } => "later",
        Error::Unauthenticated { .. } => "unauthenticated",
        Error::Uncertain { .. } => "uncertain",
        _ => "closed",
    };
    out.text("code", error.code().as_str());
    out.text("reason", error.reason());
    out.text("kind", kind);
}

/// The fields of an end.
fn outcome(out: &mut Writer, outcome: &Outcome) {
    let word = match outcome {
        Outcome::Accepted(seq) => {
            if let Some(seq) = seq {
                out.number("seq", *seq);
            }
            "accepted"
        }
        Outcome::Refused(code, text) => {
            error(out, &Error::new(code.clone(), text.as_str()));
            "refused"
        }
        Outcome::Expired => "expired",
        Outcome::Cancelled => "cancelled",
        Outcome::Uncertain => "uncertain",
    };
    out.text("outcome", word);
}

fn batch(out: &mut Writer, batch: EntryBatch) {
    out.element('{');
    if let Some(lock) = batch.lock {
        out.number("lock", lock);
    }
    for (name, entries) in [("add", &batch.add), ("put", &batch.put)] {
        out.open(name, '[');
        for (key, value) in entries {
            out.element('[');
            out.text_element(key);
            out.text_element(value);
            out.close(']');
        }
        out.close(']');
    }
    out.open("remove", '[');
    batch.remove.iter().for_each(|key| out.text_element(key));
    out.close(']');
    out.close('}');
}

impl Core {
    pub(crate) fn outputs(&mut self) -> Option<String> {
        self.due = loop {
            match self.machine.poll_output(self.now) {
                Output::Timeout(at) => break at,
                output => self.handle_output(output),
            }
        };
        for at in 0..self.subs.len() {
            let waits = self.subs[at].pictures.as_ref().is_some_and(|queue| !queue.is_empty());
            if waits {
                let sub = self.subs[at].id.0;
                self.begin("picture", sub);
                self.out.close(']');
            }
        }
        if self.out.as_str().is_empty() {
            return None;
        }
        self.out.push("]");
        Some(std::mem::take(&mut self.out).finish())
    }

    fn kind(&mut self, kind: &str) {
        if self.out.as_str().is_empty() {
            self.out.element('[');
        }
        self.out.element('[');
        self.out.text_element(kind);
    }

    fn begin(&mut self, kind: &str, number: u64) {
        self.kind(kind);
        self.out.number_element(number);
    }

    pub(crate) fn fail(&mut self, call: u64, code: Code, text: String) {
        self.begin("fail", call);
        self.out.element('{');
        error(&mut self.out, &Error::new(code, text));
        self.out.push("}]");
    }

    fn handle_output(&mut self, output: Output) {
        match output {
            Output::Dial(generation, url) => {
                self.begin("dial", generation.0);
                self.out.text_element(&url);
            }
            Output::Text(generation, text) => {
                self.begin("text", generation.0);
                self.out.text_element(&text);
            }
            Output::Binary(generation, bytes) => {
                self.binary.push_back(bytes.into());
                self.begin("binary", generation.0);
            }
            Output::Close(generation, close) => {
                self.begin("close", generation.0);
                self.out.number_element(close.code.into());
                self.out.text_element(&close.reason);
            }
            Output::Load(owner) => {
                self.loading = owner;
                self.kind("load");
            }
            Output::Store(id, ops) => {
                let written = self.entries.commit(id, ops);
                self.begin("store", id.0);
                batch(&mut self.out, written);
            }
            Output::FetchToken => self.kind("fetch"),
            Output::Reply(call, Ok(value)) => {
                self.begin("reply", call.0);
                match value {
                    ReplyValue::Done | ReplyValue::Queued(_) => self.out.raw_element("null"),
                    ReplyValue::Joined { cursor, .. } => {
                        self.out.element('{');
                        self.out.cursor("cursor", cursor);
                        self.out.close('}');
                    }
                    ReplyValue::Outcome(end) => {
                        self.out.element('{');
                        outcome(&mut self.out, &end);
                        self.out.close('}');
                    }
                    ReplyValue::Json(json) => self.out.raw_element(json.get()),
                }
            }
            Output::Reply(call, Err(failed)) => return self.fail(call.0, failed.code, failed.text),
            Output::Event(event) => return self.handle_event(event),
            Output::Timeout(_) => return,
        }
        self.out.close(']');
    }

    fn handle_event(&mut self, event: ApiEvent) {
        match event {
            ApiEvent::SnapshotWanted(id, head) => {
                if self.sub(id).is_some_and(|sub| sub.hook) {
                    self.begin("wanted", id.0);
                    self.out.element('{');
                    self.out.number("seq", head.seq);
                    self.out.hex("mark", head.mark.0.into(), 16);
                    self.out.push("}]");
                } else {
                    let none = Command::Snapshot(id, Ok(None));
                    self.machine.handle_input(Input::Command(none), self.now);
                }
            }
            ApiEvent::Event(id, _)
            | ApiEvent::Live(id)
            | ApiEvent::Gap { sub: id, .. }
            | ApiEvent::Left(id, _)
            | ApiEvent::Presence(id, _) => self.enqueue(id, event),
            ApiEvent::Stream(stream) => self.screen.handle_stream(stream),
            ApiEvent::Media(chunk) => self.screen.handle_chunk(chunk),
            event => self.tell(event),
        }
    }

    fn enqueue(&mut self, id: SubId, event: ApiEvent) {
        let Some(sub) = self.sub(id) else { return };
        let first = sub.waiting.is_empty();
        enqueue(&mut sub.waiting, event);
        if first {
            self.begin("ready", id.0);
            self.out.close(']');
        }
    }

    /// What concerns the whole client.
    fn tell(&mut self, event: ApiEvent) {
        self.kind("event");
        let attempt = self.machine.failed_attempts();
        let out = &mut self.out;
        out.element('{');
        match event {
            ApiEvent::Status { status, reason, retry_in } => {
                if status != Status::Connected {
                    self.screen.handle_disconnected();
                }
                out.text("type", "status");
                out.text("status", word(status));
                out.number("code", reason.code.into());
                out.text("reason", &reason.text);
                if let Some(span) = retry_in {
                    out.number("retryIn", ms(span));
                }
                out.number("attempt", attempt.into());
            }
            ApiEvent::Established { connection, tenant, user, limits } => {
                out.text("type", "established");
                out.text("connectionId", connection.as_str());
                out.text("tenantId", tenant.as_str());
                out.text("userId", user.as_str());
                out.open("limits", '{');
                out.number("message", limits.message as u64);
                out.number("rooms", limits.rooms as u64);
                out.number("depth", limits.depth as u64);
                out.close('}');
            }
            ApiEvent::Restart { reason, reconnect_in } => {
                out.text("type", "restart");
                out.text("reason", &reason);
                out.number("reconnectIn", ms(reconnect_in));
            }
            ApiEvent::Settled(id, end) => {
                out.text("type", "settled");
                out.id("id", id);
                out.open("outcome", '{');
                outcome(out, &end);
                out.close('}');
            }
            ApiEvent::Result(id, result) => {
                out.text("type", "result");
                out.id("id", id);
                match result {
                    Ok(json) => out.raw("result", json.get()),
                    Err(ErrorBody { code, message }) => {
                        out.open("error", '{');
                        error(out, &Error::new(code, message));
                        out.close('}');
                    }
                }
            }
            ApiEvent::AcceptedLost { lane, from, to } => {
                out.text("type", "acceptedLost");
                out.number("lane", lane.into());
                out.number("from", from);
                out.number("to", to);
            }
            ApiEvent::Demand(demand) => {
                out.text("type", "demand");
                out.number("stream", demand.stream.into());
                out.number("viewers", demand.viewers.into());
            }
            ApiEvent::Error(failed) => {
                out.text("type", "error");
                error(out, &Error::new(failed.code, failed.text));
            }
            // The others belong to a subscription or to the screen.
            _ => out.text("type", "volatile"),
        }
        out.push("}]");
    }
}
