//! The client on tokio: WebSocket over TLS, and an outbox in SQLite.

mod platform;
mod schema;
mod socket;
mod sqlite;

pub use platform::TokioPlatform;
pub use socket::TokioSocket;
pub use sqlite::SqliteStorage;

use crate::{
    client::{Client, Error, Options, Result},
    driver::MemoryStorage,
    protocol::{Code, Token},
};
use platform::TokenProvider;
use std::{fmt, future::Future, path::PathBuf, sync::Arc};

/// Makes a client on tokio. Made by [`Client::builder`].
#[must_use = "a client is made by `build`"]
pub struct Builder {
    options: Options,
    path: Option<PathBuf>,
    provider: Option<TokenProvider>,
    roots: Vec<Vec<u8>>,
}

impl Builder {
    /// The token to begin with.
    pub fn token(mut self, token: impl Into<Token>) -> Self {
        self.options.token = Some(token.into());
        self
    }

    /// Who is asked for a token whenever one is needed: at the start, before one expires, and when
    /// the server refuses one (P-C6). None: there is no token now.
    pub fn token_provider<F>(mut self, provider: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Token>> + Send + 'static,
    {
        self.provider = Some(Arc::new(move || Box::pin(provider())));
        self
    }

    /// Keeps the outbox and durable positions in a file of this client's own. What is queued
    /// survives the process. Lay it outside of device backups: a restored copy is a fork (P-S1).
    pub fn storage(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Keeps the outbox in memory: what is queued is lost with the process. The default.
    pub fn memory(mut self) -> Self {
        self.path = None;
        self
    }

    /// The namespace of rooms named without one. Default: `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.options.namespace = namespace.into();
        self
    }

    /// Connects without a call. Default: false.
    pub fn auto_connect(mut self, yes: bool) -> Self {
        self.options.auto_connect = yes;
        self
    }

    /// Reconnects after a loss. Default: true.
    pub fn auto_reconnect(mut self, yes: bool) -> Self {
        self.options.auto_reconnect = yes;
        self
    }

    /// Trusts another root certificate, in DER form, besides those of the web.
    pub fn root_certificate(mut self, der: Vec<u8>) -> Self {
        self.roots.push(der);
        self
    }

    /// Changes any other option.
    pub fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Makes the client and spawns its driver on the tokio runtime this is called in.
    ///
    /// # Errors
    /// `bad_config` for a url that is none or where there is no runtime; `storage` where the file
    /// cannot be opened or another process holds it.
    pub fn build(self) -> Result<Client> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            let reason = "build: call it within a tokio runtime";
            return Err(Error::new(Code::BAD_CONFIG, reason));
        };
        let has_provider = self.provider.is_some();
        let platform = TokioPlatform::new(self.provider, &self.roots)?;
        match self.path {
            Some(path) => {
                let storage = SqliteStorage::open(&path)
                    .map_err(|error| Error::new(Code::STORAGE, error.to_string()))?;
                let (client, driver) =
                    self.options.start(platform, storage, platform::random, has_provider)?;
                drop(runtime.spawn(driver));
                Ok(client)
            }
            None => {
                let storage = MemoryStorage::default();
                let (client, driver) =
                    self.options.start(platform, storage, platform::random, has_provider)?;
                drop(runtime.spawn(driver));
                Ok(client)
            }
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins to make a client on tokio.
    ///
    /// ```no_run
    /// # use wardline::client::Client;
    /// # async fn f() -> wardline::client::Result<()> {
    /// let client = Client::builder("wss://events.example.com")
    ///     .token_provider(|| async { Some("a fresh token".into()) })
    ///     .storage("/var/lib/app/outbox.db")
    ///     .build()?;
    /// client.connect().await?;
    /// # Ok(()) }
    /// ```
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder { options: Options::new(url), path: None, provider: None, roots: Vec::new() }
    }
}
