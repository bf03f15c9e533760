//! The servers that Wardline is measured beside. Their protocol: `J<room>` joins, `P<room> <text>` sends
//! `D<text>` to the room, `E<text>` is echoed.

pub(crate) mod axum;
pub(crate) mod limit;

use std::collections::HashMap;

/// Members by room.
pub(crate) type Rooms<T> = HashMap<String, Vec<T>>;
