//! Wardline for Kotlin, Swift and Python: UniFFI objects over one [`wardline::client::Client`].
//!
//! Constructors are synchronous, everything that waits is async, events are pulled. Types of
//! payloads are those of the core. Nothing here decides anything.

mod client;
mod room;
mod runtime;
mod sending;

pub use client::{Client, ClientEvent, Config};
pub use room::{Event, JoinOptions, Payload, Room, RoomEvent};
pub use runtime::shutdown;
pub use sending::{SendOptions, Sending};

uniffi::setup_scaffolding!();
