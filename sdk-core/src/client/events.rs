//! What concerns the whole client: its status, errors no call waits for, ends no handle awaits.

use super::{Client, Error};
use crate::{
    driver::{Message, queue::Queue},
    machine::{ApiEvent, Outcome, Reason, Status},
    model::ids::{ConnectionId, ItemId, TenantId, UserId},
    protocol::{Json, Limits, frames::ErrorBody},
};
use std::{sync::Arc, task::Context, task::Poll, time::Duration};

/// What concerns the whole client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The status changed (`status:change`).
    Status {
        /// The new status.
        status: Status,
        /// Why.
        reason: Reason,
        /// While reconnecting: the time to the next attempt.
        retry_in: Option<Duration>,
    },
    /// Welcomed by the server (`connection:established`).
    Established {
        /// The connection's name.
        connection: ConnectionId,
        /// The tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
        /// What this connection may do.
        limits: Limits,
    },
    /// The server announced a restart (`system:restart`).
    Restart {
        /// Why.
        reason: String,
        /// When this client leaves, to come back at once.
        reconnect_in: Duration,
    },
    /// An item ended that no handle waits for, such as one queued by an earlier process.
    Settled(ItemId, Outcome),
    /// A command's result that no handle waits for.
    Result(ItemId, std::result::Result<Json, ErrorBody>),
    /// The server forgot what it had accepted; what is unanswered is sent again (P-S6).
    AcceptedLost {
        /// The lane.
        lane: u8,
        /// First number forgotten.
        from: u64,
        /// Last number forgotten.
        to: u64,
    },
    /// Something no call waits for went wrong.
    Error(Error),
    /// The outbox does not outlive the process: the durable store is missing or blocked.
    Volatile,
    /// The reader was too slow: this many events of this kind were dropped.
    Missed(u64),
}

/// A reader of [`ClientEvent`]s. Each has its own queue of at most 1,024.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue<ApiEvent>>,
    _client: Client,
}

impl Events {
    /// Waits for the next; none when the client has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        let dropped = self.queue.take_dropped();
        if dropped > 0 {
            return Poll::Ready(Some(ClientEvent::Missed(dropped)));
        }
        loop {
            let Poll::Ready(event) = self.queue.poll_next(cx) else { return Poll::Pending };
            let Some(event) = event else { return Poll::Ready(None) };
            if let Some(event) = client_event(event) {
                return Poll::Ready(Some(event));
            }
        }
    }
}

impl futures_core::Stream for Events {
    type Item = ClientEvent;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<ClientEvent>> {
        self.poll(cx)
    }
}

fn client_event(event: ApiEvent) -> Option<ClientEvent> {
    Some(match event {
        ApiEvent::Status { status, reason, retry_in } => {
            ClientEvent::Status { status, reason, retry_in }
        }
        ApiEvent::Established { connection, tenant, user, limits } => {
            ClientEvent::Established { connection, tenant, user, limits }
        }
        ApiEvent::Restart { reason, reconnect_in } => ClientEvent::Restart { reason, reconnect_in },
        ApiEvent::Settled(item, outcome) => ClientEvent::Settled(item, outcome),
        ApiEvent::Result(item, result) => ClientEvent::Result(item, result),
        ApiEvent::AcceptedLost { lane, from, to } => ClientEvent::AcceptedLost { lane, from, to },
        ApiEvent::Error(error) => ClientEvent::Error(error.into()),
        ApiEvent::Volatile => ClientEvent::Volatile,
        // The rest belongs to rooms and streams.
        _ => return None,
    })
}

impl Client {
    /// Listens to what concerns the whole client, from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let queue = Arc::new(Queue::default());
        self.link().tell(Message::Listen(Arc::downgrade(&queue)));
        Events { queue, _client: self.clone() }
    }
}
