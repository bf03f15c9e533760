//! Presence: who is in a room, and how (P-P).

use serde::{Deserialize, Serialize};

/// How a user is present.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There, and visible.
    #[default]
    Online,
    /// There, but no one looks.
    Away,
    /// There, and not to be disturbed.
    Busy,
    /// Shown as not there.
    Offline,
}
