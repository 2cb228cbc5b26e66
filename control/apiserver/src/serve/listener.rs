//! TLS connections: accept, verify, serve HTTP/1.1 or HTTP/2, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};
use xebec_identity::authn::PeerAuthorities;

use super::audit::PeerAddress;
use super::auth::PeerCertificate;
use super::cork::Cork;

/// Longest time a client may take for its TLS handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Longest time a client may take for its request headers.
const HEADER_PATIENCE: Duration = Duration::from_secs(30);
/// HTTP/2 streams one connection may have open.
const STREAMS: u32 = 1000;

/// The listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error("cannot listen on {address}: the port is in use by another process")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// Anything else the system says.
    #[error("cannot listen on {address}: {source}")]
    System {
        /// The address.
        address: SocketAddr,
        /// What it said.
        source: std::io::Error,
    },
}

/// Opens the listener.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::System { address, source },
    })
}

/// Serves until `stop`, then lets requests in flight finish for at most `grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Arc<ServerConfig>,
    authorities: Arc<PeerAuthorities>,
    stop: CancellationToken,
    grace: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let watcher = graceful.watcher();
                let (acceptor, router) = (acceptor.clone(), router.clone());
                let authorities = Arc::clone(&authorities);
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, acceptor, &authorities, router, watcher).await {
                        debug!(%peer, %error, "connection ended");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    info!(grace_seconds = grace.as_secs(), "draining");
    if let Some(graceful) = Arc::into_inner(graceful)
        && tokio::time::timeout(grace, graceful.shutdown()).await.is_err()
    {
        warn!("requests were still running when the grace period ended");
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    authorities: &PeerAuthorities,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    // A socket of both families shows IPv4 addresses as mapped ones; everyone else knows them as they are.
    let address = PeerAddress(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    let stream = tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates();
    let certificate = chain.and_then(|chain| authorities.classify(chain)).map(PeerCertificate);
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        request.extensions_mut().insert(address);
        router.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let stream = Cork::new(stream);
    let driver = stream.driver();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    driver.run(watcher.watch(connection.into_owned())).await
}
