//! RFC 6455 frames without a socket: bytes in, messages out; messages in, framed bytes out.
//!
//! A server's frames are not masked, so one framed message serves every socket it goes to.

use bytes::{BufMut, Bytes, BytesMut};
use std::io::Cursor;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};
use wardline::protocol::close;

/// Longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES: usize = 125;
/// First byte of a whole text, binary, close and pong frame.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close(Option<u16>),
}

/// Bytes that break RFC 6455 or the limit: the close code that answers them, and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) u16, pub(crate) &'static str);

/// Cuts a stream of bytes into messages. Holds memory only while a frame is incomplete.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The beginning of a frame whose rest has not arrived.
    partial: Vec<u8>,
    /// The fragments so far of a message in several frames, and whether it is text.
    fragments: Option<(bool, Vec<u8>)>,
    /// Largest message now, and after the first one (P-F3).
    limit: usize,
    then: usize,
}

impl Decoder {
    pub(crate) fn new(first: usize, then: usize) -> Self {
        Self { partial: Vec::new(), fragments: None, limit: first, then }
    }

    /// Takes what was read; the bytes are unmasked in place. Whole messages go to `out` in order,
    /// also those before a break.
    pub(crate) fn read(&mut self, chunk: &mut [u8], out: &mut Vec<Incoming>) -> Result<(), Broken> {
        if self.partial.is_empty() {
            let used = self.frames(chunk, out)?;
            self.partial.extend_from_slice(&chunk[used..]);
        } else {
            let mut held = std::mem::take(&mut self.partial);
            held.extend_from_slice(chunk);
            let used = self.frames(&mut held, out)?;
            if used < held.len() {
                held.drain(..used);
                self.partial = held;
            }
        }
        Ok(())
    }

    /// Reads whole frames; gives the bytes used.
    fn frames(&mut self, bytes: &mut [u8], out: &mut Vec<Incoming>) -> Result<usize, Broken> {
        let mut used = 0;
        while used < bytes.len() {
            let mut cursor = Cursor::new(&bytes[used..]);
            let header = FrameHeader::parse(&mut cursor)
                .map_err(|_| Broken(close::PROTOCOL_ERROR, "reserved opcode"))?;
            let Some((header, length)) = header else { break };
            // Checked before anything is allocated for it (P-F3).
            self.check(&header, length)?;
            let length = usize::try_from(length)
                .map_err(|_| Broken(close::TOO_BIG, "larger than the limit"))?;
            let start = used + usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            let Some(payload) = bytes.get_mut(start..start + length) else { break };
            unmask(payload, header.mask.unwrap_or_default());
            self.frame(&header, payload, out)?;
            used = start + length;
        }
        Ok(used)
    }

    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), Broken> {
        let protocol = |words| Err(Broken(close::PROTOCOL_ERROR, words));
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return protocol("reserved bit");
        }
        if header.mask.is_none() {
            return protocol("frame not masked");
        }
        match header.opcode {
            OpCode::Control(_) if length > CONTROL_BYTES as u64 || !header.is_final => {
                return protocol("long or fragmented control frame");
            }
            OpCode::Control(_) => return Ok(()),
            OpCode::Data(Data::Continue) if self.fragments.is_none() => {
                return protocol("nothing to continue");
            }
            OpCode::Data(Data::Text | Data::Binary) if self.fragments.is_some() => {
                return protocol("message inside a message");
            }
            OpCode::Data(_) => {}
        }
        let held = self.fragments.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
        if length.saturating_add(held) > self.limit as u64 {
            return Err(Broken(close::TOO_BIG, "larger than the limit"));
        }
        Ok(())
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        out: &mut Vec<Incoming>,
    ) -> Result<(), Broken> {
        match header.opcode {
            OpCode::Control(Control::Ping) => {
                out.push(Incoming::Ping(Bytes::copy_from_slice(payload)));
            }
            OpCode::Control(Control::Close) => out.push(Incoming::Close(close_code(payload)?)),
            OpCode::Control(_) => out.push(Incoming::Pong),
            OpCode::Data(kind) => {
                let begun = match (self.fragments.take(), kind) {
                    (Some((text, mut bytes)), _) => {
                        bytes.extend_from_slice(payload);
                        (text, bytes)
                    }
                    (None, kind) => (kind == Data::Text, payload.to_vec()),
                };
                if !header.is_final {
                    self.fragments = Some(begun);
                    return Ok(());
                }
                let (text, bytes) = begun;
                out.push(if text {
                    let text = String::from_utf8(bytes)
                        .map_err(|_| Broken(close::NOT_UTF8, "text is not UTF-8"))?;
                    Incoming::Text(text)
                } else {
                    Incoming::Binary(bytes.into())
                });
                self.limit = self.then;
            }
        }
        Ok(())
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Broken> {
    match payload {
        [] => Ok(None),
        [_] => Err(Broken(close::PROTOCOL_ERROR, "close with half a code")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if std::str::from_utf8(reason).is_err() {
                return Err(Broken(close::NOT_UTF8, "close reason is not UTF-8"));
            }
            match code {
                1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Some(code)),
                _ => Err(Broken(close::PROTOCOL_ERROR, "reserved close code")),
            }
        }
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// Frames a text message.
pub(crate) fn text(payload: &[u8]) -> Bytes {
    framed(TEXT, payload)
}

/// Frames a binary message.
pub(crate) fn binary(payload: &[u8]) -> Bytes {
    framed(BINARY, payload)
}

/// Frames the answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    framed(PONG, &payload[..payload.len().min(CONTROL_BYTES)])
}

/// Frames a close; the reason is cut to what a control frame holds.
pub(crate) fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(CONTROL_BYTES - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.put_u16(code);
    payload.put_slice(&reason.as_bytes()[..end]);
    framed(CLOSE, &payload)
}

fn framed(first: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(first);
    match payload.len() {
        // The arms bound the casts.
        #[allow(clippy::cast_possible_truncation)]
        length @ 0..=125 => out.put_u8(length as u8),
        #[allow(clippy::cast_possible_truncation)]
        length @ 126..=0xffff => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = framed(first, payload).to_vec();
        let head = out.len() - payload.len();
        out[1] |= 0x80;
        let mut body = payload.to_vec();
        unmask(&mut body, mask);
        out.truncate(head);
        out.extend_from_slice(&mask);
        out.extend_from_slice(&body);
        out
    }

    fn read(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Incoming>, Broken> {
        let mut out = Vec::new();
        decoder.read(&mut bytes.to_vec(), &mut out).map(|()| out)
    }

    #[test]
    fn messages_survive_any_cut() {
        let long = "x".repeat(70_000);
        let mut stream = Vec::new();
        stream.extend(masked(TEXT, b"hello"));
        stream.extend(masked(0x01, "gr\u{fc}".as_bytes()));
        stream.extend(masked(0x89, b"p"));
        stream.extend(masked(0x80, "\u{df}".as_bytes()));
        stream.extend(masked(BINARY, &[1, 2, 3]));
        stream.extend(masked(TEXT, long.as_bytes()));
        stream.extend(masked(CLOSE, &[0x03, 0xe8]));
        let expected = vec![
            Incoming::Text("hello".to_owned()),
            Incoming::Ping(Bytes::from_static(b"p")),
            Incoming::Text("gr\u{fc}\u{df}".to_owned()),
            Incoming::Binary(Bytes::from_static(&[1, 2, 3])),
            Incoming::Text(long),
            Incoming::Close(Some(1000)),
        ];
        for size in [1, 2, 3, 7, 64, 65_000, stream.len()] {
            let mut decoder = Decoder::new(16, 100_000);
            let mut out = Vec::new();
            for chunk in stream.chunks(size) {
                decoder.read(&mut chunk.to_vec(), &mut out).unwrap();
            }
            assert_eq!(out, expected, "cut at {size}");
            assert_eq!(decoder.partial.capacity(), 0, "nothing is held when nothing is missing");
        }
    }

    #[test]
    fn p_f3_the_limit_is_checked_at_the_header() {
        let mut decoder = Decoder::new(10, 20);
        let head = &masked(TEXT, &[b'x'; 11])[..6];
        assert_eq!(read(&mut decoder, head).unwrap_err().0, close::TOO_BIG);
        let mut decoder = Decoder::new(10, 20);
        read(&mut decoder, &masked(TEXT, &[b'x'; 10])).unwrap();
        read(&mut decoder, &masked(TEXT, &[b'x'; 20])).unwrap();
        read(&mut decoder, &masked(0x01, &[b'x'; 15])).unwrap();
        let rest = masked(0x80, &[b'x'; 6]);
        assert_eq!(read(&mut decoder, &rest[..6]).unwrap_err().0, close::TOO_BIG);
        let endless = [TEXT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(read(&mut Decoder::new(10, 20), &endless).unwrap_err().0, close::TOO_BIG);
    }

    #[test]
    fn what_breaks_rfc_6455_is_refused() {
        let refused = |bytes: &[u8]| read(&mut Decoder::new(1000, 1000), bytes).unwrap_err().0;
        assert_eq!(refused(&framed(TEXT, b"x")), close::PROTOCOL_ERROR);
        assert_eq!(refused(&masked(0xc1, b"x")), close::PROTOCOL_ERROR);
        assert_eq!(refused(&masked(0x83, b"x")), close::PROTOCOL_ERROR);
        assert_eq!(refused(&masked(0x80, b"x")), close::PROTOCOL_ERROR);
        assert_eq!(refused(&masked(0x09, b"x")), close::PROTOCOL_ERROR);
        assert_eq!(refused(&masked(0x89, &[0; 126])), close::PROTOCOL_ERROR);
        assert_eq!(refused(&masked(CLOSE, &[3])), close::PROTOCOL_ERROR);
        assert_eq!(refused(&masked(CLOSE, &[3, 0xee])), close::PROTOCOL_ERROR);
        assert_eq!(refused(&masked(TEXT, &[0xff])), close::NOT_UTF8);
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let frame = close_frame(4003, &"\u{fc}".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(0u8..=255, 0..300)) {
            let _ = read(&mut Decoder::new(100, 100), &bytes);
        }
    }
}
