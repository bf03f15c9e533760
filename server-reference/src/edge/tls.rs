//! The server's certificate: read at the start, and again when its files say another.

use crate::config::{ConfigError, TlsFiles};
use sha1::{Digest, Sha1};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// What the files were when they were last looked at, or why they could not be read.
type Seen = Result<[u8; 20], ConfigError>;

/// A certificate that is renewed while connections live: new ones get the new one.
pub(crate) struct Tls {
    files: TlsFiles,
    /// With what it was made of.
    shown: RwLock<([u8; 20], TlsAcceptor)>,
    seen: Mutex<Seen>,
}

/// Both files as they are now.
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`ConfigError`] names the file that cannot be used.
    pub(crate) fn open(files: &TlsFiles) -> Result<Self, ConfigError> {
        let pem = Pem::read(files)?;
        let digest = pem.digest();
        let shown = RwLock::new((digest, pem.acceptor(files)?));
        Ok(Self { files: files.clone(), shown, seen: Mutex::new(Ok(digest)) })
    }

    /// What new connections are accepted with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Looks at the files; whether another certificate is shown from now on. What stands in them is
    /// compared, not their times: a mounted secret changes by a link. May take long: reads the disk.
    ///
    /// # Errors
    /// [`ConfigError`]: the files cannot be used, and the certificate there was is shown on. Told once
    /// for what stands in them, unless somebody `asked`.
    pub(crate) fn reload(&self, asked: bool) -> Result<bool, ConfigError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let pem = Pem::read(&self.files);
        let now = pem.as_ref().map(Pem::digest).map_err(Clone::clone);
        if *seen == now && !asked {
            return Ok(false);
        }
        seen.clone_from(&now);
        let (pem, digest) = (pem?, now?);
        if self.shown.read().unwrap_or_else(PoisonError::into_inner).0 == digest {
            return Ok(false);
        }
        let acceptor = pem.acceptor(&self.files)?;
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = (digest, acceptor);
        Ok(true)
    }
}

fn named(path: &Path, error: impl std::fmt::Display) -> ConfigError {
    ConfigError(format!("tls: {}: {error}", path.display()))
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, ConfigError> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| named(path, error));
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn digest(&self) -> [u8; 20] {
        let mut hash = Sha1::new();
        hash.update((self.certificate.len() as u64).to_be_bytes());
        hash.update(&self.certificate);
        hash.update(&self.key);
        hash.finalize().into()
    }

    fn acceptor(&self, files: &TlsFiles) -> Result<TlsAcceptor, ConfigError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| named(&files.certificate, error))?;
        if chain.is_empty() {
            return Err(named(&files.certificate, "holds no certificate"));
        }
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| named(&files.key, error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| named(&files.certificate, error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &TlsFiles) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.key_pair.serialize_pem()).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_told_once_and_the_old_stays() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        write(&files);
        let tls = Tls::open(&files).unwrap();
        let shown = |tls: &Tls| tls.shown.read().unwrap().0;
        let first = shown(&tls);
        assert_eq!(tls.reload(false), Ok(false));

        // The certificate is there, its key is not yet.
        let old_key = std::fs::read(&files.key).unwrap();
        write(&files);
        let new_key = std::fs::read(&files.key).unwrap();
        std::fs::write(&files.key, old_key).unwrap();
        assert!(tls.reload(false).is_err());
        assert_eq!(tls.reload(false), Ok(false), "said once");
        assert!(tls.reload(true).is_err(), "but to who asks");
        std::fs::remove_file(&files.key).unwrap();
        assert!(tls.reload(false).unwrap_err().0.contains("key.pem"));
        assert_eq!(tls.reload(false), Ok(false));
        assert_eq!(shown(&tls), first);

        std::fs::write(&files.key, new_key).unwrap();
        assert_eq!(tls.reload(false), Ok(true));
        assert_ne!(shown(&tls), first);
        assert_eq!(tls.reload(true), Ok(false));
    }
}
