//! Wardline in JavaScript hosts: the machine, and nothing else.
//!
//! The host (`bindings/typescript/src/core`) owns sockets, timers, the store and promises; it calls
//! in, and nothing here ever calls out. A turn is one call: both clocks (ms: the monotonic one since
//! the client's start, the wall's since 1970) and what happened go in, by [`Core::input`] or one of its
//! siblings; what is to be done comes out, a JSON array, none where there is nothing. Do it, in order,
//! and come back when [`Core::due`] says. Texts cross as JSON, pictures as `Uint8Array`. So no borrow
//! is ever held across a JavaScript call, and `free()` is safe whenever no turn is under way.
//!
//! | input `c` | fields |
//! | --- | --- |
//! | `opened` `closed` `failed` `unsent` | `gen`, then `code` and `reason`, `reason`, `bytes` |
//! | `loaded` | `lock`, `durable`, `entries`; or `error` |
//! | `stored` | `batch`, `error?` (`lost`: another holds the lock) |
//! | `token` `provided` | `token?` |
//! | `signal` | `signal` |
//! | `poked` `timeout` | |
//! | `connect` `disconnect` `cancel` `resume` `submit` `cast` `query` `status` `answer` `stream` `join` `leave` | `call`, and what the call says |
//! | `snapshot` `done` `seen` `look` | `done`: `sub`, and `seq?` where not all that was taken is done |
//!
//! | output | |
//! | --- | --- |
//! | `["dial", gen, url]` `["text", gen, text]` `["close", gen, code, reason]` | the transport; `["binary", gen]`: see [`Core::bytes`] |
//! | `["load"]` `["store", batch, entries]` `["fetch"]` | store and token provider |
//! | `["reply", call, value]` `["fail", call, error]` | answers |
//! | `["event", event]` `["ready", sub]` `["wanted", sub, head]` `["picture", sub]` | what there is to take |
#![cfg(target_arch = "wasm32")]

mod command;
mod event;
mod output;

use std::sync::Arc;
use wardline::{
    driver::{
        entries::Entries,
        media::{Picture, Pictures, Screen},
    },
    fifo::Fifo,
    machine::{
        ApiEvent, Config, Generation, Input, Instant, Machine, Now, Owner, SubId, UnixMillis,
    },
    protocol::{
        Address,
        frames::ClientInfo,
        wire::{Fields, Malformed, Writer},
    },
};
use wasm_bindgen::prelude::*;

/// Takes and gives back in constant time, at half the code of the standard one.
#[global_allocator]
static ALLOCATOR: rlsf::GlobalTlsf<Memory> = rlsf::GlobalTlsf::new();

/// How the allocator treats the memory: what grew is one with what was there, so that a list that
/// outgrows one part fits into two; it is copied to grow.
#[derive(Debug)]
struct Memory;

impl rlsf::GlobalTlsfOptions for Memory {
    const ENABLE_REALLOCATION: bool = false;
    const COALESCE_POOLS: bool = true;
}

/// A subscription, and what waits for it to be taken.
struct Sub {
    id: SubId,
    waiting: Fifo<ApiEvent>,
    /// The number of the last event taken and not yet told as done.
    taken: Option<u64>,
    /// The application has a snapshot hook.
    hook: bool,
    pictures: Option<Arc<Pictures>>,
}

/// A client's machine.
#[wasm_bindgen]
pub struct Core {
    machine: Machine,
    namespace: String,
    now: Now,
    subs: Vec<Sub>,
    screen: Screen,
    entries: Entries,
    /// Whose store was asked for.
    loading: Option<Owner>,
    out: Writer,
    binary: Fifo<Vec<u8>>,
    /// When the machine wants its next turn.
    due: Option<Instant>,
}

#[wasm_bindgen]
impl Core {
    /// Makes a client from JSON: `url`, `namespace`, `seed` (a random number), and the options.
    ///
    /// # Errors
    /// The code of what is wrong.
    #[wasm_bindgen(constructor)]
    pub fn new(config: &str) -> Result<Core, String> {
        Self::make(config).map_err(|malformed| malformed.0.to_owned())
    }

    /// Takes an input: JSON.
    pub fn input(&mut self, mono: f64, wall: f64, text: &str) -> Option<String> {
        self.turn(mono, wall);
        self.command(text);
        self.outputs()
    }

    /// Takes a text frame of a transport.
    pub fn text(&mut self, mono: f64, wall: f64, generation: u32, text: String) -> Option<String> {
        self.turn(mono, wall);
        self.machine.handle_input(Input::Text(Generation(generation.into()), text), self.now);
        self.outputs()
    }

    /// Takes a binary message of a transport.
    pub fn binary(
        &mut self,
        mono: f64,
        wall: f64,
        generation: u32,
        message: Vec<u8>,
    ) -> Option<String> {
        self.turn(mono, wall);
        let input = Input::Binary(Generation(generation.into()), message.into());
        self.machine.handle_input(input, self.now);
        self.outputs()
    }

    /// Sends a picture of a stream of this client (P-V1); `kind`: 1 a key frame, 2 H.264.
    #[allow(clippy::too_many_arguments)]
    pub fn picture(
        &mut self,
        mono: f64,
        wall: f64,
        stream: u32,
        kind: u32,
        seq: u32,
        pts_us: f64,
        data: Vec<u8>,
    ) -> Option<String> {
        self.turn(mono, wall);
        let (key, h264) = (kind & 1 != 0, kind & 2 != 0);
        self.send_picture(stream as u16, h264, key, seq, pts_us as u64, data);
        self.outputs()
    }

    /// When to come back, as of the last turn, in ms since the client's start; infinity: never.
    pub fn due(&self) -> f64 {
        self.due.map_or(f64::INFINITY, |due| due.as_micros().div_ceil(1000) as f64)
    }

    /// Takes all that waits for a subscription, at most `max`: a JSON array, nothing where it is empty.
    /// Says that what was taken before is done (P-R11); what is to be done then stands on a line of
    /// its own. None where there is neither.
    pub fn take(&mut self, mono: f64, wall: f64, sub: u32, max: u32) -> Option<String> {
        self.turn(mono, wall);
        let taken = self.take_events(SubId(sub.into()), max as usize);
        match self.outputs() {
            Some(outputs) => Some([&taken, "\n", &outputs].concat()),
            None => (!taken.is_empty()).then_some(taken),
        }
    }

    /// Takes the newest picture a subscription waits for: JSON, its bytes by [`Core::bytes`].
    #[wasm_bindgen(js_name = takePicture)]
    pub fn take_picture(&mut self, sub: u32) -> Option<String> {
        let pictures = self.sub(SubId(sub.into()))?.pictures.clone()?;
        let Picture { stream, room, codec, width, height, seq, pts_us, key, data } =
            pictures.try_next()?;
        let mut out = Writer::new();
        out.element('{');
        out.number("stream", stream.into());
        out.text("room", &room);
        out.text("codec", &codec);
        out.number("width", width.into());
        out.number("height", height.into());
        out.number("seq", seq.into());
        out.number("ptsUs", pts_us);
        out.raw("key", if key { "true" } else { "false" });
        out.close('}');
        self.binary.push_front(data.into());
        Some(out.finish())
    }

    /// The bytes of the `binary` output or the picture at hand.
    pub fn bytes(&mut self) -> Vec<u8> {
        self.binary.pop_front().unwrap_or_default()
    }

    /// What is not settled: a JSON array, in order where sorted by `order`.
    pub fn outbox(&self) -> String {
        let mut out = Writer::new();
        out.element('[');
        for listed in self.machine.outbox().list() {
            let item = listed.item;
            out.element('{');
            out.id("id", item.id);
            out.number("lane", item.lane.into());
            out.text("room", item.room.as_str());
            out.text("event", &item.event);
            out.number("bytes", item.data.get().len() as u64);
            out.text("state", listed.stage);
            out.number("expires", listed.expires.0);
            out.hex("order", listed.order.into(), 16);
            out.close('}');
        }
        out.close(']');
        out.finish()
    }
}

impl Core {
    fn make(config: &str) -> Result<Self, Malformed> {
        let fields = Fields::read(config)?;
        let url: String = fields.need("url");
        let rest = ["ws://", "wss://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        if rest.is_none_or(str::is_empty) {
            return Err(Malformed("bad_config"));
        }
        let namespace: String = fields.need("namespace");
        Address::new(&namespace, "x").map_err(|_| Malformed("bad_room"))?;
        let client = ClientInfo {
            sdk: fields.or_default("sdk"),
            version: fields.or_default("version"),
            platform: fields.or_default("platform"),
        };
        let machine = Machine::new(Config {
            url,
            client,
            auto_reconnect: fields.maybe("autoReconnect").unwrap_or(true),
            max_attempts: fields.maybe("maxAttempts"),
            has_token_provider: fields.or_default("hasProvider"),
            token: fields.maybe("token"),
            max_items: fields.maybe("maxItems").unwrap_or(100_000),
            max_bytes: fields.maybe("maxBytes").unwrap_or(256 * 1024 * 1024),
            stop_lanes: fields.or_default("stopLanes"),
            max_calls: 1000,
            seed: fields.need("seed"),
        });
        fields.check()?;
        Ok(Self {
            machine,
            namespace,
            now: Now::default(),
            subs: Vec::new(),
            screen: Screen::default(),
            entries: Entries::default(),
            loading: None,
            out: Writer::new(),
            binary: Fifo::new(),
            due: None,
        })
    }

    fn turn(&mut self, mono: f64, wall: f64) {
        let mono = Instant::from_micros((mono * 1000.0) as u64);
        self.now = Now { mono, wall: UnixMillis(wall as u64) };
    }

    fn sub(&mut self, id: SubId) -> Option<&mut Sub> {
        self.subs.iter_mut().find(|sub| sub.id == id)
    }
}
