//! The server's protocol as a pure hub: connections, rooms, producers, presence, permissions.

pub mod io;

pub use io::*;
