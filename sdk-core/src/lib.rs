//! Wardline: real-time events that arrive: once, in order, none missing.
//!
//! The crate is layered; arrows never point up:
//!
//! ```text
//! client → driver → machine → protocol → model
//! ```
//!
//! Without features it holds [`model`] and [`protocol`], which the server shares. Feature `client`
//! adds the sans-IO [`machine`], the [`driver`] and the handles; feature `native` (default) adds
//! tokio, TLS and an outbox in SQLite.

pub mod fifo;
pub mod model;
pub mod planted;
pub mod protocol;
pub mod table;
pub mod time;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod driver;
#[cfg(feature = "client")]
pub mod machine;

#[cfg(feature = "native")]
pub mod native;

#[cfg(feature = "uniffi")]
uniffi::setup_scaffolding!();
