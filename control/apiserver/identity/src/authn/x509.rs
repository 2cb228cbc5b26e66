//! From a client certificate to a user: the common name is the name, the organizations are the groups.
//!
//! TLS has verified the chain, the validity and the extended key usage; what is checked here again is cheap and
//! protects a caller that hands in a certificate kept from an old connection.
//!
//! Authority: `k8s.io/apiserver/pkg/authentication/request/x509` (CommonNameUserConversion).

use std::collections::BTreeMap;

use jiff::Timestamp;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::User;

/// The attribute type of a user's uid in a subject.
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

/// Why a client certificate is no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// Not a certificate.
    #[error("unreadable")]
    Unreadable,
    /// Before or after its validity.
    #[error("expired or not yet valid")]
    Validity,
    /// Not for client authentication.
    #[error("not for client authentication")]
    Usage,
}

/// What a certificate says, read once for all requests of its connection.
#[derive(Clone, Debug)]
pub(super) struct Certified {
    /// Seconds since 1970.
    not_before: i64,
    not_after: i64,
    user: Option<User>,
}

impl Certified {
    /// The user, while the certificate is valid; `None` if it has no common name (no credential, as upstream).
    pub(super) fn user(&self, now: Timestamp) -> Result<Option<User>, X509Error> {
        if now.as_second() < self.not_before || now.as_second() > self.not_after {
            return Err(X509Error::Validity);
        }
        Ok(self.user.clone())
    }
}

/// Reads a certificate.
pub(super) fn read(der: &[u8]) -> Result<Certified, X509Error> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| X509Error::Unreadable)?;
    let validity = certificate.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let certified = |user| Ok(Certified { not_before, not_after, user });
    let usage = certificate.extended_key_usage().map_err(|_| X509Error::Unreadable)?;
    if usage.is_some_and(|usage| !usage.value.client_auth && !usage.value.any) {
        return Err(X509Error::Usage);
    }
    let subject = certificate.subject();
    let Some(name) = subject.iter_common_name().last().and_then(|name| name.as_str().ok()) else {
        return certified(None);
    };
    if name.is_empty() {
        return certified(None);
    }
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    let uid = subject.iter_attributes().find(|a| a.attr_type().to_id_string() == UID_OID);
    let uid = uid.and_then(|a| a.as_str().ok()).unwrap_or_default().to_owned();
    let fingerprint = ring::digest::digest(&ring::digest::SHA256, der);
    let fingerprint: String = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let extra = BTreeMap::from([(
        "authentication.kubernetes.io/credential-id".to_owned(),
        vec![format!("X509SHA256={fingerprint}")],
    )]);
    certified(Some(User { name: name.to_owned(), uid, groups, extra }))
}
