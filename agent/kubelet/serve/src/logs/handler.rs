//! Answers a log request. Enters: path and query. Leaves: the log as a chunked body. Called by the router.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query as RawQuery, State};
use axum::response::Response;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use jiff::Timestamp;

use super::{instance, query};
use crate::pods::{has_container, status_of, uid};
use crate::respond;
use crate::router::Context;

/// How long a log may hold back the headers: long enough to report a first error with its own status.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// `GET /containerLogs/{namespace}/{pod}/{container}`.
pub(crate) async fn container_logs(
    State(context): State<Arc<Context>>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    RawQuery(pairs): RawQuery<Vec<(String, String)>>,
) -> Response {
    let query = match query::parse(&pairs, Timestamp::now()) {
        Ok(query) => query,
        Err((status, words)) => return respond::text(status, words),
    };
    let Some(pod) = context.pods.find(&namespace, &name, None) else {
        return respond::text(StatusCode::NOT_FOUND, format!("pod \"{name}\" does not exist"));
    };
    if !has_container(&pod, &container) {
        let words = format!("container \"{container}\" not found in pod \"{name}\"");
        return respond::text(StatusCode::NOT_FOUND, words);
    }
    let refused = |words: String| respond::text(StatusCode::BAD_REQUEST, words);
    let id = match instance::choose(&name, &container, status_of(&pod, &container), query.previous) {
        Ok(id) => id,
        Err(words) => return refused(words),
    };
    let Some(log) = context.pods.log_file(uid(&pod), &id) else {
        return refused(format!("unable to retrieve container logs for {id}"));
    };
    let unreadable = |error: std::io::Error| {
        tracing::warn!(%error, path = %log.path.display(), "a container's log cannot be read");
        refused(format!("failed to read log of container \"{container}\" in pod \"{name}\": {error}"))
    };
    let mut lines = match context.logs.open(&log.path, query.options, log.running.clone()).await {
        Ok(lines) => lines,
        Err(error) => return unreadable(error),
    };
    let body = match tokio::time::timeout(FIRST_WORD, lines.next()).await {
        Ok(Some(Err(error))) => return unreadable(error),
        Ok(Some(Ok(first))) => Body::from_stream(stream::once(async { Ok(first) }).chain(lines)),
        Ok(None) => Body::empty(),
        Err(_) => Body::from_stream(lines),
    };
    respond::with_type(StatusCode::OK, "text/plain; charset=utf-8", body)
}
