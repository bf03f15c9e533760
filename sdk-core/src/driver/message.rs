//! What handles tell the driver, and the link they tell it by.

use super::{
    media::{Pictures, Viewers},
    queue::{Queue, Watch},
};
use crate::{
    machine::{ApiEvent, CallId, Command, Error, Outcome, ReplyValue, Signal, Status, SubId},
    model::ids::{ConnectionId, ItemId, TenantId, UserId},
    protocol::{Address, Code, Json, Limits, frames::ErrorBody},
};
use futures_channel::{mpsc, oneshot};
use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Messages that may wait for the driver; past it calls are refused with `queue_full`.
const MAX_WAITING: usize = 65_536;

/// The answer to a call.
pub type ReplyTo = oneshot::Sender<Result<ReplyValue, Error>>;
/// A command's result.
pub type ResultOf = Result<Json, ErrorBody>;

/// What a handle tells the driver.
#[derive(Debug)]
pub enum Message {
    /// A command that no one waits for.
    Tell(Command),
    /// A command and who waits for its reply.
    Call(CallId, Command, ReplyTo),
    /// A [`Command::Submit`] and who waits for the item's end and, of a command, its result.
    Submit(
        CallId,
        ItemId,
        Box<Command>,
        ReplyTo,
        oneshot::Sender<Outcome>,
        Option<oneshot::Sender<ResultOf>>,
    ),
    /// A [`Command::Subscribe`] and where its events go.
    Subscribe(CallId, SubId, Box<Command>, ReplyTo, Arc<Queue<ApiEvent>>),
    /// The host noticed something.
    Signal(Signal),
    /// Another handle listens to what concerns the whole client.
    Listen(Weak<Queue<ApiEvent>>),
    /// Another handle looks at the streams of a room.
    Look(Address, Weak<Pictures>),
    /// A publisher wants to know how many watch its stream.
    Demand(u16, Weak<Viewers>),
}

/// Who this client is to the server, from its last `welcome`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The connection's name.
    pub connection: ConnectionId,
    /// The tenant of the token.
    pub tenant: TenantId,
    /// The user of the token.
    pub user: UserId,
    /// What the connection may do.
    pub limits: Limits,
}

/// What every handle may look at.
#[derive(Clone, Debug)]
pub struct State {
    /// Where the connection stands.
    pub status: Status,
    /// Who the client is; none until the first `welcome`.
    pub identity: Option<Identity>,
    /// Whether the outbox outlives the process; none until it is loaded.
    pub volatile: bool,
}

/// The handles' end of the driver. When the last one goes, the driver disconnects in order.
#[derive(Debug)]
pub struct Link {
    messages: mpsc::UnboundedSender<Message>,
    waiting: Arc<AtomicUsize>,
    next: AtomicU64,
    state: Arc<Watch<State>>,
    random: fn() -> u128,
}

/// The driver's end of [`Link`].
#[derive(Debug)]
pub struct Messages {
    messages: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<AtomicUsize>,
}

/// Makes both ends. `random` draws ids: from the host's cryptographic source.
#[must_use]
pub fn link(random: fn() -> u128) -> (Link, Messages, Arc<Watch<State>>) {
    let (sender, receiver) = mpsc::unbounded();
    let waiting = Arc::new(AtomicUsize::new(0));
    let state = State { status: Status::Disconnected, identity: None, volatile: false };
    let state = Arc::new(Watch::new(state));
    let link = Link {
        messages: sender,
        waiting: Arc::clone(&waiting),
        next: AtomicU64::new(1),
        state: Arc::clone(&state),
        random,
    };
    (link, Messages { messages: receiver, waiting }, state)
}

fn closed() -> Error {
    Error { code: Code::CLOSED, text: "the client has ended".into() }
}

impl Link {
    /// Draws an item's id.
    pub fn item_id(&self) -> ItemId {
        ItemId((self.random)())
    }

    /// Draws the number of a call or subscription.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// What every handle may look at.
    pub fn state(&self) -> &Watch<State> {
        &self.state
    }

    /// Tells without an answer. After the end of the driver nothing happens.
    pub fn tell(&self, message: Message) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A driver that has ended has nothing to do with it.
        let _ = self.messages.unbounded_send(message);
    }

    /// Tells, unless too much waits already.
    ///
    /// # Errors
    /// `queue_full` or `closed`.
    pub fn offer(&self, message: Message) -> Result<(), Error> {
        if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            let text = format!("{MAX_WAITING} calls wait for the driver");
            return Err(Error { code: Code::QUEUE_FULL, text });
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.messages.unbounded_send(message).map_err(|_| closed())
    }

    /// Calls and waits for the reply.
    ///
    /// # Errors
    /// What the machine answers, or `closed`.
    pub async fn call(&self, command: impl FnOnce(CallId) -> Command) -> Result<ReplyValue, Error> {
        let call = CallId(self.number());
        let (reply, answer) = oneshot::channel();
        self.offer(Message::Call(call, command(call), reply))?;
        answer.await.map_err(|_| closed())?
    }
}

impl Messages {
    /// The next message if one waits.
    pub(super) fn try_next(&mut self) -> Option<Message> {
        let message = self.messages.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }

    /// Waits for the next message; none when the last handle is gone.
    pub(super) async fn next(&mut self) -> Option<Message> {
        use futures_util::StreamExt as _;
        let message = self.messages.next().await?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }
}
