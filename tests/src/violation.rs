//! What a broken promise is called.

use std::fmt;

/// One promise of the protocol's list of invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// An item told accepted is in the log.
    LostAck,
    /// What is handed over or told was really there.
    Invention,
    /// One append per id.
    DoubleAppend,
    /// An answer's id is the item's id.
    AnswerId,
    /// An item without a number in the store was never on any wire.
    UnnumberedOnWire,
    /// Nothing is told before it is durable.
    ToldBeforeDurable,
    /// `prev` ≤ last < `seq`.
    Position,
    /// Nothing is passed over without a gap told before.
    SilentGap,
    /// A gap is told only where something cannot be had.
    FalseGap,
    /// A lane's items stand in the log in the order of their submits.
    LaneOrder,
    /// Two readers agree on the mark at equal number.
    MarkDisagreement,
    /// Nothing is handed over twice.
    Double,
    /// A cursor never runs ahead of what is done.
    CursorAheadOfDone,
    /// A position is resumed only with proof.
    ResumeWithoutProof,
    /// Permission holds at each hand-over.
    Permission,
    /// Nothing of another tenant.
    TenantTaint,
    /// No item travels under another owner's token.
    ForeignOutbox,
    /// A held lane ends only by `base`.
    HeldLane,
    /// `done` is contiguous.
    DoneAhead,
    /// One live transport per client.
    TwoTransports,
    /// Membership equals intent.
    Membership,
    /// Every buffer has a bound.
    Unbounded,
    /// Delays between attempts keep their bounds and their distribution.
    Backoff,
    /// No attempt after a terminal code or a disconnect.
    NotSilent,
    /// A link that works is not closed by suspicion or by a slow store.
    NeedlessClose,
    /// Each submit has exactly one outcome.
    Outcome,
    /// What was told stored survives any crash.
    Durability,
    /// Presence does not flap.
    PresenceFlap,
    /// Nothing comes after the close.
    AfterClose,
    /// No token outside the frames that carry it.
    SecretLeak,
    /// No producer is called forked without cause.
    FalseFork,
    /// A sans-IO part comes to rest.
    Livelock,
    /// No panic.
    Panic,
    /// Same seed, same trace.
    Determinism,
    /// After healing: all connected, all queues empty, all caught up.
    NotHealed,
    /// A frame that is no frame of the protocol.
    BadFrame,
    /// An error was logged.
    LoggedError,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Who, what and where.
    pub detail: String,
}

impl Violation {
    /// Names a broken promise.
    #[must_use]
    pub fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.detail.char_indices().nth(500).map_or(self.detail.len(), |(at, _)| at);
        write!(f, "{:?}: {}", self.invariant, &self.detail[..end])
    }
}

impl std::error::Error for Violation {}

/// What every check returns.
pub type Checked<T = ()> = Result<T, Violation>;

/// Fails with a violation unless the condition holds; the detail is formatted only then.
#[macro_export]
macro_rules! hold {
    ($condition:expr, $invariant:ident, $($detail:tt)+) => {
        if !$condition {
            return Err($crate::violation::Violation::new(
                $crate::violation::Invariant::$invariant,
                format!($($detail)+),
            ));
        }
    };
}
