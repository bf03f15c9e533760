//! What the events of the namespaces carry: types once, for every platform.
//!
//! Each namespace has one enum that is decoded by (event name, data); what this version does not
//! know arrives as `Unknown`, as it came (C9). Old spellings are read, one is written.

mod event;
mod moment;

pub mod alert;
pub mod ids;
pub mod monitoring;
pub mod presence;

pub use alert::{Alert, AlertEvent, Severity};
