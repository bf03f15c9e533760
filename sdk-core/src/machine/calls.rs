//! Queries (P-S7), and the results of commands (P-S8).

use super::io::{CallId, Error, ReplyValue};
use crate::fifo::Fifo;
use crate::table::{Set, Table};
use crate::{
    model::ids::ItemId,
    protocol::{
        Address, Code, Json,
        frames::{Call, CommandResult, ErrorBody, Reply},
        limits::{CALL_WITHIN, COMMAND_TIMEOUT, COMMAND_TTL},
        wire::{Fields, FromJson as _, Writer, whole, words},
    },
    time::Instant,
};
use std::time::Duration;

/// Commands whose results are awaited at once.
const MAX_COMMANDS: usize = 10_000;
/// Ids asked for in one `results` call.
const IDS_PER_CALL: usize = 256;
/// The server answers `timeout` itself; past this the client no longer waits for that.
const RESULT_WITHIN: Duration =
    Duration::from_secs(COMMAND_TTL.as_secs() + COMMAND_TIMEOUT.as_secs() + 30);
/// How long the answer to `call results` may take on a new connection.
const RESULT_GRACE: Duration = Duration::from_secs(20);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asker {
    App(CallId),
    Results,
    Presence(Address),
}

#[derive(Clone, Debug)]
struct Pending {
    asker: Asker,
    method: String,
    params: Json,
    until: Instant,
}

/// What a query or a command came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CallsOutput {
    /// Write this.
    Send(Call),
    /// Answer the application.
    Reply(CallId, Result<ReplyValue, Error>),
    /// A command's result.
    Result(ItemId, Result<Json, ErrorBody>),
    /// The members of a room, as asked by [`Calls::ask_presence`]; none: ask again later.
    Presence(Address, Option<Json>),
}

/// The answer to `call results`: by id, or as a list.
fn results_of(answer: &Json) -> Vec<CommandResult> {
    let read = || {
        let fields = Fields::read(answer.get()).ok()?;
        let results = fields.text("results")?;
        let Ok(by_id) = Fields::read(results) else { return Vec::from_json(results) };
        let listed = |(id, body): (&str, &str)| {
            let id = ItemId::from_json(id)?;
            whole(body, |body| CommandResult {
                id,
                result: body.maybe("result"),
                error: body.maybe("error"),
            })
        };
        by_id.iter().map(listed).collect()
    };
    read().unwrap_or_default()
}

/// Queries under way and commands without a result.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    max: usize,
    next_id: u64,
    pending: Table<u64, Pending>,
    /// By deadline; the same ids as `pending`.
    deadlines: Set<(Instant, u64)>,
    connected: bool,
    /// Commands: none while the item itself has no outcome, then when to stop waiting.
    commands: Table<ItemId, Option<Instant>>,
    command_deadlines: Set<(Instant, ItemId)>,
    output: Fifo<CallsOutput>,
}

impl Calls {
    /// No calls; at most `max` at once.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            next_id: 1,
            pending: Table::new(),
            deadlines: Set::new(),
            connected: false,
            commands: Table::new(),
            command_deadlines: Set::new(),
            output: Fifo::new(),
        }
    }

    /// Queries without an answer.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The application asks.
    pub(super) fn handle_query(
        &mut self,
        call: CallId,
        method: String,
        params: Json,
        now: Instant,
    ) {
        if self.pending.len() >= self.max {
            let text = words("", self.max as u64, " queries wait for their answers");
            self.output
                .push_back(CallsOutput::Reply(call, Err(Error { code: Code::QUEUE_FULL, text })));
            return;
        }
        self.begin(Asker::App(call), method, params, now);
    }

    /// Asks for a room's members (P-P1).
    pub(super) fn ask_presence(&mut self, room: &Address, now: Instant) {
        let mut params = Writer::new();
        params.element('{');
        params.text("room", room.as_str());
        params.close('}');
        let params = Json::known(params.as_str());
        self.begin(Asker::Presence(room.clone()), "presence".into(), params, now);
    }

    /// A command was submitted, or found in the store. False: too many wait.
    pub(super) fn expect_result(&mut self, id: ItemId) -> bool {
        if self.commands.len() >= MAX_COMMANDS && !self.commands.contains_key(&id) {
            return false;
        }
        self.commands.or_insert_with(id, || None);
        true
    }

    /// A submit ended. An accepted command's result is now awaited; no other has one.
    pub(super) fn handle_settled(&mut self, id: ItemId, accepted: bool, now: Instant) {
        if !self.commands.contains_key(&id) {
            return;
        }
        if accepted {
            self.wait_for(id, now + RESULT_WITHIN);
        } else {
            self.forget(id);
        }
    }

    /// Welcomed: what still waits is asked on this connection.
    pub(super) fn handle_welcome(&mut self, now: Instant) {
        self.connected = true;
        // Other questions of the last connection are asked anew where their answers are missed.
        self.cancel(|asker| *asker == Asker::Results);
        for (id, call) in &self.pending {
            self.output.push_back(CallsOutput::Send(wire(*id, call)));
        }
        let awaited = self.commands.keys_where(&|_, until| until.is_some());
        for ids in awaited.chunks(IDS_PER_CALL) {
            let mut params = Writer::new();
            params.element('{');
            params.open("ids", '[');
            ids.iter().for_each(|id| params.hex_element(id.0, 32));
            params.push("]}");
            let params = Json::known(params.as_str());
            self.begin(Asker::Results, "results".into(), params, now);
        }
        for id in awaited {
            let until = self.commands.get(&id).copied().flatten().unwrap_or(now);
            self.wait_for(id, until.max(now + RESULT_GRACE));
        }
    }

    /// The connection is gone; queries wait for the next while their deadlines last.
    pub(super) fn handle_link_down(&mut self) {
        self.connected = false;
    }

    /// No connection will come, or it is another user's: every query fails.
    pub(super) fn fail_all(&mut self, error: &Error) {
        for (_, call) in std::mem::take(&mut self.pending) {
            self.end(call.asker, Err(error.clone()));
        }
        self.deadlines.clear();
    }

    /// Forgets the commands of an outbox that is put away.
    pub(super) fn forget_commands(&mut self) {
        self.commands.clear();
        self.command_deadlines.clear();
    }

    /// An answer. False: nobody asked.
    pub(super) fn handle_reply(&mut self, reply: Reply) -> bool {
        let Some(id) = u64::from_json(reply.id.get()) else { return false };
        let Some(call) = self.take(id) else { return false };
        let result = match (reply.error, reply.result) {
            (Some(error), _) => Err(Error { code: error.code, text: error.message }),
            (None, result) => Ok(result.unwrap_or_else(Json::null)),
        };
        self.end(call.asker, result);
        true
    }

    /// A command's result. Told once.
    pub(super) fn handle_result(&mut self, result: CommandResult) {
        if self.commands.contains_key(&result.id) {
            self.forget(result.id);
            let value = match result.error {
                Some(error) => Err(error),
                None => Ok(result.result.unwrap_or_else(Json::null)),
            };
            self.output.push_back(CallsOutput::Result(result.id, value));
        }
    }

    /// The next deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let call = self.deadlines.first().map(|(at, _)| *at);
        // Without a connection no result can come: the next `welcome` gives more time.
        let command = self.command_deadlines.first().map(|(at, _)| *at).filter(|_| self.connected);
        call.into_iter().chain(command).min()
    }

    /// Fails what is past its deadline.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            if let Some(call) = self.take(id) {
                let text = ["no answer to \"", &call.method, "\" within 10 s"].concat();
                self.end(call.asker, Err(Error { code: Code::TIMEOUT, text }));
            }
        }
        while let Some(&(at, id)) = self.command_deadlines.first()
            && at <= now
            && self.connected
        {
            self.forget(id);
            let message = "no result in time: the command's effect is unknown".into();
            let error = ErrorBody { code: Code::TIMEOUT, message };
            self.output.push_back(CallsOutput::Result(id, Err(error)));
        }
    }

    /// What to do next.
    pub(super) fn poll_output(&mut self) -> Option<CallsOutput> {
        self.output.pop_front()
    }

    fn begin(&mut self, asker: Asker, method: String, params: Json, now: Instant) {
        let (id, until) = (self.next_id, now + CALL_WITHIN);
        self.next_id += 1;
        let call = Pending { asker, method, params, until };
        if self.connected {
            self.output.push_back(CallsOutput::Send(wire(id, &call)));
        }
        self.deadlines.insert((until, id));
        self.pending.insert(id, call);
    }

    fn take(&mut self, id: u64) -> Option<Pending> {
        let call = self.pending.remove(&id)?;
        self.deadlines.remove(&(call.until, id));
        Some(call)
    }

    fn cancel(&mut self, which: impl Fn(&Asker) -> bool) {
        let ids = self.pending.keys_where(&|_, call| which(&call.asker));
        for id in ids {
            self.take(id);
        }
    }

    fn end(&mut self, asker: Asker, result: Result<Json, Error>) {
        match asker {
            Asker::App(call) => {
                self.output.push_back(CallsOutput::Reply(call, result.map(ReplyValue::Json)));
            }
            Asker::Presence(room) => {
                self.output.push_back(CallsOutput::Presence(room, result.ok()));
            }
            // A result that is not told here is pushed, or asked for after the next welcome.
            Asker::Results => {
                for result in result.iter().flat_map(results_of) {
                    self.handle_result(result);
                }
            }
        }
    }

    fn wait_for(&mut self, id: ItemId, until: Instant) {
        if let Some(Some(old)) = self.commands.get(&id) {
            self.command_deadlines.remove(&(*old, id));
        }
        self.commands.insert(id, Some(until));
        self.command_deadlines.insert((until, id));
    }

    fn forget(&mut self, id: ItemId) {
        if let Some(Some(at)) = self.commands.remove(&id) {
            self.command_deadlines.remove(&(at, id));
        }
    }
}

fn wire(id: u64, call: &Pending) -> Call {
    Call { id, method: call.method.clone(), params: call.params.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::new(Duration::from_secs(seconds))
    }

    fn drain(calls: &mut Calls) -> Vec<CallsOutput> {
        std::iter::from_fn(|| calls.poll_output()).collect()
    }

    fn reply(id: u64, result: &str) -> Reply {
        let json = |text: &str| Json::parse(text).unwrap();
        Reply { id: json(&id.to_string()), result: Some(json(result)), error: None }
    }

    #[test]
    fn p_s7_a_query_is_asked_again_on_the_next_connection_while_its_deadline_lasts() {
        let mut calls = Calls::new(10);
        calls.handle_welcome(at(0));
        calls.handle_query(CallId(1), "rooms".into(), Json::null(), at(0));
        assert!(matches!(&drain(&mut calls)[..], [CallsOutput::Send(call)] if call.id == 1));
        calls.handle_link_down();
        calls.handle_query(CallId(2), "history".into(), Json::null(), at(1));
        assert!(drain(&mut calls).is_empty());
        calls.handle_welcome(at(5));
        assert_eq!(drain(&mut calls).len(), 2);
        assert!(calls.handle_reply(reply(2, "7")));
        assert!(!calls.handle_reply(reply(2, "7")));
        calls.handle_timeout(at(10));
        let out = drain(&mut calls);
        assert!(matches!(&out[0], CallsOutput::Reply(CallId(2), Ok(_))));
        assert!(
            matches!(&out[1], CallsOutput::Reply(CallId(1), Err(e)) if e.code == Code::TIMEOUT)
        );
        assert_eq!((calls.len(), calls.deadline()), (0, None));
    }

    #[test]
    fn p_s7_queries_are_bounded() {
        let mut calls = Calls::new(1);
        for call in 1..=2 {
            calls.handle_query(CallId(call), "rooms".into(), Json::null(), at(0));
        }
        let out = drain(&mut calls);
        assert!(
            matches!(&out[..], [CallsOutput::Reply(CallId(2), Err(e))] if e.code == Code::QUEUE_FULL)
        );
    }

    #[test]
    fn p_s8_results_are_asked_for_after_a_welcome_and_told_once() {
        let mut calls = Calls::new(10);
        let (asked, unsettled) = (ItemId(7), ItemId(8));
        assert!(calls.expect_result(asked) && calls.expect_result(unsettled));
        calls.handle_settled(asked, true, at(0));
        calls.handle_welcome(at(1));
        let [CallsOutput::Send(call)] = &drain(&mut calls)[..] else { panic!() };
        assert_eq!(call.method, "results");
        assert_eq!(call.params.get(), format!(r#"{{"ids":["{asked}"]}}"#));
        assert!(calls.handle_reply(reply(
            call.id,
            &format!(r#"{{"results":{{"{asked}":{{"result":1}}}}}}"#)
        )));
        calls.handle_result(CommandResult { id: asked, result: None, error: None });
        let one = Json::parse("1").unwrap();
        assert_eq!(drain(&mut calls), [CallsOutput::Result(asked, Ok(one))]);
    }

    #[test]
    fn p_s8_results_are_read_by_id_or_as_a_list() {
        let id = ItemId(7);
        let one = CommandResult { id, result: Some(Json::parse("1").unwrap()), error: None };
        for text in [
            format!(r#"{{"results":{{"{id}":{{"result":1}}}}}}"#),
            format!(r#"{{"results":[{{"id":"{id}","result":1}}]}}"#),
        ] {
            let read = results_of(&Json::parse(&text).unwrap());
            assert_eq!(read, std::slice::from_ref(&one), "{text}");
        }
        assert!(results_of(&Json::null()).is_empty());
    }

    #[test]
    fn p_s8_a_result_that_never_comes_is_a_timeout_and_a_refused_command_has_none() {
        let mut calls = Calls::new(10);
        calls.handle_welcome(at(0));
        calls.expect_result(ItemId(1));
        calls.expect_result(ItemId(2));
        calls.handle_settled(ItemId(1), true, at(0));
        calls.handle_settled(ItemId(2), false, at(0));
        assert_eq!(calls.deadline(), Some(at(120)));
        calls.handle_link_down();
        assert_eq!(calls.deadline(), None);
        calls.handle_timeout(at(500));
        assert!(drain(&mut calls).is_empty());
        calls.handle_welcome(at(500));
        drain(&mut calls);
        calls.handle_timeout(at(520));
        let out = drain(&mut calls);
        assert!(
            matches!(&out[..], [CallsOutput::Result(ItemId(1), Err(e))] if e.code == Code::TIMEOUT)
        );
    }
}
