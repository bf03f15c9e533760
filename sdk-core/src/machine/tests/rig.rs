//! A machine whose store answers at once and whose peer is the test.

use crate::{
    machine::{
        ApiEvent, CallId, Close, Command, Config, DialError, Error, Generation, Input, Instant,
        Machine, Now, Output, Reason, ReplyValue, Snapshot, Status, StoreOp, UnixMillis,
    },
    protocol::{
        ClientFrame, Limits, ServerFrame, Token, codec,
        frames::{ClientInfo, Hello, Lanes, Welcome},
    },
};
use std::{collections::VecDeque, time::Duration};

pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;

pub(super) struct Rig {
    pub(super) machine: Machine,
    pub(super) now: Now,
    pub(super) deadline: Option<Instant>,
    /// Everything but store, load and timeout.
    pub(super) out: Vec<Output>,
    pub(super) writes: Vec<StoreOp>,
    pub(super) loads: Vec<Option<crate::machine::Owner>>,
    /// What the next load gives.
    pub(super) stored: Snapshot,
    /// The socket takes everything at once.
    pub(super) fast: bool,
    next_call: u64,
}

pub(super) fn config() -> Config {
    Config {
        url: "ws://server".into(),
        client: ClientInfo::default(),
        auto_reconnect: true,
        max_attempts: None,
        has_token_provider: false,
        token: Some("t0".into()),
        max_items: 1000,
        max_bytes: 1 << 20,
        stop_lanes: Vec::new(),
        max_calls: 10,
        seed: 7,
    }
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Rig {
    pub(super) fn new(config: Config) -> Self {
        let mut rig = Self::unloaded(config);
        rig.load();
        rig
    }

    /// A rig whose store can be filled before [`Rig::load`].
    pub(super) fn unloaded(config: Config) -> Self {
        Self {
            machine: Machine::new(config),
            now: Now { mono: Instant::default(), wall: UnixMillis(EPOCH_MS) },
            deadline: None,
            out: Vec::new(),
            writes: Vec::new(),
            loads: Vec::new(),
            stored: Snapshot { durable: true, ..Snapshot::default() },
            fast: true,
            next_call: 1,
        }
    }

    /// Lets the machine begin.
    pub(super) fn load(&mut self) {
        self.drain();
    }

    /// A rig that asked to connect; its first dial waits.
    pub(super) fn connecting(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.command(Command::Connect);
        rig
    }

    /// A rig with a connection.
    pub(super) fn connected(config: Config) -> Self {
        let mut rig = Self::connecting(config);
        rig.accept();
        rig.out.clear();
        rig
    }

    pub(super) fn input(&mut self, input: Input) {
        self.machine.handle_input(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut inputs = VecDeque::new();
        loop {
            match self.machine.poll_output(self.now) {
                Output::Timeout(deadline) => match inputs.pop_front() {
                    Some(input) => self.machine.handle_input(input, self.now),
                    None => {
                        self.deadline = deadline;
                        return;
                    }
                },
                Output::Load(owner) => {
                    self.loads.push(owner);
                    inputs.push_back(Input::Loaded(Ok(Box::new(self.stored.clone()))));
                }
                Output::Store(batch, ops) => {
                    self.writes.extend(ops);
                    inputs.push_back(Input::Stored(batch, Ok(())));
                }
                output => {
                    if let Output::Text(generation, _) = &output
                        && self.fast
                    {
                        inputs.push_back(Input::Unsent(*generation, 0));
                    }
                    self.out.push(output);
                }
            }
        }
    }

    /// Calls; the answer is found by the number returned.
    pub(super) fn command(&mut self, command: impl FnOnce(CallId) -> Command) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.input(Input::Command(command(call)));
        call
    }

    /// Lets time pass, with every timeout at its moment.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        let mut rounds = 0;
        while let Some(at) = self.deadline.filter(|at| *at <= end) {
            self.jump(at.since(self.now.mono));
            self.input(Input::Timeout);
            rounds += 1;
            assert!(rounds < 100_000, "a deadline that is never met: {:?}", self.deadline);
        }
        self.jump(end.since(self.now.mono));
    }

    /// Lets time pass unnoticed.
    pub(super) fn jump(&mut self, span: Duration) {
        self.now.mono = self.now.mono + span;
        self.now.wall.0 =
            EPOCH_MS + u64::try_from(self.now.mono.since_start().as_millis()).unwrap();
    }

    /// The transport that counts.
    pub(super) fn generation(&self) -> Generation {
        self.machine.generation().expect("a transport")
    }

    /// Whether a dial waits for its end.
    pub(super) fn is_dialing(&self) -> bool {
        self.machine.generation().is_some() && !self.machine.is_welcomed()
    }

    /// Lets the dial succeed.
    pub(super) fn open(&mut self) {
        let generation = self.generation();
        self.input(Input::Opened(generation));
    }

    /// Lets the dial succeed and welcomes.
    pub(super) fn accept(&mut self) {
        self.open();
        self.say(welcome("ann"));
        assert!(self.machine.is_welcomed());
    }

    /// Waits for the next dial; returns how long that took.
    pub(super) fn wait_for_dial(&mut self) -> Duration {
        let from = self.now.mono;
        while !self.is_dialing() {
            let at = self.deadline.expect("a dial to come");
            self.pass(at.since(self.now.mono));
            assert!(self.now.mono.since(from) < secs(1000), "no dial");
        }
        self.now.mono.since(from)
    }

    pub(super) fn say(&mut self, frame: impl Into<ServerFrame>) {
        let generation = self.generation();
        self.input(Input::Text(generation, frame.into().encode()));
    }

    pub(super) fn close(&mut self, code: u16, reason: &str) {
        let generation = self.generation();
        self.input(Input::Closed(generation, Close { code, reason: reason.into() }));
    }

    pub(super) fn fail_dial(&mut self, status: Option<u16>, retry_after: Option<Duration>) {
        let error = DialError { status, retry_after, message: "refused".into() };
        let generation = self.generation();
        self.input(Input::DialFailed(generation, error));
    }

    /// The frames written since the last look, outputs of other kinds kept.
    pub(super) fn frames(&mut self) -> Vec<ClientFrame> {
        let mut frames = Vec::new();
        self.out.retain(|output| match output {
            Output::Text(_, text) => {
                frames.extend(codec::objects(text).map(|o| ClientFrame::decode(o).unwrap()));
                false
            }
            _ => true,
        });
        frames
    }

    pub(super) fn kinds(&mut self) -> Vec<String> {
        self.frames().iter().map(|frame| frame.kind().to_owned()).collect()
    }

    pub(super) fn hello(&mut self) -> Hello {
        match self.frames().into_iter().next() {
            Some(ClientFrame::Hello(hello)) => hello,
            other => panic!("hello, not {other:?}"),
        }
    }

    /// The closes since the last look.
    pub(super) fn closes(&mut self) -> Vec<u16> {
        let mut codes = Vec::new();
        self.out.retain(|output| match output {
            Output::Close(_, close) => {
                codes.push(close.code);
                false
            }
            _ => true,
        });
        codes
    }

    /// The events since the last look.
    pub(super) fn events(&mut self) -> Vec<ApiEvent> {
        let mut events = Vec::new();
        self.out.retain(|output| match output {
            Output::Event(event) => {
                events.push(event.clone());
                false
            }
            _ => true,
        });
        events
    }

    pub(super) fn statuses(&mut self) -> Vec<(Status, Reason)> {
        let status = |event| match event {
            ApiEvent::Status { status, reason, .. } => Some((status, reason)),
            _ => None,
        };
        self.events().into_iter().filter_map(status).collect()
    }

    pub(super) fn reply(&self, call: CallId) -> Option<&Result<ReplyValue, Error>> {
        self.out.iter().find_map(|output| match output {
            Output::Reply(to, result) if *to == call => Some(result),
            _ => None,
        })
    }

    /// How often the token provider was asked since the last look.
    pub(super) fn fetches(&mut self) -> usize {
        let before = self.out.len();
        self.out.retain(|output| !matches!(output, Output::FetchToken));
        before - self.out.len()
    }

    pub(super) fn token(&mut self, token: Option<&str>) {
        self.input(Input::Token(token.map(Token::from)));
    }
}

pub(super) fn welcome(user: &str) -> Welcome {
    Welcome {
        connection: "c1".into(),
        tenant: "acme".into(),
        user: user.into(),
        accepted: Some(Lanes::new()),
        ping: 30_000,
        expires_in: Some(1_000_000),
        time: EPOCH_MS,
        limits: Limits::default(),
        features: Vec::new(),
    }
}
