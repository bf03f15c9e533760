//! Wardline in JavaScript hosts: trait impls over web-sys and exported classes, nothing else.
//!
//! JSON text crosses; pictures cross as `Uint8Array`. Exported methods take `&self` and return a
//! `Promise` built from clones, and hold no borrow across a JavaScript call or an await: listeners
//! may call back into the same object, and `free()` is safe at any time.
#![cfg(target_arch = "wasm32")]

mod client;
mod platform;
mod room;
mod socket;
mod value;

pub use client::Client;
pub use room::{Room, Sending};
