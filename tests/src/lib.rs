//! Proof that the parts keep their promises together: the real machine opposite the real hub over
//! the real memory log, in virtual time, under faults drawn from a seed.
//!
//! ```text
//!   sim ── draws ──▶ plan, step          what a world is like, what happens next
//!    │
//!   world ── Machine ⇄ link ⇄ Hub ⇄ journal(MemoryLog)      one thing at a time
//!    │          │                │
//!   disk       app, pace        wire     what is judged at each boundary
//!    └──────────┴─── model ──────┘       what is true
//! ```
//!
//! The invariants and the faults are those of the protocol's last section; [`violation::Invariant`]
//! names the former, [`plan::Fault`] the latter.

pub mod app;
pub mod clock;
pub mod disk;
pub mod journal;
pub mod link;
pub mod model;
pub mod pace;
pub mod plan;
pub mod scenario;
pub mod sim;
pub mod step;
pub mod tokens;
pub mod trace;
pub mod violation;
#[cfg(feature = "real")]
pub mod watch;
pub mod wire;
pub mod world;
