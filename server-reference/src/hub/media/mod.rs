//! Media: pictures from publishers to viewers (P-V1, P-V2).
//!
//! A publisher announces streams of a room and sends chunks; whoever is a member of the room views
//! them. Pictures are relayed whole: a viewer with two unseen ones waits, and meanwhile the newest
//! replaces what it waits for. A stream gets one number for all its viewers, so that they share the
//! same bytes. Taps are viewers without a connection, such as an MJPEG response.

mod taps;
#[cfg(test)]
mod tests;
mod windows;

use super::io::ConnId;
use crate::log::RoomKey;
use bytes::{Bytes, BytesMut};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use taps::Tapped;
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
    taps: BTreeMap<TapId, Tapped>,
    next: u16,
    /// Whole pictures so far: says which is the newest.
    arrivals: u64,
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
    /// When the last picture came, counted in pictures; 0: none is kept.
    last_at: u64,
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
            arrivals: 0,
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
            last_at: 0,
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
        self.arrivals += 1;
        if live.keeps_last {
            live.last = Some(Arc::clone(&picture));
            live.last_at = self.arrivals;
        }
        let mut shown = Vec::new();
        for (viewer, window) in &mut live.windows {
            if let Some(now) = window.offer(&picture) {
                write(&mut self.out, *viewer, &now);
                if let Viewer::Tap(tap) = viewer {
                    shown.push(*tap);
                }
            }
        }
        for tap in shown {
            self.choose(tap, number);
        }
        Ok(())
    }

    /// A viewer saw a picture (P-V2), and with it all before.
    pub fn seen(&mut self, conn: ConnId, seen: Seen) {
        self.viewer_saw(Viewer::Conn(conn), seen.stream, seen.seq);
    }

    /// The newest picture of the room's JPEG streams, where one is kept.
    #[must_use]
    pub fn snapshot(&self, key: &RoomKey) -> Option<Arc<Picture>> {
        let room = self.rooms.get(key)?;
        let jpegs = room.streams.iter().filter_map(|number| self.streams.get(number));
        let newest = jpegs.filter(|live| live.kind == KIND_JPEG).max_by_key(|live| live.last_at)?;
        newest.last.clone()
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
        let mut streams: Vec<u16> = room.streams.iter().copied().collect();
        if matches!(viewer, Viewer::Tap(_)) {
            self.newest_first(&mut streams);
        }
        for number in streams {
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

    /// A publisher is no viewer of its own; a tap that has its stream views no other.
    fn open_window(&mut self, viewer: Viewer, number: u16) {
        let Some(live) = self.streams.get_mut(&number) else { return };
        match viewer {
            Viewer::Conn(conn) if conn == live.source.0 => return,
            Viewer::Conn(conn) => self.out.push_back(Output::Stream(conn, live.info.clone())),
            Viewer::Tap(tap) => {
                let chosen = self.taps.get(&tap).is_none_or(|tapped| tapped.stream.is_some());
                if chosen || live.kind != KIND_JPEG || live.windows.contains_key(&viewer) {
                    return;
                }
            }
        }
        let mut window = Window { needs_key: live.kind == KIND_H264, ..Window::default() };
        // The newest picture at once, where it stands alone.
        if let Some(last) = live.last.clone().filter(|_| live.kind == KIND_JPEG)
            && let Some(picture) = window.offer(&last)
        {
            write(&mut self.out, viewer, &picture);
            live.windows.insert(viewer, window);
            if let Viewer::Tap(tap) = viewer {
                self.choose(tap, number);
            }
            return;
        }
        live.windows.insert(viewer, window);
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
                Viewer::Tap(tap) => {
                    if let Some(tapped) = self.taps.get_mut(&tap) {
                        tapped.stream = None;
                    }
                    taps.push(viewer);
                }
            }
        }
        let others = self.rooms.get_mut(&live.key).map(|room| {
            room.streams.remove(&number);
            room.streams.iter().copied().collect()
        });
        let mut others: Vec<u16> = others.unwrap_or_default();
        self.newest_first(&mut others);
        for other in others {
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
