//! Messages queued with no server, by a process that is then killed.

use super::{
    Failure, Part,
    kills::spawn,
    load::{ROOM, read, say},
    tally::Tally,
};
use std::time::Duration;
use tokio::{
    sync::mpsc::channel,
    time::{Instant, timeout_at},
};
use wardline::{
    client::{ClientEvent, Incoming},
    machine::Outcome,
};
use wardline_examples::stage::Stage;

/// Submits under way at a time, so that they share commits.
const TOGETHER: u64 = 500;
/// The reader's index.
const READER: u32 = 0;
/// The sender's.
const SENDER: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(180);

/// Queues, says `Q`, and waits to be killed.
pub(crate) async fn queue(part: &Part) -> Result<(), Failure> {
    let client = part.client()?;
    let messages = u64::from(part.messages);
    for first in (1..=messages).step_by(TOGETHER as usize) {
        let last = (first + TOGETHER - 1).min(messages);
        let batch = (first..=last).map(|n| {
            let outgoing = client.send(ROOM, "m", &(part.index, n));
            async move { outgoing.await }
        });
        for queued in futures_util::future::join_all(batch).await {
            queued?;
        }
    }
    say("Q");
    std::future::pending().await
}

/// Delivers what the store holds; says `A` for each item accepted.
pub(crate) async fn deliver(part: &Part) -> Result<(), Failure> {
    let client = part.client()?;
    let mut events = client.events();
    client.connect().await?;
    tokio::spawn(read(client.room(ROOM).from_first().join().await?));
    while let Some(event) = events.next().await {
        match event {
            ClientEvent::Settled(_, Outcome::Accepted(_)) => say("A"),
            ClientEvent::Settled(_, other) => {
                return Err(format!("an item ended as {other:?}").into());
            }
            // The reader of these events is slower than the outbox: what was missed was settled too.
            ClientEvent::Missed(count) => (0..count).for_each(|_| say("A")),
            _ => {}
        }
    }
    Ok(())
}

/// True where all were delivered once, in order.
pub(crate) async fn run(messages: u32) -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::new(folder.path())?;
    let count = messages.to_string();
    let (tell, mut told) = channel(4096);
    let begin = Instant::now();
    let mut first = spawn(&stage, "queue", SENDER, &["--messages", &count], tell.clone()).await?;
    match timeout_at(Instant::now() + PATIENCE, told.recv()).await {
        Ok(Some((_, line))) if line == "Q" => {}
        other => return Err(format!("the queueing process said {other:?}").into()),
    }
    first.child.kill().await?;
    let queued = begin.elapsed();
    stage.start_server().await?;
    // A second reader, with a store of its own, must see the same.
    let begin = Instant::now();
    let token = stage.token("reader", &[]).await?;
    let reader =
        wardline::client::Client::builder(stage.url()).token(token.as_str()).memory().build()?;
    reader.connect().await?;
    let mut room = reader.room(ROOM).from_first().join().await?;
    let second = spawn(&stage, "deliver", SENDER, &[], tell).await?;
    let mut tally = Tally::new([READER, SENDER]);
    let deadline = Instant::now() + PATIENCE;
    let wanted = u64::from(messages);
    let (mut accepted, mut own, mut other) = (0_u64, 0, 0);
    while accepted < wanted || own < wanted || other < wanted {
        tokio::select! {
            line = timeout_at(deadline, told.recv()) => {
                let Ok(Some((_, line))) = line else { break };
                let mut words = line.split(' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("A"), ..) => {
                        accepted += 1;
                        tally.accept((SENDER, accepted));
                    }
                    (Some("D"), Some(sender), Some(n)) => {
                        own += 1;
                        tally.deliver(SENDER, (sender.parse()?, n.parse()?));
                    }
                    // The end of the killed process.
                    (Some("E"), ..) => {}
                    _ => return Err(format!("the delivering process said {line:?}").into()),
                }
            }
            Some(incoming) = room.next_event() => match incoming {
                Incoming::Event(event) => {
                    other += 1;
                    tally.deliver(READER, event.data.to()?);
                }
                Incoming::Gap { .. } => tally.gap(),
                _ => {}
            },
        }
    }
    let delivered = begin.elapsed();
    drop(second);
    reader.disconnect().await?;
    stage.end().await?;
    let verdict = tally.verdict();
    println!("queued {messages} in {queued:.1?}, delivered in {delivered:.1?}");
    println!("{verdict}");
    Ok(verdict.is_good() && verdict.accepted as u64 == wanted)
}
