//! The tests and what is built on them: simulation, faults, demo, benches.

use crate::{
    probes,
    shell::{Failure, Shell},
};
use std::time::Instant;

/// Seeds the test command simulates; `cargo xtask sim` runs as many as one likes.
const SEEDS: u64 = 1000;
/// Kills the test command deals out; `cargo xtask faults` as many as one likes.
const KILLS: u32 = 5;

/// Runs every test there is.
pub(crate) fn test(shell: &Shell) -> Result<(), Failure> {
    let start = Instant::now();
    shell.cargo("test --workspace --exclude wardline-wasm --locked")?;
    sim(shell, SEEDS, None)?;
    built(shell)?;
    probes::python(shell)?;
    faults(shell, KILLS)?;
    offline(shell, 10_000)?;
    println!("xtask: not part of this yet, run them by name: planted, node, demo --check");
    println!("xtask: test: {} s", start.elapsed().as_secs());
    Ok(())
}

/// Simulates.
pub(crate) fn sim(shell: &Shell, seeds: u64, seed: Option<u64>) -> Result<(), Failure> {
    let first = seed.map(|seed| format!(" --seed {seed}")).unwrap_or_default();
    shell.cargo(&format!(
        "run --locked --profile fast -p wardline-tests --no-default-features --bin wardline-sim -- --seeds {seeds}{first}"
    ))
}

/// Plants each deliberate fault and demands that the simulation finds it.
pub(crate) fn planted(shell: &Shell) -> Result<(), Failure> {
    shell.cargo("test --locked --profile fast -p wardline-tests --no-default-features --features planted --test planted -- --nocapture")
}

/// Kills a real server under load.
pub(crate) fn faults(shell: &Shell, kills: u32) -> Result<(), Failure> {
    built(shell)?;
    shell.cargo(&format!(
        "run --locked -p wardline-tests --bin wardline-faults -- kills --kills {kills}"
    ))
}

/// Kills a client that queued messages offline.
pub(crate) fn offline(shell: &Shell, messages: u32) -> Result<(), Failure> {
    built(shell)?;
    shell.cargo(&format!(
        "run --locked -p wardline-tests --bin wardline-faults -- offline --messages {messages}"
    ))
}

/// Runs server, site and a terminal client.
pub(crate) fn demo(shell: &Shell, check: bool, rest: &[String]) -> Result<(), Failure> {
    built(shell)?;
    let check = if check { " --check" } else { "" };
    shell.cargo(&format!(
        "run --locked --quiet -p wardline-examples --bin wardline-demo --{check} {}",
        rest.join(" ")
    ))
}

/// Measures.
pub(crate) fn bench(shell: &Shell, rest: &[String]) -> Result<(), Failure> {
    shell.run("npm ci --prefix bench/peers --no-audit --no-fund")?;
    shell.cargo("build --locked --profile bench-fast -p wardline-server -p wardline-bench")?;
    shell.cargo(&format!(
        "run --locked --profile bench-fast -p wardline-bench -- {}",
        rest.join(" ")
    ))
}

/// The server and the examples, as the other commands start them.
fn built(shell: &Shell) -> Result<(), Failure> {
    shell.cargo("build --locked -p wardline-server -p wardline-examples -p wardline-tests --bins")
}
