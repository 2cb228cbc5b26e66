//! Users a front proxy vouches for: it shows its own certificate and names them in headers.
//!
//! Enters: the headers and the connection's [`Peer`]. Leaves: the user named, or nothing when the peer is no front
//! proxy. The headers of anyone else are ignored.
//!
//! Authority: `k8s.io/apiserver/pkg/authentication/request/headerrequest`.

use std::collections::BTreeMap;

use http::HeaderMap;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::impersonate::unescape;
use super::peer::Peer;
use crate::User;

/// Which headers name the user, and who may send them (`--requestheader-*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontProxy {
    /// Headers with the user's name, the first that is set counts (`--requestheader-username-headers`).
    pub username_headers: Vec<String>,
    /// Headers with the uid (`--requestheader-uid-headers`).
    pub uid_headers: Vec<String>,
    /// Headers with groups, all values of all of them (`--requestheader-group-headers`).
    pub group_headers: Vec<String>,
    /// What names of headers with extra facts start with (`--requestheader-extra-headers-prefix`).
    pub extra_header_prefixes: Vec<String>,
    /// Common names the proxy's certificate may have (`--requestheader-allowed-names`); empty allows any.
    pub allowed_names: Vec<String>,
}

impl Default for FrontProxy {
    /// kubeadm's choice, which every extension API server expects.
    fn default() -> FrontProxy {
        let one = |name: &str| vec![name.to_owned()];
        FrontProxy {
            username_headers: one("x-remote-user"),
            uid_headers: one("x-remote-uid"),
            group_headers: one("x-remote-group"),
            extra_header_prefixes: one("x-remote-extra-"),
            allowed_names: one("front-proxy-client"),
        }
    }
}

/// Why a front proxy's request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontProxyError {
    /// The certificate cannot be read.
    #[error("front proxy certificate: unreadable")]
    Unreadable,
    /// The proxy's name is not among those allowed.
    #[error("x509: subject with cn={0} is not in the allowed list")]
    Name(String),
}

impl FrontProxy {
    /// The user the peer vouches for; `Ok(None)` if it is no front proxy or names nobody.
    pub(super) fn user(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Option<User>, FrontProxyError> {
        let Some(peer) = peer.filter(|peer| peer.is_front_proxy) else { return Ok(None) };
        // Nobody is named: the certificate may still be a client's own.
        let Some(name) = first(headers, &self.username_headers) else { return Ok(None) };
        if !self.allowed_names.is_empty() {
            let common_name = common_name(&peer.der)?;
            if !self.allowed_names.contains(&common_name) {
                return Err(FrontProxyError::Name(common_name));
            }
        }
        Ok(Some(User {
            name,
            uid: first(headers, &self.uid_headers).unwrap_or_default(),
            groups: all(headers, &self.group_headers),
            extra: self.extra(headers),
        }))
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_header_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for (header, value) in headers {
                let Some(key) = header.as_str().strip_prefix(&prefix) else { continue };
                let Ok(value) = value.to_str() else { continue };
                extra.entry(unescape(key)).or_default().push(value.to_owned());
            }
        }
        extra
    }

    /// Every header that speaks of the user, to be taken off a request once it is known who is asking.
    pub fn is_identity_header(&self, name: &str) -> bool {
        let named = [&self.username_headers, &self.uid_headers, &self.group_headers];
        named.iter().any(|list| list.iter().any(|own| own.eq_ignore_ascii_case(name)))
            || self.extra_header_prefixes.iter().any(|prefix| {
                name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            })
    }
}

fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    let mut values = names.iter().filter_map(|name| headers.get(name)?.to_str().ok());
    values.find(|value| !value.is_empty()).map(str::to_owned)
}

fn all(headers: &HeaderMap, names: &[String]) -> Vec<String> {
    let values = names.iter().flat_map(|name| headers.get_all(name));
    values.filter_map(|value| value.to_str().ok()).filter(|v| !v.is_empty()).map(str::to_owned).collect()
}

fn common_name(der: &[u8]) -> Result<String, FrontProxyError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| FrontProxyError::Unreadable)?;
    let name = certificate.subject().iter_common_name().last();
    Ok(name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned())
}
