//! WATCH: options, starting point, stream.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::{FutureExt, StreamExt};
use http::StatusCode;
use rand::Rng;
use xebec_api::field::{FieldError, Path};
use xebec_api::status::ApiError;

use super::query::Query;
use super::respond;
use super::sink::Sink;
use crate::ApiServer;
use crate::registry::Target;
use crate::watch::{Selection, WatchRequest, WatchStart, stream};

/// Shortest life of a watch that names no timeout; the real one is up to twice as long, so that watches which began
/// together do not end together.
const MIN_TIMEOUT: u64 = 1800;

/// Answers a watch.
pub async fn watch(
    server: &Arc<ApiServer>,
    target: &Target,
    selection: Selection,
    query: &Query,
    sink: Sink,
) -> Result<Response, ApiError> {
    let bookmarks = query.flag("allowWatchBookmarks");
    let start = start(server, query, bookmarks).await?;
    let timeout = match query.number("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        _ => Duration::from_secs(rand::rng().random_range(MIN_TIMEOUT..2 * MIN_TIMEOUT)),
    };
    let content_type = sink.content_type();
    let drained = server.draining();
    let until = async move { drained.cancelled().await }.boxed();
    let request = WatchRequest { selection, start, bookmarks, timeout, until };
    let registry = &server.registry;
    let caches = Arc::clone(registry.caches());
    let frames =
        stream(Arc::clone(&target.cache), caches, Arc::clone(registry.store()), Arc::new(sink), request);
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let mut response = respond::bytes(StatusCode::OK, content_type, bytes::Bytes::new());
    *response.body_mut() = Body::from_stream(frames);
    Ok(response)
}

async fn start(server: &ApiServer, query: &Query, bookmarks: bool) -> Result<WatchStart, ApiError> {
    let invalid = |field: &str, detail: &str| {
        let error = FieldError::forbidden(&Path::new(field), detail);
        Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", vec![error]))
    };
    let version = query.get("resourceVersion").unwrap_or_default();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    let send_initial = query
        .get("sendInitialEvents")
        .filter(|text| !text.is_empty())
        .map(|_| query.flag("sendInitialEvents"));
    match (send_initial, matching) {
        (None, "") => {}
        (None, _) => {
            return invalid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        (Some(_), "NotOlderThan") => {}
        (Some(_), _) => {
            return invalid(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
    }
    server.registry.reach(version).await?;
    Ok(match (send_initial, version) {
        (Some(true), _) => WatchStart::Initial { marked: bookmarks },
        (Some(false), "" | "0") => WatchStart::After(server.registry.caches().applied()),
        (None, "" | "0") => WatchStart::Initial { marked: false },
        (_, version) => WatchStart::After(crate::registry::parse_version(version)?),
    })
}
