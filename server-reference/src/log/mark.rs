//! Marks: what chains an entry to everything before it (P-R3).

use super::{NewEntry, RoomKey};
use sha1::{Digest, Sha1};
use std::fmt::Write;
use wardline::{
    model::ids::ItemId,
    protocol::{Cursor, Mark},
};

/// Rooms begun anew that a log remembers; past it a new [`Epoch`] stands for all of them.
pub const STARTS: usize = 1 << 20;

/// What a log draws when it is made: where a room that never had an entry begins follows from it, so
/// that a room costs nothing, however often it is joined, before its first entry.
///
/// A room that had entries and was forgotten must begin anew elsewhere, or the cursor of who joined
/// before its first entry would be proved though all is missed. Where it begins is remembered, for
/// up to [`STARTS`] rooms; then the log changes its epoch, and such cursors are proved no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u128);

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Epoch")
    }
}

impl Epoch {
    /// Where a room begins that never had an entry.
    #[must_use]
    pub fn start(self, room: &RoomKey) -> Cursor {
        Cursor { seq: 0, mark: first_64(self.hash(room, None)) }
    }

    /// Where a room begins anew that was forgotten with this head.
    #[must_use]
    pub fn restart(self, room: &RoomKey, head: Cursor) -> Cursor {
        Cursor { seq: 0, mark: first_64(self.hash(room, Some(head.mark))) }
    }

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        let digest: [u8; 20] = Sha1::digest(self.0.to_be_bytes()).into();
        let mut wide = [0; 16];
        wide.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(wide))
    }

    fn hash(self, room: &RoomKey, last: Option<Mark>) -> [u8; 20] {
        let mut hash = Sha1::new();
        hash.update(self.0.to_be_bytes());
        for name in [room.tenant.as_str(), room.room.as_str()] {
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name.as_bytes());
        }
        if let Some(last) = last {
            hash.update(last.0.to_be_bytes());
        }
        hash.finalize().into()
    }
}

fn first_64(hash: [u8; 20]) -> Mark {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    Mark(u64::from_be_bytes(first))
}

/// The SHA-1 of what an entry says: event, key and data, each behind its length.
#[must_use]
pub fn digest(entry: &NewEntry) -> [u8; 20] {
    let mut hash = Sha1::new();
    let mut part = |tag: u8, bytes: &[u8]| {
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(0, entry.event.as_bytes());
    if let Some(key) = &entry.key {
        part(if entry.gone { 2 } else { 1 }, key.as_bytes());
    }
    part(3, entry.data.get().as_bytes());
    hash.finalize().into()
}

/// The mark behind `previous`: the first 64 bits of SHA-1 over the previous mark, the id and the
/// digest, each as lower-case hex, so that a script inside a store computes the same.
#[must_use]
pub fn chain(previous: Mark, id: ItemId, digest: &[u8; 20]) -> Mark {
    let mut text = Text::default();
    // Writing to `Text` cannot fail: its 88 bytes are what the three texts need.
    let _ = write!(text, "{previous}{id}");
    for byte in digest {
        text.push(HEX[usize::from(byte >> 4)]);
        text.push(HEX[usize::from(byte & 15)]);
    }
    first_64(Sha1::digest(text.bytes).into())
}

/// The mark of a new entry behind `previous`.
#[must_use]
pub fn of(previous: Mark, entry: &NewEntry) -> Mark {
    chain(previous, entry.id, &digest(entry))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// 16 + 32 + 40 hex digits.
struct Text {
    bytes: [u8; 88],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; 88], len: 0 }
    }
}

impl Text {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{RoomKey, suite::new_entry};

    fn entry(event: &str, key: Option<&str>, data: &str) -> NewEntry {
        let room = RoomKey { tenant: "t".into(), room: "alerts/a".parse().unwrap() };
        NewEntry { event: event.into(), key: key.map(Into::into), ..new_entry(&room, 7, data) }
    }

    #[test]
    fn a_mark_is_what_a_script_over_the_hex_forms_computes() {
        let digest = [0xab; 20];
        let text = format!("{}{}{}", Mark(1), ItemId(2), "ab".repeat(20));
        let hash = Sha1::digest(text.as_bytes());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(chain(Mark(1), ItemId(2), &digest).to_string(), hex[..16]);
    }

    #[test]
    fn rooms_begin_apart_and_anew_elsewhere() {
        let key = |tenant: &str, room: &str| RoomKey {
            tenant: tenant.into(),
            room: format!("alerts/{room}").parse().unwrap(),
        };
        let epoch = Epoch(7);
        let start = epoch.start(&key("t", "a"));
        assert_eq!(epoch.start(&key("t", "a")), start);
        let again = epoch.restart(&key("t", "a"), start);
        for other in [
            epoch.start(&key("t", "b")),
            epoch.start(&key("u", "a")),
            epoch.next().start(&key("t", "a")),
            again,
            epoch.restart(&key("t", "a"), again),
        ] {
            assert_eq!(other.seq, 0);
            assert_ne!(other.mark, start.mark);
        }
    }

    #[test]
    fn every_part_counts_and_no_two_parts_run_together() {
        let base = of(Mark(1), &entry("ab", Some("c"), "1"));
        for other in [
            entry("a", Some("bc"), "1"),
            entry("abc", None, "1"),
            entry("ab", Some("c"), "11"),
            NewEntry { gone: true, ..entry("ab", Some("c"), "1") },
            NewEntry { id: ItemId(8), ..entry("ab", Some("c"), "1") },
        ] {
            assert_ne!(of(Mark(1), &other), base, "{other:?}");
        }
        assert_ne!(of(Mark(2), &entry("ab", Some("c"), "1")), base);
        assert_eq!(of(Mark(1), &entry("ab", Some("c"), "1")), base);
    }
}
