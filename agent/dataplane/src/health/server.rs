//! HTTP/1 on a listener: short answers, no state. Called for the proxy's own address and for each Service's port.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Status;
use crate::metrics::ProxyMetrics;

/// For the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// After the kernel refused a connection (no descriptors left).
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// An answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer with a body of one type, which browsers are not to guess otherwise.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static(kind));
    headers.insert("x-content-type-options", hyper::header::HeaderValue::from_static("nosniff"));
    answer
}

/// 200 or 503.
pub(crate) fn code(ok: bool) -> StatusCode {
    if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Takes an address. As with upstream's (Go's) listeners, `0.0.0.0` and `::` are one: both stand for every address of
/// both families, whatever `net.ipv6.bindv6only` says. On a kernel without IPv6 `0.0.0.0` is IPv4 alone.
///
/// # Errors
/// The kernel's: in use, not this node's. Needs a runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        return bind_one(address);
    }
    match listen((Ipv6Addr::UNSPECIFIED, address.port()).into(), false) {
        Err(error) if address.is_ipv4() && is_without_family(&error) => bind_one(address),
        result => result,
    }
}

/// Takes an address in its family alone: `::` leaves IPv4 to another listener.
pub(super) fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address, true)
}

/// Whether an address could not be taken as the kernel does not have its family.
pub(super) fn is_without_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn listen(address: SocketAddr, one_family: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, one_family)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers `/healthz` and `/livez` until it is dropped, and counts the answers.
pub async fn serve(listener: TcpListener, status: Arc<RwLock<Status>>, metrics: Arc<Mutex<ProxyMetrics>>) {
    accept(listener, move |request| {
        let node = match request.uri().path() {
            "/healthz" => true,
            "/livez" => false,
            _ => {
                let text = "404 page not found\n".to_owned();
                return answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text);
            }
        };
        let report = status.read().report(node, Timestamp::now(), Instant::now());
        metrics.lock().answered(!node, code(report.is_ok()).as_u16());
        match serde_json::to_string(&report) {
            Ok(body) => answer(code(report.is_ok()), "application/json", body),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
        }
    })
    .await;
}

/// Answers every request by `respond`, until it is dropped, and its connections with it.
pub(crate) async fn accept(
    listener: TcpListener,
    respond: impl Fn(&Request<Incoming>) -> Answer + Clone + Send + Sync + 'static,
) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a health check");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let respond = respond.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = respond(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a health check's connection ended");
            }
        });
    }
}
