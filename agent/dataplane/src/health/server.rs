//! HTTP/1 on a listener: short answers, no state. Called for the proxy's own address and for each Service's port.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Status;
use crate::metrics::ProxyMetrics;

/// For the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// After the kernel refused a connection (no descriptors left).
const PAUSE: Duration = Duration::from_millis(100);

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

/// Takes an address.
///
/// # Errors
/// The kernel's: in use, not this node's. Needs a runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
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
