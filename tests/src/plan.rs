//! What one seed's world is like: how many take part, how time and paths behave, which faults may come.

use crate::{link::Path, tokens::Identity};
use std::{collections::BTreeSet, time::Duration};

/// One kind of fault. Each seed allows some kinds only, so that rare combinations come up too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Transports cut at any byte.
    Cut,
    /// Transports that stand still for a while.
    Stall,
    /// Transports that go silent without an end.
    HalfOpen,
    /// 100 kbit/s, and items of up to 1 MiB.
    Narrow,
    /// Frames of old transports that come after new ones.
    Ghost,
    /// The server dies and comes back.
    ServerCrash,
    /// The server stays away for minutes.
    ServerAway,
    /// The server drains.
    Drain,
    /// The log cannot answer for a while, or is slow.
    LogAway,
    /// A durable tail of the log is lost under a living server.
    TailLost,
    /// A producer's record is lost.
    RecordLost,
    /// A client process dies and comes back.
    ClientCrash,
    /// A client's store fails.
    StoreFails,
    /// A client's store is slow.
    StoreSlow,
    /// A client's store comes back older, or empty.
    StoreRolledBack,
    /// Two processes open one store.
    StoreShared,
    /// A store is copied to another process.
    StoreCopied,
    /// A back end that numbers its publishes comes back older.
    BackEndRestored,
    /// Tokens end, and the provider fails now and then.
    Tokens,
    /// Tokens are revoked.
    Revoke,
    /// A client becomes another user.
    NewOwner,
    /// Timers fire late.
    LateTimers,
    /// Clients sleep.
    Suspend,
    /// Wall clocks jump.
    ClockJump,
    /// All rooms are quiet past retention.
    Quiet,
    /// Peers that send garbage.
    Hostile,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Cut,
        Self::Stall,
        Self::HalfOpen,
        Self::Narrow,
        Self::Ghost,
        Self::ServerCrash,
        Self::ServerAway,
        Self::Drain,
        Self::LogAway,
        Self::TailLost,
        Self::RecordLost,
        Self::ClientCrash,
        Self::StoreFails,
        Self::StoreSlow,
        Self::StoreRolledBack,
        Self::StoreShared,
        Self::StoreCopied,
        Self::BackEndRestored,
        Self::Tokens,
        Self::Revoke,
        Self::NewOwner,
        Self::LateTimers,
        Self::Suspend,
        Self::ClockJump,
        Self::Quiet,
        Self::Hostile,
    ];
}

/// One seed's world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed everything is drawn from.
    pub seed: u64,
    /// Who the client processes are.
    pub clients: Vec<Identity>,
    /// Server processes over one log.
    pub nodes: usize,
    /// The log dies with the server process (embedded); otherwise it lives elsewhere.
    pub embedded: bool,
    /// Steps before healing.
    pub steps: u32,
    /// The kinds of fault that may come.
    pub faults: BTreeSet<Fault>,
    /// How transports behave.
    pub path: Path,
    /// Time until a change is durable, at most.
    pub fsync: Duration,
    /// How long entries are kept.
    pub retention: Duration,
    /// How long tokens live.
    pub token_ttl: Option<Duration>,
    /// The room names in play.
    pub rooms: Vec<&'static str>,
    /// Check that nothing printable holds a token, at some cost.
    pub search_secrets: bool,
}

/// Rooms whose events are kept in order.
pub const LOG_ROOMS: [&str; 6] = [
    "alerts/tenant:t1",
    "alerts/tenant:t10",
    "dispatch/incident:7:org:o1",
    "default/investigation:5",
    "default/user:u1",
    "video/camera:3",
];
/// A room that keeps the newest event of each key.
pub const LATEST_ROOM: &str = "monitoring/metrics:host";
/// A room written by the server only.
pub const PUBLIC_ROOM: &str = "alerts/public:news";

impl Plan {
    /// Draws a world from its seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        Self::draw_with(seed, None)
    }

    /// Draws a world that has a kind of fault in any case.
    #[must_use]
    pub fn draw_with(seed: u64, fault: Option<Fault>) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed_0f5e_ed0f_5eed);
        let people = [
            Identity::new("t1", "u1", Some("o1")),
            Identity::new("t1", "u2", Some("o1")),
            Identity::new("t10", "u1", Some("o1")),
            Identity::new("t1", "u3", None),
        ];
        let clients = people.into_iter().take(rng.usize(2..=4)).collect();
        let mut kinds = Fault::ALL;
        rng.shuffle(&mut kinds);
        // Now and then none, mostly a few.
        let count = if rng.u8(..10) == 0 { 0 } else { rng.usize(1..=7) };
        let faults: BTreeSet<Fault> = kinds.into_iter().take(count).chain(fault).collect();
        let mut rooms = LOG_ROOMS.to_vec();
        rng.shuffle(&mut rooms);
        rooms.truncate(2);
        // One room is everybody's, so that there is always something to share.
        if !rooms.contains(&"default/investigation:5") {
            rooms.push("default/investigation:5");
        }
        // Open: a value of a lost tail stays with a member of a `latest` room whose cursor is older
        // than what it was handed (P-R9 names no proof for what was handed beyond the cursor).
        if rng.u8(..4) == 0 && !faults.contains(&Fault::TailLost) {
            rooms.push(LATEST_ROOM);
        }
        if rng.u8(..6) == 0 {
            rooms.push(PUBLIC_ROOM);
        }
        let ms = |rng: &mut fastrand::Rng, low, high| Duration::from_millis(rng.u64(low..=high));
        let token_ttl = faults.contains(&Fault::Tokens).then(|| ms(&mut rng, 30_000, 240_000));
        let retention = if faults.contains(&Fault::Quiet) {
            ms(&mut rng, 20_000, 120_000)
        } else {
            Duration::from_secs(3600)
        };
        Self {
            seed,
            clients,
            nodes: 1,
            embedded: rng.bool() && !faults.contains(&Fault::TailLost),
            steps: rng.u32(120..=260),
            path: Path { latency: ms(&mut rng, 1, 80), jitter: ms(&mut rng, 0, 60), rate: None },
            fsync: ms(&mut rng, 0, 40),
            retention,
            token_ttl,
            rooms,
            search_secrets: seed.is_multiple_of(8),
            faults,
        }
    }

    /// Whether a kind of fault may come.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
