//! Authorizers of a configuration file: what they are told of reviews, and what happens when the file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use xebec_identity::pki::Pki;

use super::harness::{Cluster, send};
use super::identity::{listen, outside, webhook_file};
use crate::Config;

/// A webhook that allows whatever it is asked about; its kubeconfig and the specs of what it was asked.
struct Access {
    file: PathBuf,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Access {
    async fn start(pki: &Pki) -> Access {
        let (listener, url) = listen().await;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let answer = move |Json(mut review): Json<Value>| async move {
            noted.lock().push(review["spec"].clone());
            review["status"] = json!({"allowed": true, "reason": "outside"});
            Json(review)
        };
        outside(pki, listener, Router::new().route("/access", post(answer))).await;
        Access { file: webhook_file(pki, "access", &format!("{url}/access")), asked }
    }

    /// An entry of `authorizers` that asks where `condition` holds.
    fn entry(&self, condition: &str) -> Value {
        json!({"type": "Webhook", "name": "outside", "webhook": {
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
            "authorizedTTL": "5m", "unauthorizedTTL": "30s",
            "matchConditionSubjectAccessReviewVersion": "v1", "matchConditions": [{"expression": condition}],
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": self.file},
        }})
    }
}

fn configuration(authorizers: &[Value]) -> String {
    json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers})
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reviews_selectors_reach_every_authorizer() {
    let mut access = None;
    let outer = &mut access;
    let cluster = Cluster::start_prepared(async move |config: &mut Config, pki: &Pki, store| {
        let access = outer.insert(Access::start(pki).await);
        let path = pki.path("authorization.yaml");
        let narrow = "has(request.resourceAttributes) && has(request.resourceAttributes.fieldSelector) && \
             request.resourceAttributes.fieldSelector.requirements.exists(r, \
             r.key == 'spec.nodeName' && r.operator == 'In' && r.values == ['n1'])";
        let authorizers = [json!({"type": "Node", "name": "node"}), access.entry(narrow)];
        std::fs::write(&path, configuration(&authorizers)).unwrap();
        config.identity.authorization_config = Some(path);
        store
    })
    .await;
    let asked = access.unwrap().asked;
    let ask = async |user: Value, selectors: Value| {
        let mut spec = user;
        spec["resourceAttributes"] = json!({"verb": "list", "resource": "pods"});
        for (name, selector) in selectors.as_object().unwrap() {
            spec["resourceAttributes"][name] = selector.clone();
        }
        let review = json!({"spec": spec});
        let answer = cluster.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
        answer.json()["status"].clone()
    };
    let requirement =
        |node: &str| json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": [node]}]});
    let bob = json!({"user": "bob"});
    let labels = json!({"requirements": [
        {"key": "a", "operator": "NotIn", "values": ["x"]}, {"key": "a", "operator": "Later"}]});
    let selectors = json!({"fieldSelector": requirement("n1"), "labelSelector": labels, "version": "v1"});
    assert_eq!(ask(bob.clone(), selectors).await, json!({"allowed": true, "reason": "outside"}));
    let seen = asked.lock().pop().unwrap();
    assert_eq!(
        seen["resourceAttributes"],
        json!({"verb": "list", "resource": "pods", "version": "v1", "fieldSelector": requirement("n1"),
            "labelSelector": {"requirements": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}})
    );
    let raw = json!({"fieldSelector": {"rawSelector": "spec.nodeName=n1"}});
    assert_eq!(ask(bob.clone(), raw).await["allowed"], true);
    let seen = asked.lock().pop().unwrap();
    assert_eq!(
        (&seen["resourceAttributes"]["fieldSelector"], &seen["resourceAttributes"]["version"]),
        (&requirement("n1"), &json!("*"))
    );
    for selectors in [
        json!({"fieldSelector": requirement("n2")}),
        json!({"fieldSelector": {"rawSelector": "spec.nodeName=n1,nonsense"}}),
        json!({"fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "Exists"}]}}),
    ] {
        assert_eq!(ask(bob.clone(), selectors).await, json!({"allowed": false}));
    }
    assert!(asked.lock().is_empty(), "the condition did not hold");

    let node = json!({"user": "system:node:n1", "groups": ["system:nodes"]});
    assert_eq!(
        ask(node.clone(), json!({"fieldSelector": requirement("n1")})).await,
        json!({"allowed": true})
    );
    assert_eq!(
        ask(node, json!({"fieldSelector": requirement("n2")})).await,
        json!({"allowed": false, "reason": "can only list/watch pods with spec.nodeName field selector"})
    );
    assert!(asked.lock().is_empty());
}

/// Puts a file in place whole: whoever reads it finds the old text or the new one.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

/// Waits for the code of a request.
async fn until(client: &kube::Client, path: &str, code: u16) {
    for _ in 0..100 {
        if send(client, "GET", path, &[], "").await.code == code {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} never answered {code}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_files_take_effect_and_wrong_ones_do_not() {
    let mut prepared = None;
    let outer = &mut prepared;
    let open = |anonymous: bool| {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "anonymous": {"enabled": anonymous}})
        .to_string()
    };
    let rbac = json!({"type": "RBAC", "name": "rbac"});
    let first = configuration(std::slice::from_ref(&rbac));
    let cluster = Cluster::start_prepared(async move |config: &mut Config, pki: &Pki, store| {
        let (authn, authz) = (pki.path("authentication.yaml"), pki.path("authorization.yaml"));
        replace(&authn, &open(true));
        replace(&authz, &first);
        config.identity.authentication_config = Some(authn.clone());
        config.identity.authorization_config = Some(authz.clone());
        *outer = Some((Access::start(pki).await, authn, authz));
        store
    })
    .await;
    let (access, authn, authz) = prepared.unwrap();
    let (bob, nobody) = (cluster.client("bob", "").await, cluster.bearer(""));
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(send(&bob, "GET", pods, &[], "").await.code, 403);
    assert_eq!(send(&nobody, "GET", "/version", &[], "").await.code, 200);

    // Without RBAC, and no JSON at all: neither takes effect.
    replace(&authz, &configuration(&[access.entry("true")]));
    replace(&authn, "{");
    let failed = |subject: &str, text: &str| {
        let line = format!(
            "apiserver_{subject}_config_controller_automatic_reloads_total{{apiserver_id_hash=\"sha256:"
        );
        text.lines().any(|found| found.starts_with(&line) && found.ends_with("status=\"failure\"} 1"))
    };
    for round in 0.. {
        let metrics = cluster.get("/metrics").await.text;
        if failed("authorization", &metrics) && failed("authentication", &metrics) {
            break;
        }
        assert!(round < 100, "{metrics}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(send(&bob, "GET", pods, &[], "").await.code, 403);
    assert_eq!(send(&nobody, "GET", "/version", &[], "").await.code, 200);

    replace(&authz, &configuration(&[access.entry("request.user == 'bob'"), rbac]));
    until(&bob, pods, 200).await;
    replace(&authn, &open(false));
    until(&nobody, "/version", 401).await;
    let metrics = cluster.get("/metrics").await.text;
    let reloads: Vec<&str> = metrics
        .lines()
        .filter(|line| line.contains("_config_controller_automatic_reloads_total{"))
        .map(|line| line.rsplit("status=").next().unwrap())
        .collect();
    assert_eq!(
        reloads,
        ["\"failure\"} 1", "\"success\"} 2", "\"failure\"} 1", "\"success\"} 1"],
        "authorization, whose start counts, then authentication: {metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decided_is_said_so() {
    let cluster = Cluster::start_prepared(async move |config: &mut Config, pki: &Pki, store| {
        let path = pki.path("authorization.yaml");
        // Fails where a path is asked for: there is no such field then.
        let access = Access::start(pki).await.entry("request.resourceAttributes.resource == 'pods'");
        replace(&path, &configuration(&[access, json!({"type": "RBAC", "name": "rbac"})]));
        config.identity.authorization_config = Some(path);
        store
    })
    .await;
    let bob = cluster.client("bob", "").await;
    let pods = send(&bob, "GET", "/api/v1/namespaces/default/pods", &[], "").await;
    assert_eq!(pods.code, 200, "{}", pods.text);
    assert_eq!(send(&bob, "GET", "/api/v1/nodes", &[], "").await.code, 403, "the webhook is not asked");
    let undecided = send(&bob, "GET", "/version?a=1&b=%3C", &[], "").await;
    assert_eq!(
        (undecided.code, undecided.headers["content-type"].to_str().unwrap()),
        (500, "text/plain; charset=utf-8")
    );
    let start = "Internal Server Error: \"/version?a=1&amp;b=%3C\": ";
    assert!(
        undecided.text.starts_with(start) && undecided.text.contains("resourceAttributes"),
        "{}",
        undecided.text
    );
    let review = json!({"spec": {"user": "bob", "nonResourceAttributes": {"verb": "get", "path": "/x"}}});
    let answer = cluster.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await.json();
    let status = &answer["status"];
    assert_eq!((&status["allowed"], &status["denied"]), (&json!(false), &json!(true)), "{status}");
    assert!(status["evaluationError"].as_str().unwrap().contains("resourceAttributes"), "{status}");

    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let rules = cluster.post(path, &json!({"spec": {"namespace": "default"}})).await.json();
    assert_eq!(
        (&rules["status"]["incomplete"], &rules["status"]["evaluationError"]),
        (&json!(true), &json!("webhook authorizer does not support user rule resolution"))
    );
}
