//! The host's WebSocket.

use crate::platform::sleep;
use futures_channel::mpsc;
use futures_util::{FutureExt as _, StreamExt as _, pin_mut, select_biased};
use std::{cell::Cell, time::Duration};
use wardline::{
    driver::{Socket, SocketEvent},
    machine::{Close, DialError},
    protocol::limits::SUBPROTOCOL,
};
use wasm_bindgen::{JsCast as _, prelude::*};
use web_sys::{BinaryType, CloseEvent, MessageEvent};

/// How often the unsent bytes are looked at while there are any: hosts tell no change.
const LOOK: Duration = Duration::from_millis(20);

/// A WebSocket of the host. Dropping it lets a close that has begun go on.
pub(crate) struct WebSocket {
    socket: web_sys::WebSocket,
    events: mpsc::UnboundedReceiver<SocketEvent>,
    unsent: Cell<u32>,
    _listeners: Listeners,
}

struct Listeners {
    _open: Closure<dyn FnMut(JsValue)>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _close: Closure<dyn FnMut(CloseEvent)>,
}

fn failed(message: &str) -> DialError {
    DialError { status: None, retry_after: None, message: message.to_owned() }
}

/// Opens a WebSocket with the subprotocol of this version.
pub(crate) async fn dial(url: &str) -> Result<WebSocket, DialError> {
    let socket = web_sys::WebSocket::new_with_str(url, SUBPROTOCOL)
        .map_err(|_| failed("the host refuses the url"))?;
    socket.set_binary_type(BinaryType::Arraybuffer);
    let (told, events) = mpsc::unbounded();
    let (opened, mut open) = mpsc::unbounded();
    let on_open = Closure::new(move |_: JsValue| drop(opened.unbounded_send(())));
    let tell = told.clone();
    let on_message = Closure::new(move |message: MessageEvent| {
        let data = message.data();
        let event = match data.as_string() {
            Some(text) => SocketEvent::Text(text),
            None => {
                let buffer = data.unchecked_into::<js_sys::ArrayBuffer>();
                SocketEvent::Binary(js_sys::Uint8Array::new(&buffer).to_vec().into())
            }
        };
        drop(tell.unbounded_send(event));
    });
    let on_close = Closure::new(move |close: CloseEvent| {
        let close = Close { code: close.code(), reason: close.reason() };
        drop(told.unbounded_send(SocketEvent::Closed(close)));
    });
    socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
    socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
    let listeners = Listeners { _open: on_open, _message: on_message, _close: on_close };
    let unsent = Cell::new(0);
    // Made before the wait: a dial that is given up closes what it began.
    let mut socket = WebSocket { socket, events, unsent, _listeners: listeners };
    select_biased! {
        _ = open.next() => Ok(socket),
        event = socket.events.next() => Err(match event {
            Some(SocketEvent::Closed(close)) if !close.reason.is_empty() => failed(&close.reason),
            _ => failed("the connection was refused or cut"),
        }),
    }
}

impl WebSocket {
    fn note_unsent(&self) {
        self.unsent.set(self.socket.buffered_amount());
    }
}

impl Socket for WebSocket {
    fn send_text(&mut self, text: String) {
        // A socket that closes tells so; what was written to it is lost with it.
        let _ = self.socket.send_with_str(&text);
        self.note_unsent();
    }

    fn send_binary(&mut self, bytes: bytes::Bytes) {
        let _ = self.socket.send_with_u8_array(&bytes);
        self.note_unsent();
    }

    fn close(&mut self, close: Close) {
        let code = match close.code {
            code @ (1000 | 3000..=4999) => code,
            _ => 4000,
        };
        let mut reason = close.reason;
        // RFC 6455 gives a reason 123 bytes.
        while reason.len() > 123 {
            reason.pop();
        }
        let _ = self.socket.close_with_code_and_reason(code, &reason);
    }

    async fn next(&mut self) -> SocketEvent {
        loop {
            let before = self.unsent.get();
            let look =
                async { if before > 0 { sleep(LOOK).await } else { std::future::pending().await } };
            let look = look.fuse();
            pin_mut!(look);
            select_biased! {
                event = self.events.next() => return event.unwrap_or_else(|| {
                    SocketEvent::Closed(Close { code: 1006, reason: String::new() })
                }),
                () = look => {
                    let now = self.socket.buffered_amount();
                    self.unsent.set(now);
                    if now != before {
                        return SocketEvent::Unsent(now as usize);
                    }
                }
            }
        }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        // Without effect where a close has begun.
        let _ = self.socket.close();
    }
}
