//! The client's protocol as a sans-IO state machine.

pub mod io;

pub use crate::time::{Instant, Now, UnixMillis};
pub use io::*;
