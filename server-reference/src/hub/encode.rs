//! Events as bytes: written once per entry, shared by every view whose `prev` is `seq` − 1 (P-R2).

use crate::log::Entry;
use bytes::Bytes;
use std::io::Write;
use wardline::protocol::Address;

/// An encoded event, with the place where `prev` would stand.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    /// Without `prev`.
    pub(super) bytes: Bytes,
    behind_seq: usize,
}

impl Encoded {
    /// Encodes an entry of a room.
    pub(super) fn of(room: &Address, entry: &Entry) -> Self {
        let mut out = start(room, entry.data.get().len());
        let _ = write!(out, ",\"seq\":{}", entry.seq);
        let behind_seq = out.len();
        out.extend_from_slice(b",\"mark\":\"");
        hex(&mut out, u128::from(entry.mark.0), 16);
        out.extend_from_slice(b"\",\"id\":\"");
        hex(&mut out, entry.id.0, 32);
        let _ = write!(out, "\",\"time\":{}", entry.time);
        finish(&mut out, &entry.from, &entry.event, entry.key.as_deref(), entry.gone, &entry.data);
        Self { bytes: out.into(), behind_seq }
    }

    /// The bytes for a view in which `prev` is the event before; without it where it is `seq` − 1.
    pub(super) fn with_prev(&self, seq: u64, prev: u64) -> Bytes {
        if prev.checked_add(1) == Some(seq) {
            return self.bytes.clone();
        }
        let mut out = Vec::with_capacity(self.bytes.len() + 28);
        out.extend_from_slice(&self.bytes[..self.behind_seq]);
        let _ = write!(out, ",\"prev\":{prev}");
        out.extend_from_slice(&self.bytes[self.behind_seq..]);
        out.into()
    }
}

/// Encodes an event that is not kept: no `seq`, no `mark` (P-R8).
pub(super) fn ephemeral(room: &Address, event: &super::rooms::Ephemeral) -> Bytes {
    let mut out = start(room, event.data.get().len());
    if let Some(id) = event.id {
        out.extend_from_slice(b",\"id\":\"");
        hex(&mut out, id.0, 32);
        out.push(b'"');
    }
    let _ = write!(out, ",\"time\":{}", event.time);
    finish(&mut out, &event.from, &event.event, event.key.as_deref(), false, &event.data);
    out.into()
}

fn start(room: &Address, data: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(240 + room.as_str().len() + data);
    out.extend_from_slice(b"{\"type\":\"event\",\"room\":\"");
    // An address has no character that JSON escapes (P-F4).
    out.extend_from_slice(room.as_str().as_bytes());
    out.push(b'"');
    out
}

fn finish(
    out: &mut Vec<u8>,
    from: &str,
    event: &str,
    key: Option<&str>,
    gone: bool,
    data: &wardline::protocol::Json,
) {
    out.extend_from_slice(b",\"from\":");
    text(out, from);
    out.extend_from_slice(b",\"event\":");
    text(out, event);
    if let Some(key) = key {
        out.extend_from_slice(b",\"key\":");
        text(out, key);
    }
    if gone {
        out.extend_from_slice(b",\"gone\":true");
    }
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(data.get().as_bytes());
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing text to memory does not fail.
        let _ = serde_json::to_writer(out, text);
    }
}

fn hex(out: &mut Vec<u8>, value: u128, digits: u32) {
    for place in (0..digits).rev() {
        let digit = usize::try_from((value >> (4 * place)) & 0xf).unwrap_or_default();
        out.push(b"0123456789abcdef"[digit]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wardline::{
        model::ids::ItemId,
        protocol::{Json, Mark, ServerFrame, frames::Event},
    };

    #[test]
    fn what_is_spliced_reads_as_the_frame_it_stands_for() {
        let room: Address = "alerts/tenant:1".parse().unwrap();
        let entry = Entry {
            seq: 7,
            mark: Mark(0xabc),
            prev_mark: Mark(1),
            time: 99,
            id: ItemId(5),
            from: Arc::from("ann \"quoted\""),
            event: Arc::from("alert:created"),
            key: Some(Arc::from("k")),
            gone: true,
            data: Json::parse("{\"a\":[1]}").unwrap(),
        };
        let encoded = Encoded::of(&room, &entry);
        let mut want = Event {
            room: room.to_string(),
            seq: Some(7),
            prev: None,
            mark: Some(Mark(0xabc)),
            id: Some(ItemId(5)),
            time: 99,
            from: "ann \"quoted\"".into(),
            event: "alert:created".into(),
            key: Some("k".into()),
            gone: true,
            data: Json::parse("{\"a\":[1]}").unwrap(),
        };
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(&encoded.with_prev(7, 6)), ServerFrame::Event(want.clone()).encode());
        want.prev = Some(3);
        assert_eq!(text(&encoded.with_prev(7, 3)), ServerFrame::Event(want).encode());
    }
}
