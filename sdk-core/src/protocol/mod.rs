//! The wire protocol, version 1: frames, codec, codes, limits. Server and client share it.
//!
//! `docs/protocol.md` is the specification; clause numbers such as `P-R2` point into it.

pub mod address;
pub mod close;
pub mod code;
pub mod codec;
pub mod cursor;
pub mod filter;
pub mod frames;
pub mod json;
pub mod limits;
pub mod media;
mod scribe;
pub mod wire;

pub use address::Address;
pub use code::Code;
pub use cursor::{Cursor, Mark};
pub use filter::{Clause, Filter};
pub use frames::{ClientFrame, ServerFrame, Token};
pub use json::Json;
pub use limits::Limits;
