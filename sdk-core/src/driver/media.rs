//! Chunks to pictures, the newest for each viewer (P-V).

use super::queue::{Queue, Watch};
use crate::protocol::{
    Address,
    frames::{Demand, Stream},
    media::{Chunk, FIRST, KEY, LAST},
};
use crate::table::Table;
use bytes::Bytes;
use std::sync::Weak;

/// Largest picture, in bytes; a larger one is dropped.
const MAX_PICTURE: usize = 8 * 1024 * 1024;
/// Pictures of a coded stream that wait for a viewer; past it they go, up to the next key frame.
const MAX_CODED: usize = 8;
/// Streams that are known at once.
const MAX_STREAMS: usize = 256;

/// One picture of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The stream's number on this connection.
    pub stream: u16,
    /// The room it is seen in.
    pub room: String,
    /// `jpeg` or `h264`.
    pub codec: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The picture's number in its stream.
    pub seq: u32,
    /// Presentation time in µs.
    pub pts_us: u64,
    /// Whether it can be decoded by itself.
    pub key: bool,
    /// The coded picture.
    pub data: Bytes,
}

/// What waits for one viewer of a room.
pub type Pictures = Queue<Picture>;
/// How many watch a stream of this client.
pub type Viewers = Watch<u32>;

/// A picture whose last chunk has not come.
#[derive(Debug)]
struct Partial {
    seq: u32,
    data: Vec<u8>,
}

#[derive(Debug)]
struct Known {
    stream: Stream,
    partial: Option<Partial>,
}

/// Puts chunks together and hands pictures to who looks.
#[derive(Debug, Default)]
pub struct Screen {
    streams: Table<u16, Known>,
    viewers: Vec<(Address, Weak<Pictures>)>,
    publishers: Table<u16, Weak<Viewers>>,
}

impl Screen {
    /// Someone looks at the streams of a room.
    pub fn handle_look(&mut self, room: Address, pictures: Weak<Pictures>) {
        self.viewers.retain(|(_, viewer)| viewer.strong_count() > 0);
        self.viewers.push((room, pictures));
    }

    /// A publisher wants to know how many watch its stream.
    pub fn handle_publisher(&mut self, stream: u16, viewers: Weak<Viewers>) {
        self.publishers.retain(|_, publisher| publisher.strong_count() > 0);
        self.publishers.insert(stream, viewers);
    }

    /// The server tells how many watch.
    pub fn handle_demand(&mut self, demand: Demand) {
        if let Some(viewers) = self.publishers.get(&demand.stream).and_then(Weak::upgrade) {
            viewers.set(|value| *value = demand.viewers);
        }
    }

    /// A connection ended: its streams are gone, and no one is known to watch.
    pub fn handle_disconnected(&mut self) {
        self.streams.clear();
        for viewers in self.publishers.values().filter_map(Weak::upgrade) {
            viewers.set(|value| *value = 0);
        }
    }

    /// The server tells of a stream.
    pub fn handle_stream(&mut self, stream: Stream) {
        if stream.codec.is_empty() {
            self.streams.remove(&stream.stream);
        } else if self.streams.len() < MAX_STREAMS || self.streams.contains_key(&stream.stream) {
            self.streams.insert(stream.stream, Known { stream, partial: None });
        }
    }

    /// A chunk came.
    pub fn handle_chunk(&mut self, chunk: Chunk) {
        let Some(known) = self.streams.get_mut(&chunk.stream) else { return };
        if chunk.has(FIRST) {
            known.partial = Some(Partial { seq: chunk.seq, data: Vec::new() });
        }
        let whole = match &mut known.partial {
            // One chunk is the whole picture: no copy.
            Some(_) if chunk.has(FIRST) && chunk.has(LAST) => chunk.payload.clone(),
            Some(partial)
                if partial.seq == chunk.seq
                    && partial.data.len() + chunk.payload.len() <= MAX_PICTURE =>
            {
                partial.data.extend_from_slice(&chunk.payload);
                if !chunk.has(LAST) {
                    return;
                }
                std::mem::take(&mut partial.data).into()
            }
            // A chunk of a picture whose beginning did not come, or one too large.
            _ => {
                known.partial = None;
                return;
            }
        };
        known.partial = None;
        let stream = &known.stream;
        let picture = Picture {
            stream: chunk.stream,
            room: stream.room.clone(),
            codec: stream.codec.clone(),
            width: stream.width,
            height: stream.height,
            seq: chunk.seq,
            pts_us: chunk.pts_us,
            key: chunk.has(KEY),
            data: whole,
        };
        let lookers = self.viewers.iter().filter(|(room, _)| room.as_str() == picture.room);
        for pictures in lookers.filter_map(|(_, viewer)| viewer.upgrade()) {
            pictures.change(|waiting| {
                if picture.key {
                    // The newest wins: what waits of this stream will not be looked at.
                    waiting.retain(|other| other.stream != picture.stream);
                } else if waiting.len() >= MAX_CODED {
                    waiting.clear();
                    return;
                }
                waiting.push_back(picture.clone());
            });
        }
    }

    /// The end: who waits is told.
    pub fn close(&mut self) {
        self.viewers.iter().filter_map(|(_, viewer)| viewer.upgrade()).for_each(|v| v.close());
        self.publishers.values().filter_map(Weak::upgrade).for_each(|viewers| viewers.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::media::{KIND_JPEG, chunks};
    use std::sync::Arc;

    fn screen(pictures: &Arc<Pictures>) -> Screen {
        let mut screen = Screen::default();
        let room = "video/camera:7";
        screen.handle_look(room.parse().unwrap(), Arc::downgrade(pictures));
        let codec = "jpeg".to_owned();
        screen.handle_stream(Stream { stream: 1, room: room.into(), codec, width: 4, height: 2 });
        screen
    }

    #[test]
    fn p_v2_the_newest_picture_wins_and_chunks_make_it_whole() {
        let pictures = Arc::new(Pictures::default());
        let mut screen = screen(&pictures);
        for seq in 1..=3 {
            let data = Bytes::from(vec![seq as u8; 40_000]);
            for chunk in chunks(KIND_JPEG, true, 1, seq, 0, &data) {
                screen.handle_chunk(chunk);
            }
        }
        let picture = pictures.try_next().unwrap();
        assert_eq!((picture.seq, picture.data.len(), picture.width), (3, 40_000, 4));
        assert!(picture.data.iter().all(|byte| *byte == 3));
        assert_eq!(pictures.try_next(), None);
    }

    #[test]
    fn p_v2_a_picture_without_its_beginning_is_dropped() {
        let pictures = Arc::new(Pictures::default());
        let mut screen = screen(&pictures);
        let data = Bytes::from(vec![1; 40_000]);
        for chunk in chunks(KIND_JPEG, true, 1, 1, 0, &data).skip(1) {
            screen.handle_chunk(chunk);
        }
        let mut cut = chunks(KIND_JPEG, true, 1, 2, 0, &data);
        screen.handle_chunk(cut.next().unwrap());
        for chunk in chunks(KIND_JPEG, true, 1, 3, 0, &Bytes::from_static(b"x")) {
            screen.handle_chunk(chunk);
        }
        cut.for_each(|chunk| screen.handle_chunk(chunk));
        let picture = pictures.try_next().unwrap();
        assert_eq!((picture.seq, &*picture.data), (3, &b"x"[..]));
        assert!(pictures.is_empty());
    }
}
