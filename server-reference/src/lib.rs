//! The Wardline reference server: a durable log per room behind one WebSocket protocol.
//!
//! [`Server`] is the library; the binary `wardline-server` is a thin command line over it.
//!
//! ```text
//! edge (sockets, HTTP) → hub (pure: rooms, producers, presence) ⇄ log (durable)
//! ```
//!
//! Feature `serve` (default) is everything but the pure parts: the simulation runs [`hub`] and the
//! log in memory without it.
//!
//! # Examples
//! ```
//! # #[cfg(feature = "serve")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let server = wardline_server::Server::builder()
//!     .set("jwt_secret", "a secret of more than thirty-two characters")
//!     .set("host", "127.0.0.1")
//!     .set("port", "0")
//!     .set("log", "memory")
//!     .start()
//!     .await?;
//! assert_ne!(server.addr().port(), 0);
//! server.shutdown().await;
//! # Ok::<_, wardline_server::StartError>(()) }).unwrap();
//! ```

#[cfg(feature = "serve")]
pub mod auth;
#[cfg(feature = "serve")]
pub mod config;
#[cfg(feature = "serve")]
mod edge;
#[cfg(feature = "serve")]
mod http;
pub mod hub;
pub mod log;
#[cfg(feature = "serve")]
pub mod ops;
#[cfg(feature = "serve")]
pub mod server;

#[cfg(feature = "serve")]
pub use server::{Builder, Command, Server, StartError, check};

/// The guide, so that its example compiles.
#[cfg(all(doctest, feature = "serve"))]
#[doc = include_str!("../../docs/server.md")]
struct Guide;
