//! Clock, timer, transport and randomness of tokio and the operating system.

use super::socket::{self, TokioSocket};
use crate::{
    client::{Error, Result},
    driver::Platform,
    machine::{DialError, Instant, Now, UnixMillis},
    protocol::{Code, Token},
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How long a dial may take.
const DIAL_WITHIN: Duration = Duration::from_secs(20);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Who is asked for tokens.
pub(super) type TokenProvider = Arc<dyn Fn() -> Boxed<Option<Token>> + Send + Sync>;

/// Tokio as a host.
pub struct TokioPlatform {
    start: std::time::Instant,
    provider: Option<TokenProvider>,
    tls: Arc<ClientConfig>,
}

impl TokioPlatform {
    /// Trusts the roots of the web and these, in DER form.
    pub(super) fn new(provider: Option<TokenProvider>, roots: &[Vec<u8>]) -> Result<Self> {
        let bad = |reason: String| Error::new(Code::BAD_CONFIG, reason);
        let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for root in roots {
            store
                .add(CertificateDer::from_slice(root))
                .map_err(|error| bad(format!("root certificate: {error}")))?;
        }
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(format!("tls: {error}")))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { start: std::time::Instant::now(), provider, tls: Arc::new(tls) })
    }
}

impl Platform for TokioPlatform {
    type Socket = TokioSocket;

    fn now(&self) -> Now {
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Now {
            mono: Instant::new(self.start.elapsed()),
            wall: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    async fn dial(&self, url: String) -> std::result::Result<TokioSocket, DialError> {
        let dial = socket::dial(&url, Arc::clone(&self.tls));
        tokio::time::timeout(DIAL_WITHIN, dial).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", DIAL_WITHIN.as_secs());
            Err(DialError { status: None, retry_after: None, message })
        })
    }

    async fn token(&self) -> Option<Token> {
        match &self.provider {
            Some(provider) => provider().await,
            None => None,
        }
    }
}

impl fmt::Debug for TokioPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioPlatform").finish_non_exhaustive()
    }
}

/// Draws from the operating system's source.
#[allow(clippy::expect_used, reason = "a host without random numbers can make no id: P-S1")]
pub(super) fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    u128::from_le_bytes(bytes)
}
