//! A site, its cameras and a terminal, built on the Wardline SDK.

pub mod board;
pub mod check;
pub mod control;
pub mod gauges;
pub mod pattern;
pub mod recording;
pub mod screen;
pub mod site;
pub mod stage;
pub mod terminal;
pub mod watch;

/// The program in the README is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
