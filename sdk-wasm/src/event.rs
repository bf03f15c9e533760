//! What a subscription hands over.

use crate::Core;
use wardline::{
    machine::{ApiEvent, PresenceChange, SubId},
    protocol::{
        Cursor,
        frames::Member,
        wire::{Writer, status_word},
    },
};

impl Core {
    pub(crate) fn take_events(&mut self, id: SubId, max: usize) -> String {
        self.done(id);
        let mut out = Writer::new();
        if let Some(sub) = self.sub(id) {
            for _ in 0..max {
                let Some(event) = sub.waiting.pop_front() else { break };
                if out.as_str().is_empty() {
                    out.element('[');
                }
                if let ApiEvent::Event(_, body) = &event {
                    sub.taken = body.seq.or(sub.taken);
                }
                write(&mut out, event);
            }
        }
        if !out.as_str().is_empty() {
            out.close(']');
        }
        out.finish()
    }
}

fn write(out: &mut Writer, event: ApiEvent) {
    out.element('{');
    match event {
        ApiEvent::Event(_, body) => {
            out.text("type", "event");
            out.text("event", &body.event);
            out.raw("data", body.data.get());
            if let Some(id) = body.id {
                out.id("id", id);
            }
            out.text("from", &body.from);
            out.number("timestamp", body.time);
            if let (Some(seq), Some(mark)) = (body.seq, body.mark) {
                out.cursor("cursor", Cursor { seq, mark });
            }
            if let Some(key) = &body.key {
                out.text("key", key);
            }
            out.flag("gone", body.gone);
        }
        ApiEvent::Gap { from, to, .. } => {
            out.text("type", "gap");
            out.cursor("from", from);
            if let Some(to) = to {
                out.cursor("to", to);
            }
        }
        ApiEvent::Left(_, code) => {
            out.text("type", "left");
            out.text("code", code.as_str());
        }
        ApiEvent::Presence(_, change) => {
            out.text("type", "presence");
            presence(out, change);
        }
        // Everything else is for the whole client.
        _ => out.text("type", "live"),
    }
    out.close('}');
}

fn presence(out: &mut Writer, change: PresenceChange) {
    let (word, one) = match change {
        PresenceChange::Snapshot(members) => {
            out.text("change", "everyone");
            out.open("members", '[');
            for info in &members {
                out.element('{');
                member(out, info);
                out.close('}');
            }
            return out.close(']');
        }
        PresenceChange::Left(user) => {
            out.text("change", "left");
            return out.text("userId", user.as_str());
        }
        PresenceChange::Joined(info) => ("joined", info),
        PresenceChange::Updated(info) => ("updated", info),
    };
    out.text("change", word);
    out.open("member", '{');
    member(out, &one);
    out.close('}');
}

fn member(out: &mut Writer, info: &Member) {
    out.text("userId", info.user.as_str());
    out.text("status", status_word(info.status));
    if let Some(meta) = &info.meta {
        out.raw("metadata", meta.get());
    }
}
