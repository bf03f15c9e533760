//! The server's protocol as a pure hub: connections, rooms, producers, presence, permissions.

pub mod alerts;
pub mod buckets;
pub mod commands;
pub mod fold;
pub mod io;
pub mod ledger;
pub mod media;
pub mod parts;
pub mod presence;
pub mod revocations;

pub use io::*;
