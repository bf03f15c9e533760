//! The simulation finds each deliberate fault: planted one at a time, within 1,000 seeds.
#![cfg(feature = "planted")]
#![allow(clippy::print_stdout)]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};
use wardline::planted::{Bug, plant};
use wardline_tests::sim;

/// Within how many seeds a fault must be found.
const SEEDS: u64 = 1_000;

/// The first seed that finds a fault, with what it found.
fn found(bug: Bug) -> Option<(u64, String)> {
    let next = AtomicU64::new(0);
    let first: Mutex<Option<(u64, String)>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                plant(Some(bug));
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS || first.lock().unwrap().is_some() {
                        break;
                    }
                    if let Some(violation) = sim::run(seed, false).violation {
                        let mut first = first.lock().unwrap();
                        if first.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *first = Some((seed, violation.to_string()));
                        }
                    }
                }
                plant(None);
            });
        }
    });
    first.into_inner().unwrap()
}

#[test]
fn each_planted_bug_is_found_within_1000_seeds() {
    sim::hush_panics();
    let missed = AtomicUsize::new(0);
    for bug in Bug::ALL {
        match found(bug) {
            Some((seed, violation)) => println!("{bug:?}: {} seeds; {violation}", seed + 1),
            None => {
                println!("{bug:?}: NOT FOUND in {SEEDS} seeds");
                missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    assert_eq!(missed.into_inner(), 0, "planted bugs that no seed found");
}
