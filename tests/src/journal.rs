//! The log behind the hubs: the real memory log with its explicit sync, and the way there and back.

use std::collections::BTreeMap;
use wardline_server::log::{MemoryLog, Number, Reply, Request, Retention, Ticket};

/// Who asked: a node in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The node.
    pub node: usize,
    /// Its life.
    pub life: u32,
}

/// What the log says.
#[derive(Debug)]
pub enum Said {
    /// An answer, with the number of the step it ends.
    Answer(Asker, Reply, Option<Box<Number>>),
    /// What every node is told.
    Told(Reply),
}

/// A question the log has not answered yet.
#[derive(Debug)]
struct Asked {
    asker: Option<Asker>,
    theirs: Ticket,
    number: Option<Box<Number>>,
}

/// The log and who waits for which answer.
#[derive(Debug)]
pub struct Journal {
    /// The log itself, for faults.
    pub log: MemoryLog,
    waiting: BTreeMap<u64, Asked>,
    next: u64,
}

impl Journal {
    /// A log whose answers wait for [`Journal::sync`].
    #[must_use]
    pub fn new(seed: u64, retention: Retention) -> Self {
        Self { log: MemoryLog::with_sync(seed, retention), waiting: BTreeMap::new(), next: 0 }
    }

    /// Asks at wall time `now` (ms).
    pub fn ask(&mut self, asker: Option<Asker>, request: Request, now: u64) -> Vec<Said> {
        self.next += 1;
        let mine = Ticket(self.next);
        let (theirs, number, request) = match request {
            Request::Step(theirs, step) => {
                let number = step.producer.clone().map(Box::new);
                (theirs, number, Request::Step(mine, step))
            }
            Request::Producer(theirs, key) => (theirs, None, Request::Producer(mine, key)),
            Request::Prove(theirs, room, cursor) => {
                (theirs, None, Request::Prove(mine, room, cursor))
            }
            Request::Read(theirs, room, after) => (theirs, None, Request::Read(mine, room, after)),
            Request::Keys(theirs, room, after) => (theirs, None, Request::Keys(mine, room, after)),
        };
        self.waiting.insert(self.next, Asked { asker, theirs, number });
        let replies = self.log.handle_request(request, now);
        self.said(replies)
    }

    /// Makes everything durable.
    pub fn sync(&mut self) -> Vec<Said> {
        let replies = self.log.sync();
        self.said(replies)
    }

    /// The log's process dies with what was not durable.
    pub fn crash(&mut self) {
        self.log.crash();
        self.waiting.clear();
    }

    /// The store fails over and loses the last durable changes.
    pub fn fail_over(&mut self, lost: usize) -> Vec<Said> {
        let replies = self.log.fail_over(lost);
        self.said(replies)
    }

    fn said(&mut self, replies: Vec<Reply>) -> Vec<Said> {
        let mut said = Vec::with_capacity(replies.len());
        for reply in replies {
            let ticket = match &reply {
                Reply::Stepped(ticket, _)
                | Reply::Producer(ticket, _)
                | Reply::Proved(ticket, _)
                | Reply::Page(ticket, _) => *ticket,
                Reply::Entry(..) => {
                    said.push(Said::Told(reply));
                    continue;
                }
            };
            let Some(Asked { asker, theirs, number }) = self.waiting.remove(&ticket.0) else {
                continue;
            };
            let reply = match reply {
                Reply::Stepped(_, ended) => Reply::Stepped(theirs, ended),
                Reply::Producer(_, record) => Reply::Producer(theirs, record),
                Reply::Proved(_, proof) => Reply::Proved(theirs, proof),
                Reply::Page(_, page) => Reply::Page(theirs, page),
                entry @ Reply::Entry(..) => entry,
            };
            said.push(Said::Answer(asker.unwrap_or(NOBODY), reply, number));
        }
        said
    }
}

/// The world itself asks.
pub const NOBODY: Asker = Asker { node: usize::MAX, life: 0 };
