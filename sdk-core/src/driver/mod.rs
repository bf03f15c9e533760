//! One generic async loop between the machine and a host.
//!
//! Five verbs, in this order, for ever: **drain** what the machine wants, **arm** the timer, **wait**
//! for the world, **feed** the machine one input, **take** the calls that wait. The loop decides
//! nothing; whatever it could decide belongs into the machine.

mod board;
pub mod entries;
#[cfg(test)]
pub(crate) mod fake;
pub mod media;
pub mod memory;
pub mod message;
pub mod platform;
pub mod queue;
#[cfg(test)]
pub(crate) mod suite;
#[cfg(test)]
mod tests;

pub use board::enqueue;
pub use memory::MemoryStorage;
pub use message::{Identity, Link, Message, Messages, State, link};
pub use platform::{Batch, Platform, Socket, SocketEvent, Storage};

use crate::machine::{
    BatchId, CallId, Close, Command, DialError, Generation, Input, Instant, Machine, Now, Output,
    Owner, StoreOp,
};
use board::Board;
use futures_channel::mpsc;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{Fuse, FusedFuture as _, join, pending, select},
    pin_mut, select_biased,
};
use queue::Watch;
use std::{sync::Arc, time::Duration};

/// Calls taken between two looks at the world, so that neither starves the other.
const CALLS_A_TURN: usize = 64;
/// Batches of writes that share one sync.
const BATCHES_A_SYNC: usize = 512;
/// How long a close handshake may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// The call with which the loop itself disconnects; handles count from 1.
const LAST_CALL: CallId = CallId(0);

/// What the loop drives: the machine, or a script in its place.
pub trait Engine {
    /// Takes one input.
    fn handle_input(&mut self, input: Input, now: Now);
    /// Gives the next output; [`Output::Timeout`] ends a turn.
    fn poll_output(&mut self, now: Now) -> Output;
}

impl Engine for Machine {
    fn handle_input(&mut self, input: Input, now: Now) {
        Self::handle_input(self, input, now);
    }

    fn poll_output(&mut self, now: Now) -> Output {
        Self::poll_output(self, now)
    }
}

enum Ask {
    Load(Option<Owner>),
    Store(BatchId, Vec<StoreOp>),
}

/// Drives a machine until the last handle is gone and the disconnect that follows has ended.
pub async fn drive<P: Platform, S: Storage>(
    platform: P,
    storage: S,
    engine: impl Engine,
    messages: Messages,
    state: Arc<Watch<State>>,
) {
    let (ask, asked) = mpsc::unbounded();
    let (tell, told) = mpsc::unbounded();
    // The store works beside the loop, in the order it was asked; a slow store stops no socket.
    join(turn(platform, engine, messages, state, ask, told), keep(storage, asked, tell)).await;
}

async fn turn<P: Platform>(
    platform: P,
    mut engine: impl Engine,
    mut messages: Messages,
    state: Arc<Watch<State>>,
    ask: mpsc::UnboundedSender<Ask>,
    mut told: mpsc::UnboundedReceiver<Input>,
) {
    let platform = &platform;
    let mut board = Board::new(state);
    let mut socket: Option<(Generation, P::Socket)> = None;
    let mut deadline: Option<Instant> = None;
    let (mut handles, mut ended) = (true, false);
    let (dial, token) = (Fuse::terminated(), Fuse::terminated());
    let (sleep, closing) = (Fuse::terminated(), Fuse::terminated());
    pin_mut!(dial, token, sleep, closing);
    loop {
        // Drain.
        let now = platform.now();
        let wanted = loop {
            match engine.poll_output(now) {
                Output::Timeout(at) => break at,
                Output::Dial(generation, url) => {
                    dial.set(async move { (generation, platform.dial(url).await) }.fuse());
                }
                Output::Text(generation, text) => {
                    if let Some((of, socket)) = &mut socket
                        && *of == generation
                    {
                        socket.send_text(text);
                    }
                }
                Output::Binary(generation, bytes) => {
                    if let Some((of, socket)) = &mut socket
                        && *of == generation
                    {
                        socket.send_binary(bytes);
                    }
                }
                Output::Close(generation, close) => match socket.take() {
                    Some((of, socket)) if of == generation => {
                        closing.set(finish(platform, socket, close).fuse());
                    }
                    // A transport that is still being dialled is dropped with the dial.
                    other => {
                        socket = other;
                        dial.set(Fuse::terminated());
                    }
                },
                Output::Load(owner) => send(&ask, Ask::Load(owner)),
                Output::Store(batch, ops) => send(&ask, Ask::Store(batch, ops)),
                Output::FetchToken => token.set(platform.token().fuse()),
                Output::Reply(LAST_CALL, _) => ended = true,
                Output::Reply(call, reply) => {
                    board.handle_reply(call, reply, !closing.is_terminated());
                }
                Output::Event(event) => board.handle_event(event),
            }
        };
        if ended {
            if !closing.is_terminated() {
                closing.await;
            }
            board.close();
            return;
        }
        // Arm.
        let now = platform.now();
        if deadline != wanted {
            deadline = wanted;
            sleep.set(match wanted {
                Some(at) => platform.sleep(at.since(now.mono)).fuse(),
                None => Fuse::terminated(),
            });
        }
        // Take: a bounded number of calls, then the world.
        let mut taken = false;
        for message in (0..CALLS_A_TURN).map_while(|_| messages.try_next()) {
            if let Some(input) = board.handle_message(message) {
                engine.handle_input(input, now);
                taken = true;
            }
        }
        // A deadline that is due is told even while frames keep coming.
        if wanted.is_some_and(|at| at <= now.mono) {
            deadline = None;
            engine.handle_input(Input::Timeout, now);
            taken = true;
        }
        // Wait.
        let happened = {
            let frame = frame_of(&mut socket).fuse();
            let message = message_of(&mut messages, handles).fuse();
            let ready = async {
                if !taken {
                    pending().await
                }
            }
            .fuse();
            pin_mut!(frame, message, ready);
            select_biased! {
                input = told.next() => input.map_or(Happened::Nothing, Happened::Told),
                (generation, event) = frame => Happened::Told(match event {
                    SocketEvent::Text(text) => Input::Text(generation, text),
                    SocketEvent::Binary(bytes) => Input::Binary(generation, bytes),
                    SocketEvent::Unsent(bytes) => Input::Unsent(generation, bytes),
                    SocketEvent::Closed(close) => Input::Closed(generation, close),
                }),
                (generation, dialled) = dial => Happened::Dialled(generation, dialled),
                token = token => Happened::Told(Input::Token(token)),
                () = closing => Happened::Finished,
                () = ready => Happened::Nothing,
                message = message => Happened::Message(message),
                () = sleep => Happened::Due,
            }
        };
        // Feed.
        let input = match happened {
            Happened::Nothing => None,
            Happened::Told(input) => {
                if matches!(input, Input::Closed(..)) {
                    socket = None;
                }
                Some(input)
            }
            Happened::Dialled(generation, Ok(opened)) => {
                socket = Some((generation, opened));
                Some(Input::Opened(generation))
            }
            Happened::Dialled(generation, Err(error)) => Some(Input::DialFailed(generation, error)),
            Happened::Finished => {
                board.release();
                None
            }
            Happened::Message(Some(message)) => board.handle_message(message),
            Happened::Message(None) => {
                handles = false;
                Some(Input::Command(Command::Disconnect(LAST_CALL)))
            }
            Happened::Due => {
                deadline = None;
                Some(Input::Timeout)
            }
        };
        if let Some(input) = input {
            engine.handle_input(input, platform.now());
        }
    }
}

/// What ended a wait.
enum Happened<S> {
    Nothing,
    Told(Input),
    Dialled(Generation, Result<S, DialError>),
    Finished,
    Message(Option<Message>),
    Due,
}

/// The next call of a handle; never, once all are gone.
async fn message_of(messages: &mut Messages, handles: bool) -> Option<Message> {
    if handles { messages.next().await } else { pending().await }
}

/// Sends to the other half of [`drive`], which may have ended.
fn send<T>(to: &mpsc::UnboundedSender<T>, item: T) {
    let _ = to.unbounded_send(item);
}

/// The next event of the transport; never, while there is none.
async fn frame_of<S: Socket>(socket: &mut Option<(Generation, S)>) -> (Generation, SocketEvent) {
    match socket {
        Some((generation, socket)) => (*generation, socket.next().await),
        None => pending().await,
    }
}

/// Closes a transport and waits for its end, within a limit. What it still brings counts no more.
async fn finish<P: Platform>(platform: &P, mut socket: P::Socket, close: Close) {
    socket.close(close);
    let end = async { while !matches!(socket.next().await, SocketEvent::Closed(_)) {} };
    let limit = platform.sleep(CLOSE_WITHIN);
    pin_mut!(end, limit);
    select(end, limit).await;
}

/// Does what the store is asked, in order; batches that wait together share one sync.
async fn keep<S: Storage>(
    mut storage: S,
    mut asked: mpsc::UnboundedReceiver<Ask>,
    tell: mpsc::UnboundedSender<Input>,
) {
    let mut next = asked.next().await;
    while let Some(ask) = next.take() {
        match ask {
            Ask::Load(owner) => {
                let loaded = storage.load(owner).await.map(Box::new);
                send(&tell, Input::Loaded(loaded));
            }
            Ask::Store(batch, ops) => {
                let mut batches = vec![(batch, ops)];
                while batches.len() < BATCHES_A_SYNC {
                    match asked.try_recv() {
                        Ok(Ask::Store(batch, ops)) => batches.push((batch, ops)),
                        Ok(load) => {
                            next = Some(load);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                for (batch, result) in storage.commit(batches).await {
                    send(&tell, Input::Stored(batch, result));
                }
            }
        }
        if next.is_none() {
            next = asked.next().await;
        }
    }
}
