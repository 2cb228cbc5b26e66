//! Where a request goes, and the connection to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use xebec_api::status::ApiError;
use xebec_identity::pki::tls::{TlsError, client_config};

/// Longest time a backend may take to accept a connection.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// The gateway's client certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("kubelet client certificate: {0}")]
pub struct GatewayError(#[from] TlsError);

/// An address to forward to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// IP address or name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether to speak TLS with the kubelet client certificate.
    pub tls: bool,
}

/// Opens connections.
pub struct Dialer {
    tls: TlsConnector,
}

/// A connection of either kind.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Dialer {
    /// A dialer that shows this certificate to kubelets and trusts this CA.
    pub fn new(ca: &Path, cert: &Path, key: &Path) -> Result<Self, GatewayError> {
        let config = client_config(ca, Some((cert, key)), &["http/1.1"])?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Connects, or 500 with upstream's words.
    pub async fn dial(&self, backend: &Backend) -> Result<Box<dyn Connection>, ApiError> {
        let address = format!("{}:{}", super::bracketed(&backend.host), backend.port);
        let failed =
            |why: String| ApiError::internal(format!("error dialing backend: dial tcp {address}: {why}"));
        let connect = TcpStream::connect((backend.host.as_str(), backend.port));
        let stream = tokio::time::timeout(DIAL_PATIENCE, connect)
            .await
            .map_err(|_| failed("i/o timeout".to_owned()))?
            .map_err(|error| failed(format!("connect: {error}")))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        if !backend.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(backend.host.clone()).map_err(|error| failed(error.to_string()))?;
        let handshake = tokio::time::timeout(DIAL_PATIENCE, self.tls.connect(name, stream));
        let stream = handshake
            .await
            .map_err(|_| failed("TLS handshake timeout".to_owned()))?
            .map_err(|error| failed(format!("tls: {error}")))?;
        Ok(Box::new(stream))
    }
}
