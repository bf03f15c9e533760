//! A host without a network: the test holds the other end of every transport.

use super::{Platform, Socket, SocketEvent};
use crate::{
    machine::{Close, DialError, Instant, Now, UnixMillis},
    protocol::{ClientFrame, ServerFrame, Token, codec},
};
use bytes::Bytes;
use std::{collections::VecDeque, time::Duration};
use tokio::{sync::mpsc, time};

/// What the client wrote.
#[derive(Debug)]
pub(crate) enum Wrote {
    Text(String),
    Binary(Bytes),
    Close(Close),
}

pub(crate) struct FakeSocket {
    wrote: mpsc::UnboundedSender<Wrote>,
    events: mpsc::UnboundedReceiver<SocketEvent>,
}

impl Socket for FakeSocket {
    fn send_text(&mut self, text: String) {
        let _ = self.wrote.send(Wrote::Text(text));
    }

    fn send_binary(&mut self, bytes: Bytes) {
        let _ = self.wrote.send(Wrote::Binary(bytes));
    }

    fn close(&mut self, close: Close) {
        let _ = self.wrote.send(Wrote::Close(close));
    }

    async fn next(&mut self) -> SocketEvent {
        self.events.recv().await.unwrap_or_else(|| {
            SocketEvent::Closed(Close { code: 1006, reason: "the peer is gone".into() })
        })
    }
}

/// The other end of one transport.
pub(crate) struct Peer {
    wrote: mpsc::UnboundedReceiver<Wrote>,
    events: mpsc::UnboundedSender<SocketEvent>,
    frames: VecDeque<ClientFrame>,
}

impl Peer {
    pub(crate) async fn wrote(&mut self) -> Wrote {
        self.wrote.recv().await.expect("the client holds its end")
    }

    /// The next frame the client wrote; its pings are answered.
    pub(crate) async fn frame(&mut self) -> ClientFrame {
        loop {
            match self.frames.pop_front() {
                Some(ClientFrame::Ping(_)) => self.say(crate::protocol::frames::Pong {}),
                Some(frame) => return frame,
                None => match self.wrote().await {
                    Wrote::Text(text) => self.frames.extend(
                        codec::objects(&text).map(|object| ClientFrame::decode(object).unwrap()),
                    ),
                    other => panic!("no text: {other:?}"),
                },
            }
        }
    }

    pub(crate) fn say(&self, frame: impl Into<ServerFrame>) {
        self.report(SocketEvent::Text(frame.into().encode()));
    }

    pub(crate) fn report(&self, event: SocketEvent) {
        let _ = self.events.send(event);
    }
}

/// What dials arrive at: one [`Peer`] for each.
pub(crate) type Peers = mpsc::UnboundedReceiver<Peer>;

pub(crate) struct FakePlatform {
    start: time::Instant,
    peers: mpsc::UnboundedSender<Peer>,
}

impl FakePlatform {
    pub(crate) fn new() -> (Self, Peers) {
        let (peers, dialled) = mpsc::unbounded_channel();
        (Self { start: time::Instant::now(), peers }, dialled)
    }
}

impl Platform for FakePlatform {
    type Socket = FakeSocket;

    fn now(&self) -> Now {
        let mono = self.start.elapsed();
        let wall = UnixMillis(1_700_000_000_000 + u64::try_from(mono.as_millis()).unwrap());
        Now { mono: Instant::new(mono), wall }
    }

    async fn sleep(&self, span: Duration) {
        time::sleep(span).await;
    }

    async fn dial(&self, _: String) -> Result<FakeSocket, DialError> {
        let (to_peer, wrote) = mpsc::unbounded_channel();
        let (to_socket, events) = mpsc::unbounded_channel();
        let peer = Peer { wrote, events: to_socket, frames: VecDeque::new() };
        let gone = |_| DialError { status: None, retry_after: None, message: "refused".into() };
        self.peers.send(peer).map_err(gone)?;
        Ok(FakeSocket { wrote: to_peer, events })
    }

    async fn token(&self) -> Option<Token> {
        Some("a token".into())
    }
}
