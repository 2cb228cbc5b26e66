//! Who vouches for a client certificate: the cluster's client CA, the front proxy's CA, or both.
//!
//! Enters: the chain a TLS handshake has verified against all of them together. Leaves: a [`Peer`] that says which.
//! Called by the listener, once a connection, so that requests need no verification of their own. A certificate of
//! the front proxy's CA is no user, and one of the client CA may not speak for others.

use std::path::Path;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::pki::tls::{TlsError, provider, roots_from_pem};

/// A verified client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The leaf (DER).
    pub der: Arc<[u8]>,
    /// Whether the client CA vouches for it (`--client-ca-file`).
    pub is_client: bool,
    /// Whether the front proxy's CA vouches for it (`--requestheader-client-ca-file`).
    pub is_front_proxy: bool,
}

impl Peer {
    /// A certificate of the client CA, which is the only one.
    pub fn client(der: &[u8]) -> Peer {
        Peer { der: Arc::from(der), is_client: true, is_front_proxy: false }
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
        Some(Peer { der: Arc::from(leaf.as_ref()), is_client, is_front_proxy })
    }
}
