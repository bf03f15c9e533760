//! Binary messages: chunks of pictures (P-V1).

use bytes::Bytes;

/// Bytes of the header: kind, flags, stream, seq, presentation time.
pub const HEADER: usize = 16;
/// Most payload bytes of one chunk.
pub const PAYLOAD: usize = 16 * 1024;
/// `kind`: a JPEG picture.
pub const KIND_JPEG: u8 = 1;
/// `kind`: an H.264 access unit in Annex B form.
pub const KIND_H264: u8 = 2;
/// `flags`: the first chunk of a picture.
pub const FIRST: u8 = 1;
/// `flags`: the last chunk of a picture.
pub const LAST: u8 = 2;
/// `flags`: the picture can be decoded by itself.
pub const KEY: u8 = 4;

/// One chunk of a picture, `[kind u8][flags u8][stream u16][seq u32][pts_us u64][payload]`, big endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// [`KIND_JPEG`] or another codec.
    pub kind: u8,
    /// [`FIRST`], [`LAST`], [`KEY`].
    pub flags: u8,
    /// The stream, as the `stream` frame of this connection named it.
    pub stream: u16,
    /// The picture's number in its stream.
    pub seq: u32,
    /// Presentation time in µs.
    pub pts_us: u64,
    /// At most [`PAYLOAD`] bytes.
    pub payload: Bytes,
}

/// A binary message that is no chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a media chunk has a 16-byte header and at most 16 KiB behind it")]
pub struct BadChunk;

impl Chunk {
    /// Reads a binary message.
    ///
    /// # Errors
    /// [`BadChunk`] when it is too short or too long.
    pub fn decode(message: &Bytes) -> Result<Self, BadChunk> {
        if !(HEADER..=HEADER + PAYLOAD).contains(&message.len()) {
            return Err(BadChunk);
        }
        let mut wide = [0; 8];
        wide.copy_from_slice(&message[8..16]);
        Ok(Self {
            kind: message[0],
            flags: message[1],
            stream: u16::from_be_bytes([message[2], message[3]]),
            seq: u32::from_be_bytes([message[4], message[5], message[6], message[7]]),
            pts_us: u64::from_be_bytes(wide),
            payload: message.slice(HEADER..),
        })
    }

    /// Writes the binary message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(HEADER + self.payload.len());
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.pts_us.to_be_bytes());
        out.extend_from_slice(&self.payload);
        out.into()
    }

    /// Whether `flag` is set.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Cuts one picture into chunks.
pub fn chunks(
    kind: u8,
    key: bool,
    stream: u16,
    seq: u32,
    pts_us: u64,
    picture: &Bytes,
) -> impl Iterator<Item = Chunk> + use<> {
    let picture = picture.clone();
    let count = picture.len().div_ceil(PAYLOAD).max(1);
    (0..count).map(move |i| {
        let end = ((i + 1) * PAYLOAD).min(picture.len());
        let flags = if i == 0 { FIRST } else { 0 }
            | if i + 1 == count { LAST } else { 0 }
            | if key { KEY } else { 0 };
        Chunk { kind, flags, stream, seq, pts_us, payload: picture.slice(i * PAYLOAD..end) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_survives_its_chunks() {
        let picture = Bytes::from(vec![7; 40_000]);
        let messages: Vec<_> =
            chunks(KIND_JPEG, true, 3, 9, 77, &picture).map(|c| c.encode()).collect();
        assert_eq!(messages.len(), 3);
        let back: Vec<_> = messages.iter().map(|m| Chunk::decode(m).unwrap()).collect();
        assert!(back[0].has(FIRST) && !back[0].has(LAST) && back[2].has(LAST) && back[1].has(KEY));
        assert_eq!(back.iter().flat_map(|c| c.payload.to_vec()).collect::<Vec<_>>(), picture);
        assert_eq!(Chunk::decode(&Bytes::from_static(&[1; 15])), Err(BadChunk));
    }
}
