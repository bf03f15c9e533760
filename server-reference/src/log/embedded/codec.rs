//! Keys and values of the store, as bytes.
//!
//! Texts in keys are behind their length, so no room's or user's rows are among another's (P-F4).

use crate::log::{Entry, Outcome, ProducerKey, RoomKey, Seqs, mark::Epoch, state::Held};
use std::sync::Arc;
use wardline::{
    model::ids::{ItemId, TenantId, UserId},
    protocol::{Code, Cursor, Json, Mark, limits},
};

/// A row that is not what this version writes, or a name too long for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row does not read as {0}")]
pub(super) struct BadRow(pub(super) &'static str);

/// Bytes of a name in a key.
const NAME: usize = 4096;

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u128(mut self, value: u128) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// Texts are shorter than 4 GiB: the largest message is 1 MiB.
    fn text(mut self, text: &str) -> Self {
        self.0.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    fn name(self, text: &str) -> Result<Self, BadRow> {
        if text.len() <= NAME { Ok(self.text(text)) } else { Err(BadRow("a short enough name")) }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(u32::from_be_bytes(self.take()?)).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn rest(&mut self) -> Option<&'a str> {
        std::str::from_utf8(std::mem::take(&mut self.0)).ok()
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// What all rows of a room begin with.
pub(super) fn room(room: &RoomKey) -> Result<Vec<u8>, BadRow> {
    Ok(Writer::default().name(room.tenant.as_str())?.name(room.room.as_str())?.0)
}

/// The room of a key that begins with one.
pub(super) fn read_room(key: &[u8]) -> Result<RoomKey, BadRow> {
    let mut reader = Reader(key);
    let read = |reader: &mut Reader<'_>| {
        let tenant = reader.text()?.into();
        Some(RoomKey { tenant, room: reader.text()?.parse().ok()? })
    };
    read(&mut reader).ok_or(BadRow("a room"))
}

/// A row of a room by number: an entry, or the newest of a key.
pub(super) fn numbered(room: &[u8], seq: u64) -> Vec<u8> {
    [room, &seq.to_be_bytes()].concat()
}

/// The number a row's key ends with.
pub(super) fn read_number(key: &[u8]) -> Result<u64, BadRow> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(BadRow("a number"))
}

/// A row of a room by key.
pub(super) fn keyed(room: &[u8], key: &str) -> Vec<u8> {
    [room, key.as_bytes()].concat()
}

/// A row that is due at a moment.
pub(super) fn due(at: u64, row: &[u8]) -> Vec<u8> {
    [&at.to_be_bytes(), row].concat()
}

/// An id remembered alone.
pub(super) fn once(tenant: &TenantId, id: ItemId) -> Result<Vec<u8>, BadRow> {
    Ok(Writer::default().name(tenant.as_str())?.u128(id.0).0)
}

/// What the rows of a user's producers begin with.
pub(super) fn user(tenant: &TenantId, user: &UserId) -> Result<Vec<u8>, BadRow> {
    Ok(Writer::default().name(tenant.as_str())?.name(user.as_str())?.0)
}

/// What the rows of a producer begin with.
pub(super) fn producer(key: &ProducerKey) -> Result<Vec<u8>, BadRow> {
    let mut row = user(&key.tenant, &key.user)?;
    row.extend(key.producer.0.to_be_bytes());
    Ok(row)
}

/// The producer whose rows begin with this.
pub(super) fn read_producer(row: &[u8]) -> Result<ProducerKey, BadRow> {
    let read = |mut reader: Reader<'_>| {
        let (tenant, user) = (reader.text()?.into(), reader.text()?.into());
        let producer = wardline::model::ids::ProducerId(reader.u128()?);
        reader.end().map(|()| ProducerKey { tenant, user, producer })
    };
    read(Reader(row)).ok_or(BadRow("a producer"))
}

/// A row of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneRow {
    /// What `base` raised the accepted number to.
    Base(u8),
    /// The place of an outcome: its number modulo the window.
    Slot(u8, u8),
}

impl LaneRow {
    pub(super) fn slot(lane: u8, n: u64) -> Self {
        // Below the window, which is 32.
        Self::Slot(lane, (n % limits::WINDOW).to_be_bytes()[7])
    }

    pub(super) fn key(self, producer: &[u8]) -> Vec<u8> {
        match self {
            Self::Base(lane) => [producer, &[lane, 0xff]].concat(),
            Self::Slot(lane, slot) => [producer, &[lane, slot]].concat(),
        }
    }

    pub(super) fn read(key: &[u8]) -> Result<Self, BadRow> {
        match key.last_chunk() {
            Some([lane, 0xff]) => Ok(Self::Base(*lane)),
            Some([lane, slot]) => Ok(Self::Slot(*lane, *slot)),
            None => Err(BadRow("a lane")),
        }
    }
}

pub(super) fn number(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// A room's head: its position, and when it was last touched.
pub(super) fn head(head: Cursor, touched: u64) -> Vec<u8> {
    Writer::default().u64(head.seq).u64(head.mark.0).u64(touched).0
}

/// The epoch, and when it began.
pub(super) fn epoch(epoch: Epoch, began: u64) -> Vec<u8> {
    Writer::default().u128(epoch.0).u64(began).0
}

pub(super) fn read_epoch(value: &[u8]) -> Result<(Epoch, u64), BadRow> {
    let read = |mut reader: Reader<'_>| {
        let epoch = (Epoch(reader.u128()?), reader.u64()?);
        reader.end().map(|()| epoch)
    };
    read(Reader(value)).ok_or(BadRow("an epoch"))
}

pub(super) fn read_head(value: &[u8]) -> Result<(Cursor, u64), BadRow> {
    let read = |mut reader: Reader<'_>| {
        let cursor = Cursor { seq: reader.u64()?, mark: Mark(reader.u64()?) };
        let touched = reader.u64()?;
        reader.end().map(|()| (cursor, touched))
    };
    read(Reader(value)).ok_or(BadRow("a head"))
}

const KEYED: u8 = 1;
const GONE: u8 = 2;

pub(super) fn entry(entry: &Entry) -> Vec<u8> {
    let flags = if entry.key.is_some() { KEYED } else { 0 } | if entry.gone { GONE } else { 0 };
    let writer = Writer(Vec::with_capacity(entry.weight()));
    let writer = writer.u8(flags).u64(entry.mark.0).u64(entry.prev_mark.0).u64(entry.time);
    let writer = writer.u128(entry.id.0).text(&entry.from).text(&entry.event);
    let mut writer = match &entry.key {
        Some(key) => writer.text(key),
        None => writer,
    };
    writer.0.extend(entry.data.get().as_bytes());
    writer.0
}

pub(super) fn read_entry(seq: u64, value: &[u8]) -> Result<Arc<Entry>, BadRow> {
    let read = |mut reader: Reader<'_>| {
        let flags = reader.u8()?;
        let (mark, prev_mark) = (Mark(reader.u64()?), Mark(reader.u64()?));
        let (time, id) = (reader.u64()?, ItemId(reader.u128()?));
        let (from, event) = (reader.text()?.into(), reader.text()?.into());
        let key = if flags & KEYED == 0 { None } else { Some(reader.text()?.into()) };
        let data = serde_json::value::RawValue::from_string(reader.rest()?.to_owned()).ok()?;
        let (gone, data) = (flags & GONE != 0, Json::from_raw(data));
        Some(Entry { seq, mark, prev_mark, time, id, from, event, key, gone, data })
    };
    read(Reader(value)).map(Arc::new).ok_or(BadRow("an entry"))
}

fn outcome(writer: Writer, outcome: &Outcome) -> Writer {
    match outcome {
        // The first number is written as it was before there could be more behind it.
        Outcome::Accepted(seqs) => match seqs.iter().count() {
            0 => writer.u8(0),
            1 => seqs.iter().fold(writer.u8(1), Writer::u64),
            many => seqs.iter().fold(writer.u8(3).u64(many as u64), Writer::u64),
        },
        Outcome::Refused(code, message) => writer.u8(2).text(code.as_str()).text(message),
    }
}

fn read_outcome(reader: &mut Reader<'_>) -> Option<Outcome> {
    Some(match reader.u8()? {
        0 => Outcome::Accepted(Seqs::default()),
        1 => Outcome::Accepted(Some(reader.u64()?).into()),
        3 => {
            let many = reader.u64()?;
            let seqs: Option<Vec<_>> = (0..many).map(|_| reader.u64()).collect();
            Outcome::Accepted(seqs?.into_iter().collect())
        }
        2 => {
            let code = Code::from(reader.text()?.to_owned());
            Outcome::Refused(code, reader.text()?.to_owned())
        }
        _ => return None,
    })
}

pub(super) fn held(held: &Held) -> Vec<u8> {
    outcome(Writer::default().u64(held.n).u128(held.id.0), &held.outcome).0
}

pub(super) fn read_held(value: &[u8]) -> Result<Held, BadRow> {
    let read = |mut reader: Reader<'_>| {
        let (n, id) = (reader.u64()?, ItemId(reader.u128()?));
        let outcome = read_outcome(&mut reader)?;
        reader.end().map(|()| Held { n, id, outcome })
    };
    read(Reader(value)).ok_or(BadRow("an outcome"))
}

pub(super) fn remembered(time: u64, value: &Outcome) -> Vec<u8> {
    outcome(Writer::default().u64(time), value).0
}

pub(super) fn read_remembered(value: &[u8]) -> Result<(u64, Outcome), BadRow> {
    let read = |mut reader: Reader<'_>| {
        let time = reader.u64()?;
        let outcome = read_outcome(&mut reader)?;
        reader.end().map(|()| (time, outcome))
    };
    read(Reader(value)).ok_or(BadRow("a remembered outcome"))
}

pub(super) fn read_u64(value: &[u8]) -> Result<u64, BadRow> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| BadRow("a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::suite;
    use proptest::prelude::*;

    #[test]
    fn rows_survive() {
        let room = suite::room("a:b");
        let row = super::room(&room).unwrap();
        assert_eq!(read_room(&numbered(&row, 7)).unwrap(), room);
        assert_eq!(read_number(&numbered(&row, 7)), Ok(7));
        let key = suite::producer(9);
        let row = producer(&key).unwrap();
        assert_eq!(read_producer(&row).unwrap(), key);
        for lane in [LaneRow::Base(3), LaneRow::slot(7, 95)] {
            assert_eq!(LaneRow::read(&lane.key(&row)), Ok(lane));
        }
        for outcome in [
            Outcome::Accepted(Seqs::default()),
            Outcome::Accepted(Some(5).into()),
            Outcome::Accepted([5, 1, 6].into_iter().collect()),
            Outcome::Refused(Code::FORBIDDEN, "no".into()),
        ] {
            let held = Held { n: 4, id: ItemId(3), outcome: outcome.clone() };
            assert_eq!(read_held(&super::held(&held)).unwrap(), held);
            assert_eq!(read_remembered(&remembered(8, &outcome)).unwrap(), (8, outcome));
        }
        let at = Cursor { seq: 5, mark: Mark(6) };
        assert_eq!(read_head(&head(at, 7)), Ok((at, 7)));
    }

    #[test]
    fn a_name_too_long_for_a_key_is_told() {
        let mut room = suite::room("a");
        room.tenant = "x".repeat(NAME + 1).into();
        assert!(super::room(&room).is_err());
    }

    proptest! {
        #[test]
        fn entries_survive(
            (seq, mark, id, gone) in any::<(u64, u64, u128, bool)>(),
            (from, event, key) in ("\\PC{0,8}", "\\PC{0,8}", proptest::option::of("\\PC{0,8}")),
            data in "[a-z]{0,40}",
        ) {
            let written = Entry {
                seq, mark: Mark(mark), prev_mark: Mark(!mark), time: seq, id: ItemId(id), gone,
                from: from.into(), event: event.into(), key: key.map(Into::into),
                data: Json::parse(&format!("\"{data}\"")).unwrap(),
            };
            let read = read_entry(seq, &entry(&written)).unwrap();
            prop_assert_eq!(&*read, &written);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (read_entry(1, &bytes), read_held(&bytes), read_remembered(&bytes));
            let _ = (read_room(&bytes), read_producer(&bytes), read_head(&bytes));
        }
    }
}
