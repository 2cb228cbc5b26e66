//! Where a request goes, and the connection to it.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::RwLock;
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use xebec_identity::pki::outbound::{Trust, client_config_trusting};
use xebec_identity::pki::tls::{TlsError, client_config};

use super::address::bracketed;

/// Longest time a backend may take to accept a connection, and again for its TLS handshake.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// The gateway's client certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("kubelet client certificate: {0}")]
pub struct GatewayError(#[from] TlsError);

/// How to speak to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Without TLS.
    Plain,
    /// TLS, whoever answers: pods and services are reached by addresses nobody certifies.
    Unverified,
    /// TLS as to a kubelet: this server's certificate is shown, the kubelet's must be the cluster's.
    Kubelet,
    /// TLS as to a kubelet whose certificate is not looked at (`insecureSkipTLSVerifyBackend`).
    KubeletUnverified,
}

/// An address to forward to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// IP address or name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How to speak to it.
    pub security: Security,
}

impl Backend {
    /// `host:port` as it stands in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.port)
    }
}

/// A connection that did not come about, in Go's words, which people search for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DialError(String);

impl DialError {
    fn tcp(authority: &str, error: &std::io::Error) -> Self {
        let why: &dyn fmt::Display = match error.kind() {
            ErrorKind::ConnectionRefused => &"connect: connection refused",
            ErrorKind::HostUnreachable => &"connect: no route to host",
            ErrorKind::NetworkUnreachable => &"connect: network is unreachable",
            ErrorKind::TimedOut => &"i/o timeout",
            _ => error,
        };
        Self(format!("dial tcp {authority}: {why}"))
    }

    /// What went wrong in a TLS handshake.
    pub(crate) fn tls(error: &std::io::Error) -> Self {
        let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let why = match rustls {
            Some(rustls::Error::InvalidCertificate(why)) => match why {
                CertificateError::UnknownIssuer => "x509: certificate signed by unknown authority".to_owned(),
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => {
                    "x509: certificate has expired or is not yet valid".to_owned()
                }
                other => format!("x509: {other:?}"),
            },
            _ => return Self(format!("tls: {error}")),
        };
        Self(format!("tls: failed to verify certificate: {why}"))
    }
}

/// A connection of any kind.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// The effect of connecting, so that tests can give pods addresses that lead to themselves.
pub trait Network: Send + Sync {
    /// A TCP connection to the host.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<TcpStream>>;
}

/// The machine's network.
pub struct Machine;

impl Network for Machine {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<TcpStream>> {
        Box::pin(TcpStream::connect((host, port)))
    }
}

/// Opens connections.
pub struct Dialer {
    kubelet: TlsConnector,
    kubelet_unverified: TlsConnector,
    unverified: TlsConnector,
    network: RwLock<Arc<dyn Network>>,
}

impl Dialer {
    /// A dialer that shows this certificate to kubelets and trusts this CA.
    pub fn new(ca: &Path, cert: &Path, key: &Path) -> Result<Self, GatewayError> {
        let own = Some((cert, key));
        let connector = |config| TlsConnector::from(Arc::new(config));
        Ok(Self {
            kubelet: connector(client_config(ca, own, &["http/1.1"])?),
            kubelet_unverified: connector(client_config_trusting(Trust::Anyone, own, &["http/1.1"])?),
            unverified: connector(client_config_trusting(Trust::Anyone, None, &["http/1.1"])?),
            network: RwLock::new(Arc::new(Machine)),
        })
    }

    /// Other roads than the machine's, for tests.
    #[cfg(test)]
    pub(crate) fn reroute(&self, network: Arc<dyn Network>) {
        *self.network.write() = network;
    }

    /// Connects over TCP alone.
    pub async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let authority = format!("{}:{port}", bracketed(host));
        let network = Arc::clone(&self.network.read());
        let connected = tokio::time::timeout(DIAL_PATIENCE, network.connect(host, port)).await;
        let connected = connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|error| DialError::tcp(&authority, &error))?;
        // A latency hint; without it the connection works as well.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// Connects and speaks TLS where the backend wants it.
    pub async fn dial(&self, backend: &Backend) -> Result<Box<dyn Connection>, DialError> {
        let stream = self.tcp(&backend.host, backend.port).await?;
        let connector = match backend.security {
            Security::Plain => return Ok(Box::new(stream)),
            Security::Unverified => &self.unverified,
            Security::Kubelet => &self.kubelet,
            Security::KubeletUnverified => &self.kubelet_unverified,
        };
        secure(connector, &backend.host, stream).await
    }
}

/// The TLS handshake with the server called `name`.
pub(crate) async fn secure(
    connector: &TlsConnector,
    name: &str,
    stream: TcpStream,
) -> Result<Box<dyn Connection>, DialError> {
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| DialError(format!("tls: {name:?} is no name or address of a server")))?;
    let handshake = tokio::time::timeout(DIAL_PATIENCE, connector.connect(server, stream)).await;
    let handshake = handshake.map_err(|_| DialError("net/http: TLS handshake timeout".to_owned()))?;
    Ok(Box::new(handshake.map_err(|error| DialError::tls(&error))?))
}
