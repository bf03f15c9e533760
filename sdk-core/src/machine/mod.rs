//! The client's protocol as a sans-IO state machine.

pub mod io;
pub mod outbox;
pub mod rooms;

pub use crate::time::{Instant, Now, UnixMillis};
pub use io::*;
