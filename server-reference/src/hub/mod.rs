//! The server's protocol as a pure hub: connections, rooms, producers, presence, permissions.

pub mod buckets;
pub mod io;
pub mod media;
pub mod presence;

pub use io::*;
