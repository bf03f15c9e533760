//! The Wardline reference server: a durable log per room behind one WebSocket protocol.
//!
//! [`Server`] is the library; the binary `wardline-server` is a thin command line over it.
//!
//! ```text
//! edge (sockets, HTTP) → hub (pure: rooms, producers, presence) ⇄ log (durable)
//! ```
//!
//! # Examples
//! ```
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

pub mod auth;
pub mod config;
mod edge;
mod http;
pub mod hub;
pub mod log;
pub mod ops;
pub mod server;

pub use server::{Builder, Command, Server, StartError};
