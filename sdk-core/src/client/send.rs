//! Sending: queued durably, then followed to the one end it has (P-S).

use super::{Client, Error, Result, room::address};
use crate::{
    driver::Message,
    machine::{CallId, Command, NewItem, Outcome, ReplyValue},
    model::ids::ItemId,
    protocol::{
        Address, Code, Json,
        frames::ErrorBody,
        json::JsonError,
        limits::{COMMAND_TTL, LANES},
    },
};
use futures_channel::oneshot;
use futures_util::FutureExt as _;
use serde::Serialize;
use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// The lane of what is sent without a word about it.
pub const LANE: u8 = 4;
/// The lane of commands.
pub const COMMAND_LANE: u8 = 1;

/// An item about to be queued: await it. Not awaited, nothing is sent.
#[must_use = "an item is queued when this is awaited"]
#[derive(Debug)]
pub struct Outgoing {
    client: Client,
    item: Result<NewItem>,
}

impl Outgoing {
    fn with(mut self, change: impl FnOnce(&mut NewItem)) -> Self {
        if let Ok(item) = &mut self.item {
            change(item);
        }
        self
    }

    /// Its lane: 0 (most urgent) to 7. Default: 4. Order is kept within a lane.
    pub fn lane(mut self, lane: u8) -> Self {
        if lane >= LANES {
            self.item = Err(Error::new(Code::BAD_PARAMS, "lanes are 0 to 7"));
        }
        self.with(|item| item.lane = lane)
    }

    /// How long it may wait; past it, it ends as expired. Default: seven days.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|item| item.ttl = Some(ttl))
    }

    /// Not kept by the room: accepted once, and handed to who is there then.
    pub fn transient(self) -> Self {
        self.with(|item| item.persist = false)
    }

    /// Its key in a `latest` room (P-R9).
    pub fn key(self, key: impl Into<String>) -> Self {
        let key = key.into();
        self.with(|item| item.key = Some(key))
    }

    /// Its id, where the application has one of its own: sent again, it is the same item.
    pub fn id(self, id: ItemId) -> Self {
        self.with(|item| item.id = id)
    }

    async fn queue(self) -> Result<Sending> {
        let (sending, _) = submit(self.client, self.item?, false).await?;
        Ok(sending)
    }
}

impl IntoFuture for Outgoing {
    type Output = Result<Sending>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Sending>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.queue())
    }
}

type Results = oneshot::Receiver<std::result::Result<Json, ErrorBody>>;

/// Queues an item: it is stored when this returns.
async fn submit(
    client: Client,
    item: NewItem,
    command: bool,
) -> Result<(Sending, Option<Results>)> {
    let link = client.link();
    let (call, id) = (CallId(link.number()), item.id);
    let (reply, queued) = oneshot::channel();
    let (settled, outcome) = oneshot::channel();
    let (result, results) = oneshot::channel();
    let submit = Box::new(Command::Submit(call, item));
    let result = command.then_some(result);
    link.offer(Message::Submit(call, id, submit, reply, settled, result))?;
    queued.await.map_err(|_| Error::closed())??;
    Ok((Sending { client, id, outcome }, command.then_some(results)))
}

/// An item that is stored and under way. Dropping this changes nothing; its end is then told to
/// [`Client::events`].
#[derive(Debug)]
pub struct Sending {
    client: Client,
    id: ItemId,
    outcome: oneshot::Receiver<Outcome>,
}

impl Sending {
    /// The item's id, which becomes the event's.
    #[must_use]
    pub const fn id(&self) -> ItemId {
        self.id
    }

    /// Waits for its end: accepted, refused, expired, cancelled or uncertain (P-S6). A `Sending`
    /// is itself the future of its end: `(&mut sending).await` can be given up and begun again.
    ///
    /// # Errors
    /// `closed` when the client ends first: the item is stored, and goes on with the next client.
    pub async fn outcome(self) -> Result<Outcome> {
        self.await
    }

    /// Waits until it is accepted; gives its number in the room's log where it is kept.
    ///
    /// # Errors
    /// Every other end, as an error.
    pub async fn accepted(self) -> Result<Option<u64>> {
        match self.outcome().await? {
            Outcome::Accepted(seq) => Ok(seq),
            Outcome::Refused(code, text) => Err(Error::new(code, text)),
            Outcome::Expired => Err(Error::new(Code::EXPIRED, "it was not taken in time")),
            Outcome::Cancelled => Err(Error::new(Code::CANCELLED, "taken back")),
            Outcome::Uncertain => {
                Err(Error::new(Code::UNCERTAIN, "it may or may not have been accepted"))
            }
        }
    }

    /// Takes it back, if it can still be: the answer says what became of it, and may be
    /// `Accepted` (P-S5).
    ///
    /// # Errors
    /// `closed`.
    pub async fn cancel(self) -> Result<Outcome> {
        match self.client.cancel(self.id).await {
            // It has ended before.
            Err(error) if *error.code() == Code::NOT_FOUND => self.await,
            end => end,
        }
    }
}

impl Future for Sending {
    type Output = Result<Outcome>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.poll_unpin(cx).map(|end| end.map_err(|_| Error::closed()))
    }
}

impl Client {
    /// Queues an event for a room; await it for "queued", then its end:
    ///
    /// ```no_run
    /// # async fn f(client: wardline::client::Client) -> wardline::client::Result<()> {
    /// let sending = client.send("investigation:123", "note", &"seen at the gate").await?;
    /// println!("stored as {}", sending.id());
    /// sending.accepted().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// What is queued while offline is kept in order, and survives a restart where the client has
    /// a durable store (C4).
    pub fn send(
        &self,
        room: &str,
        event: impl Into<String>,
        data: &(impl Serialize + ?Sized),
    ) -> Outgoing {
        self.outgoing(address(self.namespace(), room), event.into(), Json::of(data))
    }

    /// Takes an item back by its id, if it can still be: what became of it.
    ///
    /// # Errors
    /// `not_found` where no item of this id waits, as after its end; `closed`.
    pub async fn cancel(&self, id: ItemId) -> Result<Outcome> {
        match self.link().call(|call| Command::Cancel(call, id)).await? {
            ReplyValue::Outcome(outcome) => Ok(outcome),
            _ => Err(Error::new(Code::NOT_FOUND, "no item of this id waits here")),
        }
    }

    pub(super) fn outgoing(
        &self,
        room: Result<Address>,
        event: String,
        data: std::result::Result<Json, JsonError>,
    ) -> Outgoing {
        let id = self.link().item_id();
        let item = room.and_then(|room| {
            let data = data?;
            let (lane, key, persist) = (LANE, None, true);
            Ok(NewItem { id, lane, room, event, data, key, persist, ttl: None, command: false })
        });
        Outgoing { client: self.clone(), item }
    }

    /// Sends a command to whoever handles a namespace's commands, and waits for its result (P-S8).
    /// Taken at least once: a handler keys on the id.
    ///
    /// # Errors
    /// What the handler answered; `no_handler`, `forbidden`; `expired` where no handler took it
    /// within 30 s, `timeout` or `uncertain` where its effect is unknown.
    pub async fn command(
        &self,
        namespace: &str,
        event: impl Into<String>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<Json> {
        let item = NewItem {
            id: self.link().item_id(),
            lane: COMMAND_LANE,
            room: Address::new(namespace, "commands")?,
            event: event.into(),
            data: Json::of(data)?,
            key: None,
            persist: true,
            ttl: Some(COMMAND_TTL),
            command: true,
        };
        // Held to the end: the outcome of a command that was not accepted is its result.
        let (_sending, results) = submit(self.clone(), item, true).await?;
        let result = match results {
            Some(results) => results.await.map_err(|_| Error::closed())?,
            None => return Err(Error::closed()),
        };
        Ok(result?)
    }
}
