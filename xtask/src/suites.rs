//! The tests and what is built on them: simulation, faults, demo, benches.

use crate::{
    npm, probes,
    shell::{Failure, NATIVE, Shell},
    wasm, wasm_tests,
};
use std::time::Instant;

/// Seeds the test command simulates; `cargo xtask sim` runs as many as one likes.
const SEEDS: u64 = 1000;
/// Kills the test command deals out; `cargo xtask faults` as many as one likes.
const KILLS: u32 = 5;

/// Runs every test there is.
pub(crate) fn test(shell: &Shell) -> Result<(), Failure> {
    let start = Instant::now();
    shell.cargo(&format!("test {NATIVE}"))?;
    sim(shell, SEEDS, None)?;
    planted(shell)?;
    probes::python(shell)?;
    probes::node(shell)?;
    wasm_tests::run(shell)?;
    npm::test(shell)?;
    wasm::hold(shell)?;
    npm::room(shell)?;
    faults(shell, KILLS)?;
    offline(shell, 10_000)?;
    shell.exec(&[shell.program("wardline-demo").as_str(), "--check"], &[])?;
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
    let (program, kills) = (shell.program("wardline-faults"), kills.to_string());
    shell.exec(&[program.as_str(), "kills", "--kills", &kills], &[])
}

/// Kills a client that queued messages offline.
pub(crate) fn offline(shell: &Shell, messages: u32) -> Result<(), Failure> {
    built(shell)?;
    let (program, messages) = (shell.program("wardline-faults"), messages.to_string());
    shell.exec(&[program.as_str(), "offline", "--messages", &messages], &[])
}

/// Runs server, site and a terminal client.
pub(crate) fn demo(shell: &Shell, check: bool, rest: &[String]) -> Result<(), Failure> {
    // Less than everything: who tries the demo should not wait for the rest.
    shell.cargo(
        "build --locked -p wardline-server -p wardline-examples -p wardline-bindgen --bins",
    )?;
    let program = shell.program("wardline-demo");
    let mut words = vec![program.as_str()];
    words.extend(check.then_some("--check"));
    // The page needs npm; who has none still has the terminal.
    let pages = if check || !shell.has("npm") { None } else { Some(npm::dashboard(shell)?) };
    let pages = pages.map(|folder| folder.display().to_string());
    if let Some(folder) = &pages {
        words.extend(["--pages", folder]);
    }
    words.extend(rest.iter().map(String::as_str));
    shell.exec(&words, &[])
}

/// Measures.
pub(crate) fn bench(shell: &Shell, rest: &[String]) -> Result<(), Failure> {
    match rest.split_first() {
        Some((what, _)) if what == "size" => return wasm::size(shell),
        Some((what, rest)) if what == "browser" => return npm::bench(shell, rest),
        _ => {}
    }
    shell.run("npm ci --prefix bench/peers --no-audit --no-fund")?;
    shell.cargo("build --locked --profile bench-fast -p wardline-server -p wardline-bench")?;
    let bench = "cargo run --locked --profile bench-fast -p wardline-bench --";
    let words: Vec<_> = bench.split(' ').chain(rest.iter().map(String::as_str)).collect();
    shell.exec_last(&words, &[]).map(drop)
}

/// Every program of the workspace, as the other commands start them.
pub(crate) fn built(shell: &Shell) -> Result<(), Failure> {
    shell.once("programs", || shell.cargo(&format!("build {NATIVE} --lib --bins")))
}
