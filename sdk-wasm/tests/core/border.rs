//! What crosses the border, as values: the one place that knows how it is written.

use js_sys::JSON;
use serde_json::{Value, json};
use wardline::driver::entries::EntryBatch;
use wardline_wasm::Core;

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Dial(u32, String),
    Text(u32, String),
    Binary(u32, Vec<u8>),
    Close(u32, u16, String),
    Load,
    Store(u32, EntryBatch),
    Fetch,
    Reply(u32, Value),
    /// An error: `code`, `reason`, `kind`.
    Fail(u32, Value),
    Event(Value),
    Ready(u32),
    Wanted(u32, Value),
    Picture(u32),
}

/// A machine, the clocks of the turn, and what it said and nobody has read yet.
pub(crate) struct Border {
    core: Core,
    mono: f64,
    wall: f64,
    said: Vec<String>,
}

impl Border {
    /// Sets both clocks, in ms.
    pub(crate) fn turn(&mut self, mono: f64, wall: f64) {
        (self.mono, self.wall) = (mono, wall);
    }

    fn input(&mut self, text: &str) {
        self.said.extend(self.core.input(self.mono, self.wall, text));
    }

    pub(crate) fn text(&mut self, generation: u32, text: String) {
        self.said.extend(self.core.text(self.mono, self.wall, generation, text));
    }

    pub(crate) fn binary(&mut self, generation: u32, message: Vec<u8>) {
        self.said.extend(self.core.binary(self.mono, self.wall, generation, message));
    }

    pub(crate) fn picture(
        &mut self,
        stream: u32,
        h264: bool,
        key: bool,
        seq: u32,
        pts_us: f64,
        data: Vec<u8>,
    ) {
        let kind = u32::from(key) | u32::from(h264) << 1;
        let (mono, wall) = (self.mono, self.wall);
        self.said.extend(self.core.picture(mono, wall, stream, kind, seq, pts_us, data));
    }

    pub(crate) fn due(&self) -> f64 {
        self.core.due()
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        self.core.bytes()
    }
}

/// Makes a machine.
pub(crate) fn make(config: &Value) -> Result<Border, String> {
    let core = Core::new(&config.to_string())?;
    Ok(Border { core, mono: 0.0, wall: 0.0, said: Vec::new() })
}

/// Tells an input by its name.
pub(crate) fn tell(core: &mut Border, name: &str, fields: &Value) {
    let mut object = json!({ "c": name });
    for (key, value) in fields.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    core.input(&object.to_string());
}

/// Tells that the store was read.
pub(crate) fn tell_loaded(
    core: &mut Border,
    lock: u64,
    durable: bool,
    entries: &[(String, String)],
) {
    tell(core, "loaded", &json!({ "lock": lock, "durable": durable, "entries": entries }));
}

/// Takes what the machine wants done; nothing where no text crossed.
pub(crate) fn drain(core: &mut Border) -> Option<Vec<Said>> {
    let mut all = Vec::new();
    for text in std::mem::take(&mut core.said) {
        let said: Vec<_> =
            crossed(&text).as_array().unwrap().iter().map(|one| read(core, one)).collect();
        assert!(!said.is_empty(), "a text crossed that says nothing: {text}");
        all.extend(said);
    }
    (!all.is_empty()).then_some(all)
}

/// Takes what waits for a subscription.
pub(crate) fn take(core: &mut Border, sub: u32, max: u32) -> Vec<Value> {
    let text = core.core.take(core.mono, core.wall, sub, max).unwrap_or_default();
    let (taken, said) = text.split_once('\n').unwrap_or((&text, ""));
    core.said.extend((!said.is_empty()).then(|| said.to_owned()));
    if taken.is_empty() { Vec::new() } else { crossed(taken).as_array().unwrap().clone() }
}

/// Takes a picture: what it is, and its bytes.
pub(crate) fn take_picture(core: &mut Border, sub: u32) -> Option<(Value, Vec<u8>)> {
    let head = crossed(&core.core.take_picture(sub)?);
    Some((head, core.bytes()))
}

/// What is not settled.
pub(crate) fn outbox(core: &Border) -> Vec<Value> {
    crossed(&core.core.outbox()).as_array().unwrap().clone()
}

/// Reads a text as JavaScript does, and demands that nothing was lost by that: its numbers are all floating point.
fn crossed(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap();
    let there = JSON::parse(text).unwrap();
    let back: Value =
        serde_json::from_str(&String::from(JSON::stringify(&there).unwrap())).unwrap();
    assert_eq!(value, back, "JavaScript reads something else in {text}");
    value
}

fn read(core: &mut Border, one: &Value) -> Said {
    let number = |at: usize| u32::try_from(one[at].as_u64().unwrap()).unwrap();
    let text = |at: usize| one[at].as_str().unwrap().to_owned();
    match one[0].as_str().unwrap() {
        "dial" => Said::Dial(number(1), text(2)),
        "text" => Said::Text(number(1), text(2)),
        "binary" => Said::Binary(number(1), core.bytes()),
        "close" => Said::Close(number(1), u16::try_from(number(2)).unwrap(), text(3)),
        "load" => Said::Load,
        "store" => Said::Store(number(1), batch(&one[2])),
        "fetch" => Said::Fetch,
        "reply" => Said::Reply(number(1), one[2].clone()),
        "fail" => Said::Fail(number(1), one[2].clone()),
        "event" => Said::Event(one[1].clone()),
        "ready" => Said::Ready(number(1)),
        "wanted" => Said::Wanted(number(1), one[2].clone()),
        "picture" => Said::Picture(number(1)),
        other => panic!("the machine says {other}"),
    }
}

fn batch(value: &Value) -> EntryBatch {
    let read = |name: &str| serde_json::from_value(value[name].clone()).unwrap();
    EntryBatch {
        lock: value["lock"].as_u64(),
        add: read("add"),
        put: read("put"),
        remove: serde_json::from_value(value["remove"].clone()).unwrap(),
    }
}

/// Tells an input as it is written.
pub(crate) fn tell_raw(core: &mut Border, text: &str) {
    core.input(text);
}
