//! What the host tells: inputs of the machine and calls of the application.

use crate::{Core, Sub};
use std::{sync::Arc, time::Duration};
use wardline::{
    driver::media::Pictures,
    fifo::Fifo,
    machine::{
        BatchId, CallId, Close, Command, DialError, Generation, Input, NewItem, Signal, StoreError,
        SubId, Subscribe,
    },
    protocol::{
        Address, Clause, Code, Filter, Json,
        frames::{Answer, Cast, Start, Stream},
        media::{KIND_H264, KIND_JPEG, chunks},
        wire::{Fields, Malformed, elements, whole},
    },
};

/// Why a call was not begun: code and words.
struct Refusal(Code, &'static str);

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self(Code::BAD_PARAMS, malformed.0)
    }
}

fn data(fields: &Fields<'_>, name: &str) -> Result<Json, Refusal> {
    Json::written(fields.text(name).unwrap_or("null"))
        .map_err(|_| Refusal(Code::BAD_DATA, "no JSON of at most 32 levels"))
}

fn maybe_data(fields: &Fields<'_>, name: &str) -> Result<Option<Json>, Refusal> {
    fields.text(name).map(|_| data(fields, name)).transpose()
}

fn generation(fields: &Fields<'_>) -> Generation {
    Generation(fields.need("gen"))
}

impl Core {
    pub(crate) fn command(&mut self, text: &str) {
        let Ok(fields) = Fields::read(text) else { return };
        match self.read(&fields) {
            Ok(Some(input)) => self.machine.handle_input(input, self.now),
            Ok(None) => {}
            Err(Refusal(code, words)) => {
                if let Some(call) = fields.maybe("call") {
                    self.fail(call, code, words.to_owned());
                }
            }
        }
    }

    fn read(&mut self, fields: &Fields<'_>) -> Result<Option<Input>, Refusal> {
        let kind: String = fields.need("c");
        let input = match kind.as_str() {
            "opened" => Input::Opened(generation(fields)),
            "closed" => {
                let (code, reason) = (fields.need("code"), fields.or_default("reason"));
                Input::Closed(generation(fields), Close { code, reason })
            }
            "failed" => {
                let message = fields.or_default("reason");
                let error = DialError { status: None, retry_after: None, message };
                Input::DialFailed(generation(fields), error)
            }
            "unsent" => Input::Unsent(generation(fields), fields.need("bytes")),
            // What is wrong with it is the store's error.
            "loaded" => return Ok(Some(Input::Loaded(self.loaded(fields).map(Box::new)))),
            "stored" => {
                let result = match fields.maybe::<String>("error") {
                    None => Ok(()),
                    Some(lost) if lost == "lost" => Err(StoreError::NotOwner),
                    Some(text) => Err(StoreError::Io(text)),
                };
                let batch = BatchId(fields.need("batch"));
                self.entries.handle_committed(batch, result.is_ok());
                Input::Stored(batch, result)
            }
            "poked" => Input::Poked,
            "provided" => Input::Token(fields.maybe("token")),
            "signal" => Input::Signal(match fields.need::<String>("signal").as_str() {
                "online" => Signal::Online,
                "offline" => Signal::Offline,
                "network" => Signal::NetworkChanged,
                "visible" => Signal::Visible,
                "hidden" => Signal::Hidden,
                "woke" => Signal::Woke,
                "suspending" => Signal::Suspending,
                _ => return Ok(None),
            }),
            "timeout" => Input::Timeout,
            "token" => Input::Command(Command::SetToken(fields.need("token"))),
            "done" => {
                let id = SubId(fields.need("sub"));
                // Only up to here: whoever took more has not handed it all on.
                if let Some(seq) = fields.maybe("seq")
                    && let Some(sub) = self.sub(id)
                {
                    sub.taken = Some(seq);
                }
                self.done(id);
                return Ok(None);
            }
            "look" => {
                self.look(SubId(fields.need("sub")), fields.need("room"))?;
                return Ok(None);
            }
            "snapshot" => {
                let result = match fields.maybe::<String>("error") {
                    Some(text) => Err(text),
                    None => Ok(fields.maybe("cursor")),
                };
                Input::Command(Command::Snapshot(SubId(fields.need("sub")), result))
            }
            "seen" => {
                let (stream, seq) = (fields.need("stream"), fields.need("seq"));
                Input::Command(Command::Seen(wardline::protocol::frames::Seen { stream, seq }))
            }
            kind => Input::Command(self.call(kind, CallId(fields.need("call")), fields)?),
        };
        Ok(fields.check().map(|()| Some(input))?)
    }

    fn call(&mut self, kind: &str, call: CallId, fields: &Fields<'_>) -> Result<Command, Refusal> {
        Ok(match kind {
            "connect" => Command::Connect(call),
            "disconnect" => Command::Disconnect(call),
            "cancel" => Command::Cancel(call, fields.need("id")),
            "resume" => Command::Resume(call, fields.need("lane")),
            "submit" => {
                let lane = fields.need("lane");
                if lane >= wardline::protocol::limits::LANES {
                    return Err(Refusal(Code::BAD_PARAMS, "lanes are 0 to 7"));
                }
                let item = NewItem {
                    id: fields.need("id"),
                    lane,
                    room: self.room(fields)?,
                    event: fields.need("event"),
                    data: data(fields, "data")?,
                    key: fields.maybe("key"),
                    persist: fields.or_default("persist"),
                    ttl: fields.maybe("ttl").map(Duration::from_millis),
                    command: fields.or_default("command"),
                };
                Command::Submit(call, item)
            }
            "cast" => {
                let (room, event) = (self.room(fields)?, fields.need("event"));
                let room = room.as_str().to_owned();
                Command::Cast(call, Cast { room, event, data: data(fields, "data")? })
            }
            "query" => Command::Query(call, fields.need("method"), data(fields, "params")?),
            "status" => {
                Command::SetStatus(call, fields.maybe("status"), maybe_data(fields, "meta")?)
            }
            "answer" => {
                let answer = Answer {
                    room: fields.need("room"),
                    seq: fields.need("seq"),
                    result: maybe_data(fields, "result")?,
                    error: fields.maybe("error"),
                };
                Command::Answer(call, answer)
            }
            "stream" => {
                let stream = Stream {
                    stream: fields.need("stream"),
                    room: self.room(fields)?.as_str().to_owned(),
                    codec: fields.need("codec"),
                    width: fields.need("width"),
                    height: fields.need("height"),
                };
                Command::Stream(call, stream)
            }
            "join" => {
                let (room, subscribe) = (self.room(fields)?, subscribe(fields)?);
                let id = SubId(fields.need("sub"));
                fields.check()?;
                let hook = subscribe.hook;
                let waiting = Fifo::new();
                self.subs.push(Sub { id, waiting, taken: None, hook, pictures: None });
                Command::Subscribe(call, id, room, subscribe)
            }
            "leave" => {
                let id = SubId(fields.need("sub"));
                self.done(id);
                self.subs.retain(|sub| sub.id != id);
                Command::Unsubscribe(call, id)
            }
            _ => return Err(Refusal(Code::BAD_PARAMS, "no such call")),
        })
    }

    /// The address of a room named within the client's namespace, or of a whole address.
    fn room(&self, fields: &Fields<'_>) -> Result<Address, Refusal> {
        let name: String = fields.need("room");
        let room =
            if name.contains('/') { name.parse() } else { Address::new(&self.namespace, &name) };
        room.map_err(|_| {
            let text = "not a room address: namespace \"/\" parts joined by \":\"";
            Refusal(Code::BAD_ROOM, text)
        })
    }

    fn loaded(&mut self, fields: &Fields<'_>) -> Result<wardline::machine::Snapshot, StoreError> {
        if let Some(error) = fields.maybe("error") {
            return Err(StoreError::Io(error));
        }
        let entries: Vec<Vec<String>> = fields.need("entries");
        let entries = entries.iter().filter_map(|entry| match entry.as_slice() {
            [key, value] => Some((key.as_str(), value.as_str())),
            _ => None,
        });
        let (lock, durable) = (fields.need("lock"), fields.or_default("durable"));
        fields.check().map_err(|bad| StoreError::Io(bad.0.to_owned()))?;
        self.entries.load(entries, lock, self.loading.take(), durable)
    }

    /// Says that what was taken is done (P-R11).
    pub(crate) fn done(&mut self, id: SubId) {
        let Some(seq) = self.sub(id).and_then(|sub| sub.taken.take()) else { return };
        let done = Command::Done(id, seq);
        self.machine.handle_input(Input::Command(done), self.now);
    }

    fn look(&mut self, id: SubId, room: Address) -> Result<(), Refusal> {
        let pictures = Arc::new(Pictures::default());
        let sub = self.sub(id).ok_or(Refusal(Code::NOT_JOINED, "no such subscription"))?;
        sub.pictures = Some(Arc::clone(&pictures));
        self.screen.handle_look(room, Arc::downgrade(&pictures));
        Ok(())
    }

    pub(crate) fn send_picture(
        &mut self,
        stream: u16,
        h264: bool,
        key: bool,
        seq: u32,
        pts_us: u64,
        data: Vec<u8>,
    ) {
        let kind = if h264 { KIND_H264 } else { KIND_JPEG };
        for chunk in chunks(kind, key, stream, seq, pts_us, &data.into()) {
            self.machine.handle_input(Input::Command(Command::Media(chunk)), self.now);
        }
    }
}

fn subscribe(fields: &Fields<'_>) -> Result<Subscribe, Refusal> {
    let mut clauses = Vec::new();
    if let Some(text) = fields.text("filter") {
        for clause in elements(text)? {
            let clause = whole(clause, |clause| Clause {
                events: clause.or_default("events"),
                types: clause.or_default("types"),
                severities: clause.or_default("severities"),
                kinds: clause.or_default("kinds"),
            });
            clauses.push(clause.ok_or(Malformed("filter"))?);
        }
    }
    let filter = Filter(clauses).canonical();
    Ok(Subscribe {
        filter: filter.map_err(|_| Refusal(Code::BAD_FILTER, "the filter is too large"))?,
        from: match fields.text("from") {
            Some("\"first\"") => Start::First,
            _ => Start::Live,
        },
        cursor: fields.maybe("cursor"),
        durable: fields.maybe("durable"),
        meta: maybe_data(fields, "metadata")?,
        present: fields.or_default("present"),
        watch: fields.or_default("watch"),
        hook: fields.or_default("hook"),
    })
}
