//! One accepted socket: what waits to be written, in which order, and how much (P-V2).
//!
//! The hub's turn pushes framed bytes and never blocks. Whoever flushes takes a batch out, writes
//! it with one vectored call, and puts back what the kernel did not take. A socket is in exactly
//! one [`Flow`]; only one of hub turn, flusher and connection task acts on it at a time.

use super::{frame, wire::WriteHalf};
use crate::hub::ConnId;
use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};
use wardline::protocol::{close, limits};

/// Frames of one vectored write.
const BATCH: usize = 64;
/// Bytes one flush writes before others have their turn.
const TURN_BYTES: usize = 512 * 1024;
/// Bytes of media that wait per connection. The hub keeps far below it: two pictures a stream.
const MEDIA_BYTES: usize = 16 * 1024 * 1024;
/// Queue slots kept by an idle connection.
const IDLE_SLOTS: usize = 8;

/// The write side of one connection.
pub(crate) struct Socket {
    pub(crate) id: ConnId,
    write: WriteHalf,
    queue: Mutex<Queue>,
    max_unsent: usize,
    shard: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    /// Nothing waits.
    #[default]
    Idle,
    /// Someone was told to flush.
    Scheduled,
    /// Someone writes now.
    Writing,
    /// The kernel takes no more; the connection task waits for it.
    Blocked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// A close frame is the last in the queue.
    Ending,
    /// Nothing is written any more.
    Dead,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    media: VecDeque<Bytes>,
    /// Bytes in `media`.
    media_bytes: usize,
    /// Bytes in `frames`.
    waiting: usize,
    /// Bytes taken out to be written.
    taken: usize,
    /// The first of `frames` is the rest of one whose beginning was written.
    begun: bool,
    /// The first of those taken out is.
    taken_begun: bool,
    flow: Flow,
    phase: Phase,
    /// The level of `unsent` the hub knows: below 64 KiB, below 256 KiB, above.
    told: u8,
    task: Option<Waker>,
}

/// What a push asks of the one who pushed.
#[derive(Debug, Default)]
pub(crate) struct Pushed {
    /// Have it flushed.
    pub(crate) schedule: bool,
    /// Tell the hub this figure.
    pub(crate) tell: Option<usize>,
    /// More waits than may: the connection was ended as slow.
    pub(crate) slow: bool,
}

/// What a flush asks of the one who flushed.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    /// More can be written at once; others first.
    pub(crate) again: bool,
    /// Tell the hub this figure.
    pub(crate) tell: Option<usize>,
    /// Bytes the kernel took.
    pub(crate) wrote: usize,
}

/// What the connection task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Blocked,
    /// A close frame is on its way: blocked or not.
    Ending {
        blocked: bool,
    },
    /// The close frame has left, or nothing can.
    Ended,
}

impl Socket {
    pub(crate) fn new(id: ConnId, write: WriteHalf, max_unsent: usize) -> Self {
        Self { id, write, queue: Mutex::default(), max_unsent, shard: AtomicUsize::new(0) }
    }

    /// The shard it was given to.
    pub(crate) fn shard(&self) -> usize {
        self.shard.load(Ordering::Relaxed)
    }

    pub(crate) fn set_shard(&self, shard: usize) {
        self.shard.store(shard, Ordering::Relaxed);
    }

    /// Sends no more; the peer reads an end behind what was written.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        self.write.shut_down()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic while it was held leaves a queue that is still a queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one framed message behind the others.
    pub(crate) fn push(&self, frame: Bytes) -> Pushed {
        let mut queue = self.queue();
        if queue.phase != Phase::Open {
            return Pushed::default();
        }
        queue.waiting += frame.len();
        if queue.unsent() > self.max_unsent {
            queue.drop_waiting();
            let schedule = queue.end(close::SLOW, "slow");
            return Pushed { schedule, tell: None, slow: true };
        }
        queue.frames.push_back(frame);
        Pushed { schedule: queue.schedule(), tell: queue.tell(), slow: false }
    }

    /// Queues a media chunk, to be written when nothing else waits.
    pub(crate) fn push_media(&self, frame: Bytes) -> Pushed {
        let mut queue = self.queue();
        if queue.phase != Phase::Open {
            return Pushed::default();
        }
        queue.media_bytes += frame.len();
        if queue.media_bytes > MEDIA_BYTES {
            queue.drop_waiting();
            let schedule = queue.end(close::SLOW, "slow");
            return Pushed { schedule, tell: None, slow: true };
        }
        queue.media.push_back(frame);
        Pushed { schedule: queue.schedule(), tell: None, slow: false }
    }

    /// Queues a close frame behind what waits; nothing follows it. True: have it flushed.
    pub(crate) fn end(&self, code: u16, reason: &str) -> bool {
        let mut queue = self.queue();
        if queue.phase != Phase::Open {
            return false;
        }
        queue.media.clear();
        queue.media_bytes = 0;
        queue.end(code, reason)
    }

    /// Writes nothing any more.
    pub(crate) fn kill(&self) {
        let mut queue = self.queue();
        queue.kill();
    }

    /// Writes what waits, until it is gone, the kernel is full, or others have their turn.
    pub(crate) fn flush(&self, batch: &mut Vec<Bytes>) -> Flushed {
        let mut flushed = Flushed::default();
        let mut queue = self.queue();
        loop {
            if queue.phase == Phase::Dead || matches!(queue.flow, Flow::Writing | Flow::Blocked) {
                return flushed;
            }
            if flushed.wrote > TURN_BYTES {
                queue.flow = Flow::Scheduled;
                flushed.again = true;
                flushed.tell = queue.tell();
                return flushed;
            }
            batch.clear();
            queue.take(batch);
            if batch.is_empty() {
                match self.write.flush() {
                    Ok(()) => queue.rest(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        queue.flow = Flow::Blocked;
                        queue.wake();
                    }
                    Err(_) => {
                        queue.kill();
                        return flushed;
                    }
                }
                flushed.tell = queue.tell();
                return flushed;
            }
            queue.flow = Flow::Writing;
            drop(queue);
            let wrote = self.write(batch);
            queue = self.queue();
            queue.flow = Flow::Scheduled;
            match wrote {
                Ok(count) => {
                    flushed.wrote += count;
                    queue.put_back(batch, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    queue.put_back(batch, 0);
                    queue.flow = Flow::Blocked;
                    queue.wake();
                    flushed.tell = queue.tell();
                    return flushed;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    queue.put_back(batch, 0);
                }
                Err(_) => {
                    queue.kill();
                    return flushed;
                }
            }
        }
    }

    fn write(&self, batch: &[Bytes]) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); BATCH];
        for (slice, bytes) in slices.iter_mut().zip(batch) {
            *slice = IoSlice::new(bytes);
        }
        self.write.try_write_vectored(&slices[..batch.len().min(BATCH)])
    }

    /// The connection task asks what to wait for; it is woken when that changes.
    pub(crate) fn state(&self, cx: &Context<'_>) -> State {
        let mut queue = self.queue();
        if !queue.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            queue.task = Some(cx.waker().clone());
        }
        let blocked = queue.flow == Flow::Blocked;
        match queue.phase {
            Phase::Dead => State::Ended,
            Phase::Ending if queue.unsent() == 0 && !blocked => State::Ended,
            Phase::Ending => State::Ending { blocked },
            Phase::Open if blocked => State::Blocked,
            Phase::Open => State::Open,
        }
    }

    /// Ready when the kernel takes bytes again; the caller flushes then.
    pub(crate) fn poll_unblocked(&self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.write.poll_ready(cx).map(|_| ());
        if ready.is_ready() {
            let mut queue = self.queue();
            if queue.flow == Flow::Blocked {
                queue.flow = Flow::Scheduled;
            }
        }
        ready
    }
}

impl Queue {
    fn schedule(&mut self) -> bool {
        let idle = self.flow == Flow::Idle;
        if idle {
            self.flow = Flow::Scheduled;
        }
        idle
    }

    fn end(&mut self, code: u16, reason: &str) -> bool {
        let frame = frame::close_frame(code, reason);
        self.waiting += frame.len();
        self.frames.push_back(frame);
        self.phase = Phase::Ending;
        self.wake();
        self.schedule()
    }

    fn kill(&mut self) {
        *self = Self { phase: Phase::Dead, task: self.task.take(), ..Self::default() };
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn unsent(&self) -> usize {
        self.waiting + self.taken
    }

    /// Drops what waits: the client comes back and reads on from its cursors. A frame whose
    /// beginning was written goes on, or the close frame would be read as its payload.
    fn drop_waiting(&mut self) {
        self.media.clear();
        self.media_bytes = 0;
        self.frames.truncate(usize::from(self.begun));
        self.waiting = self.frames.iter().map(Bytes::len).sum();
    }

    /// A figure the hub has not been told the level of.
    fn tell(&mut self) -> Option<usize> {
        let level = match self.unsent() {
            0..limits::REPLAY_BYTES => 0,
            limits::REPLAY_BYTES..limits::BEHIND_BYTES => 1,
            _ => 2,
        };
        let news = level != self.told && self.phase == Phase::Open;
        self.told = level;
        news.then(|| self.unsent())
    }

    /// Ordered frames, or one media chunk when there are none.
    fn take(&mut self, batch: &mut Vec<Bytes>) {
        let count = self.frames.len().min(BATCH);
        batch.extend(self.frames.drain(..count));
        self.taken = batch.iter().map(Bytes::len).sum();
        self.waiting -= self.taken;
        if batch.is_empty()
            && let Some(chunk) = self.media.pop_front()
        {
            self.media_bytes -= chunk.len();
            self.taken = chunk.len();
            batch.push(chunk);
        }
        self.taken_begun = std::mem::take(&mut self.begun);
    }

    /// Puts what was not written back to the front. A chunk begun goes on before anything else.
    fn put_back(&mut self, batch: &mut Vec<Bytes>, mut wrote: usize) {
        self.taken = 0;
        if self.phase == Phase::Dead {
            batch.clear();
            return;
        }
        let mut begun = std::mem::take(&mut self.taken_begun);
        for bytes in batch.iter_mut() {
            let count = wrote.min(bytes.len());
            bytes.advance(count);
            wrote -= count;
            if !bytes.is_empty() {
                self.begun = begun || count > 0;
                break;
            }
            begun = false;
        }
        for bytes in batch.drain(..).rev().filter(|bytes| !bytes.is_empty()) {
            self.waiting += bytes.len();
            self.frames.push_front(bytes);
        }
    }

    fn rest(&mut self) {
        self.flow = Flow::Idle;
        if self.frames.capacity() > IDLE_SLOTS {
            self.frames.shrink_to(0);
        }
        if self.media.capacity() > IDLE_SLOTS {
            self.media.shrink_to(0);
        }
        if self.phase == Phase::Ending {
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::wire::{ReadHalf, Wire};
    use socket2::SockRef;
    use std::future::poll_fn;
    use tokio::net::{TcpListener, TcpStream};
    use tungstenite::{Message, WebSocket, protocol::Role};

    /// A socket with a small kernel buffer, and the peer's end of it.
    async fn pair(max_unsent: usize) -> (Socket, ReadHalf, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        SockRef::from(&stream).set_send_buffer_size(4096).unwrap();
        let (read, write) = Wire::from(stream).into_split();
        (Socket::new(ConnId(1), write, max_unsent), read, peer)
    }

    /// Reads messages until the close, on a thread of its own.
    fn reader(peer: TcpStream) -> std::thread::JoinHandle<(Vec<Vec<u8>>, u16)> {
        let peer = peer.into_std().unwrap();
        peer.set_nonblocking(false).unwrap();
        std::thread::spawn(move || {
            let mut peer = WebSocket::from_raw_socket(peer, Role::Client, None);
            let mut messages = Vec::new();
            loop {
                match peer.read().unwrap() {
                    Message::Close(frame) => return (messages, frame.unwrap().code.into()),
                    message => messages.push(message.into_data().to_vec()),
                }
            }
        })
    }

    /// Flushes as the connection task does, until the close frame has left.
    async fn flush_out(socket: &Socket) {
        let mut batch = Vec::new();
        loop {
            socket.flush(&mut batch);
            let ended = poll_fn(|cx| match socket.state(cx) {
                State::Ended => Poll::Ready(true),
                State::Ending { blocked: true } | State::Blocked => {
                    socket.poll_unblocked(cx).map(|()| false)
                }
                _ => Poll::Ready(false),
            });
            if ended.await {
                return;
            }
        }
    }

    #[tokio::test]
    async fn what_was_queued_arrives_whole_and_in_order_through_a_full_kernel() {
        let (socket, _read, peer) = pair(64 * 1024 * 1024).await;
        let mut sent = Vec::new();
        let mut batch = Vec::new();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut told = Vec::new();
        for n in 0..2000u32 {
            let mut message = n.to_be_bytes().to_vec();
            message.resize(4 + rng.usize(..2000), b'x');
            told.extend(socket.push(frame::binary(&message)).tell);
            sent.push(message);
            if n % 10 == 0 {
                told.extend(socket.flush(&mut batch).tell);
            }
        }
        assert!(matches!(told[..], [first, second, ..]
            if first >= limits::REPLAY_BYTES && second >= limits::BEHIND_BYTES));
        assert!(socket.end(close::SHUTDOWN, "done") || socket.queue().flow != Flow::Idle);
        let reader = reader(peer);
        flush_out(&socket).await;
        let (messages, code) = reader.join().unwrap();
        assert_eq!(code, close::SHUTDOWN);
        assert_eq!(messages, sent);
        assert_eq!(socket.queue().unsent(), 0);
    }

    #[tokio::test]
    async fn a_slow_reader_gets_whole_messages_and_the_reason() {
        let (socket, _read, peer) = pair(100_000).await;
        let mut batch = Vec::new();
        let message = vec![b'x'; 3000];
        let mut pushed = Pushed::default();
        while !pushed.slow {
            pushed = socket.push(frame::text(&message));
            socket.flush(&mut batch);
        }
        assert!(socket.queue().unsent() < 10_000, "what waited was dropped");
        assert!(!socket.push(frame::text(b"more")).schedule, "nothing follows a close");
        let reader = reader(peer);
        flush_out(&socket).await;
        let (messages, code) = reader.join().unwrap();
        assert_eq!(code, close::SLOW);
        assert!(messages.iter().all(|got| *got == message), "no frame was cut");
    }

    #[tokio::test]
    async fn p_v2_media_waits_until_nothing_else_does() {
        let (socket, _read, peer) = pair(64 * 1024 * 1024).await;
        socket.push_media(frame::binary(b"picture 1"));
        socket.push_media(frame::binary(b"picture 2"));
        socket.push(frame::text(b"alarm"));
        let reader = reader(peer);
        let mut batch = Vec::new();
        while socket.flush(&mut batch).again {}
        socket.end(close::NORMAL, "");
        flush_out(&socket).await;
        let (messages, _) = reader.join().unwrap();
        assert_eq!(messages, [b"alarm".to_vec(), b"picture 1".to_vec(), b"picture 2".to_vec()]);
    }
}
