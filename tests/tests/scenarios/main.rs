//! Stories in virtual time: the real machine opposite the real hub, each under all the invariants of
//! the simulation and over several seeds.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clauses;
mod faults;

use wardline_tests::violation::Checked;

/// Tells a story with several seeds: delays, ids and the order of what happens at once differ.
fn with_seeds(story: impl Fn(u64) -> Checked) {
    for seed in 0..12 {
        if let Err(violation) = story(seed) {
            panic!("seed {seed}: {violation}");
        }
    }
}
