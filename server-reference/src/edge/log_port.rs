//! The way from a shard to its log and back.

use crate::{
    auth::unix_ms,
    log::{Reply, Request, Retention, memory::MemoryLog},
};
use std::sync::{Mutex, PoisonError};

/// The log all shards share.
pub(crate) enum LogPort {
    /// Answers at once.
    Memory(Mutex<MemoryLog>),
}

impl LogPort {
    pub(crate) fn memory(seed: u64, retention: Retention) -> Self {
        Self::Memory(Mutex::new(MemoryLog::new(seed, retention)))
    }

    /// Asks; gives what is answered at once. The rest comes to [`super::Node::log_replies`].
    pub(crate) fn ask(&self, _shard: usize, request: Request) -> Vec<Reply> {
        match self {
            Self::Memory(log) => {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.handle_request(request, unix_ms())
            }
        }
    }

    /// Forgets what is past its time.
    pub(crate) fn expire(&self) {
        match self {
            Self::Memory(log) => {
                log.lock().unwrap_or_else(PoisonError::into_inner).expire(unix_ms());
            }
        }
    }
}
