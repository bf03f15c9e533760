//! What a client is made of, before it is made.

use super::{Client, Error, Result};
use crate::{
    driver::{Platform, Storage, drive, link},
    machine::{Config, Machine},
    protocol::{Code, Token, frames::ClientInfo},
};
use std::future::Future;

/// Options of a client (C2). Made by [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Options {
    /// `ws://` or `wss://`; without a path it gets `/wardline`.
    pub url: String,
    /// The namespace of rooms named without one. Default: `default`.
    pub namespace: String,
    /// The token to begin with.
    pub token: Option<Token>,
    /// Connect without a call. Default: false.
    pub auto_connect: bool,
    /// Reconnect after a loss. Default: true.
    pub auto_reconnect: bool,
    /// Attempts before giving up; none: for ever.
    pub max_attempts: Option<u32>,
    /// Items the outbox holds at most. Default: 100,000.
    pub max_items: usize,
    /// Bytes of data the outbox holds at most. Default: 256 MiB.
    pub max_bytes: usize,
    /// Lanes that hold one item in flight and wait after a refusal (P-S4).
    pub stop_lanes: Vec<u8>,
    /// What `hello` says of this client.
    pub info: ClientInfo,
}

impl Options {
    /// Defaults for a server.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: "default".into(),
            token: None,
            auto_connect: false,
            auto_reconnect: true,
            max_attempts: None,
            max_items: 100_000,
            max_bytes: 256 * 1024 * 1024,
            stop_lanes: Vec::new(),
            info: ClientInfo {
                sdk: "wardline-rust".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                platform: std::env::consts::OS.into(),
            },
        }
    }

    /// Makes a client over a host, and the future that drives it: spawn it. `random` draws ids and
    /// the seed, from the host's cryptographic source; `has_token_provider` says whether
    /// [`Platform::token`] can answer.
    ///
    /// # Errors
    /// `bad_config` for a url that is none, `bad_room` for a namespace that is none.
    pub fn start<P: Platform, S: Storage>(
        self,
        platform: P,
        storage: S,
        random: fn() -> u128,
        has_token_provider: bool,
    ) -> Result<(Client, impl Future<Output = ()>)> {
        let scheme = self.url.split_once("://").map(|(scheme, rest)| (scheme, !rest.is_empty()));
        if !matches!(scheme, Some(("ws" | "wss", true))) {
            let reason = "url: ws:// or wss:// and a host are wanted";
            return Err(Error::new(Code::BAD_CONFIG, reason));
        }
        // Checks the namespace by the rules of an address.
        crate::protocol::Address::new(&self.namespace, "x")?;
        let seed = random();
        let config = Config {
            url: self.url,
            client: self.info,
            auto_reconnect: self.auto_reconnect,
            max_attempts: self.max_attempts,
            has_token_provider,
            token: self.token,
            max_items: self.max_items,
            max_bytes: self.max_bytes,
            stop_lanes: self.stop_lanes,
            max_calls: 1000,
            seed: (seed >> 64) as u64 ^ seed as u64,
        };
        let machine = Machine::new(config);
        let (link, messages, state) = link(random);
        let client = Client::over(link, self.namespace);
        if self.auto_connect {
            client.connect_later();
        }
        Ok((client, drive(platform, storage, machine, messages, state)))
    }
}
