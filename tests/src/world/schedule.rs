//! What is due when; equal moments in the order they were asked for.

use crate::{journal::Asker, wire::LinkId};
use std::{collections::BTreeMap, time::Duration};
use wardline::{
    machine::{BatchId, Close, Generation, Input, Owner, SubId},
    model::ids::TenantId,
    protocol::{Address, Cursor, Mark, Token},
};
use wardline_server::{
    hub::ConnId,
    log::{Reply, Request},
};

/// A client process in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Which.
    pub client: usize,
    /// Its life.
    pub life: u32,
}

/// Something that happens by itself.
#[derive(Debug)]
pub enum Due {
    /// A dial ends.
    Dialled(Who, Generation),
    /// A batch reaches the store.
    Stored(Who, BatchId),
    /// The store is read.
    Loaded(Who, Option<Owner>),
    /// The token provider answers.
    Token(Who, Option<Token>),
    /// The application is done with events.
    Done(Who, SubId, u64, Mark),
    /// The snapshot hook answers.
    Snapshot(Who, SubId, Cursor),
    /// A process wakes.
    Wake(usize),
    /// Anything else a process is told.
    Tell(Who, Box<Input>),
    /// A frame of a transport that may be over, once more.
    Ghost(Who, Generation, String),
    /// The client's end of a transport notices that it is gone.
    ClientSees(LinkId, Close),
    /// The server's end does.
    ServerSees(LinkId),
    /// A token is verified.
    Verified(Asker, ConnId, LinkId, Token),
    /// A request reaches the log.
    Ask(Asker, Box<Request>),
    /// An answer reaches a node.
    Answer(Asker, Box<Reply>),
    /// The log becomes durable.
    Sync,
    /// The log can answer again.
    LogBack,
    /// A server process comes up.
    ServerUp(usize),
    /// A server process ends after a drain.
    ServerDown(usize),
    /// A handler in the server's process answers a command.
    Handled(Asker, TenantId, Address, u64),
    /// Retention looks at the log.
    Expire,
}

/// All that is due.
#[derive(Debug, Default)]
pub struct Schedule {
    due: BTreeMap<(Duration, u64), Due>,
    count: u64,
}

impl Schedule {
    /// Adds something.
    pub fn at(&mut self, when: Duration, due: Due) {
        self.count += 1;
        self.due.insert((when, self.count), due);
    }

    /// The next moment.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next thing that is due by `now`.
    pub fn pop(&mut self, now: Duration) -> Option<Due> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Things that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}
