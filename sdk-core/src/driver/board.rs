//! The switchboard: which waiting call or handle an output of the machine is for.

use super::{
    media::Screen,
    message::{Identity, Message, ReplyTo, ResultOf, State},
    queue::{Queue, Watch},
};
use crate::fifo::Fifo;
use crate::{
    machine::{
        ApiEvent, CallId, Command, Error, Input, Outcome, PresenceChange, ReplyValue, Status, SubId,
    },
    model::ids::{ItemId, UserId},
    protocol::{Code, frames::ErrorBody},
};
use futures_channel::oneshot;
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

/// Ephemeral events that wait for one subscription; past it they are dropped (at most once, P-R8).
const MAX_EPHEMERAL: usize = 4096;
/// Presence changes that wait before changes of one user are folded into one.
const MAX_PRESENCE: usize = 256;
/// Events that wait for one listener; past it the oldest go.
const MAX_LISTENED: usize = 1024;

struct Waiting {
    reply: ReplyTo,
    /// The item of a submit: it has no end when the submit itself fails.
    item: Option<ItemId>,
    /// A disconnect is answered when the transport is closed.
    disconnect: bool,
}

pub(super) struct Board {
    replies: BTreeMap<CallId, Waiting>,
    settled: BTreeMap<ItemId, oneshot::Sender<Outcome>>,
    results: BTreeMap<ItemId, oneshot::Sender<ResultOf>>,
    subs: BTreeMap<SubId, Arc<Queue<ApiEvent>>>,
    listeners: Vec<Weak<Queue<ApiEvent>>>,
    screen: Screen,
    state: Arc<Watch<State>>,
    held: Vec<(ReplyTo, Result<ReplyValue, Error>)>,
}

impl Board {
    pub(super) fn new(state: Arc<Watch<State>>) -> Self {
        Self {
            replies: BTreeMap::new(),
            settled: BTreeMap::new(),
            results: BTreeMap::new(),
            subs: BTreeMap::new(),
            listeners: Vec::new(),
            screen: Screen::default(),
            state,
            held: Vec::new(),
        }
    }

    /// Notes who waits for what; gives what the machine is to be told.
    pub(super) fn handle_message(&mut self, message: Message) -> Option<Input> {
        let command = match message {
            Message::Tell(command) => {
                if let Command::Unsubscribe(_, sub) = &command {
                    self.subs.remove(sub);
                }
                command
            }
            Message::Call(call, command, reply) => {
                if let Command::Unsubscribe(_, sub) = &command {
                    self.subs.remove(sub);
                }
                let disconnect = matches!(command, Command::Disconnect(_));
                self.replies.insert(call, Waiting { reply, item: None, disconnect });
                command
            }
            Message::Submit(call, item, command, reply, settled, result) => {
                let waiting = Waiting { reply, item: Some(item), disconnect: false };
                self.replies.insert(call, waiting);
                self.settled.insert(item, settled);
                if let Some(result) = result {
                    self.results.insert(item, result);
                }
                *command
            }
            Message::Subscribe(call, sub, command, reply, queue) => {
                self.replies.insert(call, Waiting { reply, item: None, disconnect: false });
                self.subs.insert(sub, queue);
                *command
            }
            Message::Signal(signal) => return Some(Input::Signal(signal)),
            Message::Listen(queue) => {
                self.listeners.retain(|listener| listener.strong_count() > 0);
                self.listeners.push(queue);
                return None;
            }
            Message::Look(room, pictures) => {
                self.screen.handle_look(room, pictures);
                return None;
            }
            Message::Demand(stream, viewers) => {
                self.screen.handle_publisher(stream, viewers);
                return None;
            }
        };
        Some(Input::Command(command))
    }

    /// Answers a call. While a transport closes, the answer to a disconnect is held.
    pub(super) fn handle_reply(
        &mut self,
        call: CallId,
        reply: Result<ReplyValue, Error>,
        closing: bool,
    ) {
        let Some(waiting) = self.replies.remove(&call) else { return };
        if let (Some(item), Err(_)) = (waiting.item, &reply) {
            self.settled.remove(&item);
            self.results.remove(&item);
        }
        if waiting.disconnect && closing {
            self.held.push((waiting.reply, reply));
        } else {
            // Who no longer waits misses nothing.
            let _ = waiting.reply.send(reply);
        }
    }

    /// The transport is closed: whoever waited for that is answered.
    pub(super) fn release(&mut self) {
        for (reply, value) in self.held.drain(..) {
            let _ = reply.send(value);
        }
    }

    /// Hands an event to whom it concerns.
    pub(super) fn handle_event(&mut self, event: ApiEvent) {
        match event {
            ApiEvent::Event(sub, _)
            | ApiEvent::Live(sub)
            | ApiEvent::Gap { sub, .. }
            | ApiEvent::SnapshotWanted(sub, _)
            | ApiEvent::Left(sub, _)
            | ApiEvent::Presence(sub, _) => {
                if let Some(queue) = self.subs.get(&sub) {
                    queue.change(|waiting| enqueue(waiting, event));
                }
            }
            ApiEvent::Settled(item, outcome) => self.handle_settled(item, outcome),
            ApiEvent::Result(item, result) => {
                let unheard = match self.results.remove(&item) {
                    Some(waits) => waits.send(result).err(),
                    None => Some(result),
                };
                if let Some(result) = unheard {
                    self.tell_all(ApiEvent::Result(item, result));
                }
            }
            ApiEvent::Stream(stream) => self.screen.handle_stream(stream),
            ApiEvent::Media(chunk) => self.screen.handle_chunk(chunk),
            ApiEvent::Demand(demand) => self.screen.handle_demand(demand),
            ApiEvent::Status { status, .. } => {
                if status != Status::Connected {
                    self.screen.handle_disconnected();
                }
                self.state.set(|state| state.status = status);
                self.tell_all(event);
            }
            ApiEvent::Established { ref connection, ref tenant, ref user, limits } => {
                let identity = Identity {
                    connection: connection.clone(),
                    tenant: tenant.clone(),
                    user: user.clone(),
                    limits,
                };
                self.state.set(|state| state.identity = Some(identity));
                self.tell_all(event);
            }
            ApiEvent::Volatile => {
                self.state.set(|state| state.volatile = true);
                self.tell_all(event);
            }
            ApiEvent::AcceptedLost { .. } | ApiEvent::Restart { .. } | ApiEvent::Error(_) => {
                self.tell_all(event);
            }
        }
    }

    /// An end no one waits for is told to all who listen: no error is swallowed (C14).
    fn handle_settled(&mut self, item: ItemId, outcome: Outcome) {
        if !matches!(outcome, Outcome::Accepted(_))
            && let Some(result) = self.results.remove(&item)
        {
            let (code, message) = match &outcome {
                Outcome::Refused(code, text) => (code.clone(), text.clone()),
                Outcome::Expired => (Code::EXPIRED, "it was not taken in time".to_owned()),
                Outcome::Cancelled => (Code::CANCELLED, "taken back".to_owned()),
                Outcome::Accepted(_) | Outcome::Uncertain => {
                    (Code::UNCERTAIN, "it may or may not have been accepted".to_owned())
                }
            };
            let _ = result.send(Err(ErrorBody { code, message }));
        }
        let unheard = match self.settled.remove(&item) {
            Some(waits) => waits.send(outcome).err(),
            None => Some(outcome),
        };
        if let Some(outcome) = unheard {
            self.tell_all(ApiEvent::Settled(item, outcome));
        }
    }

    fn tell_all(&mut self, event: ApiEvent) {
        self.listeners.retain(|listener| match listener.upgrade() {
            Some(queue) => {
                queue.push_bounded(event.clone(), MAX_LISTENED);
                true
            }
            None => false,
        });
    }

    /// Ends everything: whoever waits is answered `closed`.
    pub(super) fn close(&mut self) {
        self.release();
        self.replies.clear();
        self.settled.clear();
        self.results.clear();
        for queue in std::mem::take(&mut self.subs).into_values() {
            queue.close();
        }
        for queue in self.listeners.drain(..).filter_map(|listener| listener.upgrade()) {
            queue.close();
        }
        self.screen.close();
        self.state.set(|state| state.status = Status::Disconnected);
        self.state.close();
    }
}

/// A driver that is dropped with its runtime leaves no one waiting.
impl Drop for Board {
    fn drop(&mut self) {
        self.close();
    }
}

/// Adds an event of one subscription so that what a reader leaves lying stays bounded: numbered events by credit
/// (P-R5), ephemeral ones by dropping, presence by folding, and what only repeats by leaving it out.
pub fn enqueue(waiting: &mut Fifo<ApiEvent>, event: ApiEvent) {
    match &event {
        ApiEvent::Event(_, body) if body.seq.is_none() && waiting.len() >= MAX_EPHEMERAL => return,
        ApiEvent::Live(_) if matches!(waiting.back(), Some(ApiEvent::Live(_))) => return,
        ApiEvent::Left(_, code) if matches!(waiting.back(), Some(ApiEvent::Left(_, last)) if last == code) =>
        {
            return;
        }
        ApiEvent::Presence(_, PresenceChange::Snapshot(_)) => {
            waiting.retain(|old| !matches!(old, ApiEvent::Presence(..)));
        }
        ApiEvent::Presence(_, change) if waiting.len() >= MAX_PRESENCE => {
            let user = user_of(change);
            let same = |old: &ApiEvent| match old {
                ApiEvent::Presence(_, old) => user_of(old) == user,
                _ => false,
            };
            waiting.remove_first(same);
        }
        _ => {}
    }
    waiting.push_back(event);
}

fn user_of(change: &PresenceChange) -> Option<&UserId> {
    match change {
        PresenceChange::Snapshot(_) => None,
        PresenceChange::Joined(member) | PresenceChange::Updated(member) => Some(&member.user),
        PresenceChange::Left(user) => Some(user),
    }
}
