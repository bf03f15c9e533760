//! One accepted socket: what waits to be written, in which order, and how much (P-V2).
//!
//! The hub's turn pushes framed bytes and never blocks. Whoever flushes takes a batch out, writes
//! it with one vectored call, and puts back what the kernel did not take. A socket is in exactly
//! one [`Flow`]; only one of hub turn, flusher and connection task acts on it at a time.

use super::frame;
use crate::hub::ConnId;
use bytes::{Buf, Bytes};
use socket2::SockRef;
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::Shutdown,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::net::tcp::OwnedWriteHalf;
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
    write: OwnedWriteHalf,
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
    pub(crate) fn new(id: ConnId, write: OwnedWriteHalf, max_unsent: usize) -> Self {
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
        SockRef::from(self.write.as_ref()).shutdown(Shutdown::Write)
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
                queue.rest();
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
            Phase::Ending if queue.unsent() == 0 => State::Ended,
            Phase::Ending => State::Ending { blocked },
            Phase::Open if blocked => State::Blocked,
            Phase::Open => State::Open,
        }
    }

    /// Ready when the kernel takes bytes again; the caller flushes then.
    pub(crate) fn poll_unblocked(&self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.write.as_ref().poll_write_ready(cx).map(|_| ());
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
        self.begun &= batch.is_empty();
    }

    /// Puts what was not written back to the front. A chunk begun goes on before anything else.
    fn put_back(&mut self, batch: &mut Vec<Bytes>, mut wrote: usize) {
        self.taken = 0;
        if self.phase == Phase::Dead {
            batch.clear();
            return;
        }
        for bytes in batch.iter_mut() {
            let count = wrote.min(bytes.len());
            bytes.advance(count);
            wrote -= count;
            self.begun = count > 0 && !bytes.is_empty();
            if wrote == 0 {
                break;
            }
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
