//! A shard: one pure hub behind a lock, the sockets it writes to, and its timer.
//!
//! A turn locks the shard once for a batch of inputs, feeds them, and drains the hub after each.
//! Everything that may block, call foreign code or lock another shard is collected and done after
//! the lock is released.

use super::{
    Node, Published,
    flusher::Flusher,
    frame,
    socket::{Pushed, Socket},
};
use crate::hub::{
    AuthError, CallId, ConnId, Hook, Hub, Input, Output, Principal, To,
    media::{Picture, TapId},
};
use crate::log;
use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;
use wardline::{
    protocol::{Code, Json, Token, address::PUBLIC_TENANT, close, frames::ErrorBody},
    time::Instant,
};

/// Connections by number. The numbers are drawn by the server, so a multiplication spreads them.
type Sockets = HashMap<ConnId, Arc<Socket>, BuildHasherDefault<NumberHasher>>;

#[derive(Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// A hub, its sockets, its timer.
pub(crate) struct Shard {
    core: Mutex<Core>,
    timer: Timer,
}

struct Core {
    hub: Hub,
    sockets: Sockets,
    /// Messages handed to sockets in this turn.
    sent: u64,
}

/// When the hub wants to be called, in ns on the server's clock; `u64::MAX`: never.
struct Timer {
    wanted: AtomicU64,
    armed: AtomicU64,
    earlier: Notify,
}

/// What waits for the lock to be released.
#[derive(Default)]
struct After {
    dirty: Vec<Arc<Socket>>,
    asks: Vec<log::Request>,
    verify: Vec<(ConnId, Token)>,
    hooks: Vec<Hook>,
    published: Vec<(CallId, Published)>,
    pictures: Vec<(TapId, Arc<Picture>)>,
    taps: Vec<(TapId, Result<(), Code>)>,
    /// Entries of public rooms, for the other shards.
    public: Vec<log::Reply>,
}

impl Shard {
    pub(crate) fn new(hub: Hub) -> Self {
        Self {
            core: Mutex::new(Core { hub, sockets: Sockets::default(), sent: 0 }),
            timer: Timer {
                wanted: AtomicU64::new(u64::MAX),
                armed: AtomicU64::new(u64::MAX),
                earlier: Notify::new(),
            },
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // A turn that panicked is logged by its task; the log holds what was accepted.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the hub, for figures.
    pub(crate) fn with_hub<T>(&self, read: impl FnOnce(&Hub) -> T) -> T {
        read(&self.core().hub)
    }

    /// Calls the hub when it asked to be called, for ever.
    pub(crate) async fn run_timer(node: Arc<Node>, index: usize) {
        let Some(shard) = node.shards.get(index) else { return };
        let timer = &shard.timer;
        loop {
            // Between the two stores any wish notifies; after the second, an earlier one does.
            timer.armed.store(u64::MAX, Ordering::SeqCst);
            let wanted = timer.wanted.load(Ordering::SeqCst);
            timer.armed.store(wanted, Ordering::SeqCst);
            let due = async {
                if wanted == u64::MAX {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep_until(node.clock.at(Instant::from_micros(wanted))).await;
            };
            tokio::select! {
                () = node.stopped.cancelled() => return,
                () = timer.earlier.notified() => {}
                () = due => {
                    if timer.wanted.load(Ordering::SeqCst) <= wanted {
                        timer.wanted.store(u64::MAX, Ordering::SeqCst);
                        node.turn(index, [Input::Timeout], None);
                    }
                }
            }
        }
    }
}

impl Timer {
    fn want(&self, moment: Option<Instant>) {
        let micros = moment.map_or(u64::MAX, Instant::as_micros);
        self.wanted.store(micros, Ordering::SeqCst);
        if micros < self.armed.load(Ordering::SeqCst) {
            self.earlier.notify_one();
        }
    }
}

/// The connection on whose task a turn runs: it flushes itself, and its token is verified already.
pub(crate) struct Own<'a> {
    pub(crate) socket: &'a Arc<Socket>,
    pub(crate) known: Option<Result<Principal, AuthError>>,
}

impl Node {
    /// Makes a socket known to a shard, before its `Open` is fed.
    pub(crate) fn attach(&self, shard: usize, socket: &Arc<Socket>) {
        self.shards[shard].core().sockets.insert(socket.id, socket.clone());
    }

    /// Feeds a shard and does what it wants done.
    pub(crate) fn turn(
        self: &Arc<Self>,
        index: usize,
        inputs: impl IntoIterator<Item = Input>,
        mut own: Option<Own<'_>>,
    ) {
        let Some(shard) = self.shards.get(index) else { return };
        let mut queue: VecDeque<Input> = inputs.into_iter().collect();
        let mut after = After::default();
        while !queue.is_empty() {
            {
                let mut core = shard.core();
                let now = self.clock.now();
                let mut wanted = None;
                loop {
                    while let Some(input) = queue.pop_front() {
                        if let Input::Closed(id, _) = &input
                            && core.sockets.remove(id).is_none()
                        {
                            // The hub itself has ended it.
                            continue;
                        }
                        if let Input::Log(log::Reply::Entry(_, entry)) = &input {
                            self.ops.latency(now.wall.0.saturating_sub(entry.time));
                        }
                        core.hub.handle_input(input, now);
                        wanted = Some(self.drain(&mut core, &mut queue, &mut after));
                    }
                    if after.asks.is_empty() {
                        break;
                    }
                    // Under the lock, so the log sees a shard's requests in the hub's order.
                    for reply in self.log.ask(index, std::mem::take(&mut after.asks)) {
                        if is_public(&reply) {
                            after.public.push(reply.clone());
                        }
                        queue.push_back(Input::Log(reply));
                    }
                }
                if let Some(wanted) = wanted {
                    shard.timer.want(wanted);
                }
                self.ops.sent(std::mem::take(&mut core.sent));
            }
            for (id, token) in after.verify.drain(..) {
                let known = own.as_mut().filter(|own| own.socket.id == id);
                let known = known.and_then(|own| own.known.take());
                let fetched = known.is_some();
                let result = known.unwrap_or_else(|| self.verifier.verify(token.expose()));
                if result == Err(AuthError::Unavailable) && !fetched {
                    self.verify_later(index, id, token);
                } else {
                    queue.push_back(Input::Verified(id, result));
                }
            }
        }
        self.finish(index, after, own);
    }

    /// Verifies a token whose key has to be fetched first.
    fn verify_later(self: &Arc<Self>, index: usize, id: ConnId, token: Token) {
        let node = self.clone();
        self.runtime.spawn(async move {
            let result = node.verifier.verify_fresh(token.expose()).await;
            node.turn(index, [Input::Verified(id, result)], None);
        });
    }

    /// Takes everything the hub wants done, and when it wants to be called.
    fn drain(
        &self,
        core: &mut Core,
        queue: &mut VecDeque<Input>,
        after: &mut After,
    ) -> Option<Instant> {
        loop {
            match core.hub.poll_output() {
                Output::Text(to, object) => {
                    let framed = frame::text(&object);
                    match to {
                        To::One(id) => deliver(core, id, framed, queue, after),
                        To::Many(ids) => {
                            for id in ids.iter() {
                                deliver(core, *id, framed.clone(), queue, after);
                            }
                        }
                    }
                }
                Output::Media(id, message) => {
                    if let Some(socket) = core.sockets.get(&id) {
                        let pushed = socket.push_media(frame::binary(&message));
                        pushed_to(socket, &pushed, queue, after);
                    }
                }
                Output::Close(id, code, reason) => {
                    self.ops.closed(code);
                    if let Some(socket) = core.sockets.remove(&id)
                        && socket.end(code, &reason)
                    {
                        after.dirty.push(socket);
                    }
                }
                Output::Verify(id, token) => after.verify.push((id, token)),
                Output::Log(request) => after.asks.push(request),
                Output::Picture(tap, picture) => after.pictures.push((tap, picture)),
                Output::Tap(tap, told) => after.taps.push((tap, told)),
                Output::Published(call, result) => after.published.push((call, result)),
                Output::Hook(hook) => after.hooks.push(hook),
                Output::Timeout(moment) => return moment,
            }
        }
    }

    fn finish(self: &Arc<Self>, index: usize, mut after: After, own: Option<Own<'_>>) {
        if let Some(own) = own {
            after.dirty.retain(|socket| !Arc::ptr_eq(socket, own.socket));
        }
        Flusher::schedule(&self.flushers, after.dirty);
        for (call, result) in after.published {
            self.answer_call(call, result);
        }
        for (tap, picture) in after.pictures {
            self.taps.show(tap, picture);
        }
        for (tap, told) in after.taps {
            self.taps.tell(tap, told);
        }
        for hook in after.hooks {
            self.hook(index, hook);
        }
        if !after.public.is_empty() {
            for other in (0..self.shards.len()).filter(|other| *other != index) {
                self.turn(other, after.public.iter().cloned().map(Input::Log), None);
            }
        }
    }

    /// The shard of a tenant.
    pub(crate) fn shard_of(&self, tenant: &str) -> usize {
        let mut hasher = NumberHasher::default();
        hasher.write(tenant.as_bytes());
        usize::try_from(hasher.finish() % self.shards.len() as u64).unwrap_or(0)
    }

    /// What the log tells outside a turn: to the shard that asked, entries to the tenant's.
    pub(crate) fn log_replies(
        self: &Arc<Self>,
        replies: impl IntoIterator<Item = (Option<usize>, log::Reply)>,
    ) {
        let mut by_shard: Vec<Vec<Input>> = self.shards.iter().map(|_| Vec::new()).collect();
        for (asked, reply) in replies {
            match (&reply, asked) {
                _ if is_public(&reply) => {
                    for inputs in &mut by_shard {
                        inputs.push(Input::Log(reply.clone()));
                    }
                }
                (log::Reply::Entry(key, _), _) => {
                    let shard = self.shard_of(key.tenant.as_str());
                    by_shard[shard].push(Input::Log(reply));
                }
                (_, Some(shard)) if shard < by_shard.len() => {
                    by_shard[shard].push(Input::Log(reply));
                }
                _ => {}
            }
        }
        for (index, inputs) in by_shard.into_iter().enumerate() {
            if !inputs.is_empty() {
                self.turn(index, inputs, None);
            }
        }
    }

    /// Answers a command an in-process handler was given (P-S8).
    pub(crate) fn answer(
        self: &Arc<Self>,
        shard: usize,
        room: wardline::protocol::Address,
        tenant: wardline::model::ids::TenantId,
        seq: u64,
        result: Result<Json, ErrorBody>,
    ) {
        self.turn(shard, [Input::Answer(room, tenant, seq, result)], None);
    }
}

fn is_public(reply: &log::Reply) -> bool {
    matches!(reply, log::Reply::Entry(key, _) if key.tenant.as_str() == PUBLIC_TENANT)
}

fn deliver(
    core: &mut Core,
    id: ConnId,
    framed: Bytes,
    queue: &mut VecDeque<Input>,
    after: &mut After,
) {
    let Some(socket) = core.sockets.get(&id) else { return };
    core.sent += 1;
    pushed_to(socket, &socket.push(framed), queue, after);
}

fn pushed_to(
    socket: &Arc<Socket>,
    pushed: &Pushed,
    queue: &mut VecDeque<Input>,
    after: &mut After,
) {
    if pushed.schedule {
        after.dirty.push(socket.clone());
    }
    if let Some(unsent) = pushed.tell {
        queue.push_back(Input::Unsent(socket.id, unsent));
    }
    if pushed.slow {
        queue.push_back(Input::Closed(socket.id, Some(close::SLOW)));
    }
}
