//! The threads that drive clients: started by the first one, ended by [`shutdown`].

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::runtime::{Builder, Handle, Runtime};
use wardline::{
    client::{Error, Result},
    protocol::Code,
};

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// The runtime's handle; starts it where there is none.
pub(crate) fn handle() -> Result<Handle> {
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*slot {
        return Ok(runtime.handle().clone());
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("wardline")
        .enable_all()
        .build()
        .map_err(|error| Error::new(Code::BAD_CONFIG, format!("no thread: {error}")))?;
    let handle = runtime.handle().clone();
    *slot = Some(runtime);
    Ok(handle)
}

/// Ends every client of the process and the threads that drive them. A host that ends threads by
/// force at its exit (CPython before 3.14) calls it before.
#[uniffi::export]
pub fn shutdown() {
    let runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(runtime) = runtime {
        runtime.shutdown_timeout(Duration::from_secs(2));
    }
}
