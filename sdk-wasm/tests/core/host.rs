//! A host without a network: its store is a map, its peer the test.

use crate::border::{self, Border, Said};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use wardline::{
    driver::entries::EntryBatch,
    machine::UnixMillis,
    protocol::{
        ClientFrame, Limits, ServerFrame, codec,
        frames::{Lanes, Welcome},
    },
};

pub(crate) const EPOCH_MS: f64 = 1_700_000_000_000.0;

/// What outlives a machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medium {
    pub(crate) lock: u64,
    pub(crate) entries: BTreeMap<String, String>,
}

impl Medium {
    fn commit(&mut self, batch: EntryBatch) -> Option<&'static str> {
        if batch.lock.is_some_and(|lock| lock != self.lock) {
            return Some("lost");
        }
        if batch.add.iter().any(|(key, _)| self.entries.contains_key(key)) {
            return Some("the key exists");
        }
        self.entries.extend(batch.add.into_iter().chain(batch.put));
        for key in &batch.remove {
            self.entries.remove(key);
        }
        None
    }
}

pub(crate) struct Host {
    pub(crate) core: Border,
    /// Both clocks, in ms.
    pub(crate) mono: f64,
    pub(crate) wall: f64,
    pub(crate) medium: Medium,
    /// Whether batches are committed as they come; else they wait in `out`.
    pub(crate) stores: bool,
    /// Everything but load and, while `stores`, store.
    pub(crate) out: Vec<Said>,
    /// The transport that counts.
    pub(crate) generation: u32,
    next_call: u32,
}

pub(crate) fn config() -> Value {
    json!({
        "url": "ws://server", "namespace": "notes", "token": "t0", "seed": 4_503_599_627_370_495_u64,
        "sdk": "tests", "version": "1", "platform": "here",
    })
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(&config(), Medium::default())
    }

    pub(crate) fn with(config: &Value, medium: Medium) -> Self {
        let mut host = Self {
            core: border::make(config).unwrap(),
            mono: 0.0,
            wall: EPOCH_MS,
            medium,
            stores: true,
            out: Vec::new(),
            generation: 0,
            next_call: 1,
        };
        host.tell("timeout", json!({}));
        host
    }

    /// A host whose client is welcomed.
    pub(crate) fn connected() -> Self {
        let mut host = Self::new();
        host.call("connect", json!({}));
        host.accept();
        host.out.clear();
        host
    }

    /// One turn, and those it leads to.
    pub(crate) fn turn(&mut self, feed: impl FnOnce(&mut Border)) {
        self.core.turn(self.mono, self.wall);
        feed(&mut self.core);
        let mut answers = VecDeque::new();
        loop {
            for said in border::drain(&mut self.core).unwrap_or_default() {
                match said {
                    Said::Load => answers.push_back(("load", Value::Null)),
                    Said::Store(batch, writes) if self.stores => {
                        let error = self.medium.commit(writes);
                        answers.push_back(("stored", json!({ "batch": batch, "error": error })));
                    }
                    Said::Dial(generation, _) => {
                        self.generation = generation;
                        self.out.push(said);
                    }
                    Said::Text(gen_, _) => {
                        // The socket takes everything at once.
                        answers.push_back(("unsent", json!({ "gen": gen_, "bytes": 0 })));
                        self.out.push(said);
                    }
                    said => self.out.push(said),
                }
            }
            match answers.pop_front() {
                Some(("load", _)) => {
                    self.medium.lock += 1;
                    let entries: Vec<_> = self.medium.entries.clone().into_iter().collect();
                    border::tell_loaded(&mut self.core, self.medium.lock, true, &entries);
                }
                Some((name, fields)) => border::tell(&mut self.core, name, &fields),
                None => {
                    // Pictures are told until they are taken.
                    let more = border::drain(&mut self.core).unwrap_or_default();
                    assert!(more.iter().all(|said| matches!(said, Said::Picture(_))), "{more:?}");
                    return;
                }
            }
        }
    }

    pub(crate) fn tell(&mut self, name: &str, fields: Value) {
        self.turn(|core| border::tell(core, name, &fields));
    }

    /// Tells of the transport that counts.
    pub(crate) fn link(&mut self, name: &str, mut fields: Value) {
        fields["gen"] = self.generation.into();
        self.tell(name, fields);
    }

    /// Calls; gives the call's number.
    pub(crate) fn call(&mut self, name: &str, mut fields: Value) -> u32 {
        let call = self.next_call;
        self.next_call += 1;
        fields["call"] = call.into();
        self.tell(name, fields);
        call
    }

    /// Commits a batch that waited.
    pub(crate) fn store(&mut self) {
        let at = self.out.iter().position(|said| matches!(said, Said::Store(..))).expect("a batch");
        let Said::Store(batch, writes) = self.out.remove(at) else { unreachable!() };
        let error = self.medium.commit(writes);
        self.tell("stored", json!({ "batch": batch, "error": error }));
    }

    pub(crate) fn say(&mut self, frame: impl Into<ServerFrame>) {
        self.hear(&frame.into().encode());
    }

    pub(crate) fn hear(&mut self, text: &str) {
        let generation = self.generation;
        self.turn(|core| core.text(generation, text.to_owned()));
    }

    /// Lets the dial succeed and welcomes.
    pub(crate) fn accept(&mut self) {
        self.link("opened", json!({}));
        self.say(welcome());
    }

    /// Lets time pass, with each timeout at its moment.
    pub(crate) fn pass(&mut self, ms: f64) {
        let end = self.mono + ms;
        let mut rounds = 0;
        while self.core.due() <= end {
            self.jump((self.core.due() - self.mono).max(0.0));
            self.tell("timeout", json!({}));
            rounds += 1;
            assert!(rounds < 10_000, "a deadline that is never met: {}", self.core.due());
        }
        self.jump(end - self.mono);
    }

    /// Lets time pass unnoticed.
    pub(crate) fn jump(&mut self, ms: f64) {
        self.mono += ms;
        self.wall += ms;
    }

    /// The frames written since the last look; the other outputs stay.
    pub(crate) fn frames(&mut self) -> Vec<ClientFrame> {
        let mut frames = Vec::new();
        self.out.retain(|said| match said {
            Said::Text(_, text) => {
                frames.extend(codec::objects(text).map(|one| ClientFrame::decode(one).unwrap()));
                false
            }
            _ => true,
        });
        frames
    }

    /// The answer to a call, once.
    pub(crate) fn answer(&mut self, call: u32) -> Option<Result<Value, String>> {
        let at = self.out.iter().position(
            |said| matches!(said, Said::Reply(to, _) | Said::Fail(to, _) if *to == call),
        )?;
        Some(match self.out.remove(at) {
            Said::Fail(_, error) => Err(error["code"].as_str().unwrap().to_owned()),
            Said::Reply(_, value) => Ok(value),
            _ => unreachable!(),
        })
    }

    /// The events of a type since the last look.
    pub(crate) fn events(&mut self, kind: &str) -> Vec<Value> {
        let mut events = Vec::new();
        self.out.retain(|said| match said {
            Said::Event(event) if event["type"] == kind => {
                events.push(event.clone());
                false
            }
            _ => true,
        });
        events
    }

    pub(crate) fn has(&self, said: &Said) -> bool {
        self.out.contains(said)
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        connection: "c1".into(),
        tenant: "acme".into(),
        user: "ann".into(),
        accepted: Some(Lanes::new()),
        ping: 30_000,
        expires_in: Some(1_000_000),
        time: UnixMillis(EPOCH_MS as u64).0,
        limits: Limits::default(),
        features: Vec::new(),
    }
}
