//! The Wardline reference server.

pub mod hub;
pub mod log;
