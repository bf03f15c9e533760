//! Clock, timer and randomness of a JavaScript host.

use crate::socket::{WebSocket, dial};
use std::time::Duration;
use wardline::{
    driver::Platform,
    machine::{DialError, Instant, Now, UnixMillis},
    protocol::Token,
};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(buffer: &js_sys::Uint8Array) -> js_sys::Uint8Array;
}

/// Longest time a host's timer takes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long a dial may take.
const DIAL_WITHIN: Duration = Duration::from_secs(20);

/// A browser, a worker, or Node.
pub(crate) struct Host {
    /// Answers a token as text, or nothing.
    provider: Option<js_sys::Function>,
}

impl Host {
    pub(crate) const fn new(provider: Option<js_sys::Function>) -> Self {
        Self { provider }
    }
}

impl Platform for Host {
    type Socket = WebSocket;

    fn now(&self) -> Now {
        let wall = UnixMillis(js_sys::Date::now() as u64);
        Now { mono: Instant(Duration::from_micros((performance_now() * 1000.0) as u64)), wall }
    }

    async fn sleep(&self, span: Duration) {
        sleep(span).await;
    }

    async fn dial(&self, url: String) -> Result<WebSocket, DialError> {
        let late = || {
            let message = "no answer within 20 s".to_owned();
            Err(DialError { status: None, retry_after: None, message })
        };
        let (dial, limit) = (std::pin::pin!(dial(&url)), std::pin::pin!(sleep(DIAL_WITHIN)));
        match futures_util::future::select(dial, limit).await {
            futures_util::future::Either::Left((opened, _)) => opened,
            futures_util::future::Either::Right(_) => late(),
        }
    }

    async fn token(&self) -> Option<Token> {
        let answer = self.provider.as_ref()?.call0(&JsValue::NULL).ok()?;
        let answer = js_sys::Promise::resolve(&answer);
        let answer = wasm_bindgen_futures::JsFuture::from(answer).await.ok()?;
        answer.as_string().map(Token::from)
    }
}

/// Waits; a longer time than the host's timers take ends early, and is asked for again.
pub(crate) async fn sleep(span: Duration) {
    // Rounded up: a timer that fires early makes the driver turn once for nothing.
    let ms = u32::try_from(span.min(LONGEST).as_micros().div_ceil(1000)).unwrap_or(u32::MAX);
    gloo_timers::future::TimeoutFuture::new(ms).await;
}

/// Draws from the host's cryptographic source.
pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    let buffer = js_sys::Uint8Array::new_with_length(16);
    get_random_values(&buffer).copy_to(&mut bytes);
    u128::from_le_bytes(bytes)
}
