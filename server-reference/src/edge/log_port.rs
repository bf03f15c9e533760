//! The way from a shard to its log and back.

use super::Node;
use crate::{
    auth::unix_ms,
    config::LogStore,
    log::{self, Level, Log, MemoryLog, Options, Reply, Request, Retention, handle::OpenError},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// The log all shards share.
pub(crate) enum LogPort {
    /// Answers in the turn that asks.
    Memory(Box<Mutex<MemoryLog>>),
    /// Answers from its own thread, once the disk has it.
    Embedded {
        log: Log,
        /// Where it is.
        path: PathBuf,
        /// Bytes of the disk that are left alone.
        reserve: u64,
    },
}

/// A log that waits for the node it tells.
pub(crate) struct Pending(Option<log::handle::Opened>);

impl LogPort {
    /// Opens the configured log. May take long: reads the disk.
    pub(crate) fn open(
        store: &LogStore,
        reserve: u64,
        retention: Retention,
        seed: u64,
    ) -> Result<(Self, Pending), OpenError> {
        match store {
            LogStore::Memory => {
                let log = MemoryLog::new(seed, retention);
                Ok((Self::Memory(Box::new(Mutex::new(log))), Pending(None)))
            }
            LogStore::Embedded(path) => {
                let mut options = Options::new(Level::Fsync(path.clone()), seed);
                options.retention = retention;
                let (log, opened) = Log::open(options)?;
                let port = Self::Embedded { log, path: path.clone(), reserve };
                port.look_at_disk();
                Ok((port, Pending(Some(opened))))
            }
        }
    }

    /// Has a log with a thread tell a node.
    pub(crate) fn start(&self, pending: Pending, node: &Arc<Node>) -> Result<(), OpenError> {
        let (Self::Embedded { log, .. }, Some(opened)) = (self, pending.0) else { return Ok(()) };
        let node: Weak<Node> = Arc::downgrade(node);
        log.start(
            opened,
            Arc::new(move |replies| {
                if let Some(node) = node.upgrade() {
                    node.log_replies(replies);
                }
            }),
        )
    }

    /// Asks; gives what is answered at once. The rest comes to [`Node::log_replies`].
    pub(crate) fn ask(&self, shard: usize, requests: Vec<Request>) -> Vec<Reply> {
        match self {
            Self::Memory(log) => {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let now = unix_ms();
                requests.into_iter().flat_map(|request| log.handle_request(request, now)).collect()
            }
            Self::Embedded { log, .. } => log.submit(shard, requests),
        }
    }

    /// Forgets what is past its time; a log with a thread does so itself.
    pub(crate) fn expire(&self) {
        if let Self::Memory(log) = self {
            log.lock().unwrap_or_else(PoisonError::into_inner).expire(unix_ms());
        }
    }

    /// Does what waits and closes; may take long. Not to be called on the log's thread.
    pub(crate) fn close(&self) {
        if let Self::Embedded { log, .. } = self {
            log.close();
        }
    }

    /// Looks how much of the disk is left, and appends nothing where that is too little. May take
    /// long: a disk that hangs does so here too.
    pub(crate) fn look_at_disk(&self) {
        let Self::Embedded { log, path, reserve } = self else { return };
        let full = match rustix::fs::statvfs(path) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize) < *reserve,
            // Whether it can be written to shows in writing.
            Err(_) => false,
        };
        if full != log.figures().full {
            if full {
                tracing::error!(path = %path.display(), reserve, "the disk is full; nothing is taken");
            } else {
                tracing::info!(path = %path.display(), "there is space again");
            }
            log.set_full(full);
        }
    }

    /// Why nothing is kept now; none: all is well.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        match self {
            Self::Memory(_) => None,
            Self::Embedded { log, .. } => log.figures().trouble(),
        }
    }
}
