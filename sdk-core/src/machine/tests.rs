//! The machine opposite a scripted peer, on a virtual clock.

mod connection;
mod frames;
mod rig;
mod tokens;
