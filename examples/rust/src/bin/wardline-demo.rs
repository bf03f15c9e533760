//! The demo: server and site as processes, a terminal to watch them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use wardline::client::Client;
use wardline_examples::{check, stage::Stage, terminal};

#[derive(Parser)]
#[command(about = "Server, site and a terminal on this machine.")]
struct Arguments {
    /// Without a terminal, with a server restart in the middle; exit 0 or 1.
    #[arg(long)]
    check: bool,
    /// Seconds of a check.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// CPU percent past which the site raises an alert.
    #[arg(long, default_value = "40")]
    cpu_limit: String,
    /// Where data, logs and recordings go. Default: a new folder in the system's temporary one.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let folder = arguments.folder.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("wardline-demo-{}", std::process::id()))
    });
    let outcome = if arguments.check {
        check::run(&folder, Duration::from_secs(arguments.seconds)).await.map(|(findings, good)| {
            println!("{findings}");
            good
        })
    } else {
        show(&folder, &arguments.cpu_limit).await.map(|()| true)
    };
    let good = match outcome {
        Ok(good) => good,
        Err(error) => {
            eprintln!("wardline-demo: {error}");
            false
        }
    };
    if good && arguments.folder.is_none() {
        // Recordings are worth keeping only where the caller said so.
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        println!("data, logs and recordings: {}", folder.display());
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn show(folder: &std::path::Path, cpu_limit: &str) -> Result<(), String> {
    let mut stage = Stage::new(folder).map_err(|error| error.to_string())?;
    stage.start_server().await.map_err(|error| error.to_string())?;
    stage.start_site(&["--cpu-limit", cpu_limit]).await.map_err(|error| error.to_string())?;
    let token = stage.token("operator", &[]).await.map_err(|error| error.to_string())?;
    println!("server: {}   folder: {}", stage.url(), folder.display());
    let client = Client::builder(stage.url())
        .token(token.as_str())
        .storage(folder.join("operator.db"))
        .build()
        .map_err(|error| error.to_string())?;
    let outcome = terminal::run(client, 2).await;
    stage.end().await.map_err(|error| error.to_string())?;
    outcome
}
