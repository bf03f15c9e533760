//! Cameras: streams, recordings, and the pictures themselves (C6, P-V).

use super::{Client, Error, Outgoing, Result, Room, RoomBuilder, monitoring::publish};
use crate::{
    driver::{
        Message,
        media::{Picture, Pictures, Viewers},
    },
    machine::Command,
    model::{
        ids::{CameraId, RecordingId},
        video::{
            Quality, Recording, START_RECORDING, START_STREAM, STOP_RECORDING, STOP_STREAM,
            StartRecording, StartStream, StopRecording, StopStream, StreamInfo, VideoEvent,
            camera_room,
        },
    },
    protocol::{
        Address, Code,
        frames::{Seen, Stream},
        media::{KIND_H264, KIND_JPEG, chunks},
    },
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

const NAMESPACE: &str = "video";

/// The cameras of one client. Cheap to make; shares the connection.
#[derive(Clone, Debug)]
pub struct Video {
    client: Client,
}

impl Video {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Begins to join a room of this namespace.
    pub fn room(&self, name: &str) -> RoomBuilder<VideoEvent> {
        self.client.room_in(NAMESPACE, name)
    }

    /// Begins to join the tenant's video events. Waits for the first welcome.
    ///
    /// # Errors
    /// `closed`.
    pub async fn tenant_room(&self) -> Result<RoomBuilder<VideoEvent>> {
        let tenant = self.client.identified().await?.tenant;
        Ok(self.room(&format!("tenant:{tenant}")))
    }

    /// Starts a camera's stream.
    ///
    /// # Errors
    /// As [`Client::command`].
    pub async fn start_stream(
        &self,
        camera: impl Into<CameraId>,
        quality: Quality,
    ) -> Result<StreamInfo> {
        let data = StartStream { camera_id: camera.into(), quality };
        Ok(self.client.command(NAMESPACE, START_STREAM, &data).await?.to()?)
    }

    /// Stops a camera's stream.
    ///
    /// # Errors
    /// As [`Client::command`].
    pub async fn stop_stream(&self, camera: impl Into<CameraId>) -> Result<StreamInfo> {
        let data = StopStream { camera_id: camera.into() };
        Ok(self.client.command(NAMESPACE, STOP_STREAM, &data).await?.to()?)
    }

    /// Starts a recording; without a duration it goes on until stopped.
    ///
    /// # Errors
    /// As [`Client::command`].
    pub async fn start_recording(
        &self,
        camera: impl Into<CameraId>,
        duration: Option<Duration>,
    ) -> Result<Recording> {
        let duration = duration.map(|span| u32::try_from(span.as_secs()).unwrap_or(u32::MAX));
        let data = StartRecording { camera_id: camera.into(), duration };
        Ok(self.client.command(NAMESPACE, START_RECORDING, &data).await?.to()?)
    }

    /// Stops a recording: the one that runs, or the one named.
    ///
    /// # Errors
    /// As [`Client::command`].
    pub async fn stop_recording(
        &self,
        camera: impl Into<CameraId>,
        recording: Option<RecordingId>,
    ) -> Result<Recording> {
        let data = StopRecording { camera_id: camera.into(), recording_id: recording };
        Ok(self.client.command(NAMESPACE, STOP_RECORDING, &data).await?.to()?)
    }

    /// Queues an event for a room of this namespace.
    pub fn publish_event(&self, room: &str, event: &VideoEvent) -> Outgoing {
        publish(&self.client, NAMESPACE, room, event.encode())
    }

    /// Watches a camera: joins its room and receives its pictures.
    ///
    /// # Errors
    /// As [`RoomBuilder::join`].
    pub async fn watch(&self, camera: impl Into<CameraId>) -> Result<PictureStream> {
        let builder = self.room(&camera_room(&camera.into()));
        let pictures = Arc::new(Pictures::default());
        let mut room = builder.open()?;
        let look = Message::Look(room.address().clone(), Arc::downgrade(&pictures));
        self.client.link().tell(look);
        room.joined().await?;
        Ok(PictureStream { client: self.client.clone(), room, pictures })
    }

    /// Announces a stream of a camera, to push pictures into. `number` is the stream's number on
    /// this connection; each stream of a client has its own.
    ///
    /// # Errors
    /// `forbidden`, `bad_room`; `bad_params` for a codec that is neither `jpeg` nor `h264`.
    pub async fn publish(
        &self,
        camera: impl Into<CameraId>,
        number: u16,
        codec: &str,
        width: u32,
        height: u32,
    ) -> Result<Publisher> {
        let kind = match codec {
            "jpeg" => KIND_JPEG,
            "h264" => KIND_H264,
            _ => return Err(Error::new(Code::BAD_PARAMS, "codec: jpeg or h264")),
        };
        let room = Address::new(NAMESPACE, &camera_room(&camera.into()))?;
        let viewers = Arc::new(Viewers::new(0));
        self.client.link().tell(Message::Demand(number, Arc::downgrade(&viewers)));
        let codec = codec.to_owned();
        let stream = Stream { stream: number, room: room.to_string(), codec, width, height };
        let announce = stream.clone();
        self.client.link().call(|call| Command::Stream(call, announce)).await?;
        Ok(Publisher { client: self.client.clone(), stream, kind, seq: 0, viewers })
    }
}

/// The pictures of a camera: the newest, whenever it is asked for.
#[derive(Debug)]
pub struct PictureStream {
    client: Client,
    room: Room<VideoEvent>,
    pictures: Arc<Pictures>,
}

impl PictureStream {
    /// Waits for the next picture, and tells the server that it is being shown: what comes
    /// meanwhile is replaced by what is newer (P-V2). None when the client has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Picture> {
        let picture = self.pictures.next().await?;
        let seen = Seen { stream: picture.stream, seq: picture.seq };
        self.client.link().tell(Message::Tell(Command::Seen(seen)));
        Some(picture)
    }

    /// The camera's room, for its events.
    pub const fn room(&mut self) -> &mut Room<VideoEvent> {
        &mut self.room
    }

    /// Ends.
    ///
    /// # Errors
    /// `closed`.
    pub async fn leave(self) -> Result<()> {
        self.room.leave().await
    }
}

/// A stream that pictures are pushed into. Announced again on each connection; dropping it ends it.
#[derive(Debug)]
pub struct Publisher {
    client: Client,
    stream: Stream,
    kind: u8,
    seq: u32,
    viewers: Arc<Viewers>,
}

impl Publisher {
    /// Sends a picture, where someone is connected and there is room: pictures are not queued.
    /// `pts_us` is its presentation time in µs; `key` says that it can be decoded by itself.
    /// Gives the picture's number.
    pub fn push(&mut self, picture: &Bytes, pts_us: u64, key: bool) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        for chunk in chunks(self.kind, key, self.stream.stream, self.seq, pts_us, picture) {
            // Where the driver has too much to do, the picture is dropped like any late one.
            if self.client.link().offer(Message::Tell(Command::Media(chunk))).is_err() {
                break;
            }
        }
        self.seq
    }

    /// How many watch now.
    #[must_use]
    pub fn viewers(&self) -> u32 {
        self.viewers.value()
    }

    /// Waits until someone watches; false when the client has ended.
    pub async fn wanted(&self) -> bool {
        self.viewers.wait_for(|viewers| (*viewers > 0).then_some(())).await.is_some()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let link = self.client.link();
        let end = Stream { codec: String::new(), ..self.stream.clone() };
        link.tell(Message::Tell(Command::Stream(crate::machine::CallId(link.number()), end)));
    }
}
