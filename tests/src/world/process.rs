//! One client process: its machine, clocks, store session, transports and application.

use super::schedule::Who;
use crate::{app::App, clock::Clock, disk::Session, pace::Pace, tokens::Identity, wire::LinkId};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use wardline::{
    machine::{
        ApiEvent, BatchId, CallId, Error, Generation, Input, Machine, Owner, ReplyValue, Status,
        StoreOp, SubId,
    },
    model::ids::{ItemId, ProducerId},
    protocol::{Address, Cursor, Token},
};

/// A client process and what it remembers of its machine's work.
pub struct Process {
    /// Its place in the world.
    pub index: usize,
    /// The store it opens.
    pub disk: usize,
    /// Who it is.
    pub identity: Identity,
    /// Who it is while it is not another user for a time.
    pub home: Identity,
    /// Counted at each start.
    pub life: u32,
    /// None: the process is not running.
    pub machine: Option<Machine>,
    /// Its clocks.
    pub clock: Clock,
    /// What it holds of its store.
    pub session: Session,
    /// The durable positions its machine knows.
    pub cursors: Option<Positions>,
    /// Batches on their way to the store, in order.
    pub batches: VecDeque<(BatchId, Vec<StoreOp>)>,
    /// When the store is free again.
    pub store_free: Duration,
    /// When its machine is to be woken.
    pub timer: Option<Duration>,
    /// How late timers may be, seen by the checks.
    pub lateness: Duration,
    /// Asleep: what arrives waits.
    pub asleep: Option<Duration>,
    /// What waits while asleep.
    pub inbox: VecDeque<Input>,
    /// Transports by generation.
    pub transports: BTreeMap<Generation, Transport>,
    /// The application's subscriptions.
    pub app: App,
    /// Calls that wait for a reply.
    pub calls: BTreeMap<CallId, Call>,
    /// The pace of its attempts.
    pub pace: Pace,
    /// The last status told.
    pub status: Option<Status>,
    /// What the application wants: connected or not.
    pub wants_connection: bool,
    /// Who the last `established` named.
    pub bound: Option<Owner>,
    /// The producer of the last `hello`.
    pub producer: Option<ProducerId>,
    /// The last moment at which its clocks or timers were disturbed.
    pub disturbed: Option<Duration>,
    /// The token provider gives nothing until then.
    pub provider_fails: bool,
    /// Items submitted lately, for cancels.
    pub recent: VecDeque<ItemId>,
    /// Names of durable positions in use, by room.
    pub durables: BTreeSet<(String, Address)>,
    /// How slowly the application takes events.
    pub appetite: Duration,
    /// The token it was last given.
    pub token: Option<Token>,
    /// An owner was established in this turn, perhaps another one.
    pub owner_changed: bool,
    /// All its application was told, where the world listens.
    pub heard: Vec<Heard>,
}

/// Durable positions of an owner's store: as they were loaded, and as the machine itself moved them.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    /// Whose.
    pub owner: Option<Owner>,
    /// By name and room.
    pub at: BTreeMap<(String, Address), Cursor>,
}

/// What an application was told.
#[derive(Clone, Debug)]
pub enum Heard {
    /// An event.
    Event(ApiEvent),
    /// An answer to a call.
    Reply(Call, Result<ReplyValue, Error>),
    /// A dial began.
    Dial,
}

/// One transport as its machine sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transport {
    /// The path, once the dial succeeded.
    pub link: Option<LinkId>,
    /// The machine closed it, or was told its end.
    pub ended: bool,
}

/// What a call was.
#[derive(Clone, Debug)]
pub enum Call {
    /// Connect.
    Connect,
    /// Disconnect.
    Disconnect,
    /// Submit of an item.
    Submit(ItemId),
    /// Cancel of an item.
    Cancel(ItemId),
    /// Subscribe.
    Subscribe(SubId),
    /// Anything else.
    Other,
}

impl Process {
    /// A process that was never started.
    #[must_use]
    pub fn new(index: usize, disk: usize, identity: Identity) -> Self {
        Self {
            index,
            disk,
            home: identity.clone(),
            identity,
            life: 0,
            machine: None,
            clock: Clock::default(),
            session: Session::default(),
            cursors: None,
            batches: VecDeque::new(),
            store_free: Duration::ZERO,
            timer: None,
            lateness: Duration::ZERO,
            asleep: None,
            inbox: VecDeque::new(),
            transports: BTreeMap::new(),
            app: App::default(),
            calls: BTreeMap::new(),
            pace: Pace::default(),
            status: None,
            wants_connection: false,
            bound: None,
            producer: None,
            disturbed: None,
            provider_fails: false,
            recent: VecDeque::new(),
            durables: BTreeSet::new(),
            appetite: Duration::ZERO,
            token: None,
            owner_changed: false,
            heard: Vec::new(),
        }
    }

    /// This life.
    #[must_use]
    pub fn who(&self) -> Who {
        Who { client: self.index, life: self.life }
    }

    /// When its machine is to be woken, unless it sleeps.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        if self.asleep.is_some() || self.machine.is_none() { None } else { self.timer }
    }

    /// Whether its machine says it is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.status == Some(Status::Connected)
    }
}
