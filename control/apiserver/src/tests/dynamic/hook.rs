//! A webhook server with a certificate of the cluster's own CA.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use xebec_identity::authn::PeerAuthorities;
use xebec_identity::pki::tls::server_config;
use xebec_identity::pki::{Leaf, Usage};

use super::super::harness::Cluster;

const GRACE: Duration = Duration::from_secs(1);

type Answer = dyn Fn(&Value) -> Value + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    requests: Mutex<Vec<Value>>,
    paths: Mutex<Vec<String>>,
}

/// A running webhook; it ends with this value.
pub struct Hook {
    pub address: SocketAddr,
    ca_bundle: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl Hook {
    /// Answers each `request` with a `response`, whose uid is filled in.
    pub async fn start(cluster: &Cluster, answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let mut leaf = Leaf::new("hook", Usage::Server);
        leaf.dns_names = vec!["localhost".to_owned(), "hook.default.svc".to_owned()];
        let directory = tempfile::tempdir().unwrap();
        let stem = directory.path().join("hook");
        cluster.pki.ensure_leaf(&stem, &leaf).unwrap();
        let (cert, key) = (stem.with_extension("crt"), stem.with_extension("key"));
        let tls = server_config(&cert, &key, None, &["http/1.1"]).unwrap();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            requests: Mutex::default(),
            paths: Mutex::default(),
        });
        let router = Router::new().fallback(review).with_state(Arc::clone(&shared));
        let listener = crate::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let authorities = Arc::new(PeerAuthorities::load(&cluster.pki.path("ca.crt"), None).unwrap());
        let serving =
            crate::serve::listener::serve(listener, router, Arc::new(tls), authorities, stop.clone(), GRACE);
        tokio::spawn(serving);
        let ca_bundle = STANDARD.encode(cluster.pki.ca_pem());
        Self { address, ca_bundle, shared, _stop: stop.drop_guard() }
    }

    /// A `clientConfig` with this server's URL.
    pub fn url(&self) -> Value {
        json!({"url": format!("https://localhost:{}/", self.address.port()), "caBundle": self.ca_bundle})
    }

    /// A `clientConfig` that names the Service `default/hook` and this port of it (443 if none).
    pub fn service(&self, port: Option<u16>) -> Value {
        let mut service = json!({"namespace": "default", "name": "hook", "path": "/review"});
        if let Some(port) = port {
            service["port"] = json!(port);
        }
        json!({"service": service, "caBundle": self.ca_bundle})
    }

    /// The `request` of each question so far.
    pub fn requests(&self) -> Vec<Value> {
        self.shared.requests.lock().clone()
    }

    /// The path of each.
    pub fn paths(&self) -> Vec<String> {
        self.shared.paths.lock().clone()
    }

    /// The last one.
    pub fn last(&self) -> Value {
        self.requests().pop().expect("a question")
    }
}

async fn review(State(shared): State<Arc<Shared>>, uri: Uri, Json(review): Json<Value>) -> Json<Value> {
    let request = &review["request"];
    shared.paths.lock().push(uri.path().to_owned());
    shared.requests.lock().push(request.clone());
    let mut response = (shared.answer)(request);
    response["uid"] = request["uid"].clone();
    Json(json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}))
}

/// A response that allows with a JSON patch.
pub fn patching(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}

/// A webhook configuration with one webhook for `resources` of every group and version.
pub fn configuration(kind: &str, name: &str, client: Value, resources: &[&str], extra: &Value) -> Value {
    let mut webhook = json!({
        "name": format!("{name}.example.com"), "clientConfig": client, "admissionReviewVersions": ["v1"],
        "sideEffects": "None", "timeoutSeconds": 5,
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}],
    });
    for (field, value) in extra.as_object().into_iter().flatten() {
        webhook[field] = value.clone();
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "webhooks": [webhook],
    })
}
