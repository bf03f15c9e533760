//! The outbox in SQLite: durable when a call returns, one process at a time.

use crate::{
    driver::{Batch, Storage},
    machine::{BatchId, Owner, Snapshot, StoreError},
};
use std::path::Path;

/// WIP.
#[derive(Debug)]
pub struct SqliteStorage;

impl SqliteStorage {
    /// WIP.
    pub fn open(_: &Path) -> Result<Self, StoreError> {
        Err(StoreError::Io("not there yet".into()))
    }
}

impl Storage for SqliteStorage {
    async fn load(&mut self, _: Option<Owner>) -> Result<Snapshot, StoreError> {
        Err(StoreError::Io("not there yet".into()))
    }

    async fn commit(&mut self, _: Vec<Batch>) -> Vec<(BatchId, Result<(), StoreError>)> {
        Vec::new()
    }
}
