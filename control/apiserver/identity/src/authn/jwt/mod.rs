//! Tokens of outside issuers (OpenID Connect): signature, time, audience, then who the claims say it is.
//!
//! Enters: a bearer token and one issuer's configuration. Leaves: a user, or why the token is refused; a token of
//! another issuer is nobody's business here. [`keys`] fetches the issuer's keys when a token needs them, [`verify`]
//! checks signatures, [`mapping`] reads claims.
//!
//! Authority: `k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`, OpenID Connect Core 1.0 section 3.1.3.7.
//! Left out: distributed claims, and ES512 (ring has no P-521).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::{ConfigError, JwtConfig};
use crate::User;

mod keys;
mod mapping;
mod verify;

pub use keys::{Fetch, HttpFetch, KeyError, REFRESH_EVERY};
pub use mapping::MappingError;

/// The signature algorithms that can be checked.
pub const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 64 << 10;
/// How far ahead of now `nbf` may lie, in seconds (go-oidc allows five minutes).
const NOT_BEFORE_LEEWAY: i64 = 300;

/// Why a token of a known issuer is refused.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// Not a token of the form wanted.
    #[error("oidc: verify token: oidc: malformed jwt: {0}")]
    Malformed(&'static str),
    /// Signed in a way that is not accepted.
    #[error(
        "oidc: verify token: oidc: id token signed with unsupported algorithm, expected {wanted:?} got {got:?}"
    )]
    Algorithm {
        /// What is accepted.
        wanted: Vec<String>,
        /// What the token says.
        got: String,
    },
    /// For somebody else.
    #[error("oidc: verify token: oidc: expected audience in {wanted:?} got {got:?}")]
    Audience {
        /// What is accepted.
        wanted: Vec<String>,
        /// What the token says.
        got: Vec<String>,
    },
    /// `exp` has passed, or is missing.
    #[error("oidc: verify token: oidc: token is expired (Token Expiry: {0})")]
    Expired(String),
    /// `nbf` lies ahead.
    #[error("oidc: verify token: oidc: current time before the nbf (not before) time: {0}")]
    NotYetValid(String),
    /// No key of the issuer verifies it, or the keys cannot be had.
    #[error("oidc: verify token: failed to verify signature: {0}")]
    Signature(#[from] KeyError),
    /// The claims do not make a user.
    #[error("oidc: {0}")]
    Mapping(#[from] MappingError),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// One issuer whose tokens are accepted.
pub struct JwtAuthenticator {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<String>,
    keys: keys::KeySet,
    mapping: mapping::Mapping,
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()
}

/// The claims of a token without proof, to tell whose it is.
fn unproven_claims(token: &str) -> Option<Map<String, Value>> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&decode(payload)?).ok()
}

fn audiences(claims: &Map<String, Value>) -> Vec<String> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Seconds since 1970; a fraction is cut off.
fn time(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

fn shown(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

impl JwtAuthenticator {
    /// An authenticator that fetches keys over HTTPS; expressions are compiled, nothing is fetched yet.
    pub fn new(config: &JwtConfig, at: &xebec_api::field::Path) -> Result<JwtAuthenticator, ConfigError> {
        let ca = config.issuer.certificate_authority.clone().filter(|pem| !pem.is_empty());
        JwtAuthenticator::with_fetch(config, at, Arc::new(HttpFetch { ca }))
    }

    /// An authenticator with another way to fetch documents; `at` is the field errors are named below.
    pub fn with_fetch(
        config: &JwtConfig,
        at: &xebec_api::field::Path,
        fetch: Arc<dyn Fetch>,
    ) -> Result<JwtAuthenticator, ConfigError> {
        let all = || ALGORITHMS.iter().map(|name| (*name).to_owned()).collect();
        let given = &config.signing_algorithms;
        let issuer = config.issuer.url.clone();
        Ok(JwtAuthenticator {
            keys: keys::KeySet::new(&issuer, config.issuer.discovery_url.as_deref(), fetch),
            mapping: mapping::Mapping::new(config, at)?,
            issuer,
            audiences: config.issuer.audiences.clone(),
            algorithms: if given.is_empty() { all() } else { given.clone() },
        })
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The user of a token; `None` if another issuer made it.
    pub async fn authenticate(&self, token: &str, now: Timestamp) -> Option<Result<User, JwtError>> {
        let claims = unproven_claims(token)?;
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return None;
        }
        Some(self.prove(token, claims, now).await)
    }

    async fn prove(&self, token: &str, claims: Map<String, Value>, now: Timestamp) -> Result<User, JwtError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed("no signature"))?;
        let header = signed.split('.').next().and_then(decode);
        let header: Header = header
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or(JwtError::Malformed("unreadable header"))?;
        let signature = decode(signature).ok_or(JwtError::Malformed("unreadable signature"))?;
        // Cheap refusals first: they cost the issuer nothing.
        let got = audiences(&claims);
        if !got.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(JwtError::Audience { wanted: self.audiences.clone(), got });
        }
        let expires = time(&claims, "exp").unwrap_or(0);
        if expires < now.as_second() {
            return Err(JwtError::Expired(shown(expires)));
        }
        if let Some(from) = time(&claims, "nbf")
            && from > now.as_second().saturating_add(NOT_BEFORE_LEEWAY)
        {
            return Err(JwtError::NotYetValid(shown(from)));
        }
        if !self.algorithms.contains(&header.alg) {
            return Err(JwtError::Algorithm { wanted: self.algorithms.clone(), got: header.alg });
        }
        self.keys.verify(&header.alg, &header.kid, signed.as_bytes(), &signature).await?;
        Ok(self.mapping.user(&claims)?)
    }
}

#[cfg(test)]
mod tests;
