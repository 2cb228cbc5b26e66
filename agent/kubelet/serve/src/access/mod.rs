//! Who may ask. Enters: a peer's certificate or bearer token and what it asks for. Leaves: a user and a verdict.
//!
//! [`Access`] asks the API server (`TokenReview`, `SubjectAccessReview`); the server remembers its answers
//! ([`cache`]). Called by the router before every handler.

mod attributes;
mod cache;
mod review;

use std::collections::BTreeMap;

use async_trait::async_trait;

pub use attributes::Attributes;
pub(crate) use attributes::wanted;
pub(crate) use cache::Cache;
pub use review::KubeAccess;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// The name; of a certificate its common name.
    pub name: String,
    /// The UID, often empty.
    pub uid: String,
    /// The groups; of a certificate its organizations.
    pub groups: Vec<String>,
    /// What the authenticator adds.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What an authorizer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// True if the request may pass.
    pub allowed: bool,
    /// Why, for the log.
    pub reason: String,
}

/// The API server could not be asked or did not answer in time; nothing was decided. May be retried.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {operation}: {cause}")]
pub struct AccessError {
    /// What was asked, such as "review a token".
    pub operation: &'static str,
    /// What went wrong.
    pub cause: String,
}

/// Decides about requests; every answer is remembered by the server, so an implementation need not.
#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// The user of a bearer token; `None` if the token is not good.
    async fn authenticate(&self, token: &str) -> Result<Option<User>, AccessError>;

    /// Whether `user` may do what `attributes` say.
    async fn authorize(&self, user: &User, attributes: &Attributes) -> Result<Verdict, AccessError>;
}

/// The user of a client certificate that the TLS layer has verified; `None` if it has no common name.
pub(crate) fn user_of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok().filter(|name| !name.is_empty())?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    Some(User { name, groups, ..User::default() })
}
