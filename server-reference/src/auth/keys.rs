//! Public keys by issuer and key id: from a file, or fetched and kept fresh (V3).
//!
//! A token only ever names a key; which issuer that key speaks for is known from where it was
//! fetched. So no claim of a token is looked at before its signature is verified, and no issuer can
//! sign for another.
//!
//! An unknown key id has the issuer asked, since keys are rotated. However many such tokens come,
//! one source is asked at most once per cooldown, by one task.

use super::fetch::Fetcher;
use crate::config::{ConfigError, KeySource, TokenConfig};
use http::Uri;
use jsonwebtoken::{
    DecodingKey,
    jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Keys of a source that does not answer are believed no longer than this.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Most keys of one set.
const KEYS: usize = 256;

type ById = BTreeMap<String, Arc<DecodingKey>>;

/// The keys of every issuer.
pub(super) struct Keys {
    sets: Vec<Arc<Set>>,
    /// As configuration and keys write it.
    algorithm: String,
    ttl: Duration,
    cooldown: Duration,
}

/// The keys of one issuer.
struct Set {
    issuer: Option<String>,
    state: Mutex<State>,
    remote: Option<Remote>,
}

struct Remote {
    url: Uri,
    fetcher: Arc<Fetcher>,
    /// Held by the one task that fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    by_id: ById,
    tried: Option<Instant>,
    had: Option<Instant>,
}

/// What there is under a key id.
pub(super) enum Found {
    /// Keys, each with the `iss` it speaks for where that is known; and whether another issuer may
    /// have one too.
    Keys(Vec<(Option<String>, Arc<DecodingKey>)>, bool),
    /// None, and no issuer need be asked.
    Unknown,
    /// None, but an issuer may have it, or does not answer.
    Perhaps,
}

impl Keys {
    /// Reads the file, and makes the sources known; [`Keys::refresh`] asks them.
    pub(super) fn new(config: &TokenConfig) -> Result<Self, ConfigError> {
        let mut sets = Vec::new();
        if let Some(text) = &config.jwks {
            let by_id = read(text.as_bytes(), &config.algorithm)
                .map_err(|error| ConfigError(format!("JWT_JWKS_FILE: {error}")))?;
            let state = Mutex::new(State { by_id, ..State::default() });
            sets.push(Arc::new(Set { issuer: None, state, remote: None }));
        }
        if !config.sources.is_empty() {
            let fetcher = Fetcher::new(config.keys_ca.as_deref())
                .map_err(|error| ConfigError(format!("JWT_JWKS_CA_FILE: {error}")))?;
            let fetcher = Arc::new(fetcher);
            for KeySource { issuer, url } in &config.sources {
                let url = url
                    .parse()
                    .map_err(|error| ConfigError(format!("JWT_JWKS_URL: {url:?}: {error}")))?;
                let remote =
                    Remote { url, fetcher: fetcher.clone(), flight: tokio::sync::Mutex::default() };
                let state = Mutex::default();
                sets.push(Arc::new(Set { issuer: issuer.clone(), state, remote: Some(remote) }));
            }
        }
        Ok(Self {
            sets,
            algorithm: config.algorithm.clone(),
            ttl: config.keys_ttl,
            cooldown: config.keys_cooldown,
        })
    }

    /// The keys of this id, of every issuer that has one.
    pub(super) fn find(&self, id: &str) -> Found {
        let now = Instant::now();
        let mut found = Vec::new();
        let mut perhaps = false;
        for set in &self.sets {
            let state = set.state();
            match state.by_id.get(id) {
                Some(key) if !set.is_stale(&state, now) => {
                    found.push((set.issuer.clone(), key.clone()));
                }
                _ => perhaps |= set.may_have_more(&state, now, self.cooldown),
            }
        }
        match (found.is_empty(), perhaps) {
            (false, perhaps) => Found::Keys(found, perhaps),
            (true, true) => Found::Perhaps,
            (true, false) => Found::Unknown,
        }
    }

    /// Whether there is anything to fetch.
    pub(super) fn is_remote(&self) -> bool {
        self.sets.iter().any(|set| set.remote.is_some())
    }

    /// Asks every source that was not asked within the cooldown; waits for those that are being
    /// asked.
    pub(super) async fn refresh(&self) {
        // Tasks of their own: who asked may go away, and the cooldown is spent by then.
        let ask = |set: &Arc<Set>| {
            let (set, algorithm) = (set.clone(), self.algorithm.clone());
            let cooldown = self.cooldown;
            tokio::spawn(async move { set.refresh(cooldown, &algorithm).await })
        };
        let remote = self.sets.iter().filter(|set| set.remote.is_some());
        let asked: Vec<_> = remote.map(ask).collect();
        for one in asked {
            // A fetch that panicked brought nothing, as one that failed.
            let _ = one.await;
        }
    }

    /// The time to the next fetch by age.
    pub(super) fn due_in(&self) -> Duration {
        let now = Instant::now();
        let left = |set: &Arc<Set>| {
            let state = set.state();
            match (state.had, state.tried) {
                // One that failed is asked again soon, not at each cooldown.
                (had, Some(tried)) if had.is_none_or(|had| had < tried) => {
                    (self.cooldown * 3).min(self.ttl).saturating_sub(now.duration_since(tried))
                }
                (Some(had), _) => self.ttl.saturating_sub(now.duration_since(had)),
                (None, _) => Duration::ZERO,
            }
        };
        let remote = self.sets.iter().filter(|set| set.remote.is_some());
        remote.map(left).min().unwrap_or(self.ttl).max(self.cooldown)
    }
}

impl Set {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stale(&self, state: &State, now: Instant) -> bool {
        self.remote.is_some() && state.had.is_none_or(|had| now.duration_since(had) > STALE)
    }

    fn may_have_more(&self, state: &State, now: Instant, cooldown: Duration) -> bool {
        self.remote.is_some()
            && match (state.tried, state.had) {
                // The last answer is fresh, and the key is not in it.
                (Some(tried), Some(had)) if had >= tried => now.duration_since(tried) >= cooldown,
                _ => true,
            }
    }

    async fn refresh(&self, cooldown: Duration, algorithm: &str) {
        let Some(remote) = &self.remote else { return };
        let _one = remote.flight.lock().await;
        {
            let mut state = self.state();
            let now = Instant::now();
            if state.tried.is_some_and(|tried| now.duration_since(tried) < cooldown) {
                return;
            }
            state.tried = Some(now);
        }
        let fetched = match remote.fetcher.get(&remote.url).await {
            Ok(bytes) => read(&bytes, algorithm),
            Err(error) => Err(error.to_string()),
        };
        let mut state = self.state();
        // From its end, so that those who waited for a slow one do not each ask again.
        state.tried = Some(Instant::now());
        match fetched {
            Ok(by_id) => {
                tracing::debug!(url = %remote.url, keys = by_id.len(), "public keys fetched");
                state.by_id = by_id;
                state.had = Some(Instant::now());
            }
            // What was had is kept: an issuer that is away must not lock everyone out.
            Err(error) => {
                tracing::warn!(url = %remote.url, error, "the public keys cannot be fetched");
            }
        }
    }
}

/// The keys of a set that may verify tokens of this algorithm. Others, as those for encryption or
/// of kinds this build does not know, are passed over.
fn read(text: &[u8], algorithm: &str) -> Result<ById, String> {
    #[derive(serde::Deserialize)]
    struct Any {
        keys: Vec<serde_json::Value>,
    }
    let any: Any = serde_json::from_slice(text).map_err(|error| format!("no JWKS: {error}"))?;
    let known = any.keys.into_iter().take(KEYS).filter_map(|key| serde_json::from_value(key).ok());
    let set = JwkSet { keys: known.collect() };
    let fits = |jwk: &Jwk| {
        let for_signing = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
        let named = jwk.common.key_algorithm.is_none_or(|named| same(named, algorithm));
        for_signing && named && of_kind(jwk, algorithm)
    };
    let mut keys = ById::new();
    for jwk in set.keys.iter().filter(|jwk| fits(jwk)) {
        let Some(id) = jwk.common.key_id.clone() else { continue };
        let Ok(key) = DecodingKey::from_jwk(jwk) else { continue };
        keys.insert(id, Arc::new(key));
    }
    if keys.is_empty() {
        return Err(format!("holds no key with a `kid` for {algorithm}"));
    }
    Ok(keys)
}

fn same(named: KeyAlgorithm, algorithm: &str) -> bool {
    named.to_string() == algorithm
}

fn of_kind(jwk: &Jwk, algorithm: &str) -> bool {
    use jsonwebtoken::jwk::AlgorithmParameters;
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => algorithm.starts_with("RS"),
        AlgorithmParameters::EllipticCurve(_) => algorithm.starts_with("ES"),
        AlgorithmParameters::OctetKeyPair(_) => algorithm == "EdDSA",
        // A shared secret has no place among public keys, nor what this build does not know.
        _ => false,
    }
}
