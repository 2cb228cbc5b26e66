//! The listener. Enters: connections. Leaves: requests for the router, each with its peer. Called by the agent binary.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::access::{Cache, user_of_certificate};
use crate::metrics::Metrics;
use crate::router::{Context, Peer, router};
pub use crate::tls::TlsError;
use crate::tls::{Files, Tls};
use crate::{Access, LogSource, PodSource, Streaming};

/// How long a handshake, and then the head of a request, may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A silent peer is asked for a sign of life; a stream may be silent for ever, a dead peer may not.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long requests may go on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(2);

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; upstream's port is 10250. Port zero takes any, see [`Server::address`].
    pub address: SocketAddr,
    /// The serving certificate with its chain, PEM; followed when renewed.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, PEM.
    pub client_ca: PathBuf,
    /// The Node's name, which authorization is asked about.
    pub node_name: String,
    /// What `/logs/` shows; upstream's is `/var/log`.
    pub log_directory: PathBuf,
}

/// Why the server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process listens there, perhaps another kubelet.
    #[error("address {0} is in use: is another kubelet running? stop it or set another kubelet port")]
    InUse(SocketAddr),
    /// The address cannot be listened on for another reason.
    #[error("listening on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A server that listens but does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<Tls>,
    node_name: String,
    log_directory: PathBuf,
}

impl Server {
    /// Takes the address and reads the certificates.
    pub async fn bind(options: Options) -> Result<Self, ServeError> {
        let Options { address, certificate, key, client_ca, node_name, log_directory } = options;
        let tls = Arc::new(Tls::load(Files { certificate, key, client_ca })?);
        let listener = TcpListener::bind(address).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::InUse(address),
            _ => ServeError::Listen(address, error),
        })?;
        let address = listener.local_addr().map_err(|error| ServeError::Listen(address, error))?;
        Ok(Self { listener, address, tls, node_name, log_directory })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `cancel`; then streams end at once and other requests within two seconds.
    ///
    /// The answers of `access` are remembered: allowed 5 minutes, denied 30 seconds, tokens 2 minutes.
    pub async fn serve(
        self,
        pods: Arc<dyn PodSource>,
        streaming: Arc<dyn Streaming>,
        logs: Arc<dyn LogSource>,
        access: Arc<dyn Access>,
        cancel: CancellationToken,
    ) {
        let router = router(Arc::new(Context {
            node: self.node_name,
            log_directory: self.log_directory,
            pods,
            streaming,
            logs,
            access: Cache::new(access),
            metrics: Metrics::default(),
            cancel: cancel.clone(),
        }));
        tracing::info!(address = %self.address, "the kubelet's server listens");
        let connections = TaskTracker::new();
        // dropped at the end: what is not drained by then is cut off
        let cut = CancellationToken::new();
        let _cut_at_end = cut.clone().drop_guard();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = cancel.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let serving = connection(stream, peer, self.tls.clone(), router.clone(), cancel.clone());
                    let cut = cut.clone();
                    connections.spawn(async move { cut.run_until_cancelled(serving).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        connections.close();
        if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
            tracing::info!(connections = connections.len(), "cutting off what still runs");
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: Arc<Tls>,
    router: Router,
    cancel: CancellationToken,
) {
    prepare(&stream);
    let acceptor = TlsAcceptor::from(tls.current());
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = Peer(certificate.and_then(|der| user_of_certificate(der)).map(Arc::new));
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request.map(Body::new)).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = cancel.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, error, "connection ended");
    }
}

async fn answer(router: Router, request: http::Request<Body>) -> axum::response::Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn prepare(stream: &TcpStream) {
    // hints: a socket that takes none of them still serves
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(stream.as_fd(), true);
    let _ = rustix::net::sockopt::set_tcp_keepidle(stream.as_fd(), KEEP_ALIVE);
    let _ = rustix::net::sockopt::set_tcp_keepintvl(stream.as_fd(), KEEP_ALIVE);
}
