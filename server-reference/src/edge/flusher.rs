//! Flushers write what turns have queued: one pass over all sockets that have something, one
//! vectored write each. While a pass runs the next one fills: that is the whole of coalescing.

use super::{Node, socket::Socket};
use crate::hub::Input;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Sockets written before other tasks have their turn.
const PASS: usize = 128;

/// One of the node's flushers; sockets are spread over them by number.
#[derive(Default)]
pub(crate) struct Flusher {
    waiting: Mutex<Vec<Arc<Socket>>>,
    some: Notify,
}

impl Flusher {
    /// Hands sockets to the flushers.
    pub(crate) fn schedule(flushers: &[Self], sockets: Vec<Arc<Socket>>) {
        if sockets.is_empty() || flushers.is_empty() {
            return;
        }
        if let [only] = flushers {
            return only.take(sockets);
        }
        let mut parts: Vec<Vec<Arc<Socket>>> = flushers.iter().map(|_| Vec::new()).collect();
        for socket in sockets {
            let part = usize::try_from(socket.id.0 % flushers.len() as u64).unwrap_or(0);
            parts[part].push(socket);
        }
        for (flusher, part) in flushers.iter().zip(parts) {
            if !part.is_empty() {
                flusher.take(part);
            }
        }
    }

    fn take(&self, mut sockets: Vec<Arc<Socket>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            *waiting = sockets;
        } else {
            waiting.append(&mut sockets);
        }
        drop(waiting);
        self.some.notify_one();
    }

    /// Flushes for ever.
    pub(crate) async fn run(node: Arc<Node>, index: usize) {
        let Some(flusher) = node.flushers.get(index) else { return };
        let mut batch = Vec::new();
        let mut sockets = Vec::new();
        let mut again = Vec::new();
        let mut tells: Vec<Vec<Input>> = node.shards.iter().map(|_| Vec::new()).collect();
        loop {
            {
                let mut waiting = flusher.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut *waiting, &mut sockets);
            }
            sockets.append(&mut again);
            if sockets.is_empty() {
                tokio::select! {
                    () = node.stopped.cancelled() => return,
                    () = flusher.some.notified() => continue,
                }
            }
            for (count, socket) in sockets.drain(..).enumerate() {
                if count % PASS == PASS - 1 {
                    tokio::task::yield_now().await;
                }
                let flushed = socket.flush(&mut batch);
                if let Some(unsent) = flushed.tell {
                    tells[socket.shard()].push(Input::Unsent(socket.id, unsent));
                }
                if flushed.again {
                    again.push(socket);
                }
            }
            for (shard, inputs) in tells.iter_mut().enumerate() {
                if !inputs.is_empty() {
                    node.turn(shard, inputs.drain(..), None);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
