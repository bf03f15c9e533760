//! The client's direction of each frame: written and read with [`super::wire`].

use super::{
    codec::BadFrame,
    filter::Filter,
    frames::*,
    limits::Limits,
    wire::{Fields, FromJson, Malformed, Writer, bare, status_word, whole},
};

/// An object a client writes.
pub(super) trait Write {
    fn write(&self, out: &mut Writer);
}

/// An object a client reads.
pub(super) trait Read: Sized {
    fn read(fields: &Fields<'_>) -> Self;
}

/// Writes an object, `type` first.
pub(super) fn encode(kind: &str, body: &dyn Write) -> String {
    let mut out = Writer::new();
    out.element('{');
    out.text("type", kind);
    body.write(&mut out);
    out.close('}');
    out.finish()
}

impl From<Malformed> for BadFrame {
    fn from(malformed: Malformed) -> Self {
        Self(malformed.0.to_owned())
    }
}

fn maybe_number(out: &mut Writer, name: &str, number: Option<u64>) {
    if let Some(number) = number {
        out.number(name, number);
    }
}

fn maybe_raw(out: &mut Writer, name: &str, json: Option<&super::Json>) {
    if let Some(json) = json {
        out.raw(name, json.get());
    }
}

impl Write for Hello {
    fn write(&self, out: &mut Writer) {
        if let Some(token) = &self.token {
            out.text("token", token.expose());
        }
        out.hex("producer", self.producer.0, 32);
        out.open("lanes", '{');
        for (lane, done) in &self.lanes {
            let mut name = String::new();
            super::wire::push_number(&mut name, (*lane).into());
            out.number(&name, *done);
        }
        out.close('}');
        out.open("features", '[');
        self.features.iter().for_each(|feature| out.text_element(feature));
        out.close(']');
        out.open("client", '{');
        out.text("sdk", &self.client.sdk);
        out.text("version", &self.client.version);
        out.text("platform", &self.client.platform);
        out.close('}');
        out.flag("hidden", self.hidden);
    }
}

impl Write for Auth {
    fn write(&self, out: &mut Writer) {
        out.text("token", self.token.expose());
    }
}

fn write_filter(out: &mut Writer, filter: &Filter) {
    if filter.is_everything() {
        return;
    }
    out.open("filter", '[');
    for clause in &filter.0 {
        out.element('{');
        for (name, words) in [
            ("events", &clause.events),
            ("types", &clause.types),
            ("severities", &clause.severities),
            ("kinds", &clause.kinds),
        ] {
            if !words.is_empty() {
                out.open(name, '[');
                words.iter().for_each(|word| out.text_element(word));
                out.close(']');
            }
        }
        out.close('}');
    }
    out.close(']');
}

impl Write for Join {
    fn write(&self, out: &mut Writer) {
        out.number("id", self.id);
        out.text("room", &self.room);
        if let Some(cursor) = self.cursor {
            out.cursor("cursor", cursor);
        }
        match self.from {
            Some(Start::Live) => out.text("from", "live"),
            Some(Start::First) => out.text("from", "first"),
            None => {}
        }
        write_filter(out, &self.filter);
        maybe_raw(out, "meta", self.meta.as_ref());
        out.flag("present", self.present);
        out.flag("watch", self.watch);
    }
}

impl Write for Leave {
    fn write(&self, out: &mut Writer) {
        out.number("id", self.id);
        out.text("room", &self.room);
    }
}

impl Write for Credit {
    fn write(&self, out: &mut Writer) {
        out.text("room", &self.room);
        out.number("seq", self.seq);
    }
}

impl Write for Send {
    fn write(&self, out: &mut Writer) {
        out.number("lane", self.lane.into());
        out.number("n", self.n);
        out.id("id", self.id);
        maybe_number(out, "base", self.base);
        out.text("room", &self.room);
        out.text("event", &self.event);
        if let Some(key) = &self.key {
            out.text("key", key);
        }
        maybe_number(out, "ttl", self.ttl);
        out.flag("persist", self.persist);
        out.raw("data", self.data.get());
    }
}

impl Write for Skip {
    fn write(&self, out: &mut Writer) {
        out.number("lane", self.lane.into());
        out.number("n", self.n);
        out.id("id", self.id);
        maybe_number(out, "base", self.base);
        out.text("code", self.code.as_str());
    }
}

impl Write for Cast {
    fn write(&self, out: &mut Writer) {
        out.text("room", &self.room);
        out.text("event", &self.event);
        out.raw("data", self.data.get());
    }
}

impl Write for Call {
    fn write(&self, out: &mut Writer) {
        out.number("id", self.id);
        out.text("method", &self.method);
        out.raw("params", self.params.get());
    }
}

impl Write for SetStatus {
    fn write(&self, out: &mut Writer) {
        if let Some(status) = self.status {
            out.text("status", status_word(status));
        }
        maybe_raw(out, "meta", self.meta.as_ref());
        if let Some(hidden) = self.hidden {
            out.raw("hidden", if hidden { "true" } else { "false" });
        }
    }
}

impl Write for Answer {
    fn write(&self, out: &mut Writer) {
        out.text("room", &self.room);
        out.number("seq", self.seq);
        maybe_raw(out, "result", self.result.as_ref());
        if let Some(error) = &self.error {
            out.open("error", '{');
            out.text("code", error.code.as_str());
            out.text("message", &error.message);
            out.close('}');
        }
    }
}

impl Write for Stream {
    fn write(&self, out: &mut Writer) {
        out.number("stream", self.stream.into());
        out.text("room", &self.room);
        out.text("codec", &self.codec);
        out.number("width", self.width.into());
        out.number("height", self.height.into());
    }
}

impl Write for Seen {
    fn write(&self, out: &mut Writer) {
        out.number("stream", self.stream.into());
        out.number("seq", self.seq.into());
    }
}

impl Write for Ping {
    fn write(&self, out: &mut Writer) {
        if self.heads.is_empty() {
            return;
        }
        out.open("heads", '[');
        for head in &self.heads {
            out.element('{');
            out.text("room", &head.room);
            out.number("last", head.last);
            out.number("seq", head.seq);
            out.hex("mark", head.mark.0.into(), 16);
            out.close('}');
        }
        out.close(']');
    }
}

/// The body of an object of unknown type.
impl Write for Option<super::Json> {
    fn write(&self, out: &mut Writer) {
        maybe_raw(out, "id", self.as_ref());
    }
}

impl Write for Pong {
    fn write(&self, _: &mut Writer) {}
}

/// A blank of what is read in such a way.
macro_rules! blank {
    (need) => {
        FromJson::blank()
    };
    (data) => {
        super::Json::null()
    };
    ($how:ident) => {
        Default::default()
    };
}

macro_rules! reads {
    ($($name:ident { $($field:ident $how:ident),* })+) => {$(
        impl Read for $name {
            fn read(_fields: &Fields<'_>) -> Self {
                Self { $($field: _fields.$how(stringify!($field))),* }
            }
        }

        impl FromJson for $name {
            fn from_json(text: &str) -> Option<Self> {
                whole(text, Self::read)
            }

            fn blank() -> Self {
                Self { $($field: blank!($how)),* }
            }
        }
    )+};
}

reads! {
    Limits { message need, rooms need, depth need }
    Welcome { connection need, tenant need, user need, accepted maybe, ping need, expires_in maybe, time need, limits need, features or_default }
    Authorized { expires_in maybe }
    Joined { id need, room need, cursor need, head need, mode or_default, full or_default }
    Live { room need, seq need, mark need }
    Left { id maybe, room need, code maybe, after maybe }
    Lost { id maybe, room need, first need, head need }
    Event { room need, seq maybe, prev maybe, mark maybe, id maybe, time or_default, from or_default, event need, key maybe, gone or_default, data data }
    Page { room need, seq need }
    Accepted { lane need, n need, id need, seq maybe }
    Refused { lane need, n need, id need, code need, message or_default }
    Hold { lane need, accepted need, code need, after maybe }
    ErrorBody { code need, message or_default }
    Reply { id need, result maybe, error maybe }
    CommandResult { id need, result maybe, error maybe }
    Presence { room need, version need, members maybe, more or_default, partial or_default, changes or_default }
    Member { user need, status need, meta maybe }
    Change { user need, status maybe, meta maybe, gone or_default }
    Stream { stream need, room need, codec need, width need, height need }
    Demand { stream need, viewers need }
    Ping { heads or_default }
    Pong {}
    Head { room need, last need, seq need, mark need }
    Drain { spread need, reason or_default }
}

/// Numbers by lane.
impl FromJson for Lanes {
    fn from_json(text: &str) -> Option<Self> {
        let mut lanes = Self::new();
        for (lane, n) in Fields::read(text).ok()?.iter() {
            lanes.insert(u8::from_json(bare(lane))?, u64::from_json(n)?);
        }
        Some(lanes)
    }

    fn blank() -> Self {
        Self::new()
    }
}

/// Two bounds.
impl FromJson for [u64; 2] {
    fn from_json(text: &str) -> Option<Self> {
        Vec::from_json(text)?.try_into().ok()
    }

    fn blank() -> Self {
        [0; 2]
    }
}

impl FromJson for RoomMode {
    fn from_json(text: &str) -> Option<Self> {
        match text {
            "\"log\"" => Some(Self::Log),
            "\"latest\"" => Some(Self::Latest),
            _ => None,
        }
    }

    fn blank() -> Self {
        Self::Log
    }
}
