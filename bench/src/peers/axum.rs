//! axum's WebSocket as one would write it with care: 4 KiB buffers, all queued frames fed, one flush.

use super::Rooms;
use crate::process::Failure;
use axum::{
    Router,
    extract::{
        State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use futures_util::{SinkExt, StreamExt};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type Shared = Arc<Mutex<Rooms<UnboundedSender<Utf8Bytes>>>>;

/// Serves until killed.
pub(crate) fn run() -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        let router = Router::new().route("/", get(upgrade)).with_state(Shared::default());
        axum::serve(
            axum::serve::ListenerExt::tap_io(listener, |stream| {
                let _ = stream.set_nodelay(true);
            }),
            router,
        )
        .await?;
        Ok(())
    })
}

async fn upgrade(request: WebSocketUpgrade, State(rooms): State<Shared>) -> Response {
    request.read_buffer_size(4096).write_buffer_size(4096).on_upgrade(move |socket| async move {
        serve(socket, rooms).await;
    })
}

async fn serve(socket: WebSocket, rooms: Shared) {
    let (mut sink, mut stream) = socket.split();
    let (send, mut queue) = unbounded_channel::<Utf8Bytes>();
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(Ok(message)) = message else { return };
                if let Message::Text(text) = message {
                    handle(&text, &send, &rooms);
                }
            }
            Some(text) = queue.recv() => {
                let mut next = Some(text);
                while let Some(text) = next {
                    if sink.feed(Message::Text(text)).await.is_err() {
                        return;
                    }
                    next = queue.try_recv().ok();
                }
                if sink.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

fn handle(text: &str, own: &UnboundedSender<Utf8Bytes>, rooms: &Shared) {
    let Ok(mut rooms) = rooms.lock() else { return };
    if let Some(room) = text.strip_prefix('J') {
        rooms.entry(room.to_owned()).or_default().push(own.clone());
        let _ = own.send("J".into());
    } else if let Some((room, data)) = text.strip_prefix('P').and_then(|rest| rest.split_once(' '))
    {
        let text = Utf8Bytes::from(format!("D{data}"));
        if let Some(members) = rooms.get(room) {
            members.iter().for_each(|member| drop(member.send(text.clone())));
        }
    } else if text.starts_with('E') {
        let _ = own.send(text.into());
    }
}
