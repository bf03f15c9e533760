//! The simulation finds each deliberate fault: planted one at a time, within 1,000 seeds.
//!
//! A seed counts only where it passes once the fault is taken out again: a seed that fails anyway
//! proves nothing, and fails this test by itself.
#![cfg(feature = "planted")]
#![allow(clippy::print_stdout)]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};
use wardline::planted::{Bug, plant};
use wardline_tests::sim;

/// Within how many seeds a fault must be found.
const SEEDS: u64 = 1_000;

/// What the seeds said about one fault.
#[derive(Debug, Default)]
struct Search {
    /// The first seed that fails with the fault and passes without it, and what it found.
    found: Option<(u64, String)>,
    /// Seeds that fail without it too.
    sick: Vec<(u64, String)>,
}

fn search(bug: Bug) -> Search {
    let next = AtomicU64::new(0);
    let search = Mutex::new(Search::default());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS || search.lock().unwrap().found.is_some() {
                        break;
                    }
                    plant(Some(bug));
                    let planted = sim::run(seed, false).violation;
                    plant(None);
                    let Some(planted) = planted else { continue };
                    let clean = sim::run(seed, false).violation;
                    let mut search = search.lock().unwrap();
                    match clean {
                        Some(clean) => search.sick.push((seed, clean.to_string())),
                        None if search.found.as_ref().is_none_or(|(first, _)| seed < *first) => {
                            search.found = Some((seed, planted.to_string()));
                        }
                        None => {}
                    }
                }
            });
        }
    });
    search.into_inner().unwrap()
}

#[test]
fn each_planted_bug_is_found_within_1000_seeds() {
    sim::hush_panics();
    let began = Instant::now();
    let mut missed = Vec::new();
    let mut sick = Vec::new();
    for bug in Bug::ALL {
        let search = search(bug);
        sick.extend(search.sick);
        match search.found {
            Some((seed, violation)) => println!("{bug:?}: {} seeds; {violation}", seed + 1),
            None => {
                println!("{bug:?}: NOT FOUND in {SEEDS} seeds");
                missed.push(bug);
            }
        }
    }
    println!("{} faults, {} s", Bug::ALL.len(), began.elapsed().as_secs());
    assert!(sick.is_empty(), "seeds that fail without any fault: {sick:?}");
    assert!(missed.is_empty(), "planted faults that no seed found: {missed:?}");
}
