//! Deliberate faults, so that the simulation proves it would find them (feature `planted`).
//!
//! Each is asked for at the one place where the rule it breaks lives:
//! `if planted(Bug::LoseAck) { … }`. Without the feature the question is a constant `false`.

/// One deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The server drops an `ok` and the record of it.
    LoseAck,
    /// The event at the seam of replay and live is handed over twice.
    DoubleSeam,
    /// `prev` is one too high.
    PrevOffByOne,
    /// Frames of an older transport are believed.
    StaleGeneration,
    /// A stored cursor moves before the application is done.
    CursorBeforeDone,
    /// A cursor is proved by its number alone.
    ProveWithoutMark,
    /// The hub takes or drops entries by their number without looking at their mark.
    ///
    /// Only to *drop* those at or below its head unchecked would show later, not wrong: the first entry
    /// above the head is chained from another mark, and each ping interval proves the head (P-K2), so
    /// `lost` is told to all before anything newer.
    DropUnchecked,
    /// A number below `accepted` is answered without comparing ids.
    RepeatWithoutId,
    /// A repeated outcome is answered before its commit is durable.
    RepeatBeforeFsync,
    /// `done` is the highest number sent instead of the contiguous one that was answered.
    ///
    /// The highest *answered* one would not show: a lane's answers come in the order of its numbers.
    DoneHighest,
    /// A held lane goes on at any number instead of at `base`.
    ///
    /// To go on at n = accepted + 1 alone would not show: a client sends that number with `base`, and
    /// what it sent before it heard of the hold is above it.
    HoldEndedByNext,
    /// A room's tenant is compared by prefix.
    PrefixTenant,
    /// Events are delivered after the token's end.
    DeliverAfterExpiry,
    /// The backoff starts again at the dial instead of 10 s after `welcome`.
    ResetBackoffEarly,
    /// A cancelled item that was accepted gets both outcomes.
    TwoOutcomes,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::LoseAck,
        Self::DoubleSeam,
        Self::PrevOffByOne,
        Self::StaleGeneration,
        Self::CursorBeforeDone,
        Self::ProveWithoutMark,
        Self::DropUnchecked,
        Self::RepeatWithoutId,
        Self::RepeatBeforeFsync,
        Self::DoneHighest,
        Self::HoldEndedByNext,
        Self::PrefixTenant,
        Self::DeliverAfterExpiry,
        Self::ResetBackoffEarly,
        Self::TwoOutcomes,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches one fault on for this thread, or all off.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    ACTIVE.with(|active| active.set(bug));
}

/// Whether this fault is switched on.
#[cfg(feature = "planted")]
#[must_use]
pub fn planted(bug: Bug) -> bool {
    ACTIVE.with(std::cell::Cell::get) == Some(bug)
}

/// Whether this fault is switched on: never, in this build.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline]
pub const fn planted(_: Bug) -> bool {
    false
}
