//! The server's own metrics. Enters: every request. Leaves: text in the Prometheus format, part of `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

/// The first path segments that are counted by name; the number of series is bounded by this list.
const KNOWN: [&str; 13] = [
    "attach",
    "configz",
    "containerLogs",
    "exec",
    "healthz",
    "logs",
    "metrics",
    "metrics/resource",
    "pods",
    "portForward",
    "run",
    "runningpods",
    "stats/summary",
];
const LONG: [&str; 4] = ["attach", "containerLogs", "exec", "portForward"];

/// Counters since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    in_flight: AtomicI64,
}

/// Counts a request as in flight until dropped.
pub(crate) struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a request.
    pub(crate) fn begin(&self, method: &http::Method, path: &str) -> InFlight<'_> {
        let method = match method.as_str() {
            "GET" => "GET",
            "POST" => "POST",
            "HEAD" => "HEAD",
            "PUT" => "PUT",
            _ => "other",
        };
        *self.requests.lock().entry((method, known(path))).or_default() += 1;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// The page, with what can be counted of the pods.
    pub(crate) fn text(&self, node: &str, pods: &[Arc<Pod>]) -> String {
        let mut out = String::new();
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let [running_pods, running_containers] = running(pods);
        // writing to a String cannot fail
        let _ = write!(
            out,
            "# HELP kubelet_http_inflight_requests [ALPHA] Number of the inflight http requests\n\
             # TYPE kubelet_http_inflight_requests gauge\n\
             kubelet_http_inflight_requests{{server_type=\"readwrite\"}} {in_flight}\n\
             # HELP kubelet_http_requests_total [ALPHA] Number of the http requests received since the server started\n\
             # TYPE kubelet_http_requests_total counter\n"
        );
        for ((method, path), count) in self.requests.lock().iter() {
            let long = LONG.contains(path);
            let _ = writeln!(
                out,
                "kubelet_http_requests_total{{long_running=\"{long}\",method=\"{method}\",path=\"{path}\",\
                 server_type=\"readwrite\"}} {count}"
            );
        }
        let _ = write!(
            out,
            "# HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.\n\
             # TYPE kubelet_node_name gauge\n\
             kubelet_node_name{{node=\"{}\"}} 1\n\
             # HELP kubelet_running_pods [BETA] Number of pods that have a running pod sandbox\n\
             # TYPE kubelet_running_pods gauge\n\
             kubelet_running_pods {running_pods}\n\
             # HELP kubelet_running_containers [BETA] Number of containers currently running\n\
             # TYPE kubelet_running_containers gauge\n\
             kubelet_running_containers{{container_state=\"running\"}} {running_containers}\n",
            escape(node)
        );
        out
    }
}

fn known(path: &str) -> &'static str {
    let path = path.trim_matches('/');
    let exact = KNOWN.into_iter().find(|known| *known == path);
    let first = path.split('/').next().unwrap_or_default();
    exact.or_else(|| KNOWN.into_iter().find(|known| *known == first)).unwrap_or("other")
}

fn running(pods: &[Arc<Pod>]) -> [usize; 2] {
    let counts = pods.iter().map(|pod| {
        let status = pod.status.as_ref();
        let all = status.into_iter().flat_map(|status| {
            [
                &status.container_statuses,
                &status.init_container_statuses,
                &status.ephemeral_container_statuses,
            ]
        });
        all.flatten()
            .flatten()
            .filter(|c| c.state.as_ref().is_some_and(|state| state.running.is_some()))
            .count()
    });
    counts.fold([0, 0], |[pods, containers], count| [pods + usize::from(count > 0), containers + count])
}

/// A label's value as the text format wants it.
pub(crate) fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_bounded_and_counted() {
        let metrics = Metrics::default();
        drop(metrics.begin(&http::Method::GET, "/pods"));
        drop(metrics.begin(&http::Method::GET, "/pods/"));
        drop(metrics.begin(&http::Method::GET, "/metrics/resource"));
        for n in 0..100 {
            drop(
                metrics
                    .begin(&http::Method::from_bytes(format!("M{n}").as_bytes()).unwrap(), &format!("/x{n}")),
            );
        }
        let _open = metrics.begin(&http::Method::POST, "/exec/ns/p/c");
        let text = metrics.text("n\"1", &[]);
        for line in [
            r#"kubelet_http_requests_total{long_running="false",method="GET",path="pods",server_type="readwrite"} 2"#,
            r#"kubelet_http_requests_total{long_running="false",method="GET",path="metrics/resource",server_type="readwrite"} 1"#,
            r#"kubelet_http_requests_total{long_running="false",method="other",path="other",server_type="readwrite"} 100"#,
            r#"kubelet_http_requests_total{long_running="true",method="POST",path="exec",server_type="readwrite"} 1"#,
            r#"kubelet_http_inflight_requests{server_type="readwrite"} 1"#,
            r#"kubelet_node_name{node="n\"1"} 1"#,
        ] {
            assert!(text.lines().any(|got| got == line), "{line} not in\n{text}");
        }
    }
}
