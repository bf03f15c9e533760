//! Wardline beside its peers, all of one run: `wardline-bench server [--json]`.
//!
//! The server under test is pinned to one core, this generator to the other. The limit is a server
//! that writes pre-framed bytes, one write per turn of its loop, with no protocol at all.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod dialect;
mod measures;
mod peers;
mod process;
mod wire;

use clap::{Parser, Subcommand};
use dialect::Dialect;
use measures::{Figures, Plan};
use process::Failure;
use serde_json::json;
use std::process::ExitCode;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure servers.
    Server {
        /// Print one JSON object as the last line.
        #[arg(long)]
        json: bool,
        /// Seconds each rate is measured.
        #[arg(long, default_value_t = 4.0)]
        seconds: f64,
        /// Connections of the idle and connect measures.
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
        /// Only these: wardline, limit, axum, socketio.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Be the pre-framed limit server.
    #[command(hide = true)]
    PeerLimit,
    /// Be the bare axum server.
    #[command(hide = true)]
    PeerAxum,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Server { json, seconds, connections, only } => {
            let wanted: Vec<_> = Dialect::ALL
                .into_iter()
                .filter(|dialect| only.is_empty() || only.iter().any(|name| name == dialect.name()))
                .collect();
            server(&wanted, &Plan { seconds, connections }, json)
        }
        Task::PeerLimit => peers::limit::run(),
        Task::PeerAxum => peers::axum::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wardline-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn server(wanted: &[Dialect], plan: &Plan, as_json: bool) -> Result<(), Failure> {
    process::pin_self_to_last_core();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all: Vec<(Dialect, Figures)> = Vec::new();
    for &dialect in wanted {
        eprintln!("{}:", dialect.name());
        all.push((dialect, runtime.block_on(measures::all(dialect, plan))?));
    }
    table(&all);
    if as_json {
        let mut line = json!({ "peers": {} });
        for (dialect, figures) in &all {
            let value = serde_json::to_value(figures)?;
            if *dialect == Dialect::Wardline {
                if let (Some(line), Some(fields)) = (line.as_object_mut(), value.as_object()) {
                    line.extend(fields.clone());
                }
            } else {
                line["peers"][dialect.name()] = value;
            }
        }
        println!("{line}");
    }
    Ok(())
}

fn table(all: &[(Dialect, Figures)]) {
    let limit = all.iter().find(|(dialect, _)| *dialect == Dialect::Limit).map(|(_, f)| f);
    print!("{:<28}", "");
    for (dialect, _) in all {
        print!("{:>22}", dialect.name());
    }
    println!();
    for (row, value) in measures::ROWS {
        print!("{row:<28}");
        for (_, figures) in all {
            let cell = value(figures);
            let share = limit.and_then(&value).filter(|limit| *limit > 0.0).zip(cell);
            let text = match (cell, share) {
                (None, _) => "–".to_owned(),
                (Some(cell), None) => format!("{cell:.0}"),
                (Some(cell), Some((limit, _))) => format!("{cell:.0} ({:.2})", cell / limit),
            };
            print!("{text:>22}");
        }
        println!();
    }
}
