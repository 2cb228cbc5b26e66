//! A handler that panics: its client hears of it, the audit log says so, and the server lives on.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use parking_lot::Mutex;
use serde_json::json;
use tower::ServiceExt;
use xebec_audit::{Auditor, Event, Policy, Sink, Stage};
use xebec_identity::User;

use super::harness::Cluster;
use crate::serve::auth::LocalUser;

#[derive(Default)]
struct Memory(Mutex<Vec<Event>>);

impl Sink for Memory {
    fn write(&self, event: &Event) -> bool {
        self.0.lock().push(event.clone());
        true
    }
}

async fn broken() -> &'static str {
    panic!("out of {}", "order")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_answered_written_down_and_counted() {
    let log = Arc::new(Memory::default());
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
    let sink: Arc<dyn Sink> = Arc::clone(&log) as _;
    let cluster = Cluster::start_with(|config| {
        config.audit = Some(Arc::new(Auditor::new(Policy::parse(policy).unwrap(), sink)));
    })
    .await;
    let router =
        crate::serve::filtered(Arc::clone(&cluster.server), Router::new().route("/broken", get(broken)));
    for round in 1..=2 {
        let mut request = Request::get("/broken").header("audit-id", "broken").body(Body::empty()).unwrap();
        request.extensions_mut().insert(LocalUser(User::system_master("ann")));
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(body, "This request caused apiserver to panic. Look in the logs for details.\n");
        let metrics = cluster.get("/metrics").await.text;
        let counted = format!("apiserver_request_total{{method=\"GET\",code=\"500\"}} {round}\n");
        assert!(metrics.contains(&counted), "{metrics}");
        let idle = "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n";
        assert!(metrics.contains(idle), "nothing but the request for the metrics: {metrics}");
    }
    let events = log.0.lock().clone();
    let events: Vec<&Event> = events.iter().filter(|event| event.audit_id == "broken").collect();
    let stages: Vec<Stage> = events.iter().map(|event| event.stage).collect();
    assert_eq!(stages, [Stage::RequestReceived, Stage::Panic, Stage::RequestReceived, Stage::Panic]);
    assert_eq!(
        events[1].response_status,
        Some(json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": "APIServer panic'd: out of order"}))
    );
}
