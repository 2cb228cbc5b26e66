//! The server's certificate and its clients' authority. Enters: files. Leaves: a rustls configuration that follows them:
//! a renewed file counts for connections from at most [`LOOK_AGAIN`] later, without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;

/// How often the files are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or is not PEM of the right sort.
    #[error("reading {what} {}: {cause}", path.display())]
    File {
        /// Which file, in words.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The files do not fit together.
    #[error("TLS: {0}")]
    Unusable(String),
}

/// Where certificate, key and client authority are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
}

type Stamps = [Option<SystemTime>; 3];

/// The configuration of now.
pub(crate) struct Tls {
    files: Files,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    stamps: Stamps,
    looked: Instant,
}

impl Tls {
    pub(crate) fn load(files: Files) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let config = read(&files)?;
        Ok(Self { files, state: Mutex::new(State { config, stamps, looked: Instant::now() }) })
    }

    /// The newest configuration that could be read. Files that do not fit leave the one before in place.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK_AGAIN {
            state.looked = Instant::now();
            let stamps = stamps(&self.files);
            if stamps != state.stamps {
                match read(&self.files) {
                    Ok(config) => {
                        tracing::info!(certificate = %self.files.certificate.display(), "TLS files were renewed");
                        state.config = config;
                        state.stamps = stamps;
                    }
                    // they may be written just now: looked at again
                    Err(error) => tracing::warn!(%error, "renewed TLS files cannot be used yet"),
                }
            }
        }
        state.config.clone()
    }
}

fn stamps(files: &Files) -> Stamps {
    [&files.certificate, &files.key, &files.client_ca]
        .map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

fn read(files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("the serving certificate", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| TlsError::File {
        what: "the serving key",
        path: files.key.clone(),
        cause: error.to_string(),
    })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates("the client authority", &files.client_ca)? {
        roots.add(authority).map_err(|error| TlsError::Unusable(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable(error.to_string());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |cause: String| TlsError::File { what, path: path.to_owned(), cause };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("no certificate in it".to_owned())) } else { Ok(found) }
}
