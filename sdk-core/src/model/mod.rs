//! What the events of the namespaces carry: types once, for every platform.

pub mod ids;
pub mod monitoring;
pub mod presence;
