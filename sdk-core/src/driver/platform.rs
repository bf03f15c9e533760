//! What a host gives the driver. Futures carry no `Send` bound: a host that spawns on threads
//! infers it, one that spawns locally does not need it.

use crate::{
    machine::{BatchId, Close, DialError, Now, Owner, Snapshot, StoreError, StoreOp},
    protocol::Token,
};
use bytes::Bytes;
use std::{future::Future, time::Duration};

/// A host: clock, timer, transport, and where tokens come from.
pub trait Platform: 'static {
    /// Its transport.
    type Socket: Socket;

    /// Both clocks.
    fn now(&self) -> Now;

    /// Waits.
    fn sleep(&self, span: Duration) -> impl Future<Output = ()>;

    /// Opens a WebSocket with subprotocol `wardline.v1.json`; gives up after 20 s.
    fn dial(&self, url: String) -> impl Future<Output = Result<Self::Socket, DialError>>;

    /// Asks the application for a token; none: it has none now (P-C6).
    fn token(&self) -> impl Future<Output = Option<Token>>;
}

/// One transport. Dropping it must not cut a close that has begun.
pub trait Socket: 'static {
    /// Queues a text frame. Never blocks; what is queued counts as unsent.
    fn send_text(&mut self, text: String);

    /// Queues a binary message.
    fn send_binary(&mut self, bytes: Bytes);

    /// Writes what is queued, then closes. A host that may not send a code (browsers: only 1000 and
    /// 3000–4999) maps it.
    fn close(&mut self, close: Close);

    /// Waits for the next event. Cancel-safe. After [`SocketEvent::Closed`] it is not called again.
    fn next(&mut self) -> impl Future<Output = SocketEvent>;
}

/// What a transport reports.
#[derive(Debug)]
pub enum SocketEvent {
    /// A text frame.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The unsent bytes fell to this figure.
    Unsent(usize),
    /// The end.
    Closed(Close),
}

/// A batch of writes: all of them or none.
pub type Batch = (BatchId, Vec<StoreOp>);

/// A durable store of one outbox and its cursors. One holder of its lock at a time (P-S1).
pub trait Storage: 'static {
    /// Takes the lock and reads everything of an owner; none: of the owner last bound.
    fn load(&mut self, owner: Option<Owner>) -> impl Future<Output = Result<Snapshot, StoreError>>;

    /// Writes batches in their order, each all or none, and makes them durable together: one sync
    /// serves them all. Answers one result per batch.
    fn commit(
        &mut self,
        batches: Vec<Batch>,
    ) -> impl Future<Output = Vec<(BatchId, Result<(), StoreError>)>>;
}
