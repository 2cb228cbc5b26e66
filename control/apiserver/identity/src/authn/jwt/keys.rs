//! An issuer's keys: found by discovery when the first token needs them, fetched again when a key is unknown.
//!
//! Enters: a signature to check. Leaves: whether a key of the issuer made it. The keys are fetched at most once in
//! [`REFRESH_EVERY`], however many tokens ask: an issuer cannot be flooded through this server, and while it is down
//! the keys known last serve on.
//!
//! Authority: OpenID Connect Discovery 1.0 section 4, RFC 7517 section 5.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::verify::{Jwk, parse_set};
use crate::remote::{Remote, RemoteError};

/// The shortest time between two fetches of one issuer's keys.
pub const REFRESH_EVERY: Duration = Duration::from_secs(10);
/// How long a document may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a signature is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The issuer's keys are known, and none of them made it.
    #[error("failed to verify id token signature")]
    Signature,
    /// The keys could not be fetched.
    #[error("fetching keys {0}")]
    Fetch(String),
}

/// A way to fetch an issuer's documents.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The body at an `https` URL, at most [`crate::remote::MAX_ANSWER`] bytes; tried once.
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, RemoteError>;
}

/// Fetches over HTTPS.
#[derive(Clone, Debug, Default)]
pub struct HttpFetch {
    /// The CA bundle (PEM) to trust; the system's authorities if absent.
    pub ca: Option<String>,
}

#[async_trait]
impl Fetch for HttpFetch {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, RemoteError> {
        // One connection a fetch: fetches are rare, and the issuer's addresses may change between them.
        Remote::from_url(url, self.ca.as_deref(), PATIENCE)?.get().await
    }
}

/// When the last fetch ended, and why it failed if it did.
#[derive(Default)]
struct Last {
    at: Option<Instant>,
    failure: Option<String>,
}

/// The keys of one issuer.
pub(super) struct KeySet {
    issuer: String,
    discovery: String,
    fetch: Arc<dyn Fetch>,
    keys: RwLock<Arc<Vec<Jwk>>>,
    /// Held during a fetch: tokens that come meanwhile wait for its outcome.
    last: Mutex<Last>,
}

impl KeySet {
    pub(super) fn new(issuer: &str, discovery: Option<&str>, fetch: Arc<dyn Fetch>) -> KeySet {
        let below = || format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery = discovery.filter(|url| !url.is_empty()).map_or_else(below, str::to_owned);
        KeySet {
            issuer: issuer.to_owned(),
            discovery,
            fetch,
            keys: RwLock::default(),
            last: Mutex::default(),
        }
    }

    /// Proves a signature with a key known, or else with one fetched.
    pub(super) async fn verify(
        &self,
        algorithm: &str,
        id: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), KeyError> {
        let known = Arc::clone(&self.keys.read());
        if proves(&known, algorithm, id, message, signature) {
            return Ok(());
        }
        let fresh = self.refreshed(&known).await?;
        if proves(&fresh, algorithm, id, message, signature) { Ok(()) } else { Err(KeyError::Signature) }
    }

    /// The keys after a fetch, or as they are if one ended just now.
    async fn refreshed(&self, seen: &Arc<Vec<Jwk>>) -> Result<Arc<Vec<Jwk>>, KeyError> {
        let mut last = self.last.lock().await;
        let known = Arc::clone(&self.keys.read());
        let recent = last.at.is_some_and(|at| at.elapsed() < REFRESH_EVERY);
        // Somebody else fetched while this token waited.
        if recent || !Arc::ptr_eq(&known, seen) {
            return match &last.failure {
                Some(reason) if known.is_empty() => Err(KeyError::Fetch(reason.clone())),
                _ => Ok(known),
            };
        }
        let outcome = self.fetch_keys().await;
        last.at = Some(Instant::now());
        match outcome {
            Ok(keys) => {
                last.failure = None;
                let keys = Arc::new(keys);
                *self.keys.write() = Arc::clone(&keys);
                Ok(keys)
            }
            Err(reason) => {
                tracing::warn!(issuer = self.issuer, reason, "the issuer's keys could not be fetched");
                last.failure = Some(reason.clone());
                if known.is_empty() { Err(KeyError::Fetch(reason)) } else { Ok(known) }
            }
        }
    }

    async fn document(&self, url: &str) -> Result<Value, String> {
        let body = self.fetch.fetch(url).await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
    }

    async fn fetch_keys(&self) -> Result<Vec<Jwk>, String> {
        let found = self.document(&self.discovery).await?;
        let issuer = found["issuer"].as_str().unwrap_or_default();
        if issuer != self.issuer {
            return Err(format!(
                "oidc: issuer URL provided to client ({:?}) did not match the issuer URL returned by provider ({issuer:?})",
                self.issuer
            ));
        }
        let url = found["jwks_uri"].as_str().unwrap_or_default();
        if !url.starts_with("https://") {
            return Err(format!("{}: jwks_uri {url:?}: URL scheme must be https", self.discovery));
        }
        let set = self.document(url).await?;
        parse_set(&set).ok_or_else(|| format!("{url}: no key set"))
    }
}

fn proves(keys: &[Jwk], algorithm: &str, id: &str, message: &[u8], signature: &[u8]) -> bool {
    let candidates = keys.iter().filter(|key| id.is_empty() || key.id == id);
    candidates.into_iter().any(|key| key.verifies(algorithm, message, signature))
}
