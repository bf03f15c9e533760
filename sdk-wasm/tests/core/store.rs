//! The storage suite on the package's own stores: a file in Node, IndexedDB in a browser.

use crate::driver::{
    platform::Storage,
    suite::{Shelf, storage_suite},
};
use js_sys::{Array, JSON, Promise};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use wardline::{
    driver::{Batch, entries::Entries},
    machine::{BatchId, Owner, Snapshot, StoreError},
};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

// So that cargo sees when it changes.
const _: &str = include_str!("stores.js");

#[wasm_bindgen(module = "/tests/core/stores.js")]
extern "C" {
    /// A store of the package.
    type Store;

    /// Opens the store of a place.
    fn open(place: u32) -> Promise;
    /// Makes the medium refuse the next write.
    #[wasm_bindgen(js_name = failNext)]
    fn fail_next() -> Promise;
    #[wasm_bindgen(method, catch)]
    fn load(this: &Store) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn commit(this: &Store, batches: JsValue) -> Result<Promise, JsValue>;
}

/// What a promise gives, as text of JSON.
async fn text(promise: Result<Promise, JsValue>) -> Result<Value, StoreError> {
    let failed = |error: JsValue| StoreError::Io(format!("{error:?}"));
    let value = JsFuture::from(promise.map_err(failed)?).await.map_err(failed)?;
    let text = String::from(JSON::stringify(&value).map_err(failed)?);
    Ok(serde_json::from_str(&text).unwrap())
}

struct OverEntries {
    place: u32,
    store: Option<Store>,
    entries: Entries,
}

impl OverEntries {
    async fn store(&mut self) -> &Store {
        if self.store.is_none() {
            let store = JsFuture::from(open(self.place)).await.unwrap();
            self.store = Some(store.unchecked_into());
        }
        self.store.as_ref().unwrap()
    }
}

impl Storage for OverEntries {
    async fn load(&mut self, owner: Option<Owner>) -> Result<Snapshot, StoreError> {
        let loaded = text(self.store().await.load()).await?;
        let mut entries: Vec<(String, String)> =
            serde_json::from_value(loaded["entries"].clone()).unwrap();
        entries.sort();
        let entries = entries.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        self.entries.load(entries, loaded["lock"].as_u64().unwrap(), owner, true)
    }

    async fn commit(&mut self, batches: Vec<Batch>) -> Vec<(BatchId, Result<(), StoreError>)> {
        let (mut ids, list) = (Vec::new(), Array::new());
        for (id, ops) in batches {
            let batch = self.entries.commit(id, ops);
            let mut object = json!({ "add": batch.add, "put": batch.put, "remove": batch.remove });
            if let Some(lock) = batch.lock {
                object["lock"] = lock.into();
            }
            list.push(&JSON::parse(&object.to_string()).unwrap());
            ids.push(id);
        }
        let answers = text(self.store().await.commit(list.into())).await;
        let mut results = Vec::new();
        for (at, id) in ids.into_iter().enumerate() {
            let result = match &answers {
                Err(error) => Err(error.clone()),
                Ok(answers) => match answers[at].as_str() {
                    None => Ok(()),
                    Some("lost") => Err(StoreError::NotOwner),
                    Some(error) => Err(StoreError::Io(error.to_owned())),
                },
            };
            self.entries.handle_committed(id, result.is_ok());
            results.push((id, result));
        }
        results
    }
}

/// A place of its own for each test.
struct Place(u32);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Shelf for Place {
    type Storage = OverEntries;
    const DURABLE: bool = true;

    fn open(&self) -> OverEntries {
        OverEntries { place: self.0, store: None, entries: Entries::default() }
    }

    async fn fail_next(&self, storage: &mut OverEntries) {
        storage.store().await;
        JsFuture::from(fail_next()).await.unwrap();
    }
}

storage_suite!(Place::new());
