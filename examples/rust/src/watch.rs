//! A watcher: everything of a tenant, as one stream of updates.

use crate::site::camera_name;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use wardline::{
    client::{Client, ClientEvent, Error, Incoming, Payload, Picture, Room},
    model::{
        alert::AlertEvent, dispatch::DispatchEvent, monitoring::MonitoringEvent,
        presence::PresenceEvent, video::VideoEvent,
    },
    protocol::Cursor,
};

/// What a watcher is told.
#[derive(Debug)]
pub enum Update {
    /// Of the whole client.
    Client(ClientEvent),
    /// Of the monitoring room, with its position.
    Monitoring(Option<Cursor>, MonitoringEvent),
    /// Of the alerts room.
    Alert(Option<Cursor>, AlertEvent),
    /// Of the dispatch room.
    Dispatch(Option<Cursor>, DispatchEvent),
    /// Of the video room.
    Video(Option<Cursor>, VideoEvent),
    /// Of the tenant's presence.
    Presence(PresenceEvent),
    /// A camera's picture.
    Picture(String, Picture),
    /// Events are lost in a room.
    Gap(String),
}

/// Updates that wait for the reader; past it, the rooms wait too.
const WAITING: usize = 1024;

/// Joins everything and tells it.
///
/// # Errors
/// What the server refuses.
pub async fn watch(client: &Client, cameras: u8) -> Result<Receiver<Update>, Error> {
    let (tell, told) = channel(WAITING);
    let mut events = client.events();
    let events_tell = tell.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if events_tell.send(Update::Client(event)).await.is_err() {
                return;
            }
        }
    });
    client.connect().await?;
    let tenant = client.identified().await?.tenant;
    follow(client.monitoring().tenant_room().await?.join().await?, &tell, Update::Monitoring);
    follow(client.alerts().tenant_room().await?.from_first().join().await?, &tell, Update::Alert);
    follow(client.dispatch().tenant_room().await?.join().await?, &tell, Update::Dispatch);
    follow(client.video().tenant_room().await?.join().await?, &tell, Update::Video);
    let mut presence = client.presence(&format!("tenant:{tenant}")).enter().await?;
    let presence_tell = tell.clone();
    tokio::spawn(async move {
        while let Some(change) = presence.next().await {
            if presence_tell.send(Update::Presence(change)).await.is_err() {
                return;
            }
        }
    });
    for number in 1..=cameras {
        let name = camera_name(number);
        let mut pictures = client.video().watch(name.as_str()).await?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while let Some(picture) = pictures.next().await {
                if tell.send(Update::Picture(name.clone(), picture)).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(told)
}

fn follow<T: Payload>(
    mut room: Room<T>,
    tell: &Sender<Update>,
    wrap: impl Fn(Option<Cursor>, T) -> Update + Send + 'static,
) {
    let tell = tell.clone();
    tokio::spawn(async move {
        while let Some(incoming) = room.next_event().await {
            let update = match incoming {
                Incoming::Event(event) => wrap(event.cursor, event.data),
                Incoming::Gap { .. } => Update::Gap(room.name().to_owned()),
                _ => continue,
            };
            if tell.send(update).await.is_err() {
                return;
            }
        }
    });
}
