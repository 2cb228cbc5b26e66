//! How many requests are worked on at once; the rest is told to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use xebec_api::status::ApiError;

use super::respond::Failure;
use crate::ApiServer;

/// Requests in flight, by kind. Long-running ones (watch, log, exec, proxy) are not limited.
#[derive(Default)]
pub struct InFlight {
    /// GET and HEAD.
    pub reading: AtomicUsize,
    /// Everything else.
    pub writing: AtomicUsize,
    /// Watches, logs, tunnels.
    pub long: AtomicUsize,
}

struct Held<'a>(&'a AtomicUsize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts requests; without priority and fairness, 429 with Retry-After when too many of a kind are in flight.
pub async fn in_flight(
    State(server): State<Arc<ApiServer>>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let (counter, limit) = if is_long_running(&request) {
        (&server.in_flight.long, usize::MAX)
    } else if matches!(*request.method(), Method::GET | Method::HEAD) {
        (&server.in_flight.reading, server.config.max_requests_in_flight)
    } else {
        (&server.in_flight.writing, server.config.max_mutating_requests_in_flight)
    };
    let before = counter.fetch_add(1, Ordering::Relaxed);
    let held = Held(counter);
    if before >= limit && server.flow.is_none() {
        return Err(ApiError::too_many_requests("Too many requests, please try again later.", 1).into());
    }
    let response = next.run(request).await;
    drop(held);
    Ok(response)
}

/// Whether the request goes on for as long as its client wants.
#[must_use]
pub fn is_long_running(request: &Request) -> bool {
    const STREAMS: [&str; 5] = ["/log", "/exec", "/attach", "/portforward", "/proxy"];
    let path = request.uri().path();
    request.uri().query().is_some_and(|query| query.contains("watch="))
        || path.contains("/watch/")
        || STREAMS.iter().any(|end| path.ends_with(end))
        || path.contains("/proxy/")
}
