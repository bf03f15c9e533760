//! The loop with a script where the machine is: what it carries, in which order, and how it ends.

use super::{
    Engine, Link, Platform as _, SocketEvent, Storage, drive,
    fake::{FakePlatform, Peers, Wrote},
    link,
    message::Message,
    platform::Batch,
    queue::Queue,
};
use crate::{
    driver::MemoryStorage,
    machine::{
        ApiEvent, BatchId, CallId, Close, Command, Error, Generation, Input, Instant, Now, Outcome,
        Output, Owner, PresenceChange, ReplyValue, Snapshot, StoreError, StoreOp, SubId, Subscribe,
    },
    model::{
        ids::{ItemId, ProducerId},
        presence::Status,
    },
    protocol::{
        Code, Json,
        frames::{Event, Member},
    },
};
use futures_channel::oneshot;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

type Answers = Box<dyn FnMut(&Input, Now) -> Vec<Output> + Send>;

struct Script {
    seen: Arc<Mutex<Vec<String>>>,
    answers: Answers,
    outputs: VecDeque<Output>,
    timeout: Option<Instant>,
}

impl Engine for Script {
    fn handle_input(&mut self, input: Input, now: Now) {
        self.seen.lock().unwrap().push(short(&input));
        if let Input::Command(Command::Disconnect(CallId(0))) = input {
            self.outputs.push_back(Output::Reply(CallId(0), Ok(ReplyValue::Done)));
        }
        for output in (self.answers)(&input, now) {
            match output {
                Output::Timeout(at) => self.timeout = at,
                output => self.outputs.push_back(output),
            }
        }
    }

    fn poll_output(&mut self, _: Now) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Timeout(self.timeout))
    }
}

fn short(input: &Input) -> String {
    match input {
        Input::Command(command) => {
            let text = format!("{command:?}");
            text.split('(').next().unwrap_or_default().to_owned()
        }
        Input::Text(generation, text) => format!("text {} {text}", generation.0),
        Input::Stored(batch, result) => format!("stored {} {}", batch.0, result.is_ok()),
        Input::Loaded(_) => "loaded".into(),
        Input::Opened(generation) => format!("opened {}", generation.0),
        Input::Closed(generation, close) => format!("closed {} {}", generation.0, close.code),
        Input::Timeout => "timeout".into(),
        other => format!("{other:?}"),
    }
}

struct Rig {
    link: Link,
    peers: Peers,
    seen: Arc<Mutex<Vec<String>>>,
    driver: JoinHandle<()>,
}

impl Rig {
    fn new(storage: impl Storage + Send, answers: Answers) -> Self
where {
        Self::starting(storage, Vec::new(), answers)
    }

    fn starting<S: Storage + Send>(storage: S, outputs: Vec<Output>, answers: Answers) -> Self {
        let (platform, peers) = FakePlatform::new();
        let (link, messages, state) = link(number);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script =
            Script { seen: Arc::clone(&seen), answers, outputs: outputs.into(), timeout: None };
        let local = drive(platform, storage, script, messages, state);
        let driver = tokio::task::spawn_local(local);
        Self { link, peers, seen, driver }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    async fn until(&self, wanted: &str) {
        while !self.seen().iter().any(|seen| seen == wanted) {
            tokio::task::yield_now().await;
        }
    }
}

fn number() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).into()
}

fn nothing() -> Answers {
    Box::new(|_, _| Vec::new())
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(test).await
}

const ONE: Generation = Generation(1);

fn normal() -> Close {
    Close { code: 1000, reason: String::new() }
}

#[tokio::test(start_paused = true)]
async fn calls_reach_the_machine_in_order_and_each_caller_gets_its_own_answer() {
    local(async {
        let answers: Answers = Box::new(|input, _| match input {
            Input::Command(Command::Query(call, method, _)) => {
                vec![Output::Reply(*call, Ok(ReplyValue::Json(Json::of(method).unwrap())))]
            }
            _ => Vec::new(),
        });
        let rig = Rig::new(MemoryStorage::default(), answers);
        let ask = |word: &str| {
            let word = word.to_owned();
            rig.link.call(move |call| Command::Query(call, word, Json::null()))
        };
        let (a, b) = futures_util::join!(ask("a"), ask("b"));
        assert_eq!(a, Ok(ReplyValue::Json(Json::of("a").unwrap())));
        assert_eq!(b, Ok(ReplyValue::Json(Json::of("b").unwrap())));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_transport_is_dialled_written_and_read_and_nothing_of_a_closed_one_counts() {
    local(async {
        let answers: Answers = Box::new(|input, _| match input {
            Input::Opened(_) => vec![
                Output::Text(ONE, "hello".into()),
                Output::Text(Generation(7), "of another transport".into()),
            ],
            Input::Text(_, text) if text == "enough" => vec![Output::Close(ONE, normal())],
            _ => Vec::new(),
        });
        let dial = vec![Output::Dial(ONE, "ws://x".into())];
        let mut rig = Rig::starting(MemoryStorage::default(), dial, answers);
        let mut peer = rig.peers.recv().await.unwrap();
        assert!(matches!(peer.wrote().await, Wrote::Text(text) if text == "hello"));
        peer.report(SocketEvent::Text("enough".into()));
        assert!(matches!(peer.wrote().await, Wrote::Close(close) if close == normal()));
        peer.report(SocketEvent::Text("late".into()));
        peer.report(SocketEvent::Closed(normal()));
        rig.link.tell(Message::Tell(Command::SetToken("x".into())));
        rig.until("SetToken").await;
        assert_eq!(rig.seen(), ["opened 1", "text 1 enough", "SetToken"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_is_answered_when_the_transport_is_closed() {
    local(async {
        let answers: Answers = Box::new(|input, _| match input {
            Input::Command(Command::Disconnect(call)) if call.0 != 0 => {
                vec![Output::Close(ONE, normal()), Output::Reply(*call, Ok(ReplyValue::Done))]
            }
            _ => Vec::new(),
        });
        let dial = vec![Output::Dial(ONE, "ws://x".into())];
        let mut rig = Rig::starting(MemoryStorage::default(), dial, answers);
        let mut peer = rig.peers.recv().await.unwrap();
        rig.until("opened 1").await;
        let disconnect = rig.link.call(Command::Disconnect);
        let mut disconnect = std::pin::pin!(disconnect);
        let wrote = tokio::select! {
            biased;
            _ = &mut disconnect => panic!("answered before the close"),
            wrote = peer.wrote() => wrote,
        };
        assert!(matches!(wrote, Wrote::Close(_)));
        peer.report(SocketEvent::Closed(normal()));
        assert_eq!(disconnect.await, Ok(ReplyValue::Done));
    })
    .await;
}

/// A store whose commits wait until they are let go.
struct Slow {
    inner: MemoryStorage,
    go: tokio::sync::mpsc::UnboundedReceiver<()>,
    sizes: Arc<Mutex<Vec<usize>>>,
}

impl Storage for Slow {
    async fn load(&mut self, owner: Option<Owner>) -> Result<Snapshot, StoreError> {
        self.inner.load(owner).await
    }

    async fn commit(&mut self, batches: Vec<Batch>) -> Vec<(BatchId, Result<(), StoreError>)> {
        self.go.recv().await;
        self.sizes.lock().unwrap().push(batches.len());
        self.inner.commit(batches).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_stops_nothing_and_what_waits_shares_one_sync_in_order() {
    local(async {
        let mut next = 0;
        let answers: Answers = Box::new(move |input, _| match input {
            Input::Command(Command::SetToken(_)) => {
                next += 1;
                vec![Output::Store(BatchId(next), vec![StoreOp::Producer(ProducerId(1))])]
            }
            _ => Vec::new(),
        });
        let (go, wait) = tokio::sync::mpsc::unbounded_channel();
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let inner = MemoryStorage::default();
        let slow = Slow { inner, go: wait, sizes: Arc::clone(&sizes) };
        let start = vec![Output::Load(None), Output::Dial(ONE, "ws://x".into())];
        let mut rig = Rig::starting(slow, start, answers);
        let peer = rig.peers.recv().await.unwrap();
        rig.until("loaded").await;
        rig.until("opened 1").await;
        rig.link.tell(Message::Tell(Command::SetToken("x".into())));
        rig.until("SetToken").await;
        // The first commit is under way by now; what comes next waits for it together.
        tokio::time::sleep(Duration::from_millis(1)).await;
        for _ in 0..3 {
            rig.link.tell(Message::Tell(Command::SetToken("x".into())));
        }
        peer.report(SocketEvent::Text("meanwhile".into()));
        rig.until("text 1 meanwhile").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!rig.seen().iter().any(|seen| seen.starts_with("stored")));
        go.send(()).unwrap();
        rig.until("stored 1 true").await;
        go.send(()).unwrap();
        rig.until("stored 4 true").await;
        let stored: Vec<_> =
            rig.seen().into_iter().filter(|seen| seen.starts_with("stored")).collect();
        assert_eq!(stored, ["stored 1 true", "stored 2 true", "stored 3 true", "stored 4 true"]);
        assert_eq!(*sizes.lock().unwrap(), [1, 3]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_told_in_time_even_while_frames_keep_coming() {
    local(async {
        let at = Instant::new(Duration::from_millis(50));
        let answers: Answers = Box::new(move |input, _| match input {
            Input::Opened(_) => vec![Output::Timeout(Some(at))],
            Input::Timeout => vec![Output::Timeout(None), Output::Text(ONE, "due".into())],
            _ => Vec::new(),
        });
        let dial = vec![Output::Dial(ONE, "ws://x".into())];
        let mut rig = Rig::starting(MemoryStorage::default(), dial, answers);
        let mut peer = rig.peers.recv().await.unwrap();
        rig.until("opened 1").await;
        // All that is sent is there before the loop runs again: it never has to wait.
        tokio::time::advance(Duration::from_millis(60)).await;
        for _ in 0..100 {
            peer.report(SocketEvent::Text("busy".into()));
        }
        assert!(matches!(peer.wrote().await, Wrote::Text(text) if text == "due"));
        let before = rig.seen().iter().position(|seen| seen == "timeout").unwrap();
        assert!(before < 10, "{before} frames were fed first");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_the_last_handle_goes_the_driver_disconnects_and_all_who_wait_are_told() {
    local(async {
        let rig = Rig::new(MemoryStorage::default(), nothing());
        let queue = Arc::new(Queue::default());
        let (reply, joining) = oneshot::channel();
        let subscribe =
            Command::Subscribe(CallId(1), SubId(2), "a/b".parse().unwrap(), Subscribe::default());
        let to = Arc::clone(&queue);
        rig.link.tell(Message::Subscribe(CallId(1), SubId(2), Box::new(subscribe), reply, to));
        let Rig { link, driver, seen, peers: _peers } = rig;
        drop(link);
        driver.await.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["Subscribe", "Disconnect"]);
        assert!(joining.await.is_err());
        assert_eq!(queue.next().await, None);
    })
    .await;
}

fn event(seq: Option<u64>) -> ApiEvent {
    let json = match seq {
        Some(seq) => format!(r#"{{"room":"a/b","event":"x","seq":{seq}}}"#),
        None => r#"{"room":"a/b","event":"x"}"#.to_owned(),
    };
    ApiEvent::Event(SubId(2), Box::new(serde_json::from_str::<Event>(&json).unwrap()))
}

fn joined(user: &str, status: Status) -> ApiEvent {
    let member = Member { user: user.into(), status, meta: None };
    ApiEvent::Presence(SubId(2), PresenceChange::Updated(member))
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_leaves_lying_stays_bounded_and_numbered_events_are_never_dropped() {
    local(async {
        let mut outputs = Vec::new();
        let event_out = |event| Output::Event(event);
        outputs.extend((0..10_000).map(|_| event_out(event(None))));
        outputs.extend((1..=10).map(|seq| event_out(event(Some(seq)))));
        outputs.extend(
            (0..500).map(|i| event_out(joined(if i % 2 == 0 { "a" } else { "b" }, Status::Busy))),
        );
        outputs.push(event_out(joined("a", Status::Away)));
        outputs.extend((0..5).map(|_| event_out(ApiEvent::Live(SubId(2)))));
        let mut outputs = Some(outputs);
        let answers: Answers = Box::new(move |input, _| match input {
            Input::Command(Command::SetToken(_)) => outputs.take().unwrap_or_default(),
            _ => Vec::new(),
        });
        let rig = Rig::new(MemoryStorage::default(), answers);
        let queue = Arc::new(Queue::default());
        let (reply, _joining) = oneshot::channel();
        let subscribe =
            Command::Subscribe(CallId(1), SubId(2), "a/b".parse().unwrap(), Subscribe::default());
        let to = Arc::clone(&queue);
        rig.link.tell(Message::Subscribe(CallId(1), SubId(2), Box::new(subscribe), reply, to));
        rig.link.tell(Message::Tell(Command::SetToken("x".into())));
        rig.until("SetToken").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut all = Vec::new();
        while let Some(event) = queue.try_next() {
            all.push(event);
        }
        let numbered = all.iter().filter(|e| matches!(e, ApiEvent::Event(_, b) if b.seq.is_some()));
        assert_eq!(numbered.count(), 10);
        let presence: Vec<_> = all.iter().filter(|e| matches!(e, ApiEvent::Presence(..))).collect();
        assert_eq!(presence, [&joined("b", Status::Busy), &joined("a", Status::Away)]);
        assert_eq!(all.iter().filter(|e| matches!(e, ApiEvent::Live(_))).count(), 1);
        assert_eq!(all.len(), 4096 + 10 + 2 + 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn c14_an_end_no_one_waits_for_is_told_to_all_who_listen() {
    local(async {
        let refused = Outcome::Refused(Code::FORBIDDEN, "no".into());
        let told = ApiEvent::Settled(ItemId(9), refused.clone());
        let out = told.clone();
        let answers: Answers = Box::new(move |input, _| match input {
            Input::Command(Command::SetToken(_)) => vec![Output::Event(out.clone())],
            Input::Command(Command::Submit(call, _)) => {
                vec![Output::Reply(*call, Ok(ReplyValue::Queued(ItemId(9))))]
            }
            _ => Vec::new(),
        });
        let rig = Rig::new(MemoryStorage::default(), answers);
        let listener = Arc::new(Queue::default());
        rig.link.tell(Message::Listen(Arc::downgrade(&listener)));
        let submit = || {
            let (reply, queued) = oneshot::channel::<Result<ReplyValue, Error>>();
            let (settled, outcome) = oneshot::channel();
            let (result, results) = oneshot::channel();
            let item = crate::machine::NewItem {
                id: ItemId(9),
                lane: 0,
                room: "a/b".parse().unwrap(),
                event: "x".into(),
                data: Json::null(),
                key: None,
                persist: true,
                ttl: None,
                command: true,
            };
            let command = Box::new(Command::Submit(CallId(5), item));
            rig.link.tell(Message::Submit(
                CallId(5),
                ItemId(9),
                command,
                reply,
                settled,
                Some(result),
            ));
            (queued, outcome, results)
        };
        let (queued, outcome, results) = submit();
        queued.await.unwrap().unwrap();
        rig.link.tell(Message::Tell(Command::SetToken("x".into())));
        assert_eq!(outcome.await.unwrap(), refused);
        // A command that was not accepted has its refusal for a result.
        assert_eq!(results.await.unwrap().unwrap_err().code, Code::FORBIDDEN);
        assert!(listener.is_empty());
        drop(submit());
        rig.link.tell(Message::Tell(Command::SetToken("x".into())));
        assert_eq!(listener.next().await, Some(told));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_host_tells_time_as_a_host_must() {
    let (platform, _peers) = FakePlatform::new();
    let before = platform.now();
    platform.sleep(Duration::from_secs(3)).await;
    let after = platform.now();
    assert_eq!(after.mono.since(before.mono), Duration::from_secs(3));
    assert_eq!(after.wall.0 - before.wall.0, 3000);
}
