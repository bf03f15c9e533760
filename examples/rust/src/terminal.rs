//! The demo's terminal: everything of the tenant, live.

use crate::{
    board::Board,
    screen,
    site::camera_name,
    watch::{Update, watch},
};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use wardline::{
    client::{Client, ClientEvent, Error},
    model::{
        alert::{NewAlert, Severity},
        presence::{PresenceEvent, Status as Presence},
        video::Quality,
    },
};

/// Redraws a second at most.
const REDRAW: Duration = Duration::from_millis(100);

/// Runs until `q`. `greeting` is the first line of what happened.
///
/// # Errors
/// What the server refuses, in words.
pub async fn run(client: Client, cameras: u8, greeting: &str) -> Result<(), String> {
    let mut updates = watch(&client, cameras).await.map_err(|error| error.to_string())?;
    let mut keys = keys();
    let (tell, mut told) = channel::<String>(64);
    let mut board = Board { connection: "connected".into(), ..Board::default() };
    if !greeting.is_empty() {
        board.say(greeting.to_owned());
    }
    let mut terminal = ratatui::init();
    let mut redraw = tokio::time::interval(REDRAW);
    let mut streaming = true;
    let ended = loop {
        tokio::select! {
            update = updates.recv() => match update {
                Some(update) => take(&mut board, update),
                None => break Ok(()),
            },
            Some(words) = told.recv() => board.say(words),
            key = keys.recv() => match key {
                None | Some(KeyCode::Char('q') | KeyCode::Esc) => break Ok(()),
                Some(key) => press(key, &client, &mut board, &mut streaming, &tell),
            },
            _ = redraw.tick() => {
                if let Err(error) = terminal.draw(|frame| screen::draw(frame, &board)) {
                    break Err(error.to_string());
                }
            }
        }
    };
    ratatui::restore();
    client.disconnect().await.map_err(|error| error.to_string())?;
    ended
}

/// Reads the keyboard on a thread of its own: reading blocks.
fn keys() -> Receiver<KeyCode> {
    let (tell, told) = channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Event::Key(key) = event
                && key.kind == KeyEventKind::Press
                && tell.blocking_send(key.code).is_err()
            {
                return;
            }
        }
    });
    told
}

fn take(board: &mut Board, update: Update) {
    match update {
        Update::Client(ClientEvent::Status { status, retry_in, .. }) => {
            let retry = retry_in.map(|span| format!(", again in {:.1} s", span.as_secs_f32()));
            board.connection = format!("{status:?}{}", retry.unwrap_or_default()).to_lowercase();
            board.say(format!("connection: {}", board.connection));
        }
        Update::Client(ClientEvent::Restart { reason, .. }) => {
            board.say(format!("the server restarts: {reason}"));
        }
        Update::Client(ClientEvent::Error(error)) => board.say(format!("error: {error}")),
        Update::Client(_) => {}
        Update::Monitoring(_, event) => board.monitoring(&event),
        Update::Alert(_, event) => board.alert(&event),
        Update::Dispatch(_, event) => board.dispatch(&event),
        Update::Video(_, event) => {
            board.count("video");
            board.say(format!("video: {event:?}").chars().take(120).collect::<String>());
        }
        Update::Picture(camera, picture) => {
            board.video.entry(camera).or_default().see(picture.seq, picture.data.len());
        }
        Update::Presence(change) => match change {
            PresenceEvent::Everyone(members) => {
                board.present =
                    members.into_iter().map(|m| (m.user_id.to_string(), word(m.status))).collect();
            }
            PresenceEvent::Joined(member) | PresenceEvent::Updated(member) => {
                board.present.insert(member.user_id.to_string(), word(member.status));
            }
            PresenceEvent::Left(user) => drop(board.present.remove(user.as_str())),
        },
        Update::Gap(room) => {
            board.gaps += 1;
            board.say(format!("GAP in {room}"));
        }
    }
}

fn word(status: Presence) -> String {
    format!("{status:?}").to_lowercase()
}

/// Does what a key says; the answer comes as a line.
fn press(
    key: KeyCode,
    client: &Client,
    board: &mut Board,
    streaming: &mut bool,
    tell: &tokio::sync::mpsc::Sender<String>,
) {
    let chosen = board.chosen().map(|alert| alert.id.clone());
    let (client, tell) = (client.clone(), tell.clone());
    let report = move |what: &'static str, outcome: Result<(), Error>| {
        let words = match outcome {
            Ok(()) => format!("{what}: done"),
            Err(error) => format!("{what}: {error}"),
        };
        async move { drop(tell.send(words).await) }
    };
    match (key, chosen) {
        (KeyCode::Up, _) => board.selected = board.selected.saturating_sub(1),
        (KeyCode::Down, _) => {
            board.selected = (board.selected + 1).min(board.alerts.len().saturating_sub(1));
        }
        (KeyCode::Char('a'), Some(alert)) => drop(tokio::spawn(async move {
            let outcome = client.alerts().acknowledge(alert, None).await.map(drop);
            report("acknowledge", outcome).await;
        })),
        (KeyCode::Char('r'), Some(alert)) => drop(tokio::spawn(async move {
            let outcome = client.alerts().resolve(alert, None).await.map(drop);
            report("resolve", outcome).await;
        })),
        (KeyCode::Char('n'), _) => drop(tokio::spawn(async move {
            let alert = NewAlert {
                kind: "manual".into(),
                severity: Severity::Medium,
                title: "Raised by hand".into(),
                description: None,
                source: Some("terminal".into()),
                metadata: None,
                room: None,
            };
            report("new alert", client.alerts().create(alert).await.map(drop)).await;
        })),
        (KeyCode::Char('s'), _) => {
            *streaming = !*streaming;
            let on = *streaming;
            drop(tokio::spawn(async move {
                let camera = camera_name(1);
                let outcome = if on {
                    client.video().start_stream(camera.as_str(), Quality::High).await.map(drop)
                } else {
                    client.video().stop_stream(camera.as_str()).await.map(drop)
                };
                report(if on { "start stream" } else { "stop stream" }, outcome).await;
            }));
        }
        _ => {}
    }
}
