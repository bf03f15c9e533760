//! One WebSocket connection: the lobby until its token is verified, then reading and, where the
//! kernel was full, writing; at last the close, seen through.

use super::{
    Node, frame,
    frame::{Broken, Decoder, Incoming},
    shard::Own,
    socket::{Socket, State},
    wire::{ReadHalf, Wire},
};
use crate::hub::{AuthError, Input, Opened, Principal};
use bytes::Bytes;
use std::{
    cell::RefCell,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::ReadBuf,
    time::{Instant, timeout},
};
use wardline::protocol::{ClientFrame, Token, close, codec, limits};

/// Bytes read at once, into a buffer each thread has one of.
const READ_BYTES: usize = 64 * 1024;
/// How long a close may take to leave and to be answered.
const LINGER: Duration = Duration::from_secs(5);
/// How often progress without a message is told, at most.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
    static BATCH: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// Why reading ended.
enum End {
    /// The peer closed, with its code.
    Closed(Option<u16>),
    /// What it sent breaks the rules.
    Broken(Broken),
    /// The connection is gone, or was ended by this side.
    Gone,
}

struct Connection {
    node: Arc<Node>,
    socket: Arc<Socket>,
    read: ReadHalf,
    decoder: Decoder,
    shard: usize,
    /// In a shard's hands; it is told of the end.
    attached: bool,
    progress: Instant,
}

/// Serves an upgraded socket until it ends. `early` was read with the upgrade request.
pub(crate) async fn serve(node: Arc<Node>, stream: Wire, early: Bytes, opened: Opened) {
    let (read, write) = stream.into_split();
    let id = node.next_connection();
    let limit = node.config.limits.message;
    let mut connection = Connection {
        socket: Arc::new(Socket::new(id, write, node.config.max_unsent)),
        read,
        decoder: Decoder::new(limits::HELLO_BYTES.min(limit), limit),
        shard: 0,
        attached: false,
        progress: Instant::now(),
        node,
    };
    let end = connection.live(early, opened).await;
    // Rare and short: kept off the idle connection's memory.
    Box::pin(connection.finish(end)).await;
}

/// Ends an upgraded socket with a close code before it was let in.
pub(crate) async fn refuse(node: Arc<Node>, stream: Wire, code: u16, reason: &'static str) {
    let (read, write) = stream.into_split();
    let id = node.next_connection();
    node.ops.closed(code);
    let connection = Connection {
        socket: Arc::new(Socket::new(id, write, node.config.max_unsent)),
        read,
        decoder: Decoder::new(limits::HELLO_BYTES, limits::HELLO_BYTES),
        shard: 0,
        attached: false,
        progress: Instant::now(),
        node,
    };
    connection.socket.end(code, reason);
    connection.finish(End::Gone).await;
}

impl Connection {
    async fn live(&mut self, early: Bytes, opened: Opened) -> End {
        let mut incoming = Vec::new();
        // Short, and larger than all that follows: off the connection's own memory.
        match Box::pin(self.lobby(early, &mut incoming)).await {
            Ok(text) => self.enter(text, opened).await,
            Err(end) => return end,
        }
        if let Err(end) = self.take(&mut incoming) {
            return end;
        }
        drop(incoming);
        loop {
            let mut incoming = Vec::new();
            match self.wait().await {
                Woken::Ended => return End::Gone,
                Woken::Writable => self.written(),
                Woken::Read(count) => {
                    let end = self.read(count, &mut incoming).err();
                    if let Err(end) = self.take(&mut incoming) {
                        return end;
                    }
                    if let Some(end) = end {
                        return end;
                    }
                }
            }
        }
    }

    /// Waits for the first message, `hello` (P-C1). What came behind it stays in `incoming`.
    async fn lobby(&mut self, early: Bytes, incoming: &mut Vec<Incoming>) -> Result<Incoming, End> {
        let until = Instant::now() + self.node.config.hello;
        let mut early = early.to_vec();
        self.decoder.read(&mut early, incoming).map_err(End::Broken)?;
        drop(early);
        loop {
            while let Some(first) = (!incoming.is_empty()).then(|| incoming.remove(0)) {
                match first {
                    Incoming::Ping(payload) => self.pong(&payload),
                    Incoming::Pong => {}
                    Incoming::Close(code) => return Err(End::Closed(code)),
                    message => return Ok(message),
                }
            }
            let draining = self.node.draining.clone();
            let woken = tokio::select! {
                biased;
                () = draining.cancelled() => {
                    return Err(End::Broken(Broken(close::SHUTDOWN, "the server restarts")));
                }
                woken = tokio::time::timeout_at(until, self.wait()) => woken,
            };
            match woken {
                Err(_) => {
                    return Err(End::Broken(Broken(close::HELLO_TIMEOUT, "no hello in time")));
                }
                Ok(Woken::Ended) => return Err(End::Gone),
                Ok(Woken::Writable) => self.written(),
                Ok(Woken::Read(count)) => self.read(count, incoming)?,
            }
        }
    }

    /// Verifies the token off every lock, then gives the connection to its tenant's shard.
    async fn enter(&mut self, first: Incoming, opened: Opened) {
        let id = self.socket.id;
        let token = match &first {
            Incoming::Text(text) => peek(text, &opened),
            _ => None,
        };
        let verifier = &self.node.verifier;
        let known = match token.map(|token| (verifier.verify(token.expose()), token)) {
            // Rare: a key this server does not know yet. Off the connection's own memory.
            Some((Err(AuthError::Unavailable), token)) => {
                Some(Box::pin(verifier.verify_fresh(token.expose())).await)
            }
            known => known.map(|(verdict, _)| verdict),
        };
        if let Some(Ok(principal)) = &known {
            self.shard = self.node.shard_of(principal.tenant.as_str());
        }
        self.socket.set_shard(self.shard);
        self.node.attach(self.shard, &self.socket);
        self.attached = true;
        let first = match first {
            Incoming::Binary(bytes) => Input::Binary(id, bytes),
            Incoming::Text(text) => Input::Text(id, text),
            _ => Input::Progress(id),
        };
        self.node.ops.received(1);
        self.feed([Input::Open(id, opened), first], known);
    }

    /// Reads, or waits until the kernel takes bytes again, or until this side ended it.
    async fn wait(&mut self) -> Woken {
        poll_fn(|cx| self.poll_wait(cx)).await
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        match self.socket.state(cx) {
            State::Ending { .. } | State::Ended => return Poll::Ready(Woken::Ended),
            State::Blocked if self.socket.poll_unblocked(cx).is_ready() => {
                return Poll::Ready(Woken::Writable);
            }
            State::Blocked | State::Open => {}
        }
        READ.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match self.read.poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    Poll::Ready(Woken::Read(buffer.filled().len()))
                }
                Poll::Ready(_) => Poll::Ready(Woken::Ended),
            }
        })
    }

    /// Cuts what this thread's buffer holds into messages. Called right after [`Self::wait`], with
    /// no await between them.
    fn read(&mut self, count: usize, incoming: &mut Vec<Incoming>) -> Result<(), End> {
        let read = READ.with_borrow_mut(|buffer| self.decoder.read(&mut buffer[..count], incoming));
        read.map_err(End::Broken)
    }

    /// Feeds one batch of messages to the shard, under one lock.
    fn take(&mut self, incoming: &mut Vec<Incoming>) -> Result<(), End> {
        let id = self.socket.id;
        let mut inputs = Vec::with_capacity(incoming.len().max(1));
        let mut end = None;
        let mut messages = 0;
        for message in incoming.drain(..) {
            match message {
                Incoming::Text(text) => {
                    messages += 1;
                    inputs.push(Input::Text(id, text));
                }
                Incoming::Binary(bytes) => {
                    messages += 1;
                    inputs.push(Input::Binary(id, bytes));
                }
                Incoming::Ping(payload) => self.pong(&payload),
                Incoming::Pong => {}
                Incoming::Close(code) => {
                    end = Some(End::Closed(code));
                    break;
                }
            }
        }
        self.node.ops.received(messages);
        if inputs.is_empty() && end.is_none() && self.progress.elapsed() >= PROGRESS_EVERY {
            self.progress = Instant::now();
            inputs.push(Input::Progress(id));
        }
        self.feed(inputs, None);
        end.map_or(Ok(()), Err)
    }

    fn feed(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        known: Option<Result<Principal, AuthError>>,
    ) {
        let own = Own { socket: &self.socket, known };
        self.node.turn(self.shard, inputs, Some(own));
        self.flush();
    }

    /// Writes this connection's own answers at once, without the way over a flusher.
    fn flush(&mut self) -> usize {
        let flushed = BATCH.with_borrow_mut(|batch| self.socket.flush(batch));
        if flushed.again {
            self.node.schedule(self.socket.clone());
        }
        if let Some(unsent) = flushed.tell
            && self.attached
        {
            let own = Own { socket: &self.socket, known: None };
            self.node.turn(self.shard, [Input::Unsent(self.socket.id, unsent)], Some(own));
            self.node.schedule(self.socket.clone());
        }
        flushed.wrote
    }

    /// The kernel takes bytes again: the peer has read, which proves life (P-C3).
    fn written(&mut self) {
        let wrote = self.flush();
        if wrote > 0 && self.attached && self.progress.elapsed() >= PROGRESS_EVERY {
            self.progress = Instant::now();
            self.feed([Input::Progress(self.socket.id)], None);
        }
    }

    fn pong(&mut self, payload: &[u8]) {
        self.socket.push(frame::pong(payload));
        self.flush();
    }

    /// Tells the shard, sends the close frame, and waits for it to leave and be answered.
    async fn finish(mut self, end: End) {
        let peer_is_done = matches!(end, End::Closed(_));
        match end {
            End::Closed(code) => {
                self.detach(code);
                self.socket.end(code.unwrap_or(close::NORMAL), "");
            }
            End::Broken(Broken(code, words)) => {
                self.node.ops.closed(code);
                self.detach(Some(code));
                self.socket.end(code, words);
            }
            End::Gone => self.detach(None),
        }
        let _ = timeout(LINGER, self.linger(peer_is_done)).await;
        self.socket.kill();
    }

    fn detach(&mut self, code: Option<u16>) {
        if std::mem::take(&mut self.attached) {
            self.node.turn(self.shard, [Input::Closed(self.socket.id, code)], None);
        }
    }

    /// Waits until the close frame has left, then until the peer has gone too: closing with
    /// unread bytes would reset the connection and take the close frame with it.
    async fn linger(&mut self, peer_is_done: bool) {
        self.flush();
        loop {
            let left = poll_fn(|cx| match self.socket.state(cx) {
                State::Ended => Poll::Ready(true),
                State::Ending { blocked: true } => self.socket.poll_unblocked(cx).map(|()| false),
                // Open: nothing was queued to close with; the peer is gone already.
                State::Open | State::Blocked => Poll::Ready(true),
                State::Ending { blocked: false } => Poll::Pending,
            })
            .await;
            if left {
                break;
            }
            self.flush();
        }
        if peer_is_done || self.socket.shut_down().is_err() {
            return;
        }
        let mut drained = false;
        while !drained {
            drained = poll_fn(|cx| {
                READ.with_borrow_mut(|buffer| {
                    let mut buffer = ReadBuf::new(buffer);
                    let read = self.read.poll_read(cx, &mut buffer);
                    read.map(|read| read.is_err() || buffer.filled().is_empty())
                })
            })
            .await;
        }
    }
}

/// The token of a `hello`; none where there is no hello or no token.
fn peek(text: &str, opened: &Opened) -> Option<Token> {
    let object = codec::objects(text).next()?;
    let Ok(ClientFrame::Hello(hello)) = ClientFrame::decode(object) else { return None };
    hello.token.or_else(|| opened.token.clone())
}

impl Drop for Connection {
    /// Also when the task is dropped before its end.
    fn drop(&mut self) {
        self.socket.kill();
        self.detach(None);
    }
}

enum Woken {
    /// So many bytes are in this thread's buffer.
    Read(usize),
    Writable,
    Ended,
}
