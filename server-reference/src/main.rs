//! `wardline-server serve | token | check-config`.

mod cli;

use clap::ArgMatches;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};
use wardline_server::{
    Server,
    auth::{NewToken, Verifier},
    config::{Config, Settings},
    ops,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    let done = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches),
        Some(("token", matches)) => token(matches),
        Some(("check-config", matches)) => check(matches),
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to be told when standard error is gone too.
            let _ = writeln!(io::stderr(), "wardline-server: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn check(matches: &ArgMatches) -> Result<(), Failure> {
    let config = Config::check(&cli::settings(matches)?)?;
    wardline_server::check(&config)?;
    for warning in &config.warnings {
        say(&format!("warning: {warning}"))?;
    }
    say(&cli::describe(&config))
}

fn token(matches: &ArgMatches) -> Result<(), Failure> {
    let config = Config::check(&cli::settings(matches)?)?;
    let verifier = Verifier::new(&config)?;
    let token = cli::token(matches);
    let signed = verifier
        .sign(&token)
        .ok_or("the server verifies by public key; sign tokens where the private key is")?;
    // Says now what a connection would be told later.
    verifier
        .verify(&signed)
        .map_err(|error| format!("tenant {:?}, user {:?}: {error:?}", token.tenant, token.user))?;
    say(&signed)
}

fn serve(matches: &ArgMatches) -> Result<(), Failure> {
    let mut settings = cli::settings(matches)?;
    let dev = matches.get_flag("dev");
    if dev {
        cli::dev(&mut settings)?;
    }
    let config = Config::check(&settings)?;
    ops::init_tracing(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ready = matches.get_one::<PathBuf>("ready-file").cloned();
    runtime.block_on(run(config, &settings, dev, ready))
}

async fn run(
    config: Config,
    settings: &Settings,
    dev: bool,
    ready: Option<PathBuf>,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let server = Server::builder().config(config).start().await?;
    if dev {
        invite(&server, settings)?;
    }
    say(&format!("listening on {}", server.addr()))?;
    if let Some(path) = ready {
        // Renamed into place, so that whoever waits for the file finds it whole.
        let part = path.with_extension("part");
        std::fs::write(&part, server.addr().to_string())?;
        std::fs::rename(part, path)?;
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // What went wrong is in the logs.
            _ = hangup.recv() => drop(server.reload_certificate().await),
        }
    }
    tokio::select! {
        () = server.shutdown() => Ok(()),
        // A second signal does not wait.
        _ = terminate.recv() => Err("ended before the drain was done".into()),
        _ = interrupt.recv() => Err("ended before the drain was done".into()),
    }
}

/// What someone needs who wants to try (`serve --dev`).
fn invite(server: &Server, settings: &Settings) -> Result<(), Failure> {
    let token = NewToken {
        tenant: "demo".to_owned(),
        user: "you".to_owned(),
        organization: None,
        roles: vec!["admin".to_owned(), "service".to_owned()],
        life: None,
    };
    say(&format!("url    {}", server.url()))?;
    if let Some(token) = server.token(&token) {
        say(&format!("token  {token}"))?;
    }
    if let Some(secret) = settings.text("jwt_secret") {
        say(&format!("secret {secret}"))?;
    }
    Ok(())
}
