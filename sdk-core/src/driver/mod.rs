//! One generic async loop between the machine and a host.

pub mod platform;

pub use platform::{Platform, Socket, SocketEvent, Storage};
