//! The terminal, to any server; the token comes from `WARDLINE_TOKEN`.
#![allow(clippy::print_stderr)]

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use wardline::client::Client;

#[derive(Parser)]
#[command(about = "Metrics, alerts, presence and video of a tenant, live.")]
struct Arguments {
    /// The server.
    #[arg(long, default_value = "ws://127.0.0.1:9001")]
    url: String,
    /// A token.
    #[arg(long, env = "WARDLINE_TOKEN", hide_env_values = true)]
    token: String,
    /// How many of the site's cameras to watch.
    #[arg(long, default_value_t = 2)]
    cameras: u8,
    /// The outbox.
    #[arg(long, default_value = "wardline-terminal.db")]
    outbox: PathBuf,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let client = Client::builder(&arguments.url)
        .token(arguments.token.as_str())
        .storage(&arguments.outbox)
        .build()
        .map_err(|error| error.to_string());
    let outcome = match client {
        Ok(client) => wardline_examples::terminal::run(client, arguments.cameras, "").await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wardline-terminal: {error}");
            ExitCode::FAILURE
        }
    }
}
