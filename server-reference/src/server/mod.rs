//! The library: build a server, start it, publish through it, stop it (V1, V2).

mod builder;

pub use builder::{Builder, Command, StartError, check};
pub(crate) use builder::{CommandHandler, HookHandler};

use crate::{
    auth::{NewToken, unix_ms},
    config::ConfigError,
    edge::Node,
    hub::{Input, Publish, PublishEvent, Revocation},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::JoinHandle;
use wardline::{
    model::ids::ItemId,
    protocol::{
        Address, Code, Json,
        address::{BadRoom, PUBLIC_TENANT},
        frames::ErrorBody,
    },
};

/// How often the runtime's lag is measured.
const LAG_EVERY: Duration = Duration::from_millis(500);
/// How often the log forgets what is past its time.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);
/// How often the disk's space is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the certificate's files are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(60);
/// How long tasks may take to end after everything was stopped.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running server: what a program that embeds one does with it (V2).
///
/// ```
/// use wardline::protocol::Json;
/// use wardline_server::{Server, StartError};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let server = Server::builder()
///     .host("127.0.0.1")
///     .port(0)
///     .jwt_secret("a secret of more than thirty-two characters")
///     .cors_origins(["https://console.example"])
///     .in_memory()
///     .on_connected(|_, who| println!("{} of {} is here", who.user, who.tenant))
///     .on_disconnected(|_, who, code| println!("{} went with {code}", who.user))
///     .on_event("video", "stream:start", |event| {
///         println!("{} of {} starts {}", event.from.user, event.from.tenant, event.data.get());
///     })
///     .on_message(|event| println!("{} in {}", event.event, event.room))
///     .on_error(|_, who, code| println!("{code} for {who:?}"))
///     .start()
///     .await?;
///
/// let data = Json::of(&"door 4").unwrap();
/// server.broadcast("alerts", "tenant:acme", "door:open", data.clone()).await.unwrap();
/// server.broadcast_to_tenant("alerts", "acme", "door:open", data.clone()).await.unwrap();
/// server.broadcast_to_organization("alerts", "acme", "north", "door:open", data.clone()).await.unwrap();
/// server.broadcast_to_user("default", "acme", "ann", "notification", data.clone()).await.unwrap();
/// // Every tenant that is connected here: none yet.
/// assert_eq!(server.broadcast_to_all("alerts", "drill", data).await.unwrap(), 0);
///
/// let metrics = server.metrics();
/// assert_eq!((metrics.total_clients, metrics.namespaces["video"]), (0, 0));
/// server.shutdown().await;
/// # Ok::<_, StartError>(()) }).unwrap();
/// ```
///
/// Dropping it stops it at once; [`Server::shutdown`] drains first.
pub struct Server {
    node: Arc<Node>,
    addr: SocketAddr,
}

/// What [`Server::metrics`] counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Connections.
    pub total_clients: usize,
    /// Connections with a membership, by namespace.
    pub namespaces: BTreeMap<String, usize>,
}

impl Server {
    /// Starts to build a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The url clients of this machine connect to.
    #[must_use]
    pub fn url(&self) -> String {
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let scheme = if self.node.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{addr}{}", wardline::protocol::limits::PATH)
    }

    /// Signs a token with the server's secret; none where it only holds a public key.
    #[must_use]
    pub fn token(&self, token: &NewToken) -> Option<String> {
        self.node.verifier.sign(token)
    }

    /// Publishes one persistent event to a room of a tenant; returns its number.
    ///
    /// # Errors
    /// The code of the refusal; [`Code::UNAVAILABLE`] when the log cannot answer now.
    pub async fn publish(
        &self,
        tenant: &str,
        namespace: &str,
        room: &str,
        event: &str,
        data: Json,
    ) -> Result<Option<u64>, ErrorBody> {
        let room = Address::new(namespace, room).map_err(bad_room)?;
        let publish = Publish {
            tenant: tenant.into(),
            by: None,
            events: vec![PublishEvent {
                room,
                event: event.to_owned(),
                id: ItemId(crate::http::random()),
                key: None,
                persist: true,
                data,
            }],
            number: None,
            from: "".into(),
        };
        let seqs = self.node.publish(publish).await?;
        Ok(seqs.first().copied().flatten())
    }

    /// Publishes to a room whose name says its tenant: `tenant:T…`, `notifications:T…`, or
    /// `public:…`. Other rooms exist once in every tenant: use [`Server::publish`].
    ///
    /// # Errors
    /// [`Code::BAD_ROOM`] where the name says no tenant; else as [`Server::publish`].
    pub async fn broadcast(
        &self,
        namespace: &str,
        room: &str,
        event: &str,
        data: Json,
    ) -> Result<Option<u64>, ErrorBody> {
        let mut parts = room.split(':');
        let tenant = match (parts.next(), parts.next()) {
            (Some("tenant" | "notifications"), Some(tenant)) => tenant,
            (Some("public"), Some(_)) => PUBLIC_TENANT,
            _ => {
                let message = format!("{room} exists in every tenant: publish to one of them");
                return Err(ErrorBody { code: Code::BAD_ROOM, message });
            }
        };
        self.publish(tenant, namespace, room, event, data).await
    }

    /// Publishes to everyone of a tenant who joined its room.
    ///
    /// # Errors
    /// As [`Server::publish`].
    pub async fn broadcast_to_tenant(
        &self,
        namespace: &str,
        tenant: &str,
        event: &str,
        data: Json,
    ) -> Result<Option<u64>, ErrorBody> {
        self.publish(tenant, namespace, &format!("tenant:{tenant}"), event, data).await
    }

    /// Publishes to an organization of a tenant.
    ///
    /// # Errors
    /// As [`Server::publish`].
    pub async fn broadcast_to_organization(
        &self,
        namespace: &str,
        tenant: &str,
        organization: &str,
        event: &str,
        data: Json,
    ) -> Result<Option<u64>, ErrorBody> {
        self.publish(tenant, namespace, &format!("org:{organization}"), event, data).await
    }

    /// Publishes to a user of a tenant (§8.8: a user is addressed within one).
    ///
    /// # Errors
    /// As [`Server::publish`].
    pub async fn broadcast_to_user(
        &self,
        namespace: &str,
        tenant: &str,
        user: &str,
        event: &str,
        data: Json,
    ) -> Result<Option<u64>, ErrorBody> {
        self.publish(tenant, namespace, &format!("user:{user}"), event, data).await
    }

    /// Publishes to the tenant room of every tenant that is connected here; returns how many.
    ///
    /// # Errors
    /// The first refusal; tenants before it have got the event.
    pub async fn broadcast_to_all(
        &self,
        namespace: &str,
        event: &str,
        data: Json,
    ) -> Result<usize, ErrorBody> {
        let mut told = 0;
        for tenant in self.node.by_tenant().keys() {
            self.broadcast_to_tenant(namespace, tenant.as_str(), event, data.clone()).await?;
            told += 1;
        }
        Ok(told)
    }

    /// Cuts a user, a token or a tenant off (P-C6a).
    pub fn revoke(&self, revocation: Revocation) {
        self.node.revoke(revocation);
    }

    /// Connections and members now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        // Those without anyone are there too, so that a dashboard finds them.
        let mut namespaces: BTreeMap<_, _> =
            self.node.hub.namespaces.keys().map(|name| (name.clone(), 0)).collect();
        namespaces.extend(self.node.stats().by_namespace);
        Metrics { total_clients: self.node.open.load(Ordering::SeqCst), namespaces }
    }

    /// Looks whether the certificate's files say another, as the server does by itself once a minute;
    /// returns whether another is shown from now on. Connections there are keep theirs.
    ///
    /// # Errors
    /// [`ConfigError`]: the files cannot be used, and the certificate there was is shown on.
    pub async fn reload_certificate(&self) -> Result<bool, ConfigError> {
        let node = self.node.clone();
        let looked = tokio::task::spawn_blocking(move || node.reload_certificate(true)).await;
        looked.unwrap_or_else(|error| Err(ConfigError(error.to_string())))
    }

    /// Drains (P-C8): refuses upgrades, answers what was accepted, asks clients to leave, closes
    /// those that stay, and stops; at the latest after the configured time and 5 s.
    pub async fn shutdown(self) {
        let node = &self.node;
        let config = &node.config;
        node.draining.cancel();
        tracing::info!(connections = node.open.load(Ordering::SeqCst), "draining");
        for shard in 0..node.shards.len() {
            let spread = [0, millis(config.drain_spread)];
            let drain = Input::Drain { spread, reason: "restart".to_owned() };
            node.turn(shard, [drain], None);
        }
        node.tasks.close();
        if tokio::time::timeout(config.drain_timeout, node.tasks.wait()).await.is_err() {
            tracing::warn!(left = node.open.load(Ordering::SeqCst), "connections did not leave");
        }
        node.stopped.cancel();
        let _ = tokio::time::timeout(STOP_WITHIN, node.tasks.wait()).await;
        let closed = self.node.clone();
        if tokio::task::spawn_blocking(move || closed.log.close()).await.is_err() {
            tracing::error!("the log did not close");
        }
        tracing::info!("stopped");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.node.stopped.cancel();
        // Closing waits for the disk, and must not fall to the log's own thread.
        let node = self.node.clone();
        std::thread::spawn(move || node.log.close());
    }
}

/// Measures the runtime's lag; lets the log forget.
async fn upkeep(node: Arc<Node>) {
    let mut expired = tokio::time::Instant::now();
    let mut looked = tokio::time::Instant::now();
    let mut look = None;
    let mut reloaded = tokio::time::Instant::now();
    loop {
        let wanted = tokio::time::Instant::now() + LAG_EVERY;
        tokio::select! {
            () = node.stopped.cancelled() => return,
            () = tokio::time::sleep_until(wanted) => {}
        }
        node.ops.lag(wanted.elapsed().as_secs_f64() * 1000.0);
        // One look at a time: on a disk that hangs it does not come back.
        let looking = look.as_ref().is_some_and(|look: &JoinHandle<()>| !look.is_finished());
        if looked.elapsed() >= LOOK_EVERY && !looking {
            looked = tokio::time::Instant::now();
            let node = node.clone();
            look = Some(tokio::task::spawn_blocking(move || node.log.look_at_disk()));
        }
        if reloaded.elapsed() >= RELOAD_EVERY && node.tls.is_some() {
            reloaded = tokio::time::Instant::now();
            let node = node.clone();
            // What went wrong is in the logs.
            tokio::task::spawn_blocking(move || drop(node.reload_certificate(false)));
        }
        if expired.elapsed() >= EXPIRE_EVERY {
            expired = tokio::time::Instant::now();
            node.log.expire();
        }
    }
}

/// Fetches the public keys anew before they are old.
async fn fetch_keys(node: Arc<Node>) {
    while let Some(wait) = node.verifier.refresh_in() {
        tokio::select! {
            () = node.stopped.cancelled() => return,
            () = tokio::time::sleep(wait) => node.verifier.refresh().await,
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| unix_ms())
}

fn bad_room(error: BadRoom) -> ErrorBody {
    ErrorBody { code: Code::BAD_ROOM, message: error.to_string() }
}
