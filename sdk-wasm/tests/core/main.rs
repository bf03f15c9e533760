//! The exported machine as a JavaScript host holds it: in Node and in a browser, by wasm-bindgen's runner (`cargo xtask wasm-tests`).
//!
//! Only what may differ on this target: 32-bit sizes, clocks that are floating point, texts and bytes that cross the
//! border, the allocator, a store that is JavaScript's.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod border;
mod bounds;
mod config;
mod driver;
mod host;
mod hostile;
mod life;
mod pictures;
mod random;
mod sending;
mod store;

// What the storage suite names in its own crate.
use wardline::{machine, model, protocol, time};
