//! What a service account token says.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{LEEWAY_SECONDS, TokenError};

/// An object a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The object's name.
    pub name: String,
    /// The object's uid; empty if it was not known when the token was made (nodes only).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The private claims `kubernetes.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// Namespace of the account and of the objects bound.
    pub namespace: String,
    /// The node of the pod bound, or the node bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The Secret bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
    /// Seconds since 1970 after which use of an extended token is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// All claims of a service account token. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Audiences.
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Expiry.
    pub exp: i64,
    /// Time of issue.
    pub iat: i64,
    /// Issuer.
    pub iss: String,
    /// Unique id of the token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// The private claims.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    /// Start of validity.
    #[serde(default)]
    pub nbf: i64,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audiences {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audiences::deserialize(deserializer)? {
        Audiences::One(audience) => vec![audience],
        Audiences::Many(audiences) => audiences,
    })
}

impl Claims {
    /// Checks time, subject and audience; returns the audiences both sides share (never empty).
    pub fn check(&self, audiences: &[String], now: Timestamp) -> Result<Vec<String>, TokenError> {
        let now = now.as_second();
        if now > self.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(TokenError::Expired);
        }
        if now < self.nbf.saturating_sub(LEEWAY_SECONDS) {
            return Err(TokenError::NotYetValid);
        }
        let account = &self.kubernetes;
        if self.sub != format!("system:serviceaccount:{}:{}", account.namespace, account.serviceaccount.name)
        {
            return Err(TokenError::Malformed("sub does not match kubernetes.io"));
        }
        let shared: Vec<String> = audiences.iter().filter(|a| self.aud.contains(a)).cloned().collect();
        if shared.is_empty() {
            return Err(TokenError::Audience { token: self.aud.clone(), wanted: audiences.to_vec() });
        }
        Ok(shared)
    }
}
