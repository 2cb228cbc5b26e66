//! rustls configurations over certificate files, following their renewal without a restart.
//!
//! Enters: paths. Leaves: a `ServerConfig` or `ClientConfig` whose certificate is read again when the files change
//! (looked at, at most once a second, when a handshake needs it). Called by the API server, the kubelet's server and
//! clients of both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::RwLock;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// How often files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why TLS cannot be set up from these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or holds no certificate or key.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// rustls refuses the combination.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] rustls::Error),
    /// The client CA cannot be used.
    #[error("client CA: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

/// The cryptography behind every configuration here: ring.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn file_error(path: &Path) -> impl FnOnce(rustls_pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |error| TlsError::File { path, reason: error.to_string() }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let pem = std::fs::read(path)
        .map_err(|error| TlsError::File { path: path.to_owned(), reason: error.to_string() })?;
    roots_from_pem(&pem).map_err(|error| match error {
        TlsError::File { reason, .. } => TlsError::File { path: path.to_owned(), reason },
        other => other,
    })
}

/// Trust anchors from PEM certificates; at least one.
pub fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem) {
        roots.add(cert.map_err(file_error(Path::new("CA")))?)?;
    }
    if roots.is_empty() {
        return Err(TlsError::File { path: "CA".into(), reason: "no certificate in it".to_owned() });
    }
    Ok(roots)
}

/// Modification times and lengths of the two files: changed means "read again".
type Stamp = [Option<(SystemTime, u64)>; 2];

struct Loaded {
    key: Arc<CertifiedKey>,
    stamp: Stamp,
    looked: Instant,
}

/// A certificate and key on disk, read again when the files change.
///
/// A pair that does not fit together (one of the two files is just being replaced) is not taken; the old one serves
/// on until the next look.
pub struct ReloadingKey {
    cert: PathBuf,
    key: PathBuf,
    loaded: RwLock<Loaded>,
}

impl ReloadingKey {
    /// Reads the files.
    pub fn load(cert: &Path, key: &Path) -> Result<Arc<ReloadingKey>, TlsError> {
        let stamp = stamp(cert, key);
        let loaded = Loaded { key: read_pair(cert, key)?, stamp, looked: Instant::now() };
        Ok(Arc::new(ReloadingKey { cert: cert.to_owned(), key: key.to_owned(), loaded: RwLock::new(loaded) }))
    }

    /// The certificate to use now.
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.current_at(Instant::now())
    }

    pub(super) fn current_at(&self, now: Instant) -> Arc<CertifiedKey> {
        {
            let loaded = self.loaded.read();
            if now.saturating_duration_since(loaded.looked) < LOOK_EVERY {
                return Arc::clone(&loaded.key);
            }
        }
        let mut loaded = self.loaded.write();
        if now.saturating_duration_since(loaded.looked) < LOOK_EVERY {
            return Arc::clone(&loaded.key);
        }
        loaded.looked = now;
        let stamp = stamp(&self.cert, &self.key);
        if stamp != loaded.stamp {
            match read_pair(&self.cert, &self.key) {
                Ok(key) => {
                    tracing::info!(certificate = %self.cert.display(), "certificate reloaded");
                    (loaded.key, loaded.stamp) = (key, stamp);
                }
                Err(error) => {
                    tracing::warn!(certificate = %self.cert.display(), %error, "keeping the old certificate");
                }
            }
        }
        Arc::clone(&loaded.key)
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    [cert, key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn read_pair(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let certs = CertificateDer::pem_file_iter(cert).map_err(file_error(cert))?;
    let certs: Vec<_> = certs.collect::<Result<_, _>>().map_err(file_error(cert))?;
    if certs.is_empty() {
        return Err(TlsError::File { path: cert.to_owned(), reason: "no certificate in it".to_owned() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(file_error(key))?;
    Ok(Arc::new(CertifiedKey::from_der(certs, private, &provider())?))
}

impl std::fmt::Debug for ReloadingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReloadingKey").field("cert", &self.cert).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ReloadingKey {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for ReloadingKey {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub(super) fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

/// A server over certificate files, TLS 1.2 and 1.3.
///
/// With `client_ca`, client certificates are asked for and must verify against it; a client without one is let in
/// (and authenticates by token, or not at all). `alpn` is in order of preference, such as `["h2", "http/1.1"]`.
pub fn server_config(
    cert: &Path,
    key: &Path,
    client_ca: Option<&Path>,
    alpn: &[&str],
) -> Result<ServerConfig, TlsError> {
    server_config_for(cert, key, client_ca.as_slice(), alpn)
}

/// [`server_config`] with several client authorities; which of them vouches for a certificate is for
/// [`crate::authn::PeerAuthorities`] to say.
pub fn server_config_for(
    cert: &Path,
    key: &Path,
    client_cas: &[&Path],
    alpn: &[&str],
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = if client_cas.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut all = RootCertStore::empty();
        for path in client_cas {
            all.extend(roots(path)?.roots);
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(all), provider());
        builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
    };
    let mut config = builder.with_cert_resolver(ReloadingKey::load(cert, key)?);
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

/// A client that trusts the CA at `ca` and shows the certificate of `identity` (certificate, key), if given.
pub fn client_config(
    ca: &Path,
    identity: Option<(&Path, &Path)>,
    alpn: &[&str],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots(ca)?);
    let mut config = match identity {
        Some((cert, key)) => builder.with_client_cert_resolver(ReloadingKey::load(cert, key)?),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}
