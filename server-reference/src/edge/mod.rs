//! The edge: sockets on one side, shards of pure hubs on the other.
//!
//! ```text
//! accept → HTTP → upgrade → connection task ──(one lock per batch)──▶ shard ⇄ log
//!                                ▲                                      │ framed once
//!                                └── its own answers · flushers ◀───────┘
//! ```

mod accept;
mod clock;
mod connection;
mod flusher;
mod frame;
mod log_port;
mod shard;
mod socket;
mod tap;
mod tls;
mod wire;

pub(crate) use accept::listen;
pub(crate) use clock::Clock;
pub(crate) use flusher::Flusher;
pub(crate) use log_port::LogPort;
pub(crate) use shard::Shard;
pub(crate) use tap::{Tap, Taps};
pub(crate) use tls::Tls;

use crate::{
    auth::Verifier,
    config::{Config, ConfigError},
    hub::{CallId, ConnId, Hook, Hub, HubConfig, Input, Publish, Revocation, Stats},
    ops::Ops,
    server::{Command, CommandHandler, HookHandler},
};
use socket::Socket;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wardline::{
    model::ids::TenantId,
    protocol::{Code, Json, frames::ErrorBody},
};

/// How long the server's own code waits for the log.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);

/// What a publish is answered with: the events' numbers in their rooms.
pub(crate) type Published = Result<Vec<Option<u64>>, ErrorBody>;

/// One running server.
pub(crate) struct Node {
    pub(crate) config: Config,
    /// As every shard's hub has it.
    pub(crate) hub: HubConfig,
    pub(crate) verifier: Verifier,
    /// TLS, where this server speaks it itself.
    pub(crate) tls: Option<Tls>,
    pub(crate) clock: Clock,
    pub(crate) ops: Ops,
    pub(crate) shards: Vec<Shard>,
    pub(crate) flushers: Vec<Flusher>,
    pub(crate) log: LogPort,
    pub(crate) hooks: Vec<HookHandler>,
    pub(crate) commands: BTreeMap<String, CommandHandler>,
    pub(crate) calls: Mutex<HashMap<CallId, oneshot::Sender<Published>>>,
    pub(crate) taps: Taps,
    pub(crate) next: AtomicU64,
    /// Sockets upgraded and not yet ended.
    pub(crate) open: AtomicUsize,
    /// No one is let in any more (P-C8).
    pub(crate) draining: CancellationToken,
    /// Everything ends.
    pub(crate) stopped: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: Handle,
}

impl Node {
    pub(crate) fn next_connection(&self) -> ConnId {
        ConnId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub(crate) fn schedule(&self, socket: Arc<Socket>) {
        Flusher::schedule(&self.flushers, vec![socket]);
    }

    /// Publishes in one step and waits until it is durable (P-K5).
    pub(crate) async fn publish(self: &Arc<Self>, publish: Publish) -> Published {
        let shard = self.shard_of(publish.tenant.as_str());
        self.call(shard, |call| Input::Publish(call, publish)).await
    }

    async fn call(
        self: &Arc<Self>,
        shard: usize,
        input: impl FnOnce(CallId) -> Input,
    ) -> Published {
        let call = CallId(self.next.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.calls().insert(call, answer);
        self.turn(shard, [input(call)], None);
        let result = tokio::time::timeout(PUBLISH_WITHIN, answered).await;
        self.calls().remove(&call);
        match result {
            Ok(Ok(result)) => result,
            _ => Err(ErrorBody {
                code: Code::UNAVAILABLE,
                message: "the log did not answer in time; the effect is unknown".to_owned(),
            }),
        }
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<CallId, oneshot::Sender<Published>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answer_call(&self, call: CallId, result: Published) {
        if let Some(answer) = self.calls().remove(&call) {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(result);
        }
    }

    /// Looks whether the certificate's files say another, and tells the logs. May take long.
    pub(crate) fn reload_certificate(&self, asked: bool) -> Result<bool, ConfigError> {
        let Some(tls) = &self.tls else { return Ok(false) };
        let reloaded = tls.reload(asked);
        match &reloaded {
            Ok(true) => tracing::info!("another certificate is shown from now on"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the certificate there was is shown on"),
        }
        reloaded
    }

    /// What all hubs hold. Walks everything.
    pub(crate) fn stats(&self) -> Stats {
        let mut all = Stats::default();
        for shard in &self.shards {
            let stats = shard.with_hub(Hub::stats);
            for (tenant, count) in stats.by_tenant {
                *all.by_tenant.entry(tenant).or_default() += count;
            }
            for (namespace, count) in stats.by_namespace {
                *all.by_namespace.entry(namespace).or_default() += count;
            }
            for (channel, count) in stats.by_channel {
                *all.by_channel.entry(channel).or_default() += count;
            }
        }
        all
    }

    /// Connections by tenant.
    pub(crate) fn by_tenant(&self) -> BTreeMap<TenantId, usize> {
        let mut all = BTreeMap::new();
        for shard in &self.shards {
            // A tenant is in one shard.
            all.extend(shard.with_hub(Hub::by_tenant));
        }
        all
    }

    /// Rooms in memory, and memberships.
    pub(crate) fn rooms(&self) -> (usize, usize) {
        let counts = self
            .shards
            .iter()
            .map(|shard| shard.with_hub(|hub| (hub.rooms(), hub.subscriptions())));
        counts.fold((0, 0), |(rooms, members), (r, m)| (rooms + r, members + m))
    }

    /// Cuts a user, token or tenant off (P-C6a).
    pub(crate) fn revoke(self: &Arc<Self>, revocation: Revocation) {
        let shard = self.shard_of(revocation.tenant.as_str());
        self.turn(shard, [Input::Revoke(None, revocation)], None);
    }

    /// The same, answered when it is durable.
    pub(crate) async fn revoke_durably(self: &Arc<Self>, revocation: Revocation) -> Published {
        let shard = self.shard_of(revocation.tenant.as_str());
        self.call(shard, |call| Input::Revoke(Some(call), revocation)).await
    }

    /// Tells figures, logs and the application what happened. Never called under a lock.
    pub(crate) fn hook(self: &Arc<Self>, shard: usize, hook: Hook) {
        self.ops.hook(&hook);
        for handler in &self.hooks {
            handler(&hook);
        }
        if let Hook::Command(tenant, room, entry) = hook
            && let Some(handler) = self.commands.get(room.namespace())
        {
            let node = self.clone();
            let command = Command {
                tenant: tenant.clone(),
                namespace: room.namespace().to_owned(),
                id: entry.id,
                from: entry.from.clone(),
                event: entry.event.clone(),
                data: entry.data.clone(),
            };
            let answer = handler(command);
            self.runtime.spawn(async move {
                let result: Result<Json, ErrorBody> = answer.await;
                node.answer(shard, room, tenant, entry.seq, result);
            });
        }
    }
}
