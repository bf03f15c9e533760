//! Fetches a small document over HTTP/1.1: for public keys, once in a while.

use axum::body::Body;
use http::{Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// From the first packet to the last byte.
const WITHIN: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const BYTES: usize = 1024 * 1024;

/// Why a document was not had. Shown to operators.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {} s", WITHIN.as_secs())]
    Late,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Body(#[from] axum::Error),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("{0} is no URL to fetch from")]
    Url(String),
}

/// Fetches over TLS and, from this machine, in the clear.
pub(super) struct Fetcher {
    tls: TlsConnector,
}

impl Fetcher {
    /// Trusts the authorities of the web, or in their place those of a PEM text.
    pub(super) fn new(authorities: Option<&str>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate = certificate.map_err(|error| error.to_string())?;
                    roots.add(certificate).map_err(|error| error.to_string())?;
                }
                if roots.is_empty() {
                    return Err("holds no certificate".to_owned());
                }
            }
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Fetches the whole of a document. Follows no redirect: the operator named the place.
    pub(super) async fn get(&self, url: &Uri) -> Result<Vec<u8>, FetchError> {
        tokio::time::timeout(WITHIN, self.get_at_last(url)).await.map_err(|_| FetchError::Late)?
    }

    async fn get_at_last(&self, url: &Uri) -> Result<Vec<u8>, FetchError> {
        let wrong = || FetchError::Url(url.to_string());
        let host = url.host().ok_or_else(wrong)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((bare, port)).await?;
        if secure {
            let name = ServerName::try_from(bare.to_owned()).map_err(|_| wrong())?;
            ask(self.tls.connect(name, stream).await?, url).await
        } else {
            ask(stream, url).await
        }
    }
}

async fn ask<S>(stream: S, url: &Uri) -> Result<Vec<u8>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wrong = || FetchError::Url(url.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender, at the latest when the fetch is given up.
    let driver = tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, url.authority().ok_or_else(wrong)?.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("wardline-server/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())
        .map_err(|_| wrong())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let bytes = axum::body::to_bytes(Body::new(response.into_body()), BYTES).await?;
    drop(sender);
    driver.abort();
    Ok(bytes.to_vec())
}
