//! Random lives against a scripted server: tabs that end, links that are cut, answers that are lost. Each submit ends once in a tab, each item is in
//! the log once, a lane keeps its order.

use crate::{
    border::{self, Said},
    host::{Host, config, welcome},
};
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use wardline::{
    model::ids::ItemId,
    protocol::{
        ClientFrame,
        frames::{Accepted, Hold, Lanes, Pong, Send},
    },
};
use wasm_bindgen_test::wasm_bindgen_test;

const LIVES: u64 = 60;
const STEPS: u32 = 150;
const TABS: u32 = 8;

/// The record of one producer, as P-S2 says.
#[derive(Default)]
struct Server {
    accepted: BTreeMap<u8, u64>,
    outcomes: BTreeMap<(u8, u64), ItemId>,
    log: Vec<(u8, ItemId)>,
    /// Lanes that drop frames on this connection until one with `base`.
    held: BTreeSet<u8>,
}

impl Server {
    fn take(&mut self, send: &Send) -> Option<Result<Accepted, Hold>> {
        let (lane, n) = (send.lane, send.n);
        let accepted = self.accepted.entry(lane).or_default();
        if let Some(base) = send.base {
            self.held.remove(&lane);
            *accepted = base.max(*accepted);
        }
        if self.held.contains(&lane) {
            return None;
        }
        if n > *accepted + 1 {
            self.held.insert(lane);
            let code = "order".to_owned().into();
            return Some(Err(Hold { lane, accepted: *accepted, code, after: None }));
        }
        if n == *accepted + 1 {
            *accepted = n;
            self.outcomes.insert((lane, n), send.id);
            self.log.push((lane, send.id));
        }
        let known = self.outcomes.get(&(lane, n)).expect("an outcome of the last 32");
        assert_eq!(*known, send.id, "another item under a number that was used");
        Some(Ok(Accepted { lane, n, id: send.id, seq: Some(self.log.len() as u64) }))
    }
}

/// A life in several tabs, one after the other, over one store.
struct Life {
    host: Host,
    server: Server,
    rng: Rng,
    open: bool,
    submitted: Vec<(u8, ItemId)>,
    calls: BTreeMap<u32, (u8, ItemId)>,
    settled: BTreeSet<String>,
    next: u128,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut life = Self {
            host: Host::new(),
            server: Server::default(),
            rng: Rng::with_seed(seed),
            open: false,
            submitted: Vec::new(),
            calls: BTreeMap::new(),
            settled: BTreeSet::new(),
            next: 1,
        };
        life.host.call("connect", json!({}));
        life
    }

    fn step(&mut self) {
        match self.rng.u8(..16) {
            0..5 => self.submit(),
            5 => self.cut(),
            6 => self.host.pass(f64::from(self.rng.u32(..4_000))),
            7 => self.tell(&[
                "online",
                "offline",
                "network",
                "visible",
                "hidden",
                "woke",
                "suspending",
            ]),
            // Batches wait for a while, as a slow disk makes them.
            8 => self.host.stores = !self.host.stores,
            _ => {}
        }
        let deaf = self.rng.u8(..8) == 0;
        self.serve(deaf);
        self.look();
    }

    fn submit(&mut self) {
        let (lane, id) = (self.rng.u8(..3), ItemId(self.next << 64 | u128::from(self.rng.u64(..))));
        self.next += 1;
        let data = "ü".repeat(self.rng.usize(..2_000));
        let call = self.host.call(
            "submit",
            json!({
                "id": format!("{:032x}", id.0), "lane": lane, "room": "gate", "event": "n",
                "data": data, "persist": true,
            }),
        );
        self.calls.insert(call, (lane, id));
    }

    fn tell(&mut self, signals: &[&str]) {
        let signal = signals[self.rng.usize(..signals.len())];
        self.host.tell("signal", json!({ "signal": signal }));
    }

    fn cut(&mut self) {
        if self.open {
            self.open = false;
            self.host.link("closed", json!({ "code": 1006, "reason": "" }));
        }
    }

    /// Lets the server read what was written; deaf, the answers are lost with the link.
    fn serve(&mut self, deaf: bool) {
        if !self.host.stores && self.rng.bool() {
            while self.host.out.iter().any(|said| matches!(said, Said::Store(..))) {
                self.host.store();
            }
        }
        if let Some(at) = self.host.out.iter().position(|said| matches!(said, Said::Dial(..))) {
            self.host.out.remove(at);
            self.open = true;
            self.host.link("opened", json!({}));
        }
        if self.host.out.iter().any(|said| matches!(said, Said::Close(..))) {
            self.host.out.retain(|said| !matches!(said, Said::Close(..)));
            self.cut();
        }
        for frame in self.host.frames() {
            match frame {
                ClientFrame::Hello(_) if self.open => {
                    self.server.held.clear();
                    let mut accepted = Lanes::new();
                    for (lane, n) in &self.server.accepted {
                        accepted.insert(*lane, *n);
                    }
                    let known: Vec<_> = self
                        .server
                        .outcomes
                        .iter()
                        .map(|((lane, n), id)| (*lane, *n, *id))
                        .collect();
                    self.host.say(wardline::protocol::frames::Welcome {
                        accepted: Some(accepted),
                        ..welcome()
                    });
                    for (lane, n, id) in known {
                        self.host.say(Accepted { lane, n, id, seq: None });
                    }
                }
                ClientFrame::Send(send) => match self.server.take(&send) {
                    Some(_) if deaf || !self.open => {}
                    Some(Ok(accepted)) => self.host.say(accepted),
                    Some(Err(hold)) => self.host.say(hold),
                    None => {}
                },
                ClientFrame::Ping(_) if self.open => self.host.say(Pong {}),
                _ => {}
            }
        }
        if deaf {
            self.cut();
        }
    }

    /// Takes answers and ends.
    fn look(&mut self) {
        let answered: Vec<_> = self.calls.keys().copied().collect();
        for call in answered {
            if let Some(answer) = self.host.answer(call) {
                assert_eq!(answer, Ok(Value::Null));
                self.submitted.extend(self.calls.remove(&call));
            }
        }
        for settled in self.host.events("settled") {
            assert_eq!(settled["outcome"]["outcome"], "accepted", "{settled}");
            let id = settled["id"].as_str().unwrap().to_owned();
            assert!(self.settled.insert(id), "settled twice: {settled}");
        }
        assert!(
            self.host.events("error").is_empty() && self.host.events("acceptedLost").is_empty()
        );
        self.host.out.retain(|said| {
            matches!(said, Said::Store(..) | Said::Dial(..) | Said::Text(..) | Said::Close(..))
        });
    }

    /// The tab ends as tabs do; another begins over what is stored.
    fn reload(&mut self) {
        let lost = std::mem::take(&mut self.calls);
        // An end that was told but not stored yet is told again.
        self.settled.clear();
        let mut settings = config();
        settings["seed"] = self.rng.u64(..1 << 53).into();
        let medium = std::mem::take(&mut self.host.medium);
        self.host = Host::with(&settings, medium);
        self.open = false;
        self.host.call("connect", json!({}));
        // What nobody was told of may be there or not: the store says.
        let there: BTreeSet<_> = border::outbox(&self.host.core)
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect();
        let stored = |id: &ItemId| there.contains(&format!("{:032x}", id.0));
        self.submitted.extend(lost.into_values().filter(|(_, id)| stored(id)));
    }

    fn heal(&mut self) {
        self.host.stores = true;
        self.host.tell("signal", json!({ "signal": "online" }));
        for _ in 0..200 {
            while self.host.out.iter().any(|said| matches!(said, Said::Store(..))) {
                self.host.store();
            }
            self.serve(false);
            self.look();
            if border::outbox(&self.host.core).is_empty() && self.calls.is_empty() {
                return;
            }
            self.host.pass(2_000.0);
        }
        panic!("not healed: {:?} {:?}", border::outbox(&self.host.core), self.host.out);
    }
}

#[wasm_bindgen_test]
fn of_random_lives_nothing_is_lost_doubled_or_out_of_order() {
    let mut appended = 0;
    for seed in 0..LIVES {
        let mut life = Life::new(seed);
        for tab in 0..TABS {
            for _ in 0..STEPS / TABS {
                life.step();
            }
            if tab + 1 < TABS {
                life.reload();
            }
        }
        life.heal();
        let ids: BTreeSet<_> = life.server.log.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), life.server.log.len(), "seed {seed}: one item twice in the log");
        for lane in 0..3 {
            let of = |list: &[(u8, ItemId)]| -> Vec<ItemId> {
                list.iter().filter(|(one, _)| *one == lane).map(|(_, id)| *id).collect()
            };
            let mut submitted = of(&life.submitted);
            // Ids rise as they were submitted.
            submitted.sort_by_key(|id| id.0);
            assert_eq!(of(&life.server.log), submitted, "seed {seed}, lane {lane}");
        }
        appended += life.server.log.len();
    }
    assert!(appended > 1_000, "{appended} items: too few to say anything");
}
