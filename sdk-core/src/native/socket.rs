//! A WebSocket on tokio: one task reads and writes it, so that dropping the handle cuts no close.

use crate::{
    driver::{Socket, SocketEvent},
    machine::{Close, DialError},
    protocol::{
        close::{NOT_UTF8, PROTOCOL_ERROR, TOO_BIG},
        limits::{CLIENT_OBJECT_BYTES, REPLAY_BYTES, SUBPROTOCOL},
    },
};
use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use rustls::ClientConfig;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        error::ProtocolError,
        http::{HeaderValue, Uri, header},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// Frames read that the driver has not taken; past it the socket is not read.
const MAX_READ: usize = 64;
/// How long the other side may take to answer a close.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// Bytes the kernel holds unsent, so that an alarm passes bulk (P-S10); it doubles this.
const SEND_BUFFER: u32 = 64 * 1024;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[derive(Debug)]
enum Write {
    Text(String),
    Binary(Bytes),
    Close(Close),
}

impl Write {
    const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Close(_) => 0,
        }
    }
}

/// The driver's end of a WebSocket.
#[derive(Debug)]
pub struct TokioSocket {
    writes: mpsc::UnboundedSender<Write>,
    read: mpsc::Receiver<SocketEvent>,
    queued: Arc<AtomicUsize>,
    unsent: watch::Receiver<usize>,
}

impl TokioSocket {
    fn write(&self, write: Write) {
        self.queued.fetch_add(write.len(), Ordering::Relaxed);
        // A task that has ended has told, or will tell, that the transport is closed.
        let _ = self.writes.send(write);
    }
}

impl Socket for TokioSocket {
    fn send_text(&mut self, text: String) {
        self.write(Write::Text(text));
    }

    fn send_binary(&mut self, bytes: Bytes) {
        self.write(Write::Binary(bytes));
    }

    fn close(&mut self, close: Close) {
        self.write(Write::Close(close));
    }

    async fn next(&mut self) -> SocketEvent {
        tokio::select! {
            biased;
            Ok(()) = self.unsent.changed() => {
                SocketEvent::Unsent(*self.unsent.borrow_and_update())
            }
            event = self.read.recv() => event.unwrap_or_else(|| {
                SocketEvent::Closed(Close { code: 1006, reason: "the transport ended".into() })
            }),
        }
    }
}

/// Opens a WebSocket with the subprotocol of this version.
pub(super) async fn dial(url: &str, tls: Arc<ClientConfig>) -> Result<TokioSocket, DialError> {
    let other = |message: String| DialError { status: None, retry_after: None, message };
    let mut request = url.into_client_request().map_err(|error| other(error.to_string()))?;
    request
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let tcp = connect(request.uri()).await.map_err(|error| other(error.to_string()))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(16 * 1024)
        .max_message_size(Some(CLIENT_OBJECT_BYTES + 1024))
        .max_frame_size(Some(CLIENT_OBJECT_BYTES + 1024));
    let connector = Some(Connector::Rustls(tls));
    let (stream, _) = client_async_tls_with_config(request, tcp, Some(config), connector)
        .await
        .map_err(refusal)?;
    let (writes, to_write) = mpsc::unbounded_channel();
    let (reads, read) = mpsc::channel(MAX_READ);
    let (tell, unsent) = watch::channel(0);
    let queued = Arc::new(AtomicUsize::new(0));
    drop(tokio::spawn(pump(stream, to_write, reads, tell, Arc::clone(&queued))));
    Ok(TokioSocket { writes, read, queued, unsent })
}

async fn connect(uri: &Uri) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("wss") { 443 } else { 80 });
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A host that does not let it be set has its own buffer.
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn refusal(error: tungstenite::Error) -> DialError {
    let (mut status, mut retry_after) = (None, None);
    if let tungstenite::Error::Http(response) = &error {
        status = Some(response.status().as_u16());
        retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
    }
    DialError { status, retry_after, message: error.to_string() }
}

/// Reads and writes one WebSocket until it ends, or its handle is dropped without a close.
async fn pump(
    stream: Stream,
    writes: mpsc::UnboundedReceiver<Write>,
    reads: mpsc::Sender<SocketEvent>,
    unsent: watch::Sender<usize>,
    queued: Arc<AtomicUsize>,
) {
    let (sink, stream) = stream.split();
    let reading = read_all(stream, &reads);
    tokio::pin!(reading);
    let closing = tokio::select! {
        () = &mut reading => false,
        closing = write_all(sink, writes, unsent, queued) => closing,
    };
    if closing {
        // The close is written: what still comes in is the other side's answer to it.
        let _ = timeout(CLOSE_WITHIN, reading).await;
    }
}

/// Writes what is queued, flushing once for all that waits. True: a close was written.
async fn write_all(
    mut sink: SplitSink<Stream, Message>,
    mut writes: mpsc::UnboundedReceiver<Write>,
    unsent: watch::Sender<usize>,
    queued: Arc<AtomicUsize>,
) -> bool {
    while let Some(mut write) = writes.recv().await {
        let (mut bytes, mut closing) = (0, false);
        loop {
            bytes += write.len();
            let message = match write {
                Write::Text(text) => Message::text(text),
                Write::Binary(data) => Message::binary(data),
                Write::Close(close) => {
                    closing = true;
                    let (code, reason) = (CloseCode::from(close.code), close.reason.into());
                    Message::Close(Some(CloseFrame { code, reason }))
                }
            };
            if sink.feed(message).await.is_err() {
                // The reader meets the same error and tells it.
                return std::future::pending().await;
            }
            if closing || bytes >= REPLAY_BYTES {
                break;
            }
            match writes.try_recv() {
                Ok(next) => write = next,
                Err(_) => break,
            }
        }
        if sink.flush().await.is_err() {
            return std::future::pending().await;
        }
        let before = queued.fetch_sub(bytes, Ordering::Relaxed);
        let _ = unsent.send(before.saturating_sub(bytes));
        if closing {
            return true;
        }
    }
    false
}

/// Reads until the end, and tells the end.
async fn read_all(mut stream: SplitStream<Stream>, reads: &mpsc::Sender<SocketEvent>) {
    let mut close = Close { code: 1006, reason: "cut".into() };
    loop {
        let event = match stream.next().await {
            Some(Ok(Message::Text(text))) => SocketEvent::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(bytes))) => SocketEvent::Binary(bytes),
            Some(Ok(Message::Close(frame))) => {
                close = match frame {
                    Some(frame) => {
                        Close { code: frame.code.into(), reason: frame.reason.as_str().to_owned() }
                    }
                    None => Close { code: 1005, reason: String::new() },
                };
                // Reading on answers the close; nothing else is of interest.
                let _ =
                    timeout(CLOSE_WITHIN, async { while let Some(Ok(_)) = stream.next().await {} })
                        .await;
                break;
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => {
                close = Close { code: code_of(&error), reason: error.to_string() };
                break;
            }
            None => break,
        };
        if reads.send(event).await.is_err() {
            return;
        }
    }
    let _ = reads.send(SocketEvent::Closed(close)).await;
}

fn code_of(error: &tungstenite::Error) -> u16 {
    match error {
        tungstenite::Error::Capacity(_) => TOO_BIG,
        tungstenite::Error::Utf8(_) => NOT_UTF8,
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => 1006,
        tungstenite::Error::Protocol(_) => PROTOCOL_ERROR,
        _ => 1006,
    }
}
