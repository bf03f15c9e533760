//! Many seeds, many faults: whatever happens, no subscription misses or repeats an event unless a
//! gap is told, and in the end all have caught up.

use super::{
    rig::{World, address, only},
    *,
};
use std::collections::BTreeMap;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn any_subscribe(rng: &mut fastrand::Rng, world: &World, names: &mut u32) -> Subscribe {
    let filter = match rng.u32(0..4) {
        0 => only(&["a"]),
        1 => only(&["b", "c"]),
        _ => Filter::default(),
    };
    let from = if rng.bool() { Start::First } else { Start::Live };
    let entries = &world.log.entries;
    let cursor =
        (rng.u32(0..5) == 0 && !entries.is_empty()).then(|| entries[rng.usize(0..entries.len())].0);
    let durable = (cursor.is_none() && rng.u32(0..3) == 0).then(|| {
        *names += 1;
        format!("d{}", *names % 4)
    });
    Subscribe { filter, from, cursor, durable, hook: rng.u32(0..4) == 0, ..Subscribe::default() }
}

fn step(world: &mut World, rng: &mut fastrand::Rng, names: &mut u32) {
    match rng.u32(0..100) {
        0..20 => world.append(NAMES[rng.usize(0..3)]),
        20..22 => world.cast(NAMES[rng.usize(0..3)]),
        22..40 => drop(world.serve_one()),
        40..65 => drop(world.receive_one()),
        65..70 if world.watches.len() < 5 => {
            let subscribe = any_subscribe(rng, world, names);
            world.subscribe(subscribe);
        }
        70..72 => {
            if let Some(sub) = pick(world, rng) {
                world.unsubscribe(sub);
            }
        }
        72..82 => {
            if let Some(sub) = pick(world, rng) {
                world.done(sub, rng.usize(1..4));
            }
        }
        82..84 => world.cut(),
        84..88 => world.connect(),
        88 => world.retain(rng.usize(0..10)),
        89 => world.lose_tail(rng.usize(1..4)),
        90 => world.evict(Code::FORBIDDEN),
        91 => {
            world.rooms.handle_authorized(world.now);
            world.pump();
        }
        92 => {
            // A frame is lost on the way, or comes twice.
            let Some(conn) = &mut world.conn else { return };
            let Some(at) = conn.down.iter().position(|f| matches!(f, ServerFrame::Event(_))) else {
                return;
            };
            // `live` says nothing of the event before it: TCP keeps that one.
            let live = conn.down.iter().any(|frame| matches!(frame, ServerFrame::Live(_)));
            if rng.bool() && !live {
                conn.down.remove(at);
            } else if let Some(frame) = conn.down.get(at).cloned() {
                conn.down.insert(at + 1, frame);
            }
        }
        93 => {
            world.refuse = match rng.u32(0..4) {
                0 => Some((Code::RATE, Some(500))),
                1 => Some((Code::FORBIDDEN, None)),
                _ => None,
            };
        }
        94 => drop(world.answer_hook(rng.bool())),
        95 => world.ping(),
        96 => world.store_fails = rng.u32(0..3) == 0,
        97 if rng.u32(0..10) == 0 => world.restart(),
        _ => world.pass(Duration::from_millis(rng.u64(1..2000))),
    }
}

fn pick(world: &World, rng: &mut fastrand::Rng) -> Option<SubId> {
    let subs: Vec<_> = world.watches.keys().copied().collect();
    (!subs.is_empty()).then(|| subs[rng.usize(0..subs.len())])
}

fn heal(world: &mut World) {
    world.refuse = None;
    world.store_fails = false;
    for _ in 0..40 {
        world.connect();
        world.rooms.handle_authorized(world.now);
        world.pump();
        let subs: Vec<_> = world.watches.keys().copied().collect();
        // Each round brings two pages at most.
        for _ in 0..60 {
            world.flow();
            for sub in &subs {
                world.done(*sub, usize::MAX / 2);
            }
        }
        while world.answer_hook(true) {}
        world.flow();
        world.pass(Duration::from_secs(7));
        world.ping();
        world.flow();
    }
    // All caught up: one more event of each name reaches whoever wants it.
    let before: BTreeMap<_, _> = world.watches.keys().map(|sub| (*sub, world.seqs(*sub))).collect();
    for name in NAMES {
        world.append(name);
    }
    for _ in 0..NAMES.len() {
        world.flow();
        for sub in before.keys() {
            world.done(*sub, usize::MAX / 2);
        }
    }
    for (sub, before) in before {
        let watch = &world.watches[&sub];
        let wanted = NAMES.iter().filter(|name| watch.filter.passes(name, "null")).count();
        assert_eq!(watch.handed.len(), before.len() + wanted, "{sub:?} {watch:?}");
    }
    // Membership is intent.
    let joined = world.rooms.joined().count();
    assert_eq!(joined == 1, !world.watches.is_empty());
    assert_eq!(world.member().is_some(), !world.watches.is_empty());
}

fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut world = World::new(seed);
    world.page_every = rng.u32(1..6);
    let mut names = 0;
    for _ in 0..rng.u32(50..400) {
        step(&mut world, &mut rng, &mut names);
        check_cursors(&world);
    }
    heal(&mut world);
}

/// A stored cursor is never ahead of what the application is done with.
fn check_cursors(world: &World) {
    for room in world.rooms.rooms.values() {
        for (id, sub) in &room.subs {
            let Some(name) = &sub.durable else { continue };
            let Some(stored) = world.stored.get(&(name.clone(), address())) else { continue };
            let watch = &world.watches[id];
            if let Some(open) = watch.handed.get(watch.done)
                && watch.handed[watch.done..].contains(stored)
                // After a gap an event may have been handed over before, and done, or have been
                // where it began.
                && !watch.handed[..watch.done].contains(stored)
                && !watch.bases.contains(stored)
            {
                panic!("{stored:?} is stored, {open:?} is not done");
            }
        }
    }
}

#[test]
fn no_seed_loses_or_doubles_an_event() {
    let seeds = std::env::var("WARDLINE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_the_rooms_are_found() {
    use crate::planted::Bug;
    for bug in [Bug::CursorBeforeDone, Bug::DoubleSeam] {
        crate::planted::plant(Some(bug));
        let found = (0..1000).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
        crate::planted::plant(None);
        assert!(found.is_some(), "{bug:?}");
    }
}
