//! `/metrics` in the Prometheus text format: what an operator looks at first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use parking_lot::Mutex;
use xebec_api::resource::Resource;

use super::respond;
use crate::ApiServer;

/// Counters of answered requests.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), (u64, Duration)>>,
    /// Labels of what was asked of deprecated versions.
    deprecated: Mutex<BTreeSet<String>>,
}

impl Metrics {
    /// Counts one answered request.
    pub fn observe(&self, method: &str, code: u16, elapsed: Duration) {
        let mut requests = self.requests.lock();
        let (count, total) = requests.entry((method.to_owned(), code)).or_default();
        *count += 1;
        *total += elapsed;
    }

    /// Remembers that something deprecated was asked for, which is gone in `removed_release` (empty: none is planned).
    pub fn request_deprecated(&self, resource: &Resource, subresource: &str, removed_release: &str) {
        let (group, version, plural) = (resource.group, resource.version, resource.plural);
        let labels = format!(
            "group=\"{group}\",removed_release=\"{removed_release}\",resource=\"{plural}\",\
             subresource=\"{subresource}\",version=\"{version}\""
        );
        self.deprecated.lock().insert(labels);
    }
}

/// GET /metrics.
pub async fn metrics(State(server): State<Arc<ApiServer>>) -> Response {
    respond::bytes(StatusCode::OK, "text/plain; version=0.0.4", describe(&server).into())
}

fn describe(server: &ApiServer) -> String {
    let mut text = String::from("# TYPE apiserver_request_total counter\n");
    let requests = server.metrics.requests.lock();
    for ((method, code), (count, _)) in requests.iter() {
        let _ = writeln!(text, "apiserver_request_total{{method=\"{method}\",code=\"{code}\"}} {count}");
    }
    text.push_str("# TYPE apiserver_request_duration_seconds_sum counter\n");
    for ((method, code), (_, total)) in requests.iter() {
        let seconds = total.as_secs_f64();
        let _ = writeln!(
            text,
            "apiserver_request_duration_seconds_sum{{method=\"{method}\",code=\"{code}\"}} {seconds}"
        );
    }
    drop(requests);
    text.push_str("# TYPE apiserver_requested_deprecated_apis gauge\n");
    for labels in &*server.metrics.deprecated.lock() {
        let _ = writeln!(text, "apiserver_requested_deprecated_apis{{{labels}}} 1");
    }
    text.push_str("# TYPE apiserver_current_inflight_requests gauge\n");
    let flight = &server.in_flight;
    for (kind, counter) in
        [("readOnly", &flight.reading), ("mutating", &flight.writing), ("long", &flight.long)]
    {
        let count = counter.load(Ordering::Relaxed);
        let _ = writeln!(text, "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {count}");
    }
    text.push_str("# TYPE apiserver_storage_objects gauge\n");
    let caches = server.registry.caches();
    let mut sizes: Vec<(String, usize)> =
        caches.all().iter().map(|c| (xebec_api::status::qualified(c.plural, c.group), c.len())).collect();
    sizes.sort();
    for (resource, count) in sizes {
        let _ = writeln!(text, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}");
    }
    let _ = writeln!(
        text,
        "# TYPE apiserver_cache_revision gauge\napiserver_cache_revision {}",
        caches.applied()
    );
    server.registry.admission().counters().describe(&mut text);
    for reloads in &server.reloads {
        reloads.describe(&server.id, &mut text);
    }
    if let Some(flow) = &server.flow {
        text.push_str(&flow.metrics());
    }
    text
}
