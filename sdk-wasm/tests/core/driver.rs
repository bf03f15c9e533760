//! The storage suite of the core, and what it names there.

pub(crate) mod platform {
    pub(crate) use wardline::driver::Storage;
}

#[path = "../../../sdk-core/src/driver/suite.rs"]
pub(crate) mod suite;
