//! Many seeds, many faults: every submit ends once, nothing accepted is lost, nothing is appended
//! twice, each lane keeps its order.

use super::{
    rig::{Disk, World, item},
    *,
};
use std::collections::{BTreeMap, BTreeSet};

/// A run: the world, what is known of every item over all lives, and which faults it met.
struct Run {
    world: World,
    rng: fastrand::Rng,
    next: u128,
    calls: BTreeMap<CallId, ItemId>,
    queued: BTreeSet<ItemId>,
    ended: BTreeMap<ItemId, Vec<Outcome>>,
    older: Vec<Disk>,
    record_lost: bool,
    rolled_back: bool,
    /// What this run may do beside link deaths and store failures.
    may_roll_back: bool,
    may_lose_records: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        world.prompt = false;
        world.pump();
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            world,
            next: 0,
            calls: BTreeMap::new(),
            queued: BTreeSet::new(),
            ended: BTreeMap::new(),
            older: Vec::new(),
            record_lost: false,
            rolled_back: false,
            may_roll_back: rng.u32(0..3) == 0,
            may_lose_records: rng.u32(0..4) == 0,
            rng,
        }
    }

    fn submit(&mut self) {
        self.next += 1;
        let mut new = item(self.next, self.rng.u8(0..3) * 3);
        if self.rng.u32(0..5) == 0 {
            new.ttl = Some(Duration::from_millis(self.rng.u64(0..20_000)));
        }
        if self.rng.u32(0..10) == 0 {
            self.world.server.forbidden.insert(new.id);
        }
        let id = new.id;
        let call = self.world.submit(new);
        self.calls.insert(call, id);
    }

    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..15 => self.submit(),
            15..19 if self.next > 0 => {
                let id = self.rng.u128(1..=self.next);
                self.world.cancel(id);
            }
            19..40 => drop(self.world.serve_one()),
            40..60 => drop(self.world.receive_one()),
            60..78 => {
                self.world.store_one();
                self.world.pump();
            }
            78..81 => self.world.cut(),
            81 => self.world.drop_link(false),
            82..88 => drop(self.world.connect()),
            88 => {
                let failing = self.rng.u32(0..3) == 0;
                self.world.disk.failing = failing.then(|| StoreError::Io("full".into()));
            }
            89 => self.world.disk.locked = self.rng.u32(0..3) == 0,
            90 => self.world.server.unavailable = self.rng.u32(0..3),
            91 => {
                // The last batch may have reached the disk.
                if self.rng.bool() {
                    self.world.store_one();
                }
                self.restart();
            }
            // From before the producer was made nobody could tell what was sent.
            92 if self.world.disk.current().producer.is_some() => {
                self.older.push(self.world.disk.clone());
            }
            93 if self.may_roll_back && !self.older.is_empty() => {
                let at = self.rng.usize(0..self.older.len());
                self.world.disk = self.older[at].clone();
                self.older.truncate(at + 1);
                self.rolled_back = true;
                self.restart();
            }
            94 if self.may_lose_records => {
                self.world.server.records.clear();
                self.world.cut();
                self.record_lost = true;
            }
            95 => {
                self.world.outbox.handle_poked(self.world.now);
                self.world.pump();
            }
            _ => self.world.pass(Duration::from_millis(self.rng.u64(1..3000))),
        }
        self.collect();
    }

    fn restart(&mut self) {
        self.collect();
        self.calls.clear();
        self.world.replies.clear();
        // A restart takes time: orders of a process that may not load go by the clock.
        self.world.now.wall.0 += 100;
        self.world.restart();
    }

    /// Takes what was told; in one life nothing is told twice.
    fn collect(&mut self) {
        for (id, told) in &self.world.told {
            assert_eq!(told.len(), 1, "{id:?} has two outcomes: {told:?}");
        }
        for (id, told) in self.world.told.clone() {
            let ended = self.ended.entry(id).or_default();
            if !ended.contains(&told[0]) {
                ended.extend(told);
            }
        }
        for (call, reply) in &self.world.replies {
            if let (Some(id), Ok(ReplyValue::Queued(queued))) = (self.calls.get(call), reply) {
                assert_eq!(id, queued);
                self.queued.insert(*id);
            }
        }
        // A refused call was the submit's one end.
        for (call, id) in &self.calls {
            if matches!(self.world.replies.get(call), Some(Err(_))) {
                assert!(!self.world.told.contains_key(id), "{id:?} was refused and told");
            }
        }
    }

    fn finish(mut self) {
        self.world.heal();
        self.collect();
        let log = &self.world.server.log;
        assert!(self.world.disk.current().items.is_empty());
        let logged: BTreeSet<_> = log.iter().map(|(_, id)| *id).collect();
        for (id, outcomes) in &self.ended {
            for outcome in outcomes {
                let there = logged.contains(id);
                match outcome {
                    Outcome::Accepted(_) => assert!(there, "{id:?} is accepted and lost"),
                    Outcome::Uncertain => {
                        assert!(self.record_lost || self.rolled_back, "{id:?} is uncertain");
                    }
                    other => {
                        let excused = self.rolled_back || self.record_lost;
                        assert!(!there || excused, "{id:?} is {other:?} and logged");
                    }
                }
            }
        }
        if !self.rolled_back {
            for id in &self.queued {
                assert!(self.ended.contains_key(id), "{id:?} has no end");
            }
        }
        if !self.record_lost {
            assert_eq!(logged.len(), log.len(), "an item is appended twice");
        }
        // An older store brings back what was cancelled, behind what was sent since.
        if !self.record_lost && !self.rolled_back {
            for lane in 0..LANES {
                let ids: Vec<_> = log.iter().filter(|(of, _)| *of == lane).collect();
                assert!(ids.is_sorted(), "lane {lane} is out of order: {ids:?}");
            }
        }
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..run.rng.u32(50..600) {
        run.step();
    }
    run.finish();
}

#[test]
fn every_submit_ends_once_and_nothing_accepted_is_lost() {
    let seeds = std::env::var("WARDLINE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_the_outbox_are_found() {
    for bug in [Bug::DoneHighest, Bug::TwoOutcomes] {
        crate::planted::plant(Some(bug));
        let found = (0..1000).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
        crate::planted::plant(None);
        assert!(found.is_some(), "{bug:?}");
    }
}
