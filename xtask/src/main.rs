//! Demo, test, CI and benches of Wardline in one binary: `cargo xtask help`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod advisories;
mod check;
mod npm;
mod probes;
mod server;
mod shell;
mod suites;
mod wasm;
mod wasm_tests;

use clap::{Parser, Subcommand};
use shell::{Failure, Shell};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer of Wardline runs.")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build and run server, site and a terminal client; with --check headless, exit 0 or 1.
    Demo {
        /// Headless for 20 s, with a server restart in the middle.
        #[arg(long)]
        check: bool,
        /// What goes on to the demo.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Run every test; installs or starts what they need.
    Test,
    /// What CI runs: fmt, clippy, docs, dependencies, then `test`.
    Ci,
    /// Simulate clients, links and a server under faults in virtual time.
    Sim {
        /// How many seeds.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first seed; with --seeds 1 that seed alone, with its trace.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Plant each deliberate fault and demand that the simulation finds it within 1,000 seeds.
    Planted,
    /// The core in Node through WebAssembly, beside a server.
    Node,
    /// The tests in Rust that run as WebAssembly, in Node and in Chromium.
    WasmTests,
    /// Build the npm package and run its tests beside a server.
    Npm,
    /// Build the dashboard and try it in Chromium as a person would.
    Dashboard,
    /// Kill a real server with -9 under load of real clients and count what was lost.
    Faults {
        /// How many kills.
        #[arg(long, default_value_t = 50)]
        kills: u32,
    },
    /// Queue messages offline, kill the process, deliver all of them once and in order.
    Offline {
        /// How many messages.
        #[arg(long, default_value_t = 10_000)]
        messages: u32,
    },
    /// Measure: `server`, `size`, `browser`.
    Bench {
        /// What to measure, and what goes on to the bench.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        rest: Vec<String>,
    },
    /// Build the WebAssembly package.
    Wasm,
    /// Build the native library and generate the Python bindings.
    Bindings,
}

fn main() -> ExitCode {
    let shell = Shell::new();
    match run(&shell, Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(shell: &Shell, task: Task) -> Result<(), Failure> {
    match task {
        Task::Demo { check, rest } => suites::demo(shell, check, &rest),
        Task::Test => suites::test(shell),
        Task::Ci => check::ci(shell),
        Task::Sim { seeds, seed } => suites::sim(shell, seeds, seed),
        Task::Planted => suites::planted(shell),
        Task::Node => probes::node(shell),
        Task::WasmTests => wasm_tests::run(shell),
        Task::Npm => npm::test(shell),
        Task::Dashboard => npm::room(shell),
        Task::Faults { kills } => suites::faults(shell, kills),
        Task::Offline { messages } => suites::offline(shell, messages),
        Task::Bench { rest } => suites::bench(shell, &rest),
        Task::Wasm => suites::built(shell).and_then(|()| wasm::build(shell)),
        Task::Bindings => probes::bindings(shell),
    }
}
