//! The site's cameras: streams for who watches, recordings on demand.

use super::{Site, camera_name};
use crate::{
    pattern::{HEIGHT, Pattern, WIDTH},
    recording::Recording as File,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;
use wardline::{
    client::{Client, CommandStream, Error, Publisher, ServiceCommand},
    model::{
        ids::{CameraId, ItemId, RecordingId},
        video::{
            Recording, START_RECORDING, START_STREAM, STOP_RECORDING, STOP_STREAM, StartRecording,
            StartStream, StopRecording, StopStream, StreamInfo, VideoEvent,
        },
    },
    protocol::{Code, Json},
};

/// Longest recording.
const LONGEST: Duration = Duration::from_secs(600);
/// Answers remembered, so that a command that comes again takes effect once.
const ANSWERS: usize = 256;

type Answer = Result<Json, (Code, String)>;

/// All cameras and the commands for them.
pub(super) struct Cameras {
    client: Client,
    room: String,
    folder: PathBuf,
    commands: CommandStream,
    cameras: BTreeMap<String, Camera>,
    answers: VecDeque<(ItemId, Answer)>,
    recordings: u64,
}

#[derive(Clone)]
struct Camera(Arc<Mutex<State>>);

struct State {
    streaming: bool,
    rate: u32,
    recording: Option<Running>,
}

/// A recording that runs.
struct Running {
    id: RecordingId,
    path: PathBuf,
    file: File,
    began: Instant,
    until: Instant,
}

impl Cameras {
    pub(super) async fn start(client: &Client, site: &Site, room: &str) -> Result<Self, Error> {
        let commands = client.handle_commands("video").await?;
        let mut cameras = BTreeMap::new();
        for number in 1..=site.cameras {
            let name = camera_name(number);
            let (width, height) = (u32::from(WIDTH), u32::from(HEIGHT));
            let publisher =
                client.video().publish(name.as_str(), number.into(), "jpeg", width, height).await?;
            let state = State { streaming: true, rate: site.rate, recording: None };
            let camera = Camera(Arc::new(Mutex::new(state)));
            let film = Film {
                client: client.clone(),
                camera: camera.clone(),
                name: name.clone(),
                room: room.to_owned(),
                pattern: Pattern::new(number),
            };
            tokio::spawn(film.run(publisher, site.rate));
            cameras.insert(name, camera);
        }
        Ok(Self {
            client: client.clone(),
            room: room.to_owned(),
            folder: site.recordings.clone(),
            commands,
            cameras,
            answers: VecDeque::new(),
            recordings: 0,
        })
    }

    /// Answers commands until the client ends.
    pub(super) async fn serve(mut self) -> Result<(), Error> {
        while let Some(command) = self.commands.next().await {
            let known = self.answers.iter().find(|(id, _)| *id == command.id);
            let answer = match known {
                Some((_, answer)) => answer.clone(),
                None => {
                    let answer = self.obey(&command).await;
                    if self.answers.len() == ANSWERS {
                        self.answers.pop_front();
                    }
                    self.answers.push_back((command.id, answer.clone()));
                    answer
                }
            };
            let sent = match answer {
                Ok(result) => command.answer(&result).await,
                Err((code, words)) => command.refuse(code, words).await,
            };
            if let Err(error) = sent {
                // The command comes again on the next connection; its answer is remembered.
                tracing::info!(%error, "an answer did not reach the server");
            }
        }
        Ok(())
    }

    async fn obey(&mut self, command: &ServiceCommand) -> Answer {
        match command.event.as_str() {
            START_STREAM => self.stream(&read::<StartStream>(command)?.camera_id, true).await,
            STOP_STREAM => self.stream(&read::<StopStream>(command)?.camera_id, false).await,
            START_RECORDING => self.record(&read(command)?),
            STOP_RECORDING => self.stop(&read(command)?).await,
            other => Err((Code::BAD_PARAMS, format!("no command {other:?}"))),
        }
    }

    fn camera(&self, id: &CameraId) -> Result<Camera, (Code, String)> {
        let camera = self.cameras.get(id.as_str()).cloned();
        camera.ok_or_else(|| (Code::NOT_FOUND, format!("no camera {id}")))
    }

    async fn stream(&self, id: &CameraId, on: bool) -> Answer {
        let camera = self.camera(id)?;
        let changed = std::mem::replace(&mut camera.lock().streaming, on) != on;
        let info = StreamInfo {
            camera_id: id.clone(),
            stream_id: Some(id.to_string()),
            url: Some(format!("/cameras/{id}/stream.mjpeg")),
            quality: None,
            codec: Some("jpeg".into()),
            width: Some(WIDTH.into()),
            height: Some(HEIGHT.into()),
            reason: None,
            timestamp: None,
        };
        if changed || on {
            let events: &[VideoEvent] = &if on {
                vec![VideoEvent::StreamStarted(info.clone()), VideoEvent::StreamReady(info.clone())]
            } else {
                vec![VideoEvent::StreamStopped(info.clone())]
            };
            for event in events {
                publish(&self.client, &self.room, event).await;
            }
        }
        json(&info)
    }

    fn record(&mut self, wanted: &StartRecording) -> Answer {
        let camera = self.camera(&wanted.camera_id)?;
        let mut state = camera.lock();
        if let Some(running) = &state.recording {
            return Err((Code::CONFLICT, format!("recording {} runs", running.id)));
        }
        self.recordings += 1;
        let id = format!("{}-{}-{}", wanted.camera_id, std::process::id(), self.recordings);
        let path = self.folder.join(format!("{id}.avi"));
        let file = File::create(&path, WIDTH.into(), HEIGHT.into(), state.rate)
            .map_err(|error| (Code::HANDLER, error.to_string()))?;
        let span = wanted.duration.map_or(LONGEST, |s| Duration::from_secs(s.into()).min(LONGEST));
        let began = Instant::now();
        let id = RecordingId::from(id);
        let info = Recording {
            recording_id: id.clone(),
            camera_id: wanted.camera_id.clone(),
            duration: wanted.duration.map(f64::from),
            url: Some(path.display().to_string()),
            size: None,
            frames: None,
            timestamp: None,
        };
        state.recording = Some(Running { id, path, file, began, until: began + span });
        drop(state);
        let (client, room, event) =
            (self.client.clone(), self.room.clone(), VideoEvent::RecordingStarted(info.clone()));
        tokio::spawn(async move { publish(&client, &room, &event).await });
        json(&info)
    }

    async fn stop(&self, wanted: &StopRecording) -> Answer {
        let camera = self.camera(&wanted.camera_id)?;
        let running = {
            let mut state = camera.lock();
            let fits = |running: &&mut Running| {
                wanted.recording_id.as_ref().is_none_or(|id| *id == running.id)
            };
            match state.recording.as_mut().filter(fits) {
                Some(_) => state.recording.take(),
                None => None,
            }
        };
        let Some(running) = running else {
            return Err((Code::NOT_FOUND, "no such recording runs".into()));
        };
        let info = finish(running, &wanted.camera_id)?;
        publish(&self.client, &self.room, &VideoEvent::RecordingStopped(info.clone())).await;
        json(&info)
    }
}

fn read<T: serde::de::DeserializeOwned>(command: &ServiceCommand) -> Result<T, (Code, String)> {
    command.data.to().map_err(|error| (Code::BAD_PARAMS, error.to_string()))
}

fn json(value: &impl Serialize) -> Answer {
    Json::of(value).map_err(|error| (Code::HANDLER, error.to_string()))
}

fn finish(running: Running, camera: &CameraId) -> Result<Recording, (Code, String)> {
    let frames = running.file.frames();
    let size = running.file.finish().map_err(|error| (Code::HANDLER, error.to_string()))?;
    Ok(Recording {
        recording_id: running.id,
        camera_id: camera.clone(),
        duration: Some(running.began.elapsed().as_secs_f64()),
        url: Some(running.path.display().to_string()),
        size: Some(size),
        frames: Some(frames),
        timestamp: None,
    })
}

async fn publish(client: &Client, room: &str, event: &VideoEvent) {
    if let Err(error) = client.video().publish_event(room, event).await {
        tracing::warn!(%error, "an event was not queued");
    }
}

impl Camera {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What takes a camera's pictures.
struct Film {
    client: Client,
    camera: Camera,
    name: String,
    room: String,
    pattern: Pattern,
}

impl Film {
    async fn run(mut self, mut publisher: Publisher, rate: u32) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let began = Instant::now();
        for number in 1.. {
            ticks.tick().await;
            let (streaming, recording) = {
                let state = self.camera.lock();
                (state.streaming && publisher.viewers() > 0, state.recording.is_some())
            };
            if !streaming && !recording {
                continue;
            }
            let picture = match self.pattern.jpeg(number) {
                Ok(picture) => picture,
                Err(error) => {
                    tracing::warn!(%error, "no picture");
                    continue;
                }
            };
            if streaming {
                let pts = began.elapsed().as_micros() as u64;
                publisher.push(&picture, pts, true);
            }
            if let Some(info) = self.keep(&picture) {
                publish(&self.client, &self.room, &VideoEvent::RecordingStopped(info)).await;
            }
        }
    }

    /// Adds a picture to the recording that runs; ends it when its time is over.
    fn keep(&self, picture: &[u8]) -> Option<Recording> {
        let mut state = self.camera.lock();
        let running = state.recording.as_mut()?;
        let full = running.file.push(picture).is_err();
        if !full && Instant::now() < running.until {
            return None;
        }
        let running = state.recording.take()?;
        drop(state);
        match finish(running, &CameraId::from(self.name.as_str())) {
            Ok(info) => Some(info),
            Err((code, words)) => {
                tracing::warn!(%code, words, "the recording was not finished");
                None
            }
        }
    }
}
