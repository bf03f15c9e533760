//! Measures the log: durable steps per second and their latency, by level and steps in flight.
//!
//! ```text
//! cargo run --profile bench-fast -p wardline-server --example log_bench -- [SECONDS] [DIRECTORY] [memory|fsync]
//! ```
//!
//! Every step has a producer's number, 200 bytes of data and one of 100 rooms. Beside it, what a
//! bare file gives on the same disk. The last line is one JSON object.

#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::{
    collections::VecDeque,
    error::Error,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};
use wardline::{
    model::ids::{ItemId, ProducerId},
    protocol::Json,
};
use wardline_server::log::{
    Intent, Level, Log, NewEntry, Number, Options, Outcome, ProducerKey, Reply, Request, RoomKey,
    Step, Stepped, Ticket,
};

const ROOMS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("wardline-log-bench-{}", std::process::id()));
    let only = arguments.next();
    let mut figures = Vec::new();
    for level in [Level::Memory, Level::Fsync(directory.clone())] {
        let name = if level == Level::Memory { "memory" } else { "fsync" };
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        for in_flight in [1, 20, 200] {
            let run = measure(level.clone(), in_flight, Duration::from_secs(seconds))?;
            println!(
                "{name:>6}  {in_flight:>3} in flight: {:>9.0} steps/s  p50 {:>6} µs  p99 {:>6} µs  \
                 {:>6.1} steps a turn  {:>5.1} µs of CPU a step  {:>4} MiB on disk",
                run.per_second,
                run.p50,
                run.p99,
                run.per_turn,
                run.cpu,
                run.disk_bytes >> 20,
            );
            figures.push(format!("\"{name}_{in_flight}\":{:.0}", run.per_second));
            if directory.exists() {
                std::fs::remove_dir_all(&directory)?;
            }
        }
    }
    for in_flight in [1, 20, 200] {
        let per_second = bare_file(&directory, in_flight, Duration::from_secs(seconds))?;
        println!("  bare  {in_flight:>3} in flight: {per_second:>9.0} records/s");
        figures.push(format!("\"bare_{in_flight}\":{per_second:.0}"));
    }
    println!("{{{}}}", figures.join(","));
    Ok(())
}

/// What the disk gives: records of 400 bytes into one file, one fdatasync for as many as are in
/// flight.
fn bare_file(path: &Path, in_flight: usize, time: Duration) -> Result<f64, Box<dyn Error>> {
    let mut file = std::fs::File::create(path)?;
    let records = vec![7_u8; 400 * in_flight];
    let begin = Instant::now();
    let mut done = 0;
    while begin.elapsed() < time {
        file.write_all(&records)?;
        file.sync_data()?;
        done += in_flight;
    }
    let per_second = done as f64 / begin.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(per_second)
}

struct Run {
    per_second: f64,
    /// Microseconds.
    p50: u128,
    p99: u128,
    per_turn: f64,
    /// Microseconds of the log's thread for each step: what stays true on a busy machine.
    cpu: f64,
    disk_bytes: u64,
}

/// Nanoseconds the log's thread has been on a processor; 0 where the system does not tell.
fn thread_nanos() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let of_log = tasks.flatten().map(|task| task.path()).find(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "wardline-log")
    });
    let stat = of_log.and_then(|task| std::fs::read_to_string(task.join("schedstat")).ok());
    stat.and_then(|stat| stat.split(' ').next()?.parse().ok()).unwrap_or(0)
}

fn measure(level: Level, in_flight: usize, time: Duration) -> Result<Run, Box<dyn Error>> {
    let (log, opened) = Log::open(Options::new(level, 1))?;
    let (sender, answered) = mpsc::channel();
    let sender = Mutex::new(sender);
    log.start(
        opened,
        Arc::new(move |replies| {
            let done: Vec<usize> = replies
                .into_iter()
                .filter_map(|(_, reply)| match reply {
                    Reply::Stepped(Ticket(who), Stepped::New(Outcome::Accepted(_))) => {
                        usize::try_from(who).ok()
                    }
                    Reply::Entry(..) => None,
                    // Missing in the count of what is in flight: the run then stops and says so.
                    _ => Some(usize::MAX),
                })
                .collect();
            if let Ok(sender) = sender.lock() {
                // Fails once the run is over.
                let _ = sender.send(done);
            }
        }),
    )?;
    let rooms = (0..ROOMS)
        .map(|i| Ok(RoomKey { tenant: "bench".into(), room: format!("alerts/r{i}").parse()? }))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let data = Json::parse(&format!("{{\"text\":\"{}\"}}", "x".repeat(189)))?;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut numbers = vec![0_u64; in_flight];
    let mut sent = vec![Instant::now(); in_flight];
    let mut latencies = Vec::new();
    let mut ready: VecDeque<usize> = (0..in_flight).collect();
    let begin = Instant::now();
    let mut done = 0_u64;
    while begin.elapsed() < time {
        let mut steps = Vec::with_capacity(ready.len());
        for who in ready.drain(..) {
            numbers[who] += 1;
            let (n, id) = (numbers[who], ItemId(rng.u128(..)));
            let entry = NewEntry {
                room: rooms[rng.usize(..ROOMS)].clone(),
                id,
                from: "ann".into(),
                event: "e".into(),
                key: None,
                gone: false,
                data: data.clone(),
            };
            let user = format!("user-{}", who / 32).into();
            let producer = ProducerId(who as u128);
            let key = ProducerKey { tenant: "bench".into(), user, producer };
            let number = Number { key, lane: 0, n, id, base: None };
            let intent = Intent::Append(vec![entry]);
            let step = Step { producer: Some(number), once: None, intent };
            sent[who] = Instant::now();
            steps.push(Request::Step(Ticket(who as u64), step));
        }
        if !log.submit(0, steps).is_empty() {
            return Err("the log had no room".into());
        }
        let mut batch = answered.recv_timeout(Duration::from_secs(30))?;
        while let Ok(more) = answered.try_recv() {
            batch.extend(more);
        }
        for who in batch {
            let sent = *sent.get(who).ok_or("a step was not accepted")?;
            done += 1;
            if done.is_multiple_of(16) {
                latencies.push(sent.elapsed().as_micros());
            }
            ready.push_back(who);
        }
    }
    let per_second = done as f64 / begin.elapsed().as_secs_f64();
    let turns = log.figures().turns.max(1);
    let disk_bytes = log.figures().disk_bytes;
    let cpu = thread_nanos() as f64 / 1000.0 / done as f64;
    log.close();
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or(0);
    let per_turn = done as f64 / turns as f64;
    Ok(Run { per_second, p50: at(50), p99: at(99), per_turn, cpu, disk_bytes })
}
