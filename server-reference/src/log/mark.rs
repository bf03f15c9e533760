//! Marks: what chains an entry to everything before it (P-R3).

use super::NewEntry;
use sha1::{Digest, Sha1};
use std::fmt::Write;
use wardline::{model::ids::ItemId, protocol::Mark};

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
    let hash: [u8; 20] = Sha1::digest(text.bytes).into();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    Mark(u64::from_be_bytes(first))
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
