//! A span and an id per request, a count per outcome, and a 500 instead of a torn connection when a handler panics.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, StatusCode};
use tracing::{Instrument, debug, error, field, info_span};
use uuid::Uuid;

use super::respond;
use crate::ApiServer;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The outermost filter.
pub async fn request(State(server): State<Arc<ApiServer>>, mut request: Request, next: Next) -> Response {
    let id = request.headers().get(AUDIT_ID).cloned().unwrap_or_else(new_id);
    request.headers_mut().insert(AUDIT_ID, id.clone());
    let method = request.method().clone();
    let span = info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = method.as_str(),
        path = request.uri().path(),
        user = field::Empty
    );
    let started = Instant::now();
    let work = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone());
    let mut response = work.await.unwrap_or_else(|panic| {
        let _entered = span.enter();
        error!(reason = reason(&*panic), "a request handler panicked");
        panicked()
    });
    let (status, elapsed) = (response.status(), started.elapsed());
    span.in_scope(|| debug!(status = status.as_u16(), elapsed_ms = elapsed.as_millis(), "request done"));
    server.metrics.observe(method.as_str(), status.as_u16(), elapsed);
    response.headers_mut().insert(AUDIT_ID, id);
    // A proxied backend may have said something of its own.
    let caching = response.headers_mut().entry(http::header::CACHE_CONTROL);
    caching.or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

/// What a client is told: no Status, as upstream (`k8s.io/apiserver/pkg/server/filters/wrap.go`).
fn panicked() -> Response {
    let text = "This request caused apiserver to panic. Look in the logs for details.";
    respond::plain(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// The words of a panic.
pub(super) fn reason(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}

fn new_id() -> HeaderValue {
    HeaderValue::from_str(&Uuid::new_v4().to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}
