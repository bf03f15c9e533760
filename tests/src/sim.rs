//! Runs seeds: draws a world, takes its steps, heals it, and tells what broke.

use crate::{
    plan::Plan,
    step::Deck,
    violation::{Checked, Invariant, Violation},
    world::World,
};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// How one seed went.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What broke, if anything.
    pub violation: Option<Violation>,
    /// Steps taken.
    pub steps: u64,
    /// Frames and timeouts seen.
    pub events: u64,
    /// Virtual time passed.
    pub time: Duration,
    /// What equal runs share.
    pub digest: u64,
    /// The last words of the trace, where they were kept.
    pub trace: Vec<String>,
    /// Items submitted, and of these accepted.
    pub items: (usize, usize),
    /// Events handed to applications.
    pub handed: u64,
}

/// Catches panics' words instead of printing them; once per process.
pub fn hush_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            LAST_PANIC.with(|last| *last.borrow_mut() = info.to_string());
        }));
    });
}

/// Runs a seed; `keep` keeps the words of the trace.
#[must_use]
pub fn run(seed: u64, keep: bool) -> Report {
    run_plan(Plan::draw(seed), keep)
}

/// Runs a plan.
#[must_use]
pub fn run_plan(plan: Plan, keep: bool) -> Report {
    let seed = plan.seed;
    let mut world = World::new(plan, keep);
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    let violation = match lived {
        Ok(checked) => checked.err(),
        Err(_) => {
            let words = LAST_PANIC.with(|last| last.borrow().clone());
            Some(Violation::new(Invariant::Panic, words))
        }
    };
    Report {
        seed,
        violation,
        steps: world.steps,
        events: world.trace.events(),
        time: world.now,
        digest: world.trace.digest(),
        trace: world.trace.lines().map(ToOwned::to_owned).collect(),
        items: (world.model.items.len(), world.model.items.accepted.len()),
        handed: world
            .clients
            .iter()
            .flat_map(|process| process.app.subs.values().map(|sub| sub.handed))
            .sum(),
    }
}

fn live(world: &mut World) -> Checked {
    let deck = Deck::of(&world.plan);
    for client in 0..world.clients.len() {
        world.clients[client].wants_connection = true;
        world.start(client)?;
    }
    for _ in 0..world.plan.steps {
        let step = deck.draw(&mut world.rng);
        world.apply(step)?;
        let span = match world.rng.u8(..40) {
            0 => world.span(10_000, 40_000),
            1..=6 => world.span(500, 4_000),
            _ => world.span(0, 200),
        };
        world.pass(span)?;
    }
    world.heal()
}
