//! Who vouches for a client certificate: the cluster's client CA, the front proxy's CA, or both.
//!
//! Enters: the chain a TLS handshake has verified against all of them together. Leaves: a [`Peer`] that says which.
//! Called by the listener, once a connection, so that requests need no verification of their own. A certificate of
//! the front proxy's CA is no user, and one of the client CA may not speak for others.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::x509::{self, Certified, X509Error};
use crate::User;
use crate::pki::tls::{TlsError, provider, roots_from_pem};

/// A verified client certificate.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The leaf (DER).
    pub der: Arc<[u8]>,
    /// Whether the client CA vouches for it (`--client-ca-file`).
    pub is_client: bool,
    /// Whether the front proxy's CA vouches for it (`--requestheader-client-ca-file`).
    pub is_front_proxy: bool,
    /// What it says, read by the first request of the connection (parsing it costs as much as a small request).
    certified: Arc<OnceLock<Result<Certified, X509Error>>>,
}

impl Peer {
    /// A certificate of the client CA, which is the only one.
    pub fn client(der: &[u8]) -> Peer {
        Peer::new(der, true, false)
    }

    fn new(der: &[u8], is_client: bool, is_front_proxy: bool) -> Peer {
        Peer { der: Arc::from(der), is_client, is_front_proxy, certified: Arc::default() }
    }

    /// Its user; `None` if it names none.
    pub(super) fn user(&self, now: Timestamp) -> Result<Option<User>, X509Error> {
        self.certified.get_or_init(|| x509::read(&self.der)).as_ref().map_err(Clone::clone)?.user(now)
    }
}

/// The authorities a listener verifies against, each by itself.
#[derive(Debug, Default)]
pub struct PeerAuthorities {
    client: Option<Arc<dyn ClientCertVerifier>>,
    front_proxy: Option<Arc<dyn ClientCertVerifier>>,
}

fn verifier(pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(roots_from_pem(pem)?);
    Ok(WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?)
}

impl PeerAuthorities {
    /// From PEM bundles. Without a front proxy the handshake's own verdict is enough, and chains are not looked at.
    pub fn new(client_ca: &[u8], front_proxy_ca: Option<&[u8]>) -> Result<PeerAuthorities, TlsError> {
        let Some(proxy) = front_proxy_ca else { return Ok(PeerAuthorities::default()) };
        Ok(PeerAuthorities { client: Some(verifier(client_ca)?), front_proxy: Some(verifier(proxy)?) })
    }

    /// From PEM files, read once; see [`PeerAuthorities::new`].
    pub fn load(client_ca: &Path, front_proxy_ca: Option<&Path>) -> Result<PeerAuthorities, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| TlsError::File { path: path.to_owned(), reason: error.to_string() })
        };
        let front_proxy = front_proxy_ca.map(read).transpose()?;
        PeerAuthorities::new(&read(client_ca)?, front_proxy.as_deref())
    }

    /// Says who vouches for the chain of a finished handshake (leaf first); `None` for an empty one.
    pub fn classify(&self, chain: &[CertificateDer<'_>]) -> Option<Peer> {
        let (leaf, intermediates) = chain.split_first()?;
        let (Some(client), Some(front_proxy)) = (&self.client, &self.front_proxy) else {
            return Some(Peer::client(leaf));
        };
        let now = UnixTime::now();
        let vouches =
            |by: &Arc<dyn ClientCertVerifier>| by.verify_client_cert(leaf, intermediates, now).is_ok();
        let (is_client, is_front_proxy) = (vouches(client), vouches(front_proxy));
        Some(Peer::new(leaf, is_client, is_front_proxy))
    }
}
