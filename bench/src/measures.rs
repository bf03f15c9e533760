//! The measures, the same for every server.

use crate::{
    dialect::{Dialect, Level},
    process::Failure,
    wire::Wire,
};
use serde::Serialize;
use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::LocalSet};

/// How long and how many.
pub(crate) struct Plan {
    pub(crate) seconds: f64,
    pub(crate) connections: usize,
}

/// What was measured of one server.
#[derive(Default, Serialize)]
pub(crate) struct Figures {
    idle_bytes_per_connection: f64,
    fanout_100_per_s: f64,
    fanout_1000_per_s: f64,
    rooms_1000x2_per_s: f64,
    connects_per_s: f64,
    acked_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    durable_per_s: Option<f64>,
}

/// One figure of a server, if it has it.
type Figure = fn(&Figures) -> Option<f64>;

/// The rows of the printed table.
pub(crate) const ROWS: [(&str, Figure); 7] = [
    ("idle_bytes_per_connection", |f| Some(f.idle_bytes_per_connection)),
    ("fanout_100_per_s", |f| Some(f.fanout_100_per_s)),
    ("fanout_1000_per_s", |f| Some(f.fanout_1000_per_s)),
    ("rooms_1000x2_per_s", |f| Some(f.rooms_1000x2_per_s)),
    ("connects_per_s", |f| Some(f.connects_per_s)),
    ("acked_per_s", |f| Some(f.acked_per_s)),
    ("durable_per_s", |f| f.durable_per_s),
];

/// Messages in flight of a fan-out.
const WINDOW: u64 = 64;
/// Connections opened at a time.
const DIALS: usize = 64;

/// Runs every measure on fresh servers.
pub(crate) async fn all(dialect: Dialect, plan: &Plan) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    let local = LocalSet::new();
    local
        .run_until(async {
            (figures.connects_per_s, figures.idle_bytes_per_connection) =
                connects_and_idle(dialect, plan).await?;
            figures.fanout_100_per_s = fanout(dialect, plan, 100).await?;
            figures.fanout_1000_per_s = fanout(dialect, plan, 1000).await?;
            figures.rooms_1000x2_per_s = rooms(dialect, plan, 1000).await?;
            figures.acked_per_s = acked(dialect, plan, Level::Memory, 64, 1).await?;
            if dialect == Dialect::Wardline {
                figures.durable_per_s = Some(acked(dialect, plan, Level::Fsync, 8, 25).await?);
            }
            Ok(figures)
        })
        .await
}

fn note(name: &str, value: f64) -> f64 {
    eprintln!("  {name}: {value:.0}");
    value
}

/// Opens connections, `DIALS` at a time.
async fn open(
    dialect: Dialect,
    port: u16,
    count: usize,
    buffer: usize,
    rooms: impl Fn(usize) -> Vec<String>,
) -> Result<Vec<Wire>, Failure> {
    use futures_util::stream::{self, StreamExt, TryStreamExt};
    stream::iter((0..count).map(|index| {
        let rooms = rooms(index);
        async move { dialect.connect(port, index, &rooms, buffer).await }
    }))
    .buffered(DIALS)
    .try_collect()
    .await
}

async fn connects_and_idle(dialect: Dialect, plan: &Plan) -> Result<(f64, f64), Failure> {
    // Connect rate: identified, no rooms. The connections end with the server.
    let server = dialect.start(Level::Memory)?;
    let begin = Instant::now();
    let held = open(dialect, server.port, plan.connections, 1024, |_| Vec::new()).await?;
    let rate = held.len() as f64 / begin.elapsed().as_secs_f64();
    drop(held);
    drop(server);
    // Idle memory: each in three rooms.
    let server = dialect.start(Level::Memory)?;
    let warm = open(dialect, server.port, 100, 1024, Dialect::three_rooms).await?;
    let before = server.resident();
    let held =
        open(dialect, server.port, plan.connections, 1024, |i| Dialect::three_rooms(i + 100))
            .await?;
    let idle = server.resident().saturating_sub(before) as f64 / held.len() as f64;
    drop((warm, held));
    Ok((note("connects_per_s", rate), note("idle_bytes_per_connection", idle)))
}

/// What the tasks of one measure share.
#[derive(Default)]
struct Shared {
    delivered: Cell<u64>,
    moved: Notify,
    failed: Cell<Option<String>>,
}

impl Shared {
    fn add(&self, count: u64) {
        self.delivered.set(self.delivered.get() + count);
        self.moved.notify_one();
    }

    fn fail(&self, failure: Failure) {
        self.failed.set(Some(failure.0));
        self.moved.notify_one();
    }

    /// Deliveries per second after a warm-up of a quarter.
    async fn rate(&self, plan: &Plan) -> Result<f64, Failure> {
        tokio::time::sleep(Duration::from_secs_f64(plan.seconds / 4.0)).await;
        let (begin, from) = (Instant::now(), self.delivered.get());
        tokio::time::sleep(Duration::from_secs_f64(plan.seconds)).await;
        let rate = (self.delivered.get() - from) as f64 / begin.elapsed().as_secs_f64();
        match self.failed.take() {
            Some(words) => Err(Failure(words)),
            None if rate == 0.0 => Err(Failure("nothing was delivered".to_owned())),
            None => Ok(rate),
        }
    }
}

/// Reads one connection for ever, counting.
async fn receive(dialect: Dialect, mut wire: Wire, shared: Rc<Shared>) {
    let mut owed = Vec::new();
    loop {
        let mut count = 0;
        let read = wire
            .burst(|text| {
                count += dialect.deliveries(text);
                dialect.owed(text, &mut owed);
            })
            .await;
        shared.add(count);
        let written = if owed.is_empty() { Ok(()) } else { wire.write(&owed).await };
        owed.clear();
        if let Err(failure) = read.and(written) {
            return shared.fail(failure);
        }
    }
}

async fn fanout(dialect: Dialect, plan: &Plan, members: usize) -> Result<f64, Failure> {
    let server = dialect.start(Level::Memory)?;
    let room = "default/fan".to_owned();
    let wires = open(dialect, server.port, members, 32 * 1024, |_| vec![room.clone()]).await?;
    let shared = Rc::new(Shared::default());
    let mut tasks: Vec<_> = wires
        .into_iter()
        .map(|wire| tokio::task::spawn_local(receive(dialect, wire, Rc::clone(&shared))))
        .collect();
    let mut publisher = dialect.connect(server.port, members, &[], 32 * 1024).await?;
    let state = Rc::clone(&shared);
    tasks.push(tokio::task::spawn_local(async move {
        let (mut sent, mut out) = (0, Vec::new());
        loop {
            while sent - state.delivered.get() / members as u64 <= WINDOW {
                sent += 1;
                dialect.publish(&room, sent, 8, &mut out);
            }
            if !out.is_empty() {
                if let Err(failure) = publisher.write(&out).await {
                    return state.fail(failure);
                }
                out.clear();
            }
            tokio::select! {
                () = state.moved.notified() => {}
                read = publisher.burst(|_| {}) => if let Err(failure) = read { return state.fail(failure) },
            }
        }
    }));
    let rate = shared.rate(plan).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(note(&format!("fanout_{members}_per_s"), rate?))
}

/// Rooms of two, each with one message in flight: the first member sends when it hears itself.
async fn rooms(dialect: Dialect, plan: &Plan, count: usize) -> Result<f64, Failure> {
    let server = dialect.start(Level::Memory)?;
    let name = |i: usize| format!("default/pair:{}", i / 2);
    let wires = open(dialect, server.port, 2 * count, 4096, |i| vec![name(i)]).await?;
    let shared = Rc::new(Shared::default());
    let mut tasks = Vec::new();
    for (index, mut wire) in wires.into_iter().enumerate() {
        let shared = Rc::clone(&shared);
        if index % 2 == 1 {
            tasks.push(tokio::task::spawn_local(receive(dialect, wire, shared)));
            continue;
        }
        let room = name(index);
        tasks.push(tokio::task::spawn_local(async move {
            let (mut sent, mut heard, mut out) = (0, 0, Vec::new());
            loop {
                if heard == sent {
                    sent += 1;
                    dialect.publish(&room, sent, 1, &mut out);
                }
                if !out.is_empty() {
                    if let Err(failure) = wire.write(&out).await {
                        return shared.fail(failure);
                    }
                    out.clear();
                }
                let before = heard;
                let read = wire
                    .burst(|text| {
                        heard += dialect.deliveries(text);
                        dialect.owed(text, &mut out);
                    })
                    .await;
                shared.add(heard - before);
                if let Err(failure) = read {
                    return shared.fail(failure);
                }
            }
        }));
    }
    let rate = shared.rate(plan).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(note(&format!("rooms_{count}x2_per_s"), rate?))
}

/// Round trips of `count` connections with `window` in flight each.
async fn acked(
    dialect: Dialect,
    plan: &Plan,
    level: Level,
    count: usize,
    window: u64,
) -> Result<f64, Failure> {
    let server = dialect.start(level)?;
    let wires = open(dialect, server.port, count, 16 * 1024, |_| Vec::new()).await?;
    let shared = Rc::new(Shared::default());
    let mut tasks = Vec::new();
    for (index, mut wire) in wires.into_iter().enumerate() {
        let shared = Rc::clone(&shared);
        tasks.push(tokio::task::spawn_local(async move {
            let (mut sent, mut heard, mut out) = (0, 0, Vec::new());
            let room = format!("default/acked:{index}");
            loop {
                while sent - heard < window {
                    sent += 1;
                    dialect.ask(&room, sent, &mut out);
                }
                if !out.is_empty() {
                    if let Err(failure) = wire.write(&out).await {
                        return shared.fail(failure);
                    }
                    out.clear();
                }
                let before = heard;
                let read = wire
                    .burst(|text| {
                        heard += dialect.answers(text);
                        dialect.owed(text, &mut out);
                    })
                    .await;
                shared.add(heard - before);
                if let Err(failure) = read {
                    return shared.fail(failure);
                }
            }
        }));
    }
    let rate = shared.rate(plan).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(note(if level == Level::Fsync { "durable_per_s" } else { "acked_per_s" }, rate?))
}
