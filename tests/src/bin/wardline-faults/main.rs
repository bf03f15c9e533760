//! Faults with real processes: `kills` and `offline`. The last line says what was lost; exit 0 or 1.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod kills;
mod load;
mod offline;
mod tally;

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Why a run came to nothing, in words.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Kill a server with -9 under load of ten client processes.
    Kills {
        /// How often.
        #[arg(long, default_value_t = 50)]
        kills: u32,
        /// Of the moments at which it is killed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Queue messages with no server, kill the process, start server and process, count.
    Offline {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        messages: u32,
    },
    /// One client under load. Started by `kills`.
    #[command(hide = true)]
    Load(Part),
    /// Queues messages, then waits to be killed. Started by `offline`.
    #[command(hide = true)]
    Queue(Part),
    /// Delivers what an earlier process queued. Started by `offline`.
    #[command(hide = true)]
    Deliver(Part),
}

/// What a client process is told; its token comes from `WARDLINE_TOKEN`.
#[derive(clap::Args)]
struct Part {
    #[arg(long)]
    url: String,
    #[arg(long)]
    index: u32,
    #[arg(long)]
    store: PathBuf,
    #[arg(long, default_value_t = 0)]
    messages: u32,
}

impl Part {
    fn client(&self) -> Result<wardline::client::Client, Failure> {
        let token = std::env::var("WARDLINE_TOKEN")?;
        Ok(wardline::client::Client::builder(&self.url)
            .token(token.as_str())
            .storage(&self.store)
            .build()?)
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Kills { kills, seed } => kills::run(kills, seed).await,
        Task::Offline { messages } => offline::run(messages).await,
        Task::Load(part) => load::run(&part).await.map(|()| true),
        Task::Queue(part) => offline::queue(&part).await.map(|()| true),
        Task::Deliver(part) => offline::deliver(&part).await.map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("wardline-faults: {failure}");
            ExitCode::FAILURE
        }
    }
}
