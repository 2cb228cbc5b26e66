//! The controllers against the real API server on the embedded store, in one process, with a stand-in for kubelets
//! that makes every pod run at once.

#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

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

struct Cluster {
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
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pki = directory.path().join("pki");
        let made = Pki::ensure(&pki, &PkiOptions::new("10.96.0.1".parse().unwrap())).unwrap();
        let key = std::fs::read_to_string(made.path("ca.key")).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let signing = xebec_controllers::SigningAuthority::from_pem(made.ca_pem(), &key, day).unwrap();
        let path = directory.path().join("store.redb");
        let store: Arc<dyn Store> = Embedded::open(path, xebec_store::embedded::Options::default()).unwrap();
        let server = ApiServer::build(Config::new(pki, IpAddr::from([10, 0, 0, 10])), store).await.unwrap();
        let user = User {
            name: "system:kube-controller-manager".to_owned(),
            uid: String::new(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            extra: Default::default(),
        };
        let client = server.local_client(user);
        let stop = CancellationToken::new();
        let options = Options {
            root_ca: "PEM".to_owned(),
            signing: Some(signing),
            seed: Some(7),
            ..Options::default()
        };
        tokio::spawn(xebec_controllers::run(client.clone(), options, stop.clone()));
        let cluster = Self { client, server, stop, _directory: directory };
        cluster
            .until("the default account", "/api/v1/namespaces/default/serviceaccounts/default", named)
            .await;
        cluster
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Value {
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

    async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, Value::Null).await
    }

    async fn create(&self, path: &str, body: Value) -> Value {
        let answer = self.send(Method::POST, path, body).await;
        assert_ne!(answer["kind"], "Status", "{answer}");
        answer
    }

    async fn delete(&self, path: &str, policy: &str) -> Value {
        self.send(
            Method::DELETE,
            path,
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}),
        )
        .await
    }

    /// Reads a path until it looks as wanted.
    async fn until(&self, what: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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
    fn kubelet(&self) -> tokio::task::JoinHandle<()> {
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

fn named(value: &Value) -> bool {
    value["metadata"]["name"].is_string()
}

fn count(list: &Value) -> usize {
    list["items"].as_array().map_or(usize::MAX, Vec::len)
}

fn missing(value: &Value) -> bool {
    value["code"] == 404
}

fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}}},
    })
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn rolled_out(revision: i64) -> impl Fn(&Value) -> bool {
    let revision = revision.to_string();
    move |d| {
        d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == *revision
            && d["status"]["observedGeneration"] == d["metadata"]["generation"]
            && d["status"]["updatedReplicas"] == 3
            && d["status"]["replicas"] == 3
            && d["status"]["availableReplicas"] == 3
            && condition(d, "Progressing")["reason"] == "NewReplicaSetAvailable"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_rolls_back_and_serves() {
    let cluster = Cluster::start().await;
    let _kubelet = cluster.kubelet();
    let web = format!("{DEPLOYMENTS}/web");
    cluster.create(DEPLOYMENTS, deployment("one")).await;
    cluster
        .create(
            "/api/v1/namespaces/default/services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                   "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}}),
        )
        .await;
    let first = cluster.until("the first rollout", &web, rolled_out(1)).await;
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert_eq!(condition(&first, "Available")["status"], "True");
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=web";
    let ready = |list: &Value| {
        let endpoints = list["items"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        count(list) == 1 && endpoints.iter().filter(|e| e["conditions"]["ready"] == true).count() == 3
    };
    let list = cluster.until("three endpoints", slices, ready).await;
    assert_eq!(list["items"][0]["ports"][0]["port"], 8080);
    let legacy = "/api/v1/namespaces/default/endpoints/web";
    cluster
        .until("three addresses", legacy, |e| {
            e["subsets"][0]["addresses"].as_array().map(Vec::len) == Some(3)
        })
        .await;

    let image = |name: &str| {
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name,
        "ports": [{"name": "http", "containerPort": 8080}]}]}}}})
    };
    cluster.send(Method::PATCH, &web, image("two")).await;
    let second = cluster.until("the second rollout", &web, rolled_out(2)).await;
    assert_eq!(second["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    let sets = cluster.until("two sets", SETS, |l| count(l) == 2).await;
    let sizes: Vec<_> =
        sets["items"].as_array().unwrap().iter().map(|s| s["spec"]["replicas"].clone()).collect();
    assert!(sizes.contains(&json!(0)) && sizes.contains(&json!(3)), "{sizes:?}");

    cluster.send(Method::PATCH, &web, image("one")).await;
    let third = cluster.until("the rollback", &web, rolled_out(3)).await;
    assert_eq!(third["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    assert_eq!(count(&cluster.get(SETS).await), 2);
    cluster.until("three endpoints again", slices, ready).await;
    let events = cluster.get("/api/v1/namespaces/default/events").await;
    let said = |reason: &str, start: &str| {
        let all = events["items"].as_array().unwrap().iter();
        all.filter(|e| e["reason"] == reason).any(|e| e["message"].as_str().unwrap().starts_with(start))
    };
    assert!(said("ScalingReplicaSet", "Scaled up replica set web-"), "{events:#}");
    assert!(said("SuccessfulCreate", "Created pod: web-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_cascades_as_asked() {
    let cluster = Cluster::start().await;
    let _kubelet = cluster.kubelet();
    let web = format!("{DEPLOYMENTS}/web");
    for policy in ["Background", "Foreground"] {
        cluster.create(DEPLOYMENTS, deployment("one")).await;
        cluster.until("the rollout", &web, rolled_out(1)).await;
        cluster.delete(&web, policy).await;
        cluster.until("the deployment gone", &web, missing).await;
        if policy == "Foreground" {
            assert_eq!((count(&cluster.get(SETS).await), count(&cluster.get(PODS).await)), (0, 0));
        }
        cluster.until("the sets gone", SETS, |l| count(l) == 0).await;
        cluster.until("the pods gone", PODS, |l| count(l) == 0).await;
    }
    cluster.create(DEPLOYMENTS, deployment("one")).await;
    cluster.until("the rollout", &web, rolled_out(1)).await;
    cluster.delete(&web, "Orphan").await;
    cluster.until("the deployment gone", &web, missing).await;
    let free = |l: &Value| {
        count(l) == 1 && l["items"][0]["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)
    };
    cluster.until("the set free", SETS, free).await;
    assert_eq!(count(&cluster.get(PODS).await), 3);
    // A new Deployment of the same selector adopts the orphan.
    cluster.create(DEPLOYMENTS, deployment("one")).await;
    cluster.until("adoption", &web, rolled_out(1)).await;
    let held =
        |l: &Value| count(l) == 1 && l["items"][0]["metadata"]["ownerReferences"][0]["kind"] == "Deployment";
    cluster.until("the set held again", SETS, held).await;
    assert_eq!((count(&cluster.get(SETS).await), count(&cluster.get(PODS).await)), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes_and_cleans_up() {
    let cluster = Cluster::start().await;
    let _kubelet = cluster.kubelet();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = |name: &str, spec: Value| {
        let mut body = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        xebec_api::patch::merge_patch(&mut body, &json!({"spec": spec}));
        body
    };
    cluster.create(jobs, job("five", json!({"completions": 5, "parallelism": 2}))).await;
    cluster
        .create(
            jobs,
            job("numbered", json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"})),
        )
        .await;
    cluster.create(jobs, job("fleeting", json!({"ttlSecondsAfterFinished": 0}))).await;
    let complete = |j: &Value| condition(j, "Complete")["status"] == "True";
    let five = cluster.until("five done", &format!("{jobs}/five"), complete).await;
    assert_eq!(five["status"]["succeeded"], 5);
    assert!(five["status"]["completionTime"].is_string());
    let numbered = cluster.until("three done", &format!("{jobs}/numbered"), complete).await;
    assert_eq!(
        (numbered["status"]["succeeded"].clone(), numbered["status"]["completedIndexes"].clone()),
        (json!(3), json!("0-2"))
    );
    cluster.until("the fleeting one gone", &format!("{jobs}/fleeting"), missing).await;
    cluster.delete(&format!("{jobs}/five"), "Background").await;
    cluster.delete(&format!("{jobs}/numbered"), "Foreground").await;
    cluster.until("no pods", PODS, |l| count(l) == 0).await;
    cluster.until("no jobs", jobs, |l| count(l) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_and_nodes_are_looked_after() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}),
        )
        .await;
    cluster.until("its account", "/api/v1/namespaces/n/serviceaccounts/default", named).await;
    let ca = cluster.until("its CA", "/api/v1/namespaces/n/configmaps/kube-root-ca.crt", named).await;
    assert_eq!(ca["data"]["ca.crt"], "PEM");
    cluster
        .create(
            "/api/v1/namespaces/n/configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}),
        )
        .await;
    let mut set = deployment("one");
    set["kind"] = json!("ReplicaSet");
    cluster.create("/apis/apps/v1/namespaces/n/replicasets", set).await;
    cluster.until("its pods", "/api/v1/namespaces/n/pods", |l| count(l) == 3).await;
    cluster.delete("/api/v1/namespaces/n", "Background").await;
    cluster.until("the namespace gone", "/api/v1/namespaces/n", missing).await;
    assert_eq!(count(&cluster.get("/api/v1/pods").await), 0);

    for name in ["a", "b"] {
        cluster
            .create("/api/v1/nodes", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
            .await;
    }
    let with_range = |n: &Value| n["spec"]["podCIDR"].is_string();
    let a = cluster.until("a range", "/api/v1/nodes/a", with_range).await;
    let b = cluster.until("a range", "/api/v1/nodes/b", with_range).await;
    assert_ne!(a["spec"]["podCIDR"], b["spec"]["podCIDR"]);
    assert_eq!(a["spec"]["podCIDRs"], json!([a["spec"]["podCIDR"]]));
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}});
    cluster.send(Method::PATCH, "/api/v1/nodes/a/status", ready).await;
    let clean = |n: &Value| n["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
    cluster.until("no taints", "/api/v1/nodes/a", clean).await;
    let tainted = |n: &Value| n["spec"]["taints"].as_array().is_some_and(|t| t.len() >= 2);
    cluster.until("taints", "/api/v1/nodes/b", tainted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_are_counted_and_storage_in_use_stays() {
    let cluster = Cluster::start().await;
    let space = "/api/v1/namespaces/default";
    cluster.until("the CA", &format!("{space}/configmaps/kube-root-ca.crt"), named).await;
    let hard =
        json!({"pods": "2", "configmaps": "5", "count/replicasets.apps": "3", "persistentvolumeclaims": "1"});
    let quota = json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    cluster.create(&format!("{space}/resourcequotas"), quota).await;
    let at = format!("{space}/resourcequotas/q");
    let used = |name: &'static str, amount: &'static str| {
        move |quota: &Value| quota["status"]["used"][name] == amount
    };
    let counted = cluster.until("a first count", &at, used("configmaps", "1")).await;
    assert_eq!(counted["status"]["hard"], hard);
    assert_eq!(counted["status"]["used"]["count/replicasets.apps"], "0");

    let pod = |name: &str, spec: Value| {
        let mut pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "x"}]}});
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    let pods = format!("{space}/pods");
    cluster.create(&pods, pod("a", json!({}))).await;
    let claim = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = format!("{space}/persistentvolumeclaims");
    cluster.create(&claims, claim.clone()).await;
    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}});
    cluster.create("/api/v1/nodes", node).await;
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    cluster.create(&pods, pod("b", json!({"nodeName": "n", "volumes": volumes}))).await;
    let refused = cluster.send(Method::POST, &pods, pod("d", json!({}))).await;
    assert_eq!(
        refused["message"],
        "pods \"d\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
    );
    let refused = cluster.send(Method::POST, &claims, claim).await;
    assert_eq!(refused["code"], 403, "{refused}");

    // What leaves is taken off; a claim that a pod uses stays until the pod has gone.
    cluster.delete(&format!("{claims}/c"), "Background").await;
    cluster.delete(&format!("{pods}/a"), "Background").await;
    cluster.until("one pod less", &at, used("pods", "1")).await;
    let kept = cluster.get(&format!("{claims}/c")).await;
    assert_eq!(kept["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert!(!kept["metadata"]["deletionTimestamp"].is_null());
    let now = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    cluster.send(Method::DELETE, &format!("{pods}/b"), now).await;
    cluster.until("the claim gone", &format!("{claims}/c"), |answer| answer["code"] == 404).await;
    cluster.until("no claim counted", &at, used("persistentvolumeclaims", "0")).await;
    cluster.until("no pod counted", &at, used("pods", "0")).await;

    // Objects without a typed reflector are counted too.
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}});
    cluster.create(&format!("{space}/secrets"), secret).await;
    let wider = json!({"spec": {"hard": {"count/secrets": "4"}}});
    cluster.send(Method::PATCH, &at, wider).await;
    cluster.until("the secret counted", &at, used("count/secrets", "1")).await;
    cluster.delete(&format!("{space}/secrets/s"), "Background").await;
    cluster.until("the secret gone", &at, used("count/secrets", "0")).await;
}

/// A certificate request of this subject, in base64 as the API takes it.
fn signing_request(common_name: &str, organization: &str) -> String {
    use base64::Engine as _;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    base64::engine::general_purpose::STANDARD.encode(pem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_signed_and_nodes_approved() {
    let cluster = Cluster::start().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = |name: &str, signer: &str, subject: (&str, &str)| {
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": signing_request(subject.0, subject.1), "signerName": signer,
                "usages": ["digital signature", "client auth"]}})
    };
    // The requester is the administrator, who may do anything, so also make requests for nodes.
    let node =
        request("node", "kubernetes.io/kube-apiserver-client-kubelet", ("system:node:n", "system:nodes"));
    cluster.create(path, node).await;
    let has_certificate = |value: &Value| value["status"]["certificate"].is_string();
    let node = cluster.until("the node's certificate", &format!("{path}/node"), has_certificate).await;
    assert_eq!(node["status"]["conditions"][0]["reason"], "AutoApproved");

    let mut user =
        cluster.create(path, request("user", "kubernetes.io/kube-apiserver-client", ("ann", "devs"))).await;
    user["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "by hand"}]);
    let approved = cluster.send(Method::PUT, &format!("{path}/user/approval"), user).await;
    assert_eq!(approved["kind"], "CertificateSigningRequest", "{approved}");
    cluster.until("the user's certificate", &format!("{path}/user"), has_certificate).await;

    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let mut odd = cluster.create(path, request("odd", signer, ("ann", "system:nodes"))).await;
    odd["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "by hand"}]);
    cluster.send(Method::PUT, &format!("{path}/odd/approval"), odd).await;
    let failed = |value: &Value| value["status"]["conditions"][1]["type"] == "Failed";
    let odd = cluster.until("the failure", &format!("{path}/odd"), failed).await;
    assert_eq!(
        odd["status"]["conditions"][1]["message"],
        "subject common name does not begin with system:node:"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_put_together_and_tokens_sign_and_go() {
    use base64::Engine as _;
    let cluster = Cluster::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let rule = json!({"apiGroups": ["acme.com"], "resources": ["boats"], "verbs": ["get"]});
    cluster
        .create(
            roles,
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": [rule],
                "metadata": {"name": "boats", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}}),
        )
        .await;
    let sees_boats = |value: &Value| value["rules"].as_array().is_some_and(|rules| rules.contains(&rule));
    for name in ["view", "edit", "admin"] {
        cluster.until("the new rule", &format!("{roles}/{name}"), sees_boats).await;
    }
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let token = |id: &str, end: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": format!("bootstrap-token-{id}")}, "data": {
                "token-id": encode(id), "token-secret": encode("0123456789abcdef"), "expiration": encode(end),
                "usage-bootstrap-signing": encode("true")}})
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    cluster.create(secrets, token("abc123", "2999-01-01T00:00:00Z")).await;
    cluster.create(secrets, token("old000", "2020-01-01T00:00:00Z")).await;
    let info = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "C"}});
    cluster.create("/api/v1/namespaces/kube-public/configmaps", info).await;
    let gone = |value: &Value| value["code"] == 404;
    cluster.until("the end of a token", &format!("{secrets}/bootstrap-token-old000"), gone).await;
    let signed = |value: &Value| value["data"]["jws-kubeconfig-abc123"].is_string();
    let info = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    let info = cluster.until("the signature", info, signed).await;
    assert_eq!(info["data"].as_object().unwrap().len(), 2);
}
