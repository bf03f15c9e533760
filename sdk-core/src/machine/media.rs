//! Streams of pictures, in both directions (P-V).

use super::io::Error;
use crate::protocol::{
    Code,
    frames::Stream,
    limits::REPLAY_BYTES,
    media::{Chunk, FIRST, KEY, KIND_JPEG},
    wire::words,
};
use crate::table::Table;
use crate::table::list;

/// Streams of this client, and streams it is told of, each.
const MAX_STREAMS: usize = 256;

#[derive(Clone, Debug)]
struct Own {
    stream: Stream,
    /// A chunk was dropped: the rest waits for a picture that can be shown without it.
    broken: bool,
}

/// The streams of this client and those it watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    own: Table<u16, Own>,
    /// Of this connection only.
    watched: Table<u16, Stream>,
    dropped: u64,
}

impl Media {
    /// Chunks dropped, outgoing and incoming.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The application announces a stream, or ends it with an empty codec.
    pub(super) fn handle_announce(&mut self, stream: Stream) -> Result<(), Error> {
        if stream.codec.is_empty() {
            self.own.remove(&stream.stream);
            return Ok(());
        }
        if self.own.len() >= MAX_STREAMS && !self.own.contains_key(&stream.stream) {
            let text = words("this client has ", MAX_STREAMS as u64, " streams already");
            return Err(Error { code: Code::QUEUE_FULL, text });
        }
        self.own.insert(stream.stream, Own { stream, broken: true });
        Ok(())
    }

    /// The streams each new connection is told. A picture begun before is not gone on with.
    pub(super) fn handle_welcome(&mut self) -> Vec<Stream> {
        self.own
            .values_mut()
            .map(|own| {
                own.broken = true;
                own.stream.clone()
            })
            .collect()
    }

    /// Whether a chunk is written now. After a drop the next is the first of a picture; of a coded
    /// stream, of a key picture (P-V2).
    pub(super) fn takes(&mut self, chunk: &Chunk, connected: bool, unsent: usize) -> bool {
        let Some(own) = self.own.get_mut(&chunk.stream) else { return false };
        let begins = chunk.has(FIRST) && (chunk.kind == KIND_JPEG || chunk.has(KEY));
        let room = connected && unsent < REPLAY_BYTES;
        let takes = room && (!own.broken || begins);
        own.broken = !takes;
        self.dropped += u64::from(!takes);
        takes
    }

    /// The server tells of a stream. False: too many.
    pub(super) fn handle_stream(&mut self, stream: &Stream) -> bool {
        if stream.codec.is_empty() {
            return self.watched.remove(&stream.stream).is_some();
        }
        if self.watched.len() >= MAX_STREAMS && !self.watched.contains_key(&stream.stream) {
            return false;
        }
        self.watched.insert(stream.stream, stream.clone());
        true
    }

    /// Whether an incoming chunk belongs to a stream that was told.
    pub(super) fn knows(&mut self, chunk: &Chunk) -> bool {
        let known = self.watched.contains_key(&chunk.stream);
        self.dropped += u64::from(!known);
        known
    }

    /// The membership of a room ended: its streams end. Returns what to tell.
    pub(super) fn handle_left(&mut self, room: &str) -> Vec<Stream> {
        let (ended, rest) = std::mem::take(&mut self.watched)
            .into_iter()
            .partition(|(_, stream)| stream.room == room);
        self.watched = rest;
        self::ended(ended)
    }

    /// The connection is gone, and its streams with it. Returns what to tell.
    pub(super) fn handle_link_down(&mut self) -> Vec<Stream> {
        ended(std::mem::take(&mut self.watched))
    }

    /// Another user: nothing of the last one stays.
    pub(super) fn handle_owner_changed(&mut self) {
        self.own.clear();
    }
}

fn ended(streams: Table<u16, Stream>) -> Vec<Stream> {
    list(streams.into_values().map(|stream| Stream { codec: String::new(), ..stream }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::media::{KIND_H264, LAST};
    use bytes::Bytes;

    fn stream(number: u16, codec: &str) -> Stream {
        let (room, codec) = ("video/camera:1".into(), codec.into());
        Stream { stream: number, room, codec, width: 4, height: 3 }
    }

    fn chunk(kind: u8, flags: u8) -> Chunk {
        Chunk { kind, flags, stream: 1, seq: 0, pts_us: 0, payload: Bytes::new() }
    }

    #[test]
    fn p_v2_after_a_drop_a_jpeg_stream_goes_on_with_the_next_picture() {
        let mut media = Media::default();
        assert!(!media.takes(&chunk(KIND_JPEG, FIRST), true, 0), "unannounced");
        media.handle_announce(stream(1, "jpeg")).unwrap();
        assert!(media.takes(&chunk(KIND_JPEG, FIRST), true, 0));
        assert!(!media.takes(&chunk(KIND_JPEG, 0), true, REPLAY_BYTES));
        assert!(!media.takes(&chunk(KIND_JPEG, LAST), true, 0));
        assert!(media.takes(&chunk(KIND_JPEG, FIRST | LAST), true, 0));
        assert_eq!(media.dropped(), 2);
    }

    #[test]
    fn p_v2_after_a_drop_a_coded_stream_goes_on_with_a_key_picture() {
        let mut media = Media::default();
        media.handle_announce(stream(1, "h264")).unwrap();
        assert!(media.takes(&chunk(KIND_H264, FIRST | LAST | KEY), true, 0));
        assert!(!media.takes(&chunk(KIND_H264, FIRST | LAST), false, 0));
        assert!(!media.takes(&chunk(KIND_H264, FIRST | LAST), true, 0));
        assert!(media.takes(&chunk(KIND_H264, FIRST | LAST | KEY), true, 0));
    }

    #[test]
    fn p_v1_own_streams_are_announced_again_and_watched_ones_end_with_the_connection() {
        let mut media = Media::default();
        media.handle_announce(stream(1, "jpeg")).unwrap();
        assert!(media.handle_stream(&stream(7, "jpeg")));
        assert!(!media.knows(&chunk(KIND_JPEG, FIRST)));
        assert_eq!(media.handle_link_down(), [stream(7, "")]);
        assert_eq!(media.handle_welcome(), [stream(1, "jpeg")]);
        media.handle_announce(stream(1, "")).unwrap();
        assert!(media.handle_welcome().is_empty());
    }

    #[test]
    fn p_v1_streams_end_with_the_membership_and_are_bounded() {
        let mut media = Media::default();
        for number in 0..=256 {
            assert_eq!(media.handle_stream(&stream(number, "jpeg")), number < 256);
        }
        assert_eq!(media.handle_left("video/camera:1").len(), 256);
        assert!(media.handle_link_down().is_empty());
    }
}
