//! Media: pictures from publishers to viewers (P-V1, P-V2).
//!
//! A publisher announces streams of a room and sends chunks; whoever is a member of the room views
//! them. Pictures are relayed whole: a viewer with two unseen ones waits, and meanwhile the newest
//! replaces what it waits for. A stream gets one number for all its viewers, so that they share the
//! same bytes. Taps are viewers without a connection, such as an MJPEG response.

use super::io::ConnId;
use crate::log::RoomKey;
use bytes::{Bytes, BytesMut};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use wardline::protocol::{
    Code,
    frames::{self, Demand, Seen},
    limits::UNSEEN_PICTURES,
    media::{BadChunk, Chunk, FIRST, HEADER, KEY, KIND_H264, KIND_JPEG, LAST},
};

/// A viewer without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(pub u64);

/// What media may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespaces whose rooms carry streams. Default: `video`.
    pub namespaces: Vec<String>,
    /// Bytes of one picture; a larger one is dropped. Default: 2 MiB.
    pub picture: usize,
    /// Streams of one publisher. Default: 64.
    pub publisher_streams: usize,
    /// Streams of this hub. Default: 1024.
    pub streams: usize,
    /// Streams whose last picture is kept while no one waits for it. Default: 64.
    pub snapshots: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespaces: vec!["video".to_owned()],
            picture: 2 * 1024 * 1024,
            publisher_streams: 64,
            streams: 1024,
            snapshots: 64,
        }
    }
}

/// A whole picture, as the messages that carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The stream's number in this hub.
    pub stream: u16,
    /// The picture's number.
    pub seq: u32,
    /// Presentation time in µs.
    pub pts_us: u64,
    /// [`KIND_JPEG`] or [`KIND_H264`].
    pub kind: u8,
    /// Whether it can be decoded by itself.
    pub key: bool,
    messages: Vec<Bytes>,
}

impl Picture {
    /// The picture in one piece, without headers.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        if let [only] = &*self.messages {
            return only.slice(HEADER..);
        }
        let mut whole = BytesMut::with_capacity(self.messages.iter().map(Bytes::len).sum());
        for message in &self.messages {
            whole.extend_from_slice(&message[HEADER..]);
        }
        whole.freeze()
    }
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A stream begins or (with an empty codec) ends, in the viewer's numbers.
    Stream(ConnId, frames::Stream),
    /// How many watch, in the publisher's numbers.
    Demand(ConnId, Demand),
    /// One chunk. Never drop it: what is under way to a viewer is bounded here.
    Chunk(ConnId, Bytes),
    /// A picture for a tap; [`Media::tap_seen`] asks for the next.
    Picture(TapId, Arc<Picture>),
}

/// The streams and viewers of one hub.
#[derive(Debug)]
pub struct Media {
    config: Config,
    rooms: BTreeMap<RoomKey, Room>,
    streams: BTreeMap<u16, Live>,
    /// (publisher, its number) to the hub's number.
    sources: BTreeMap<(ConnId, u16), u16>,
    /// The rooms each connection views.
    views: BTreeMap<ConnId, BTreeSet<RoomKey>>,
    taps: BTreeMap<TapId, RoomKey>,
    next: u16,
    out: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Room {
    viewers: BTreeSet<Viewer>,
    streams: BTreeSet<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Viewer {
    Conn(ConnId),
    Tap(TapId),
}

#[derive(Debug)]
struct Live {
    source: (ConnId, u16),
    key: RoomKey,
    info: frames::Stream,
    kind: u8,
    /// The picture that is being put together, and its size.
    partial: Option<(Picture, usize)>,
    last: Option<Arc<Picture>>,
    keeps_last: bool,
    windows: BTreeMap<Viewer, Window>,
}

/// What one viewer has of one stream.
#[derive(Debug, Default)]
struct Window {
    unseen: VecDeque<u32>,
    pending: Option<Arc<Picture>>,
    /// A picture of a coded stream was dropped: nothing before the next key frame makes sense.
    needs_key: bool,
}

impl Media {
    /// No streams, no viewers.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            rooms: BTreeMap::new(),
            streams: BTreeMap::new(),
            sources: BTreeMap::new(),
            views: BTreeMap::new(),
            taps: BTreeMap::new(),
            next: 0,
            out: VecDeque::new(),
        }
    }

    /// Whether rooms of this namespace carry streams: only their members need be told of.
    #[must_use]
    pub fn concerns(&self, namespace: &str) -> bool {
        self.config.namespaces.iter().any(|name| name == namespace)
    }

    /// A connection became a member of a room: it views the room's streams.
    pub fn join(&mut self, conn: ConnId, key: &RoomKey) {
        if self.concerns(key.room.namespace()) {
            self.views.entry(conn).or_default().insert(key.clone());
            self.add_viewer(Viewer::Conn(conn), key);
        }
    }

    /// The membership ended, and with it the connection's own streams in this room.
    pub fn leave(&mut self, conn: ConnId, key: &RoomKey) {
        let viewed = self.views.get_mut(&conn).is_some_and(|rooms| rooms.remove(key));
        if viewed {
            self.remove_viewer(Viewer::Conn(conn), key);
            self.end_where(|live| live.source.0 == conn && live.key == *key);
        }
    }

    /// The connection ended.
    pub fn closed(&mut self, conn: ConnId) {
        for key in self.views.remove(&conn).unwrap_or_default() {
            self.remove_viewer(Viewer::Conn(conn), &key);
        }
        if self.sources.range((conn, 0)..=(conn, u16::MAX)).next().is_some() {
            self.end_where(|live| live.source.0 == conn);
        }
    }

    /// A publisher announces a stream of a room it may write to, or with an empty codec ends it.
    ///
    /// # Errors
    /// `bad_params`: no known codec; `forbidden`: no room for streams; `rate`: too many streams.
    pub fn announce(
        &mut self,
        conn: ConnId,
        key: &RoomKey,
        stream: &frames::Stream,
    ) -> Result<(), Code> {
        let source = (conn, stream.stream);
        if let Some(number) = self.sources.get(&source).copied() {
            self.end(number);
        }
        let kind = match stream.codec.as_str() {
            "" => return Ok(()),
            "jpeg" => KIND_JPEG,
            "h264" => KIND_H264,
            _ => return Err(Code::BAD_PARAMS),
        };
        if !self.concerns(key.room.namespace()) {
            return Err(Code::FORBIDDEN);
        }
        let own = self.sources.range((conn, 0)..=(conn, u16::MAX)).count();
        let most = self.config.streams.min(usize::from(u16::MAX));
        if own >= self.config.publisher_streams || self.streams.len() >= most {
            return Err(Code::RATE);
        }
        let number = self.free_number();
        let keeps_last =
            self.streams.values().filter(|live| live.keeps_last).count() < self.config.snapshots;
        let live = Live {
            source,
            key: key.clone(),
            info: frames::Stream {
                stream: number,
                room: key.room.as_str().to_owned(),
                ..stream.clone()
            },
            kind,
            partial: None,
            last: None,
            keeps_last,
            windows: BTreeMap::new(),
        };
        self.sources.insert(source, number);
        self.streams.insert(number, live);
        let room = self.rooms.entry(key.clone()).or_default();
        room.streams.insert(number);
        for viewer in room.viewers.clone() {
            self.open_window(viewer, number);
        }
        self.tell_demand(number);
        Ok(())
    }

    /// A binary message of a connection. A chunk of no announced stream is passed over.
    ///
    /// # Errors
    /// [`BadChunk`]: it is no media message.
    pub fn binary(&mut self, conn: ConnId, message: &Bytes) -> Result<(), BadChunk> {
        let chunk = Chunk::decode(message)?;
        let Some(number) = self.sources.get(&(conn, chunk.stream)).copied() else { return Ok(()) };
        let Some(live) = self.streams.get_mut(&number) else { return Ok(()) };
        let Some(picture) = live.take_chunk(chunk, self.config.picture) else { return Ok(()) };
        let picture = Arc::new(picture);
        if live.keeps_last {
            live.last = Some(Arc::clone(&picture));
        }
        for (viewer, window) in &mut live.windows {
            if let Some(now) = window.offer(&picture) {
                write(&mut self.out, *viewer, &now);
            }
        }
        Ok(())
    }

    /// A viewer saw a picture (P-V2), and with it all before.
    pub fn seen(&mut self, conn: ConnId, seen: Seen) {
        self.viewer_saw(Viewer::Conn(conn), seen.stream, seen.seq);
    }

    /// A tap begins to view the room's first JPEG stream.
    pub fn tap(&mut self, tap: TapId, key: &RoomKey) {
        if self.concerns(key.room.namespace()) {
            self.taps.insert(tap, key.clone());
            self.add_viewer(Viewer::Tap(tap), key);
        }
    }

    /// A tap took a picture.
    pub fn tap_seen(&mut self, tap: TapId, picture: &Picture) {
        self.viewer_saw(Viewer::Tap(tap), picture.stream, picture.seq);
    }

    /// A tap ends.
    pub fn untap(&mut self, tap: TapId) {
        if let Some(key) = self.taps.remove(&tap) {
            self.remove_viewer(Viewer::Tap(tap), &key);
        }
    }

    /// The last picture of the room's first JPEG stream, where one is kept.
    #[must_use]
    pub fn snapshot(&self, key: &RoomKey) -> Option<Arc<Picture>> {
        let room = self.rooms.get(key)?;
        let jpegs = room.streams.iter().filter_map(|number| self.streams.get(number));
        jpegs.filter(|live| live.kind == KIND_JPEG).find_map(|live| live.last.clone())
    }

    /// The streams of a room, in this hub's numbers.
    pub fn streams(&self, key: &RoomKey) -> impl Iterator<Item = &frames::Stream> {
        let room = self.rooms.get(key).into_iter();
        room.flat_map(|room| &room.streams).filter_map(|n| Some(&self.streams.get(n)?.info))
    }

    /// The next thing to write.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn free_number(&mut self) -> u16 {
        // A number comes again as late as can be, so that frames of a stream that ended meet no other.
        loop {
            self.next = self.next.wrapping_add(1);
            if !self.streams.contains_key(&self.next) {
                return self.next;
            }
        }
    }

    fn add_viewer(&mut self, viewer: Viewer, key: &RoomKey) {
        let room = self.rooms.entry(key.clone()).or_default();
        let anew = !room.viewers.insert(viewer);
        for number in room.streams.clone() {
            if anew {
                // A second join ends the first: the streams are announced again.
                self.close_window(viewer, number);
            }
            self.open_window(viewer, number);
            self.tell_demand(number);
        }
    }

    fn remove_viewer(&mut self, viewer: Viewer, key: &RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.viewers.remove(&viewer);
        for number in room.streams.clone() {
            if self.close_window(viewer, number) {
                self.tell_demand(number);
            }
        }
        self.forget_room(key);
    }

    /// A publisher is no viewer of its own; a tap sees one stream only.
    fn open_window(&mut self, viewer: Viewer, number: u16) {
        let Some(live) = self.streams.get_mut(&number) else { return };
        match viewer {
            Viewer::Conn(conn) if conn == live.source.0 => return,
            Viewer::Conn(conn) => self.out.push_back(Output::Stream(conn, live.info.clone())),
            Viewer::Tap(_) => {
                let key = live.key.clone();
                if live.kind != KIND_JPEG || self.has_window(viewer, &key) {
                    return;
                }
            }
        }
        let Some(live) = self.streams.get_mut(&number) else { return };
        let mut window = Window { needs_key: live.kind == KIND_H264, ..Window::default() };
        // The newest picture at once, where it stands alone.
        if let Some(last) = live.last.clone().filter(|_| live.kind == KIND_JPEG)
            && let Some(picture) = window.offer(&last)
        {
            write(&mut self.out, viewer, &picture);
        }
        live.windows.insert(viewer, window);
    }

    fn has_window(&self, viewer: Viewer, key: &RoomKey) -> bool {
        let streams = self.rooms.get(key).into_iter().flat_map(|room| &room.streams);
        streams.filter_map(|n| self.streams.get(n)).any(|live| live.windows.contains_key(&viewer))
    }

    fn close_window(&mut self, viewer: Viewer, number: u16) -> bool {
        let live = self.streams.get_mut(&number);
        live.is_some_and(|live| live.windows.remove(&viewer).is_some())
    }

    fn viewer_saw(&mut self, viewer: Viewer, stream: u16, seq: u32) {
        let Some(live) = self.streams.get_mut(&stream) else { return };
        let Some(window) = live.windows.get_mut(&viewer) else { return };
        if let Some(picture) = window.saw(seq) {
            write(&mut self.out, viewer, &picture);
        }
    }

    fn tell_demand(&mut self, number: u16) {
        let Some(live) = self.streams.get(&number) else { return };
        let viewers = u32::try_from(live.windows.len()).unwrap_or(u32::MAX);
        let (publisher, stream) = live.source;
        self.out.push_back(Output::Demand(publisher, Demand { stream, viewers }));
    }

    fn end_where(&mut self, ends: impl Fn(&Live) -> bool) {
        let numbers: Vec<_> =
            self.streams.iter().filter(|(_, live)| ends(live)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.end(number);
        }
    }

    fn end(&mut self, number: u16) {
        let Some(live) = self.streams.remove(&number) else { return };
        self.sources.remove(&live.source);
        let gone = frames::Stream { codec: String::new(), ..live.info };
        let mut taps = Vec::new();
        for viewer in live.windows.into_keys() {
            match viewer {
                Viewer::Conn(conn) => self.out.push_back(Output::Stream(conn, gone.clone())),
                Viewer::Tap(_) => taps.push(viewer),
            }
        }
        let others = self.rooms.get_mut(&live.key).map(|room| {
            room.streams.remove(&number);
            room.streams.clone()
        });
        for other in others.unwrap_or_default() {
            for tap in &taps {
                self.open_window(*tap, other);
                self.tell_demand(other);
            }
        }
        self.forget_room(&live.key);
    }

    fn forget_room(&mut self, key: &RoomKey) {
        let idle = |room: &Room| room.viewers.is_empty() && room.streams.is_empty();
        if self.rooms.get(key).is_some_and(idle) {
            self.rooms.remove(key);
        }
    }
}

fn write(out: &mut VecDeque<Output>, viewer: Viewer, picture: &Arc<Picture>) {
    match viewer {
        Viewer::Conn(conn) => {
            out.extend(picture.messages.iter().map(|m| Output::Chunk(conn, m.clone())));
        }
        Viewer::Tap(tap) => out.push_back(Output::Picture(tap, Arc::clone(picture))),
    }
}

impl Live {
    /// Adds a chunk to the picture; the picture, once it is whole. What does not follow on, is of
    /// another kind or too large drops the picture: its viewers meet the next one.
    fn take_chunk(&mut self, mut chunk: Chunk, most: usize) -> Option<Picture> {
        if chunk.kind != self.kind {
            return None;
        }
        if chunk.has(FIRST) {
            if self.partial.take().is_some() {
                self.dropped_one();
            }
            let picture = Picture {
                stream: self.info.stream,
                seq: chunk.seq,
                pts_us: chunk.pts_us,
                kind: self.kind,
                key: self.kind == KIND_JPEG || chunk.has(KEY),
                messages: Vec::new(),
            };
            self.partial = Some((picture, 0));
        }
        let (picture, size) = self.partial.as_mut()?;
        *size += chunk.payload.len();
        if picture.seq != chunk.seq || *size > most {
            self.partial = None;
            self.dropped_one();
            return None;
        }
        chunk.stream = picture.stream;
        picture.messages.push(chunk.encode());
        if chunk.has(LAST) { self.partial.take().map(|(picture, _)| picture) } else { None }
    }

    fn dropped_one(&mut self) {
        if self.kind == KIND_H264 {
            for window in self.windows.values_mut() {
                window.needs_key = true;
            }
        }
    }
}

impl Window {
    /// Takes a new picture; gives it back where it is to be written now.
    fn offer(&mut self, picture: &Arc<Picture>) -> Option<Arc<Picture>> {
        if self.needs_key && !picture.key {
            return None;
        }
        self.needs_key = false;
        if self.unseen.len() < UNSEEN_PICTURES {
            self.unseen.push_back(picture.seq);
            return Some(Arc::clone(picture));
        }
        if self.pending.is_none() || picture.key {
            self.pending = Some(Arc::clone(picture));
        } else {
            // It needs what waits before it; what waits can still be shown.
            self.needs_key = true;
        }
        None
    }

    /// Gives the picture that may be written now.
    fn saw(&mut self, seq: u32) -> Option<Arc<Picture>> {
        let at = self.unseen.iter().position(|unseen| *unseen == seq)?;
        self.unseen.drain(..=at);
        let picture = self.pending.take()?;
        self.unseen.push_back(picture.seq);
        Some(picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardline::protocol::media::chunks;

    const PUBLISHER: ConnId = ConnId(1);
    const VIEWER: ConnId = ConnId(2);

    fn key() -> RoomKey {
        RoomKey { tenant: "t".into(), room: "video/camera:7".parse().unwrap() }
    }

    fn stream(number: u16, codec: &str) -> frames::Stream {
        frames::Stream {
            stream: number,
            room: "video/camera:7".into(),
            codec: codec.into(),
            width: 640,
            height: 360,
        }
    }

    fn drain(media: &mut Media) -> Vec<Output> {
        std::iter::from_fn(|| media.poll_output()).collect()
    }

    /// A media with a publisher's stream 5 and one viewer; and the number the viewer got.
    fn watched(codec: &str) -> (Media, u16) {
        let mut media = Media::new(Config::default());
        media.announce(PUBLISHER, &key(), &stream(5, codec)).unwrap();
        assert_eq!(
            drain(&mut media),
            [Output::Demand(PUBLISHER, Demand { stream: 5, viewers: 0 })]
        );
        media.join(VIEWER, &key());
        let out = drain(&mut media);
        let [Output::Stream(VIEWER, begun), Output::Demand(PUBLISHER, demand)] = &*out else {
            panic!("{out:?}")
        };
        assert_eq!(*demand, Demand { stream: 5, viewers: 1 });
        let number = begun.stream;
        (media, number)
    }

    fn publish(media: &mut Media, seq: u32, is_key: bool, size: usize) {
        let kind = match media.streams.values().next() {
            Some(live) => live.kind,
            None => KIND_JPEG,
        };
        let picture = Bytes::from(vec![seq as u8; size]);
        for chunk in chunks(kind, is_key, 5, seq, 1000, &picture) {
            media.binary(PUBLISHER, &chunk.encode()).unwrap();
        }
    }

    /// The numbers of the pictures written whole to the viewer, in order.
    fn pictures(media: &mut Media) -> Vec<u32> {
        let chunks = drain(media).into_iter().filter_map(|output| match output {
            Output::Chunk(VIEWER, bytes) => Some(Chunk::decode(&bytes).unwrap()),
            _ => None,
        });
        chunks.filter(|chunk| chunk.has(LAST)).map(|chunk| chunk.seq).collect()
    }

    fn see(media: &mut Media, stream: u16, seq: u32) {
        media.seen(VIEWER, Seen { stream, seq });
    }

    #[test]
    fn p_v1_a_picture_is_relayed_whole_in_the_viewers_numbers() {
        let (mut media, number) = watched("jpeg");
        publish(&mut media, 1, true, 40_000);
        let out = drain(&mut media);
        assert_eq!(out.len(), 3);
        for output in &out {
            let Output::Chunk(VIEWER, bytes) = output else { panic!("{output:?}") };
            let chunk = Chunk::decode(bytes).unwrap();
            assert_eq!((chunk.stream, chunk.seq, chunk.pts_us), (number, 1, 1000));
        }
        let half = chunks(KIND_JPEG, true, 5, 2, 0, &Bytes::from(vec![0; 40_000])).take(2);
        for chunk in half {
            media.binary(PUBLISHER, &chunk.encode()).unwrap();
        }
        assert_eq!(drain(&mut media), []);
        publish(&mut media, 3, true, 10);
        assert_eq!(pictures(&mut media), [3]);
    }

    #[test]
    fn p_v2_two_pictures_are_unseen_at_most_and_newer_replace_older() {
        let (mut media, number) = watched("jpeg");
        for seq in 1..=9 {
            publish(&mut media, seq, true, 100);
        }
        assert_eq!(pictures(&mut media), [1, 2]);
        see(&mut media, number, 1);
        assert_eq!(pictures(&mut media), [9]);
        see(&mut media, number, 77);
        publish(&mut media, 10, true, 100);
        assert_eq!(pictures(&mut media), [0u32; 0]);
        see(&mut media, number, 9);
        assert_eq!(pictures(&mut media), [10]);
        publish(&mut media, 11, true, 100);
        assert_eq!(pictures(&mut media), [11]);
    }

    #[test]
    fn p_v2_after_a_drop_of_a_coded_stream_comes_a_key_frame() {
        let (mut media, number) = watched("h264");
        publish(&mut media, 1, false, 10);
        assert_eq!(pictures(&mut media), [0u32; 0], "a viewer begins at a key frame");
        for (seq, is_key) in [(2, true), (3, false), (4, false), (5, false), (6, false)] {
            publish(&mut media, seq, is_key, 10);
        }
        assert_eq!(pictures(&mut media), [2, 3]);
        see(&mut media, number, 3);
        assert_eq!(pictures(&mut media), [4], "what waits follows on the last written");
        publish(&mut media, 7, false, 10);
        assert_eq!(pictures(&mut media), [0u32; 0], "5 was dropped");
        publish(&mut media, 8, true, 10);
        publish(&mut media, 9, false, 10);
        assert_eq!(pictures(&mut media), [8]);
        see(&mut media, number, 8);
        assert_eq!(pictures(&mut media), [9]);
    }

    #[test]
    fn p_v2_a_waiting_picture_of_a_coded_stream_gives_way_to_a_key_frame_only() {
        let (mut media, number) = watched("h264");
        for (seq, is_key) in [(1, true), (2, false), (3, false), (4, true), (5, false)] {
            publish(&mut media, seq, is_key, 10);
        }
        assert_eq!(pictures(&mut media), [1, 2]);
        see(&mut media, number, 2);
        assert_eq!(pictures(&mut media), [4]);
        publish(&mut media, 6, false, 10);
        assert_eq!(pictures(&mut media), [0u32; 0], "5 was dropped behind 4");
    }

    #[test]
    fn p_v2_demand_follows_the_viewers() {
        let (mut media, number) = watched("jpeg");
        media.join(PUBLISHER, &key());
        assert!(!drain(&mut media).iter().any(|o| matches!(o, Output::Stream(PUBLISHER, _))));
        media.tap(TapId(1), &key());
        let demand = |viewers| Output::Demand(PUBLISHER, Demand { stream: 5, viewers });
        assert_eq!(drain(&mut media), [demand(2)]);
        media.untap(TapId(1));
        media.leave(VIEWER, &key());
        assert_eq!(drain(&mut media), [demand(1), demand(0)]);
        media.join(VIEWER, &key());
        drain(&mut media);
        media.closed(PUBLISHER);
        let ended = frames::Stream { stream: number, ..stream(number, "") };
        assert_eq!(drain(&mut media), [Output::Stream(VIEWER, ended)]);
        media.closed(VIEWER);
        assert!(media.rooms.is_empty() && media.streams.is_empty() && media.views.is_empty());
    }

    #[test]
    fn p_v1_a_stream_ends_with_an_empty_codec_and_with_the_publishers_membership() {
        let (mut media, _) = watched("jpeg");
        media.announce(PUBLISHER, &key(), &stream(5, "")).unwrap();
        assert!(matches!(&*drain(&mut media), [Output::Stream(VIEWER, s)] if s.codec.is_empty()));
        publish(&mut media, 1, true, 10);
        assert_eq!(drain(&mut media), []);
        media.join(PUBLISHER, &key());
        media.announce(PUBLISHER, &key(), &stream(6, "jpeg")).unwrap();
        drain(&mut media);
        media.leave(PUBLISHER, &key());
        assert!(matches!(&*drain(&mut media), [Output::Stream(VIEWER, s)] if s.codec.is_empty()));
    }

    #[test]
    fn the_last_picture_serves_http_and_who_comes_later() {
        let (mut media, _) = watched("jpeg");
        assert_eq!(media.snapshot(&key()), None);
        publish(&mut media, 1, true, 40_000);
        assert_eq!(media.snapshot(&key()).unwrap().bytes(), vec![1; 40_000]);
        drain(&mut media);
        media.tap(TapId(1), &key());
        let out = drain(&mut media);
        let Output::Picture(TapId(1), picture) = &out[0] else { panic!("{out:?}") };
        publish(&mut media, 2, true, 10);
        publish(&mut media, 3, true, 10);
        publish(&mut media, 4, true, 10);
        media.tap_seen(TapId(1), picture);
        let tapped = drain(&mut media).into_iter().filter_map(|output| match output {
            Output::Picture(_, picture) => Some(picture.seq),
            _ => None,
        });
        assert_eq!(tapped.collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn media_is_bounded() {
        let config =
            Config { picture: 20_000, publisher_streams: 2, snapshots: 1, ..Config::default() };
        let mut media = Media::new(config);
        media.announce(PUBLISHER, &key(), &stream(5, "jpeg")).unwrap();
        media.announce(PUBLISHER, &key(), &stream(6, "jpeg")).unwrap();
        assert_eq!(media.announce(PUBLISHER, &key(), &stream(7, "jpeg")), Err(Code::RATE));
        assert_eq!(media.announce(PUBLISHER, &key(), &stream(6, "x")), Err(Code::BAD_PARAMS));
        publish(&mut media, 1, true, 20_001);
        assert_eq!(media.snapshot(&key()), None);
        assert!(media.streams.values().all(|live| live.partial.is_none()));
        assert_eq!(media.binary(PUBLISHER, &Bytes::from_static(&[0; 3])), Err(BadChunk));
        let elsewhere = RoomKey { tenant: "t".into(), room: "alerts/x".parse().unwrap() };
        assert_eq!(media.announce(PUBLISHER, &elsewhere, &stream(9, "jpeg")), Err(Code::FORBIDDEN));
    }
}
