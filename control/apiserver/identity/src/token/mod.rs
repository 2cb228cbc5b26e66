//! Service account tokens: minting them, proving them, publishing the keys.
//!
//! Enters: `sa.key` / `sa.pub`, a TokenRequest, or a bearer token. Leaves: a signed JWT, or [`Claims`] whose
//! signature, issuer, time and audience hold. Whether the account behind the claims still exists is asked by
//! [`crate::authn`]. Called by the token subresource, by authentication and by `/openid/v1/jwks`.
//!
//! Tokens are ES256 (an RSA `sa.key`, as kubeadm makes them, gives RS256). Authority: RFC 7515, RFC 7519,
//! `pkg/serviceaccount/{jwt,claims}.go`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod claims;
mod key;
mod request;

pub use claims::{Claims, KubernetesClaims, Reference};
pub use key::{TokenSigner, TokenVerifier};
pub use request::{TokenRequestError, TokenRequestOptions, complete_token_request, token_request};

/// Tolerance for clocks that differ, in seconds, for `exp`, `nbf` and deletions (go-jose's default leeway).
pub const LEEWAY_SECONDS: i64 = 60;

/// Why a token is not accepted, or a key not usable.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not three base64url parts of JSON.
    #[error("token is malformed: {0}")]
    Malformed(&'static str),
    /// The algorithm in the header is not the key's.
    #[error("unexpected signature algorithm {0:?}")]
    Algorithm(String),
    /// No key verifies the signature.
    #[error("invalid signature, no keys found")]
    Signature,
    /// Made by someone else.
    #[error("token issuer {0:?} is not one of this cluster's")]
    Issuer(String),
    /// `exp` passed.
    #[error("service account token has expired")]
    Expired,
    /// `nbf` lies ahead.
    #[error("service account token is not valid yet")]
    NotYetValid,
    /// The token is for someone else.
    #[error("token audiences {token:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// Audiences of the token.
        token: Vec<String>,
        /// Audiences asked for.
        wanted: Vec<String>,
    },
    /// Reading a key file failed.
    #[error("key file {path}: {source}")]
    KeyFile {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The key is none this crate can use.
    #[error("key: {0}")]
    Key(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    kid: String,
}

fn encode_part(value: &impl Serialize) -> Result<String, TokenError> {
    let json = serde_json::to_vec(value).map_err(|_| TokenError::Malformed("claims are no JSON"))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

fn decode_part<T: for<'de> Deserialize<'de>>(part: &str, what: &'static str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(what))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed(what))
}

impl TokenSigner {
    /// Signs claims into a compact JWT.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let header = Header { alg: self.algorithm().to_owned(), kid: self.key_id().to_owned() };
        let signed = format!("{}.{}", encode_part(&header)?, encode_part(claims)?);
        let signature = self.raw_signature(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl TokenVerifier {
    /// Whether the token claims to be of one of this cluster's issuers, without proving anything.
    pub fn recognizes(&self, token: &str) -> bool {
        let payload = token.split('.').nth(1).unwrap_or_default();
        decode_part::<Value>(payload, "payload")
            .is_ok_and(|claims| self.issuers.iter().any(|issuer| claims["iss"] == issuer.as_str()))
    }

    /// Proves signature and issuer; time and audience remain to be checked.
    pub fn verify_signature(&self, token: &str) -> Result<Claims, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("no signature"))?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed("no payload"))?;
        if payload.contains('.') {
            return Err(TokenError::Malformed("too many parts"));
        }
        let header: Header = decode_part(header, "header")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed("signature"))?;
        self.check_signature(&header.alg, &header.kid, signed.as_bytes(), &signature)?;
        let claims: Claims = decode_part(payload, "payload")?;
        if self.issuers.contains(&claims.iss) { Ok(claims) } else { Err(TokenError::Issuer(claims.iss)) }
    }

    /// Proves everything a token can prove by itself; returns the claims and the audiences both sides share.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(Claims, Vec<String>), TokenError> {
        let claims = self.verify_signature(token)?;
        let shared = claims.check(audiences, now)?;
        Ok((claims, shared))
    }

    /// The key set at `/openid/v1/jwks` (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({"keys": self.public_jwks()})
    }

    /// The document at `/.well-known/openid-configuration`; `jwks_uri` is where [`TokenVerifier::jwks`] is served.
    pub fn openid_configuration(&self, jwks_uri: &str) -> Value {
        json!({
            "issuer": self.issuers.first(),
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": self.algorithms(),
        })
    }
}

#[cfg(test)]
mod tests;
