//! Rooms: joined, read by pulling, left.

use super::{
    Client, Error, Incoming, Outgoing, Payload, Result,
    event::{incoming, info},
};
use crate::{
    driver::{Message, queue::Queue},
    machine::{self, ApiEvent, CallId, Command, ReplyValue, SubId, Subscribe},
    model::{PresenceInfo, presence::Status},
    protocol::{
        Address, Clause, Cursor, Json,
        frames::{self, Start},
    },
};
use futures_channel::oneshot;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// What a snapshot hook answers: the cursor of the state it fetched, or none for the head.
pub type Snapshotted = std::result::Result<Option<Cursor>, String>;
type Hook = Box<dyn Fn(Cursor) -> Boxed<Snapshotted> + Send + Sync>;

/// How a room is to be joined. Made by [`Client::room`].
#[must_use = "a room is joined by `join` or `open`"]
pub struct RoomBuilder<T: Payload = Json> {
    client: Client,
    address: Result<Address>,
    name: String,
    subscribe: Result<Subscribe>,
    hook: Option<Hook>,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> RoomBuilder<T> {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            address: address(namespace, name),
            client,
            name: name.to_owned(),
            subscribe: Ok(Subscribe::default()),
            hook: None,
            payload: PhantomData,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Subscribe)) -> Self {
        if let Ok(subscribe) = &mut self.subscribe {
            change(subscribe);
        }
        self
    }

    /// Receives only what one of the clauses passes; several calls add clauses (P-R10).
    pub fn filter(self, clause: Clause) -> Self {
        self.with(|subscribe| subscribe.filter.0.push(clause))
    }

    /// Begins at the first event the server still holds, instead of at what comes.
    pub fn from_first(self) -> Self {
        self.with(|subscribe| subscribe.from = Start::First)
    }

    /// Goes on behind a cursor the application stored.
    pub fn cursor(self, cursor: Cursor) -> Self {
        self.with(|subscribe| subscribe.cursor = Some(cursor))
    }

    /// Keeps the position in the client's store under a name: the next process goes on there
    /// (P-R11). One reader at a time per name and room.
    pub fn durable(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.with(|subscribe| subscribe.durable = Some(name))
    }

    /// Metadata of the membership, shown in the room's presence; at most 4 KiB.
    pub fn meta(mut self, meta: &(impl Serialize + ?Sized)) -> Self {
        match Json::of(meta) {
            Ok(meta) => self.with(|subscribe| subscribe.meta = Some(meta)),
            Err(error) => {
                self.subscribe = Err(error.into());
                self
            }
        }
    }

    /// Appears in the room's presence.
    pub fn present(self) -> Self {
        self.with(|subscribe| subscribe.present = true)
    }

    /// Receives the room's presence.
    pub fn watch(self) -> Self {
        self.with(|subscribe| subscribe.watch = true)
    }

    /// Sets what fetches the room's state where events are lost (P-R6): it is called with the head,
    /// while the room is read, and answers the cursor of what it fetched, or none for the head.
    pub fn snapshot<F>(mut self, hook: impl Fn(Cursor) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Snapshotted> + Send + 'static,
    {
        self.hook = Some(Box::new(move |head| Box::pin(hook(head))));
        self.with(|subscribe| subscribe.hook = true)
    }

    /// Reads the events as another type.
    pub fn typed<U: Payload>(self) -> RoomBuilder<U> {
        RoomBuilder {
            client: self.client,
            address: self.address,
            name: self.name,
            subscribe: self.subscribe,
            hook: self.hook,
            payload: PhantomData,
        }
    }

    pub(super) async fn query_presence(self) -> Result<Vec<PresenceInfo>> {
        self.client.presence_of(&self.address?).await
    }

    /// Joins without waiting for the server: a refusal is read as [`Incoming::Left`].
    ///
    /// # Errors
    /// `bad_room`, `bad_filter`, `bad_data` or `queue_full`.
    pub fn open(self) -> Result<Room<T>> {
        let address = self.address?;
        let mut subscribe = self.subscribe?;
        subscribe.filter = subscribe.filter.canonical()?;
        let link = self.client.link();
        let (call, sub) = (CallId(link.number()), SubId(link.number()));
        let queue = Arc::new(Queue::default());
        let (reply, joining) = oneshot::channel();
        let command = Box::new(Command::Subscribe(call, sub, address.clone(), subscribe));
        link.offer(Message::Subscribe(call, sub, command, reply, Arc::clone(&queue)))?;
        Ok(Room {
            client: self.client,
            address,
            name: self.name,
            sub,
            queue,
            joining: Some(joining),
            taken: None,
            hook: self.hook,
            snapshot: None,
            left: false,
            payload: PhantomData,
        })
    }

    /// Joins, and waits until the server has answered; while offline, until it can.
    ///
    /// # Errors
    /// As [`Self::open`], and what the server refuses with: `forbidden`, `rooms`, `filters`.
    pub async fn join(self) -> Result<Room<T>> {
        let mut room = self.open()?;
        room.joined().await?;
        Ok(room)
    }
}

/// The address of a room named within a namespace, or of a name that is a whole address.
pub(super) fn address(namespace: &str, name: &str) -> Result<Address> {
    Ok(if name.contains('/') { name.parse()? } else { Address::new(namespace, name)? })
}

type Joining = oneshot::Receiver<std::result::Result<ReplyValue, machine::Error>>;

/// A joined room. Dropping it leaves, unless another handle of this client is in the room as well.
///
/// Events are pulled: taking the next says that the one before is done (P-R11). A room whose
/// events are not taken stops the server from sending more of it, and nothing else.
pub struct Room<T: Payload = Json> {
    client: Client,
    address: Address,
    name: String,
    sub: SubId,
    queue: Arc<Queue<ApiEvent>>,
    joining: Option<Joining>,
    /// The number of the last event taken and not yet told as done.
    taken: Option<u64>,
    hook: Option<Hook>,
    /// The hook at work. In a lock only so that a room can be shared between threads.
    snapshot: Option<Mutex<Boxed<Snapshotted>>>,
    left: bool,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Room<T> {
    /// The room's name, as it was joined.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The room's whole address.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for the server's answer to the join; at once where it came.
    ///
    /// # Errors
    /// What the server refused with.
    pub async fn joined(&mut self) -> Result<()> {
        let Some(joining) = &mut self.joining else { return Ok(()) };
        let answer = joining.await;
        self.joining = None;
        answer.map_err(|_| Error::closed())??;
        Ok(())
    }

    /// Takes what comes next; none when the client has ended. Says that everything taken before is
    /// done. Cancel-safe.
    pub async fn next_event(&mut self) -> Option<Incoming<T>> {
        poll_fn(|cx| self.poll_next_event(cx)).await
    }

    /// Takes all that is there, at most `max`, and waits for the first; empty when the client has
    /// ended. Says that everything taken before is done.
    pub async fn next_batch(&mut self, max: usize) -> Vec<Incoming<T>> {
        let Some(first) = self.next_event().await else { return Vec::new() };
        let mut batch = vec![first];
        while batch.len() < max {
            let Some(event) = self.queue.try_next() else { break };
            match self.look(event) {
                Some(next) => batch.push(next),
                // A snapshot is wanted: the next call sees to it.
                None => break,
            }
        }
        batch
    }

    /// Says that everything taken is done, without taking more.
    pub fn done(&mut self) {
        if let Some(seq) = self.taken.take() {
            self.client.link().tell(Message::Tell(Command::Done(self.sub, seq)));
        }
    }

    fn poll_next_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming<T>>> {
        self.done();
        loop {
            if let Some(snapshot) = &mut self.snapshot {
                let snapshot = snapshot.get_mut().unwrap_or_else(PoisonError::into_inner);
                let Poll::Ready(answer) = snapshot.poll_unpin(cx) else { return Poll::Pending };
                self.snapshot = None;
                let command = Command::Snapshot(self.sub, answer);
                self.client.link().tell(Message::Tell(command));
            }
            if let Some(joining) = &mut self.joining
                && let Poll::Ready(answer) = joining.poll_unpin(cx)
            {
                self.joining = None;
                if let Ok(Err(error)) = answer {
                    return Poll::Ready(Some(Incoming::Left(error.code)));
                }
            }
            let Poll::Ready(event) = self.queue.poll_next(cx) else { return Poll::Pending };
            let Some(event) = event else { return Poll::Ready(None) };
            if let Some(next) = self.look(event) {
                return Poll::Ready(Some(next));
            }
        }
    }

    fn look(&mut self, event: ApiEvent) -> Option<Incoming<T>> {
        match &event {
            ApiEvent::Event(_, body) => self.taken = body.seq.or(self.taken),
            ApiEvent::SnapshotWanted(_, head) => match &self.hook {
                Some(hook) => self.snapshot = Some(Mutex::new(hook(*head))),
                None => {
                    let command = Command::Snapshot(self.sub, Ok(None));
                    self.client.link().tell(Message::Tell(command));
                }
            },
            _ => {}
        }
        incoming(&self.name, event)
    }

    /// Queues an event for this room; await it for "queued" (P-S1).
    pub fn send(&self, event: impl Into<String>, data: &(impl Serialize + ?Sized)) -> Outgoing {
        self.client.outgoing(Ok(self.address.clone()), event.into(), Json::of(data))
    }

    /// Sends an ephemeral event: at most once, to who is there now, not queued (P-R8).
    ///
    /// # Errors
    /// `disconnected` while there is no connection.
    pub async fn cast(
        &self,
        event: impl Into<String>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<()> {
        self.client.cast_to(self.address.clone(), event.into(), Json::of(data)?).await
    }

    /// Who is in the room now (P-P). Nobody twice.
    ///
    /// # Errors
    /// `forbidden`, `timeout`, `disconnected`.
    pub async fn presence(&self) -> Result<Vec<PresenceInfo>> {
        self.client.presence_of(&self.address).await
    }

    /// Leaves, and waits until the server took note; at once while offline.
    ///
    /// # Errors
    /// `closed`.
    pub async fn leave(mut self) -> Result<()> {
        self.done();
        self.left = true;
        let sub = self.sub;
        self.client.link().call(|call| Command::Unsubscribe(call, sub)).await?;
        Ok(())
    }
}

impl<T: Payload> Drop for Room<T> {
    fn drop(&mut self) {
        if !self.left {
            let link = self.client.link();
            let call = CallId(link.number());
            link.tell(Message::Tell(Command::Unsubscribe(call, self.sub)));
        }
    }
}

impl<T: Payload> futures_core::Stream for Room<T> {
    type Item = Incoming<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming<T>>> {
        self.poll_next_event(cx)
    }
}

impl<T: Payload> Unpin for Room<T> {}

impl<T: Payload> fmt::Debug for Room<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("address", &self.address).finish_non_exhaustive()
    }
}

impl<T: Payload> fmt::Debug for RoomBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomBuilder").field("room", &self.name).finish_non_exhaustive()
    }
}

/// What the query `presence` answers; a server may answer the bare list.
#[derive(Deserialize)]
#[serde(untagged)]
enum PresenceAnswer {
    Wrapped { presence: Vec<frames::Member> },
    Members { members: Vec<frames::Member> },
    Bare(Vec<frames::Member>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RoomsAnswer {
    Wrapped { rooms: Vec<String> },
    Bare(Vec<String>),
}

impl Client {
    pub(super) async fn cast_to(&self, room: Address, event: String, data: Json) -> Result<()> {
        let cast = frames::Cast { room: room.to_string(), event, data };
        self.link().call(|call| Command::Cast(call, cast)).await?;
        Ok(())
    }

    /// Sends an ephemeral event to a room: at most once, to who is there now, not queued (P-R8).
    ///
    /// # Errors
    /// `bad_room`, `bad_data`; `disconnected` while there is no connection.
    pub async fn cast(
        &self,
        room: &str,
        event: impl Into<String>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<()> {
        self.cast_to(address(self.namespace(), room)?, event.into(), Json::of(data)?).await
    }

    /// Asks the server something that makes no sense later (P-S7): no side effect, not queued.
    ///
    /// # Errors
    /// `unknown_method`, `bad_params`, `forbidden`, `timeout` after 10 s.
    pub async fn query(
        &self,
        method: impl Into<String>,
        params: &(impl Serialize + ?Sized),
    ) -> Result<Json> {
        let (method, params) = (method.into(), Json::of(params)?);
        match self.link().call(|call| Command::Query(call, method, params)).await? {
            ReplyValue::Json(json) => Ok(json),
            _ => Ok(Json::null()),
        }
    }

    pub(super) async fn presence_of(&self, room: &Address) -> Result<Vec<PresenceInfo>> {
        #[derive(Serialize)]
        struct Params<'a> {
            room: &'a Address,
        }
        let answer = self.query("presence", &Params { room }).await?.to()?;
        let (PresenceAnswer::Wrapped { presence: members }
        | PresenceAnswer::Members { members }
        | PresenceAnswer::Bare(members)) = answer;
        Ok(members.into_iter().map(info).collect())
    }

    /// The rooms this connection is in, as they were joined (C10).
    ///
    /// # Errors
    /// `timeout`, `disconnected`.
    pub async fn query_rooms(&self) -> Result<Vec<String>> {
        let (RoomsAnswer::Wrapped { rooms } | RoomsAnswer::Bare(rooms)) =
            self.query("rooms", &()).await?.to()?;
        let own = format!("{}/", self.namespace());
        Ok(rooms
            .into_iter()
            .map(|room| room.strip_prefix(&own).map(ToOwned::to_owned).unwrap_or(room))
            .collect())
    }

    /// Sets how this user is present, in every room; kept over reconnects (P-P1).
    ///
    /// # Errors
    /// `bad_status` where the metadata is larger than 4 KiB, `bad_data` where it breaks P-F1.
    pub async fn set_presence(&self, status: Option<Status>, meta: Option<Json>) -> Result<()> {
        let meta = meta.map(|meta| meta.checked()).transpose()?;
        self.link().call(|call| Command::SetStatus(call, status, meta)).await?;
        Ok(())
    }
}

/// A filter of one clause: what is left empty passes everything.
#[must_use]
pub(super) fn clause(types: &[&str], severities: &[&str], kinds: &[&str]) -> Clause {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Clause {
        events: Vec::new(),
        types: words(types),
        severities: words(severities),
        kinds: words(kinds),
    }
}
