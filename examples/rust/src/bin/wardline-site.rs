//! The site as a process of its own; the token comes from `WARDLINE_TOKEN`.
#![allow(clippy::print_stderr)]

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use wardline::client::Client;
use wardline_examples::site::Site;

#[derive(Parser)]
#[command(about = "A site: metrics of this machine, alerts, moving assets, cameras.")]
struct Arguments {
    /// The server.
    #[arg(long, default_value = "ws://127.0.0.1:9001")]
    url: String,
    /// A token with the role `service`.
    #[arg(long, env = "WARDLINE_TOKEN", hide_env_values = true)]
    token: String,
    /// How many cameras.
    #[arg(long, default_value_t = 2)]
    cameras: u8,
    /// Pictures a second of each camera.
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// CPU percent past which an alert is raised.
    #[arg(long, default_value_t = 60.0)]
    cpu_limit: f64,
    /// Where recordings go.
    #[arg(long, default_value = ".")]
    recordings: PathBuf,
    /// The outbox; what is measured while the server is away waits there.
    #[arg(long, default_value = "wardline-site.db")]
    outbox: PathBuf,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wardline-site: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), wardline::client::Error> {
    let client = Client::builder(&arguments.url)
        .token(arguments.token.as_str())
        .storage(&arguments.outbox)
        .build()?;
    let site = Site {
        cameras: arguments.cameras,
        rate: arguments.rate,
        cpu_limit: arguments.cpu_limit,
        recordings: arguments.recordings,
    };
    site.run(client).await
}
