//! The rooms opposite a small server that keeps logs with marks, in virtual time.

use super::*;
use crate::{
    machine::io::Subscribe,
    protocol::{
        Clause, Filter, Json, Mark, ServerFrame,
        frames::{ClientInfo, RoomMode, Start},
    },
};

mod clauses;
mod random;
mod rig;
