//! A client process under load: sends, and reads everything. Says on its standard output
//! `A n` (accepted), `D sender n` (handed over), `G` (gap), `S n` (all settled).

use super::{Failure, Part};
use std::{io::Write, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    sync::mpsc::channel,
    task::JoinSet,
};
use wardline::client::{Incoming, Room};
use wardline::protocol::Json;

/// The room of the run.
pub(crate) const ROOM: &str = "load";
/// Messages under way at a time.
const UNDER_WAY: usize = 40;
/// Between two sends: about a hundred a second.
const PACE: Duration = Duration::from_millis(10);

/// One line at a time, whole.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

/// Reads a room and says what is handed over.
pub(crate) async fn read(mut room: Room<Json>) {
    while let Some(incoming) = room.next_event().await {
        match incoming {
            Incoming::Event(event) => {
                if let Ok((sender, n)) = event.data.to::<(u32, u64)>() {
                    say(&format!("D {sender} {n}"));
                }
            }
            Incoming::Gap { .. } => say("G"),
            _ => {}
        }
    }
}

pub(crate) async fn run(part: &Part) -> Result<(), Failure> {
    let client = part.client()?;
    client.connect().await?;
    let room = client.room(ROOM).from_first().join().await?;
    tokio::spawn(read(room));
    say("R");
    // A line on the standard input ends the sending.
    let (stop, mut stopped) = channel::<()>(1);
    tokio::spawn(async move {
        let _ = BufReader::new(stdin()).lines().next_line().await;
        drop(stop);
    });
    let mut under_way = JoinSet::new();
    let mut pace = tokio::time::interval(PACE);
    let mut n = 0_u64;
    let settle = |ended: Option<Result<(u64, bool), tokio::task::JoinError>>| {
        if let Some(Ok((n, true))) = ended {
            say(&format!("A {n}"));
        }
    };
    loop {
        tokio::select! {
            _ = stopped.recv() => break,
            ended = under_way.join_next(), if !under_way.is_empty() => settle(ended),
            _ = pace.tick(), if under_way.len() < UNDER_WAY => {
                n += 1;
                let sending = client.send(ROOM, "m", &(part.index, n)).await?;
                under_way.spawn(async move { (n, sending.accepted().await.is_ok()) });
            }
        }
    }
    while let Some(ended) = under_way.join_next().await {
        settle(Some(ended));
    }
    say(&format!("S {n}"));
    // Goes on reading until it is ended.
    std::future::pending().await
}
