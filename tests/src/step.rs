//! Everything that can happen, with how often it does.

use crate::plan::{Fault, Plan};

/// One step of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but time.
    Idle,
    /// An application submits a few items.
    Submit,
    /// An application submits one item of up to 1 MiB.
    SubmitLarge,
    /// An application takes an item back.
    Cancel,
    /// An application subscribes.
    Subscribe,
    /// An application ends a subscription.
    Unsubscribe,
    /// An application sends something ephemeral.
    Cast,
    /// An application asks something.
    Query,
    /// An application sets its presence.
    Presence,
    /// An application disconnects.
    Disconnect,
    /// An application connects.
    Connect,
    /// An application submits a command.
    Command,
    /// The server publishes.
    Publish,
    /// An application becomes hungrier or slower.
    Appetite,
    /// The host signals.
    Signal,
    /// A transport is cut.
    Cut,
    /// A transport stands still.
    Stall,
    /// A transport goes silent.
    HalfOpen,
    /// A transport becomes narrow.
    Narrow,
    /// A server dies and comes back soon.
    ServerCrash,
    /// A server dies and comes back in minutes.
    ServerAway,
    /// A server drains.
    Drain,
    /// The log cannot answer for a while.
    LogAway,
    /// The log is slow for a while.
    LogSlow,
    /// The log loses a durable tail.
    TailLost,
    /// The log loses a producer's record.
    RecordLost,
    /// A client process dies and comes back.
    ClientCrash,
    /// A store fails.
    StoreFails,
    /// A store is slow.
    StoreSlow,
    /// A store is remembered as it is.
    StoreBackup,
    /// A store comes back older.
    StoreRolledBack,
    /// A store comes back empty.
    StoreWiped,
    /// A process opens another's store.
    StoreShared,
    /// A process comes back with a copy of another's store.
    StoreCopied,
    /// A back end comes back from a backup.
    BackEndRestored,
    /// A provider begins to fail, or stops.
    ProviderFails,
    /// The verifier has no keys for a while.
    KeysMissing,
    /// An application sets a token of its own accord.
    SetToken,
    /// An application's user loses or regains its organization.
    Reclaim,
    /// An application becomes another user.
    NewOwner,
    /// A user or token is cut off.
    Revoke,
    /// A client sleeps.
    Suspend,
    /// A wall clock jumps.
    ClockJump,
    /// Nothing happens for longer than entries are kept.
    Quiet,
    /// A peer sends garbage.
    Hostile,
}

/// Steps and how often each is taken, for one plan.
#[derive(Clone, Debug)]
pub struct Deck {
    steps: Vec<(u32, Step)>,
    total: u32,
}

impl Deck {
    /// The steps a plan allows.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        use Step::*;
        let mut steps = vec![
            (20, Idle),
            (50, Submit),
            (6, Cancel),
            (12, Subscribe),
            (4, Unsubscribe),
            (5, Cast),
            (4, Query),
            (4, Presence),
            (2, Disconnect),
            (4, Connect),
            (3, Command),
            (5, Publish),
            (4, Appetite),
            (3, Signal),
        ];
        let of_fault = |fault: Fault| -> &'static [(u32, Step)] {
            match fault {
                Fault::Cut => &[(14, Cut)],
                Fault::Stall => &[(8, Stall)],
                Fault::HalfOpen => &[(6, HalfOpen)],
                Fault::Narrow => &[(3, SubmitLarge), (4, Narrow)],
                Fault::Ghost => &[(8, Cut)],
                Fault::ServerCrash => &[(6, ServerCrash)],
                Fault::ServerAway => &[(2, ServerAway)],
                Fault::Drain => &[(4, Drain)],
                Fault::LogAway => &[(5, LogAway), (4, LogSlow)],
                Fault::TailLost => &[(5, TailLost), (4, LogSlow)],
                Fault::RecordLost => &[(3, RecordLost), (3, Cut)],
                Fault::ClientCrash => &[(6, ClientCrash)],
                Fault::StoreFails => &[(6, StoreFails), (3, ClientCrash)],
                Fault::StoreSlow => &[(6, StoreSlow)],
                Fault::StoreRolledBack => {
                    &[(4, StoreBackup), (3, StoreRolledBack), (1, StoreWiped)]
                }
                Fault::StoreShared => &[(3, StoreShared), (2, ClientCrash)],
                Fault::StoreCopied => &[(3, StoreCopied), (3, Cut)],
                Fault::BackEndRestored => &[(5, BackEndRestored), (8, Publish)],
                Fault::Tokens => {
                    &[(3, ProviderFails), (2, KeysMissing), (2, SetToken), (4, Reclaim)]
                }
                Fault::Revoke => &[(4, Revoke)],
                Fault::NewOwner => &[(4, NewOwner)],
                Fault::LateTimers => &[],
                Fault::Suspend => &[(6, Suspend)],
                Fault::ClockJump => &[(6, ClockJump)],
                Fault::Quiet => &[(4, Quiet), (4, Cut)],
                Fault::Hostile => &[(10, Hostile)],
            }
        };
        for fault in &plan.faults {
            steps.extend_from_slice(of_fault(*fault));
        }
        let total = steps.iter().map(|(weight, _)| weight).sum();
        Self { steps, total }
    }

    /// Draws a step.
    pub fn draw(&self, rng: &mut fastrand::Rng) -> Step {
        let mut at = rng.u32(..self.total);
        for (weight, step) in &self.steps {
            if at < *weight {
                return *step;
            }
            at -= weight;
        }
        Step::Idle
    }
}
