//! How a server comes to be.

use super::{Server, fetch_keys, millis, seed, upkeep};
use crate::{
    auth::Verifier,
    config::{Config, ConfigError, Settings, Source},
    edge::{Clock, Flusher, LogPort, Node, Shard, Taps, Tls, listen},
    http::Routes,
    hub::{
        ClientEvent, ConnId, Hook, Hub, HubConfig, Namespace, Principal,
        buckets::{self, Rate},
        commands,
        permissions::Authorizer,
    },
    log::Retention,
    ops::Ops,
};
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wardline::{
    model::ids::{ItemId, TenantId},
    protocol::{Code, Json, frames::ErrorBody},
};

/// A handler of hooks. It is called on the server's threads and must not block.
pub(crate) type HookHandler = Box<dyn Fn(&Hook) + Send + Sync>;
/// A handler of commands.
pub(crate) type CommandHandler = Box<dyn Fn(Command) -> CommandAnswer + Send + Sync>;
type CommandAnswer = Pin<Box<dyn Future<Output = Result<Json, ErrorBody>> + Send>>;

/// A command for an in-process handler (P-S8). It may come again with the same id.
#[derive(Clone, Debug)]
pub struct Command {
    /// The tenant.
    pub tenant: TenantId,
    /// The namespace.
    pub namespace: String,
    /// The idempotency key.
    pub id: ItemId,
    /// The user who sent it.
    pub from: Arc<str>,
    /// Which command.
    pub event: Arc<str>,
    /// Its parameters.
    pub data: Json,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
    /// The log cannot be opened.
    #[error("{0}")]
    Log(String),
}

/// Builds a server.
#[derive(Default)]
pub struct Builder {
    settings: Settings,
    config: Option<Config>,
    wrong: Option<ConfigError>,
    hooks: Vec<HookHandler>,
    commands: BTreeMap<String, CommandHandler>,
    namespaces: BTreeMap<String, Namespace>,
    rates: BTreeMap<String, Rate>,
    authorizer: Option<Arc<dyn Authorizer>>,
}

impl Builder {
    /// Sets one of [`SETTINGS`](crate::config::SETTINGS) by name.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Err(error) = self.settings.set(name, value, Source::Program) {
            self.wrong.get_or_insert(error);
        }
        self
    }

    /// Takes a configuration that was checked before; settings made by [`Builder::set`] are not
    /// looked at.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Listens on this address. Default: every one of this machine.
    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.set("host", host)
    }

    /// Listens on this port; 0 takes a free one, told by [`Server::addr`]. Default: 9001.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.set("port", port.to_string())
    }

    /// Verifies tokens with this secret, and signs them ([`Server::token`]).
    #[must_use]
    pub fn jwt_secret(self, secret: &str) -> Self {
        self.set("jwt_secret", secret)
    }

    /// Lets pages of these origins connect (V16).
    #[must_use]
    pub fn cors_origins<'a>(self, origins: impl IntoIterator<Item = &'a str>) -> Self {
        let origins: Vec<_> = origins.into_iter().collect();
        self.set("cors_origins", origins.join(","))
    }

    /// Keeps events in memory only: they are gone with the process.
    #[must_use]
    pub fn in_memory(self) -> Self {
        self.set("log", "memory")
    }

    /// Has each connection told that was let in.
    #[must_use]
    pub fn on_connected(
        self,
        handler: impl Fn(ConnId, &Principal) + Send + Sync + 'static,
    ) -> Self {
        self.on(move |hook| {
            if let Hook::Connected(connection, who) = hook {
                handler(*connection, who);
            }
        })
    }

    /// Has the end of each connection told that was let in, with its close code.
    #[must_use]
    pub fn on_disconnected(
        self,
        handler: impl Fn(ConnId, &Principal, u16) + Send + Sync + 'static,
    ) -> Self {
        self.on(move |hook| {
            if let Hook::Disconnected(connection, Some(who), code) = hook {
                handler(*connection, who, *code);
            }
        })
    }

    /// Has every event told that a client sent and the server accepted, commands and casts too.
    #[must_use]
    pub fn on_message(self, handler: impl Fn(&ClientEvent) + Send + Sync + 'static) -> Self {
        self.on(move |hook| {
            if let Hook::Sent(event) = hook {
                handler(event);
            }
        })
    }

    /// Has one event of a namespace told, as in `on_event("video", "stream:start", …)`; the name may
    /// have the namespace in front.
    #[must_use]
    pub fn on_event(
        self,
        namespace: impl Into<String>,
        event: impl Into<String>,
        handler: impl Fn(&ClientEvent) + Send + Sync + 'static,
    ) -> Self {
        let (namespace, name) = (namespace.into(), event.into());
        self.on_message(move |event| {
            if event.is(&namespace, &name) {
                handler(event);
            }
        })
    }

    /// Has refusals told: the code, and whom it was said to once that is known.
    #[must_use]
    pub fn on_error(
        self,
        handler: impl Fn(ConnId, Option<&Principal>, &Code) + Send + Sync + 'static,
    ) -> Self {
        self.on(move |hook| match hook {
            Hook::Refused(connection, who, code) => handler(*connection, who.as_deref(), code),
            Hook::AuthFailed(connection, error) => handler(*connection, None, &error.code()),
            _ => {}
        })
    }

    /// Has everything that happens told: connections, memberships, accepted events, refusals.
    #[must_use]
    pub fn on(mut self, handler: impl Fn(&Hook) + Send + Sync + 'static) -> Self {
        self.hooks.push(Box::new(handler));
        self
    }

    /// Adds a namespace, or says how one of the built-in ones behaves (V1).
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>, namespace: Namespace) -> Self {
        self.namespaces.insert(name.into(), namespace);
        self
    }

    /// Limits the messages of a user in a namespace (V6), in place of `rate_points`.
    #[must_use]
    pub fn rate(mut self, namespace: impl Into<String>, points: u32, duration: Duration) -> Self {
        self.rates.insert(namespace.into(), Rate::new(points, duration));
        self
    }

    /// Has the ownership of resources decided, after the built-in rules allowed something (V5).
    #[must_use]
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// Answers the commands of a namespace in this process (P-S8).
    #[must_use]
    pub fn on_command<F, A>(mut self, namespace: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Command) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Json, ErrorBody>> + Send + 'static,
    {
        self.commands.insert(namespace.into(), Box::new(move |command| Box::pin(handler(command))));
        self
    }

    /// Listens and serves.
    ///
    /// # Errors
    /// [`StartError`] when the configuration, the address or the log cannot be used.
    pub async fn start(self) -> Result<Server, StartError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong.into());
        }
        let config = match self.config {
            Some(config) => config,
            None => Config::check(&self.settings)?,
        };
        let verifier = Verifier::new(&config)?;
        let tls = config.tls.as_ref().map(Tls::open).transpose()?;
        // An issuer that is away is asked again when someone comes.
        verifier.refresh().await;
        if self.commands.contains_key("alerts") {
            let words = "alerts: the server itself answers the commands of this namespace";
            return Err(ConfigError(words.to_owned()).into());
        }
        let mut retention = Retention::default();
        retention.entries = millis(config.retention);
        let store = config.log.clone();
        let reserve = config.disk_reserve;
        let opened =
            tokio::task::spawn_blocking(move || LogPort::open(&store, reserve, retention, seed()));
        let (log, pending) = match opened.await {
            Ok(opened) => opened.map_err(|error| StartError::Log(error.to_string()))?,
            Err(error) => return Err(StartError::Log(error.to_string())),
        };
        let wanted = format!("{}:{}", config.host, config.port);
        let listener = TcpListener::bind((config.host.as_str(), config.port))
            .await
            .map_err(|error| StartError::Listen(wanted.clone(), error))?;
        let addr = listener.local_addr().map_err(|error| StartError::Listen(wanted, error))?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let hub = hub_config(&config, self.namespaces, self.rates, self.authorizer, &self.commands);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = config.shards;
        let node = Arc::new(Node {
            verifier,
            tls,
            clock: Clock::start(),
            ops: Ops::new(),
            shards: (0..shards).map(|_| Shard::new(Hub::new(hub.clone(), seed()))).collect(),
            flushers: (0..threads).map(|_| Flusher::default()).collect(),
            log,
            hooks: self.hooks,
            commands: self.commands,
            calls: Mutex::new(HashMap::new()),
            taps: Taps::default(),
            hub,
            next: AtomicU64::new(1),
            open: AtomicUsize::new(0),
            draining: CancellationToken::new(),
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            config,
        });
        node.log.start(pending, &node).map_err(|error| StartError::Log(error.to_string()))?;
        for index in 0..shards {
            tokio::spawn(Shard::run_timer(node.clone(), index));
        }
        for index in 0..threads {
            tokio::spawn(Flusher::run(node.clone(), index));
        }
        tokio::spawn(upkeep(node.clone()));
        tokio::spawn(fetch_keys(node.clone()));
        tokio::spawn(listen(node.clone(), listener, Routes::new(node.clone())));
        tracing::info!(%addr, "listening");
        Ok(Server { node, addr })
    }
}

/// Looks at everything a configuration names: keys and certificates are read, nothing is opened.
///
/// # Errors
/// [`ConfigError`] says what cannot be used, and why.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    Verifier::new(config)?;
    config.tls.as_ref().map(Tls::open).transpose()?;
    Ok(())
}

fn hub_config(
    config: &Config,
    namespaces: BTreeMap<String, Namespace>,
    rates: BTreeMap<String, Rate>,
    authorizer: Option<Arc<dyn Authorizer>>,
    handled: &BTreeMap<String, CommandHandler>,
) -> HubConfig {
    let mut hub = HubConfig {
        ping: config.ping,
        idle: Some(config.idle),
        limits: config.limits,
        ..HubConfig::default()
    };
    for (name, space) in &config.namespaces {
        hub.namespaces.insert(name.clone(), space.namespace.clone());
    }
    hub.namespaces.extend(namespaces);
    if let Some(authorizer) = authorizer {
        hub.authorizer = authorizer;
    }
    let buckets = &mut hub.parts.buckets;
    *buckets = buckets::Config::default();
    buckets.user_connections = config.user_connections;
    buckets.tenant_connections = config.tenant_connections;
    match config.rate_points {
        None => {}
        Some(0) => {
            buckets.user = None;
            buckets.connects = None;
            buckets.namespaces.clear();
        }
        Some(points) => {
            // Where machines speak, and for connecting, a limit is never made tighter by one
            // that is meant for people's messages.
            let rate = |least: Option<Rate>| {
                let least = least.map_or(0, |rate| rate.points);
                Rate::new(points.max(least), config.rate_duration)
            };
            buckets.user = Some(Rate::new(points, config.rate_duration));
            buckets.connects = Some(rate(buckets.connects));
            for machines in buckets.namespaces.values_mut() {
                *machines = rate(Some(*machines));
            }
        }
    }
    let configured = config.namespaces.iter();
    buckets.namespaces.extend(configured.filter_map(|(name, s)| Some((name.clone(), s.rate?))));
    buckets.namespaces.extend(rates);
    let commands = &mut hub.parts.commands.namespaces;
    for (name, space) in &config.namespaces {
        if let Some(events) = &space.commands {
            let spec = commands::Namespace {
                events: events.clone(),
                ..commands::Namespace::of_services(&[])
            };
            commands.insert(name.clone(), Arc::new(spec));
        }
    }
    for name in handled.keys() {
        hub.namespaces.entry(name.clone()).or_default();
        let mut spec = commands
            .get(name)
            .map_or_else(|| commands::Namespace::in_process(&["*"]), |spec| (**spec).clone());
        spec.in_process = true;
        commands.insert(name.clone(), Arc::new(spec));
    }
    hub
}
