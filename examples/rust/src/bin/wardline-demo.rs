//! The demo: server and site as processes, a terminal to watch them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use wardline::client::Client;
use wardline_examples::{
    check,
    control::{Control, Order},
    stage::Stage,
    terminal,
};

#[derive(Parser)]
#[command(about = "Server, site and a terminal on this machine.")]
struct Arguments {
    /// Without a terminal, with a server restart in the middle; exit 0 or 1.
    #[arg(long)]
    check: bool,
    /// Seconds of a check.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// A folder of built pages, such as the dashboard, for the server to serve.
    #[arg(long)]
    pages: Option<PathBuf>,
    /// Without a terminal: the page is all there is to see; ends at Ctrl-C.
    #[arg(long)]
    headless: bool,
    /// How many cameras the site has.
    #[arg(long, default_value_t = 4)]
    cameras: u8,
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
        show(&folder, &arguments).await.map(|()| true)
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

async fn show(folder: &Path, arguments: &Arguments) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stage = Stage::new(folder).map_err(words)?;
    if let Some(pages) = &arguments.pages {
        stage.serve_pages(pages);
    }
    stage.start_server().await.map_err(words)?;
    let cameras = arguments.cameras.to_string();
    let site = ["--cpu-limit", &arguments.cpu_limit, "--cameras", &cameras];
    stage.start_site(&site).await.map_err(words)?;
    let token = stage.token("operator", &[]).await.map_err(words)?;
    let url = stage.url();
    println!("server: {url}   folder: {}", folder.display());
    let (tell, orders) = mpsc::channel(4);
    let control = Control::open(tell).await.map_err(words)?;
    let page = match &arguments.pages {
        Some(_) => {
            let at = url.replacen("ws://", "http://", 1);
            let page = format!("{at}/#token={token}&control={}", control.url());
            println!("dashboard: {page}");
            format!("dashboard: {page}")
        }
        None => String::new(),
    };
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(obey(stage, orders, stopped));
    let outcome = if arguments.headless {
        tokio::signal::ctrl_c().await.map_err(words)
    } else {
        let client = Client::builder(url)
            .token(token.as_str())
            .storage(folder.join("operator.db"))
            .build()
            .map_err(|error| error.to_string())?;
        terminal::run(client, 2, &page).await
    };
    let _ = stop.send(());
    serving.await.map_err(|error| error.to_string())?.end().await.map_err(words)?;
    outcome
}

/// Does what the dashboard's buttons say.
async fn obey(
    mut stage: Stage,
    mut orders: mpsc::Receiver<Order>,
    mut end: oneshot::Receiver<()>,
) -> Stage {
    loop {
        let order = tokio::select! {
            _ = &mut end => return stage,
            order = orders.recv() => order,
        };
        let Some(order) = order else { return stage };
        let (stopped, done) = match order {
            Order::Restart(done) => (stage.stop_server().await, done),
            Order::Kill(done) => (stage.kill_server().await, done),
        };
        // Long enough to be seen.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let good = stopped.is_ok() && stage.start_server().await.is_ok();
        // Who asked may have gone.
        let _ = done.send(good);
    }
}
