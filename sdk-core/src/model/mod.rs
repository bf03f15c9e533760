//! What the events of the namespaces carry: types once, for every platform.
//!
//! Each namespace has one enum that is decoded by (event name, data); what this version does not
//! know arrives as `Unknown`, as it came (C9). Old spellings are read, one is written.

mod event;
mod foreign;
mod moment;

pub mod alert;
pub mod dispatch;
pub mod ids;
pub mod monitoring;
pub mod notification;
pub mod presence;
pub mod video;

pub use alert::{Alert, AlertEvent, Severity};
pub use dispatch::DispatchEvent;
pub use monitoring::MonitoringEvent;
pub use notification::{Notification, NotificationEvent};
pub use presence::{PresenceEvent, PresenceInfo};
pub use video::VideoEvent;
