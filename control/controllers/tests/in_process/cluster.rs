//! An API server with the controllers in this process, and a stand-in for kubelets that makes every pod run at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use xebec_apiserver::{ApiServer, Config};
use xebec_controllers::Options;
use xebec_identity::User;
use xebec_identity::pki::{Pki, PkiOptions};
use xebec_store::Store;
use xebec_store::embedded::Embedded;

/// The server, its controllers and a client of both.
pub struct Cluster {
    client: kube::Client,
    server: Arc<ApiServer>,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.shutdown();
    }
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with_controllers_in(&["system:masters", "system:authenticated"]).await
    }

    /// The controllers may what these groups and the roles of `system:kube-controller-manager` allow.
    pub async fn with_controllers_in(groups: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pki = directory.path().join("pki");
        let made = Pki::ensure(&pki, &PkiOptions::new("10.96.0.1".parse().unwrap())).unwrap();
        let key = std::fs::read_to_string(made.path("ca.key")).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let signing = xebec_controllers::SigningAuthority::from_pem(made.ca_pem(), &key, day).unwrap();
        let path = directory.path().join("store.redb");
        let store: Arc<dyn Store> = Embedded::open(path, xebec_store::embedded::Options::default()).unwrap();
        let server = ApiServer::build(Config::new(pki, IpAddr::from([10, 0, 0, 10])), store).await.unwrap();
        let user = |name: &str, groups: &[&str]| User {
            name: name.to_owned(),
            uid: String::new(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            extra: Default::default(),
        };
        let client = server.local_client(user("admin", &["system:masters", "system:authenticated"]));
        let controllers = server.local_client(user("system:kube-controller-manager", groups));
        let stop = CancellationToken::new();
        let options = Options {
            root_ca: "PEM".to_owned(),
            signing: Some(signing),
            seed: Some(7),
            ..Options::default()
        };
        tokio::spawn(xebec_controllers::run(controllers, options, stop.clone()));
        let cluster = Self { client, server, stop, _directory: directory };
        cluster
            .until("the default account", "/api/v1/namespaces/default/serviceaccounts/default", named)
            .await;
        cluster
    }

    pub async fn send(&self, method: Method, path: &str, body: Value) -> Value {
        let kind = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request =
            Request::builder().method(method).uri(path).header("content-type", kind).body(Body::from(bytes));
        let response = self.client.send(request.unwrap()).await.unwrap();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, Value::Null).await
    }

    pub async fn create(&self, path: &str, body: Value) -> Value {
        let answer = self.send(Method::POST, path, body).await;
        assert_ne!(answer["kind"], "Status", "{answer}");
        answer
    }

    pub async fn delete(&self, path: &str, policy: &str) -> Value {
        self.send(
            Method::DELETE,
            path,
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}),
        )
        .await
    }

    /// Reads a path until it looks as wanted.
    pub async fn until(&self, what: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..400 {
            last = self.get(path).await;
            if wanted(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never saw {what} at {path}; last {last:#}");
    }

    /// Runs every pod: Running and ready, or Succeeded if it is a Job's.
    pub fn kubelet(&self) -> tokio::task::JoinHandle<()> {
        let client = self.client.clone();
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let mut address = 1;
            while !stop.is_cancelled() {
                let list = Request::get("/api/v1/pods").body(Vec::new()).unwrap();
                let pods: Value = client.request(list).await.unwrap();
                for pod in pods["items"].as_array().unwrap() {
                    if pod["status"]["phase"] != "Pending" || !pod["metadata"]["deletionTimestamp"].is_null()
                    {
                        continue;
                    }
                    let job = pod["metadata"]["ownerReferences"][0]["kind"] == "Job";
                    let phase = if job { "Succeeded" } else { "Running" };
                    let ready = if job { "False" } else { "True" };
                    address += 1;
                    let ip = format!("10.244.0.{address}");
                    let status = json!({"status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
                        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
                    let path = format!(
                        "/api/v1/namespaces/{}/pods/{}/status",
                        pod["metadata"]["namespace"].as_str().unwrap(),
                        pod["metadata"]["name"].as_str().unwrap()
                    );
                    let request = Request::patch(path).header("content-type", "application/merge-patch+json");
                    // The pod may be gone by now.
                    let _ =
                        client.request::<Value>(request.body(status.to_string().into_bytes()).unwrap()).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }
}

pub fn named(value: &Value) -> bool {
    value["metadata"]["name"].is_string()
}

pub fn count(list: &Value) -> usize {
    list["items"].as_array().map_or(usize::MAX, Vec::len)
}

pub fn missing(value: &Value) -> bool {
    value["code"] == 404
}

pub fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
}

/// A Deployment `web` of three pods.
pub fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}}},
    })
}

pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
