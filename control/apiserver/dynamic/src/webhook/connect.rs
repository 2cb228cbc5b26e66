//! Connections to webhooks: TCP to where the webhook is now, TLS to the name its certificate must have.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower::Service;

use super::verify::Verifier;
use crate::Resolver;

/// Longest time until a connection is accepted, as Go's dialer.
const DIAL: Duration = Duration::from_secs(30);

/// Where connections go.
#[derive(Clone)]
pub(super) enum Place {
    /// To a Service of the cluster.
    Service { resolver: Arc<dyn Resolver>, namespace: String, name: String, port: u16 },
    /// To the URL's own host and port.
    Url,
}

/// Opens TLS connections.
pub(super) type Connector = HttpsConnector<Dial>;

/// A connector to `place` that trusts `ca_bundle` (PEM; empty: the system's roots).
pub(super) fn connector(place: Place, ca_bundle: &[u8], http2: bool) -> Result<Connector, String> {
    let config = tls(ca_bundle)?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
    Ok(if http2 {
        builder.enable_all_versions().wrap_connector(Dial(place))
    } else {
        builder.enable_http1().wrap_connector(Dial(place))
    })
}

fn tls(ca_bundle: &[u8]) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (roots, own) =
        if ca_bundle.is_empty() { (Arc::clone(&SYSTEM_ROOTS), Vec::new()) } else { bundle(ca_bundle)? };
    let verifier = verifier(roots, own, Arc::clone(&provider))?;
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn verifier(
    roots: Arc<RootCertStore>,
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, String> {
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| format!("unable to load root certificates: {error}"))?;
    Ok(Verifier::new(inner, own))
}

fn bundle(pem: &[u8]) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), String> {
    let wrong = || "unable to load root certificates: unable to parse bytes as PEM block".to_owned();
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if certificates.is_empty() {
        return Err(wrong());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    Ok((Arc::new(roots), certificates))
}

/// What the machine trusts; read once, a bundle is the rule.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// A connection could not be opened; the text is Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DialError(String);

/// Opens TCP connections.
#[derive(Clone)]
pub(super) struct Dial(Place);

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let place = self.0.clone();
        Box::pin(async move { dial(&place, &uri).await.map(TokioIo::new) })
    }
}

async fn dial(place: &Place, uri: &Uri) -> Result<TcpStream, DialError> {
    let address = match place {
        Place::Service { resolver, namespace, name, port } => {
            resolver.resolve(namespace, name, *port).map_err(|error| DialError(error.to_string()))?
        }
        Place::Url => format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443)),
    };
    let failed = |why: String| DialError(format!("dial tcp {address}: {why}"));
    let stream = tokio::time::timeout(DIAL, TcpStream::connect(&address))
        .await
        .map_err(|_| failed("i/o timeout".to_owned()))?
        .map_err(|error| failed(dial_text(&error)))?;
    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
    Ok(stream)
}

fn dial_text(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
        _ => error.to_string(),
    }
}
