//! `wardline-sim`: runs many seeds of the simulation, prints the first that fails and its trace.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};
use wardline_tests::{
    plan::{Fault, Plan},
    sim::{self, Report},
};

/// The simulation: real machines opposite real hubs, in virtual time, under faults.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Run this seed only, and print its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Lines of a failing seed's trace to print.
    #[arg(long, default_value_t = 200)]
    lines: usize,
    /// Go on after a failing seed, and count failures by invariant.
    #[arg(long)]
    survey: bool,
    /// Have this kind of fault in every world, by its name.
    #[arg(long)]
    fault: Option<String>,
    /// Plant one deliberate fault, by its name.
    #[cfg(feature = "planted")]
    #[arg(long)]
    plant: Option<String>,
}

/// Plants what the options say, for this thread.
#[cfg(feature = "planted")]
fn plant(options: &Options) {
    use wardline::planted::{Bug, plant};
    let named = |bug: &Bug| Some(format!("{bug:?}")) == options.plant;
    plant(Bug::ALL.into_iter().find(named));
}

#[cfg(not(feature = "planted"))]
fn plant(_: &Options) {}

fn main() -> ExitCode {
    sim::hush_panics();
    let options = Options::parse();
    plant(&options);
    match options.seed {
        Some(seed) => one(seed, &options),
        None => many(&options),
    }
}

/// Runs a seed in the world the options ask for.
fn run(seed: u64, keep: bool, options: &Options) -> Report {
    let named = |fault: &Fault| Some(format!("{fault:?}")) == options.fault;
    sim::run_plan(Plan::draw_with(seed, Fault::ALL.into_iter().find(named)), keep)
}

fn one(seed: u64, options: &Options) -> ExitCode {
    let report = run(seed, true, options);
    let again = run(seed, false, options);
    print_trace(&report, options.lines);
    println!("{report:#?}", report = Summary(&report));
    if report.digest != again.digest {
        println!("seed {seed}: Determinism: {:x} ≠ {:x}", report.digest, again.digest);
        return ExitCode::FAILURE;
    }
    verdict(&report)
}

struct Summary<'a>(&'a Report);

impl std::fmt::Debug for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.0;
        write!(
            f,
            "seed {}, steps {}, events {}, items {:?}, handed {}, virtual {:?}, digest {:016x}",
            report.seed,
            report.steps,
            report.events,
            report.items,
            report.handed,
            report.time,
            report.digest
        )
    }
}

fn verdict(report: &Report) -> ExitCode {
    match &report.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("seed {} breaks {violation}", report.seed);
            ExitCode::FAILURE
        }
    }
}

fn print_trace(report: &Report, lines: usize) {
    let skip = report.trace.len().saturating_sub(lines);
    for line in report.trace.iter().skip(skip) {
        println!("{line}");
    }
}

#[derive(Debug, Default)]
struct Totals {
    seeds: u64,
    steps: u64,
    events: u64,
    items: usize,
    accepted: usize,
    handed: u64,
    hours: f64,
    failures: Vec<(u64, String)>,
}

fn many(options: &Options) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(options.from);
    let end = options.from + options.seeds;
    let totals = Mutex::new(Totals::default());
    thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                plant(options);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let report = run(seed, false, options);
                    // One seed in 64 runs twice: same seed, same trace.
                    let unlike =
                        seed % 64 == 7 && run(seed, false, options).digest != report.digest;
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.seeds += 1;
                    totals.steps += report.steps;
                    totals.events += report.events;
                    totals.items += report.items.0;
                    totals.accepted += report.items.1;
                    totals.handed += report.handed;
                    totals.hours += report.time.as_secs_f64() / 3600.0;
                    if unlike {
                        totals.failures.push((seed, "Determinism: another trace".into()));
                    }
                    if let Some(violation) = report.violation {
                        totals.failures.push((seed, violation.to_string()));
                    }
                    if !totals.failures.is_empty() && !options.survey {
                        next.store(end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.failures.sort();
    if options.survey {
        survey(&totals);
    } else if let Some((seed, _)) = totals.failures.first() {
        let report = run(*seed, true, options);
        print_trace(&report, options.lines);
        println!("{:?}", Summary(&report));
    }
    for (seed, violation) in totals.failures.iter().take(options.lines) {
        println!("seed {seed} breaks {violation}");
    }
    println!(
        "seeds {}, steps {}, events {}, items {}, accepted {}, handed {}, virtual hours {:.0}, \
         failures {}, seconds {:.1}",
        totals.seeds,
        totals.steps,
        totals.events,
        totals.items,
        totals.accepted,
        totals.handed,
        totals.hours,
        totals.failures.len(),
        began.elapsed().as_secs_f64()
    );
    if totals.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn survey(totals: &Totals) {
    let mut kinds = std::collections::BTreeMap::new();
    for (seed, violation) in &totals.failures {
        let kind = violation.split(':').next().unwrap_or_default().to_owned();
        let (count, _) = kinds.entry(kind).or_insert((0_u64, *seed));
        *count += 1;
    }
    for (kind, (count, seed)) in kinds {
        println!("{count:>6} {kind} (first: seed {seed})");
    }
}
