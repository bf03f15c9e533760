//! The embedded log: durable, on this machine's disk, over the key-value engine `fjall`.
//!
//! Entries stand in buckets, a table each for a quarter of their time to live, so that retention
//! drops a table and leaves no holes. Everything else is a few tables of small rows. All that a
//! turn writes is one commit with one fsync.

mod access;
mod cache;
mod codec;
pub(crate) mod engine;
mod retire;
mod store;
#[cfg(test)]
mod tests;
mod torn;

pub use store::StoreError;
