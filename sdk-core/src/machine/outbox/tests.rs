//! The outbox opposite a small server that knows the rules of P-S2, in virtual time.

use super::*;
use crate::{
    machine::io::{StoredItem, StoredLane},
    protocol::{Address, ClientFrame, Json, frames::ClientInfo},
};

mod clauses;
mod random;
mod rig;
