//! Calls: queries without effect (P-S7).

use super::{
    ConnId, Hub, Waiting,
    permissions::{Action, authorize, room_key},
    sends::MOST,
};
use crate::log::{Entry, Extent, Request, RoomKey, Unavailable};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use wardline::protocol::{
    Address, Code, Cursor, Filter, Json,
    frames::{Call, ErrorBody, Event, Reply, Start},
    limits::READ_ENTRIES,
};

/// Said where the log cannot be read.
const NO_LOG: &str = "the log cannot be read now";

/// Parameters of `history`.
#[derive(Deserialize)]
struct HistoryParams {
    room: String,
    /// Behind this cursor; wins over `from`.
    #[serde(default)]
    cursor: Option<Cursor>,
    /// `first`: from the first entry held. Otherwise the newest `limit`.
    #[serde(default)]
    from: Option<Start>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    filter: Filter,
}

/// A `history` under way.
#[derive(Debug)]
pub(super) struct History {
    conn: ConnId,
    call: u64,
    key: RoomKey,
    cursor: Option<Cursor>,
    first: bool,
    limit: usize,
    filter: Filter,
}

/// Result of `history`: events in order, where they end, where the log stands.
#[derive(Serialize)]
struct HistoryResult {
    events: Vec<Event>,
    cursor: Cursor,
    first: Cursor,
    head: Cursor,
}

/// Result of `rooms`.
#[derive(Serialize)]
struct RoomsResult {
    rooms: Vec<String>,
}

fn refusal(code: Code, message: &str) -> ErrorBody {
    ErrorBody { code, message: message.to_owned() }
}

impl Hub {
    /// `call` (P-S7).
    pub(super) fn handle_call(&mut self, conn: ConnId, call: Call) {
        let most = self.config.calls;
        let Some(session) = self.session_mut(conn) else { return };
        if call.id > MOST {
            let error = refusal(Code::BAD_PARAMS, "id: at most 2^53 - 1");
            self.reply(conn, call.id, Err(error));
            return;
        }
        if session.calls >= most {
            let error = refusal(Code::RATE, "too many calls under way");
            self.reply(conn, call.id, Err(error));
            return;
        }
        let answered = match call.method.as_str() {
            "rooms" => Some(Ok(self.rooms_of(conn))),
            "presence" => Some(self.call_presence(conn, &call)),
            "results" => self.call_results(conn, &call).err().map(Err),
            "history" => self.begin_history(conn, &call).err().map(Err),
            _ => Some(Err(refusal(Code::UNKNOWN_METHOD, "rooms, presence, results or history"))),
        };
        if let Some(answer) = answered {
            self.reply(conn, call.id, answer);
        } else if let Some(session) = self.session_mut(conn) {
            session.calls += 1;
        }
    }

    fn reply(&mut self, conn: ConnId, id: u64, answer: Result<Json, ErrorBody>) {
        let id = Json::of(&id).unwrap_or_else(|_| Json::null());
        let (result, error) = match answer {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        self.write(conn, &Reply { id, result, error }.into());
    }

    /// Answers a call that was under way.
    pub(super) fn finish_call(&mut self, conn: ConnId, id: u64, answer: Result<Json, ErrorBody>) {
        if let Some(session) = self.session_mut(conn) {
            session.calls -= 1;
            self.reply(conn, id, answer);
        }
    }

    fn rooms_of(&self, conn: ConnId) -> Json {
        let rooms = self.session(conn).map(|session| {
            let mut rooms: Vec<_> = session
                .members
                .rooms()
                .filter_map(|id| Some(self.rooms.room(id)?.key.room.to_string()))
                .collect();
            rooms.extend(self.parts.commands_of(conn).map(|key| key.room.to_string()));
            rooms.sort_unstable();
            rooms
        });
        Json::of(&RoomsResult { rooms: rooms.unwrap_or_default() }).unwrap_or_else(|_| Json::null())
    }

    fn begin_history(&mut self, conn: ConnId, call: &Call) -> Result<(), ErrorBody> {
        let params: HistoryParams = call
            .params
            .to()
            .map_err(|_| refusal(Code::BAD_PARAMS, "{room, cursor?, from?, limit?, filter?}"))?;
        let address: Address =
            params.room.parse().map_err(|_| refusal(Code::BAD_ROOM, "no room address"))?;
        let filter = params
            .filter
            .canonical()
            .map_err(|_| refusal(Code::BAD_FILTER, "no filter of P-R10"))?;
        let session = self.session(conn).ok_or_else(|| refusal(Code::FORBIDDEN, "not welcomed"))?;
        authorize(&self.config, &session.principal, &address, Action::History)
            .map_err(|code| refusal(code, Action::History.refusal()))?;
        let key = room_key(&session.principal.tenant, &address);
        let most = READ_ENTRIES as u64;
        let limit = params.limit.unwrap_or(most);
        if !(1..=most).contains(&limit) {
            return Err(refusal(Code::BAD_PARAMS, "limit: 1 to 256"));
        }
        let limit = usize::try_from(limit);
        let history = History {
            conn,
            call: call.id,
            key: key.clone(),
            cursor: params.cursor,
            first: params.from == Some(Start::First),
            limit: limit.unwrap_or(READ_ENTRIES),
            filter,
        };
        let cursor = history.cursor;
        let ticket = self.ticket(Waiting::HistoryExtent(Box::new(history)));
        self.ask(Request::Prove(ticket, key, cursor));
        Ok(())
    }

    /// Where the log of a `history` stands.
    pub(super) fn handle_history_extent(
        &mut self,
        history: Box<History>,
        proved: Result<(Extent, bool), Unavailable>,
    ) {
        let (conn, call) = (history.conn, history.call);
        match proved {
            Err(Unavailable) => {
                self.finish_call(conn, call, Err(refusal(Code::UNAVAILABLE, NO_LOG)));
            }
            Ok((_, false)) if history.cursor.is_some() => {
                let error = refusal(Code::GAP, "the cursor is not in the log any more");
                self.finish_call(conn, call, Err(error));
            }
            Ok((extent, _)) => {
                let newest = extent.head.seq.saturating_sub(history.limit as u64);
                let after = match history.cursor {
                    Some(cursor) => cursor.seq,
                    None if history.first => extent.first.seq,
                    None => newest.max(extent.first.seq),
                };
                let key = history.key.clone();
                let ticket = self.ticket(Waiting::HistoryPage(history));
                self.ask(Request::Read(ticket, key, after));
            }
        }
    }

    /// The page of a `history`. Permission is asked for again: the token may have changed.
    pub(super) fn handle_history_page(
        &mut self,
        history: History,
        page: Result<(Vec<Arc<Entry>>, Extent), Unavailable>,
    ) {
        let History { conn, call, key, limit, filter, .. } = history;
        let Some(session) = self.session(conn) else { return };
        let allowed = authorize(&self.config, &session.principal, &key.room, Action::History);
        let answer = match (allowed, page) {
            (Err(code), _) => Err(refusal(code, Action::History.refusal())),
            (_, Err(Unavailable)) => Err(refusal(Code::UNAVAILABLE, NO_LOG)),
            (Ok(()), Ok((entries, extent))) => {
                Ok(history_result(&key.room, &entries, limit, &filter, extent))
            }
        };
        self.finish_call(conn, call, answer);
    }
}

fn history_result(
    room: &Address,
    entries: &[Arc<Entry>],
    limit: usize,
    filter: &Filter,
    extent: Extent,
) -> Json {
    let entries = &entries[..limit.min(entries.len())];
    let passing = entries.iter().filter(|e| filter.passes(&e.event, e.data.get()));
    let events = passing
        .map(|entry| Event {
            room: room.to_string(),
            seq: Some(entry.seq),
            prev: None,
            mark: Some(entry.mark),
            id: Some(entry.id),
            time: entry.time,
            from: entry.from.to_string(),
            event: entry.event.to_string(),
            key: entry.key.as_ref().map(ToString::to_string),
            gone: entry.gone,
            data: entry.data.clone(),
        })
        .collect();
    let end = entries.last().map(|entry| Cursor { seq: entry.seq, mark: entry.mark });
    let result = HistoryResult {
        events,
        cursor: end.unwrap_or(extent.head),
        first: extent.first,
        head: extent.head,
    };
    Json::envelope(&result).unwrap_or_else(|_| Json::null())
}
