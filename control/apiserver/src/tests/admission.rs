//! The built-in plug-ins as clients see them.

use base64::Engine;
use serde_json::{Value, json};

use super::harness::{Answer, Cluster, send};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

async fn namespace(cluster: &Cluster, name: &str, labels: Value) {
    let object =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let answer = cluster.post("/api/v1/namespaces", &object).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    cluster.account(name).await;
}

async fn put(cluster: &Cluster, path: &str, value: &Value) -> Answer {
    cluster.send("PUT", path, JSON, value.to_string()).await
}

/// A quota with its status, as the quota controller writes it.
async fn quota(cluster: &Cluster, namespace: &str, hard: Value, used: Value) {
    let path = format!("/api/v1/namespaces/{namespace}/resourcequotas");
    let object = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    let mut stored = cluster.post(&path, &object).await.json();
    stored["status"] = json!({"hard": hard, "used": used});
    let answer = put(cluster, &format!("{path}/q/status"), &stored).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
}

async fn used(cluster: &Cluster, namespace: &str) -> Value {
    cluster.get(&format!("/api/v1/namespaces/{namespace}/resourcequotas/q")).await.json()["status"]["used"]
        .clone()
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_creates_at_once_get_the_ten_places_there_are() {
    let cluster = Cluster::start().await;
    namespace(&cluster, "crowd", json!({})).await;
    quota(&cluster, "crowd", json!({"count/configmaps": "10"}), json!({"count/configmaps": "0"})).await;
    let client = cluster.admin().await;
    let creates = (0..100).map(|i| {
        let client = client.clone();
        let body = config_map(&format!("c{i}")).to_string();
        async move { send(&client, "POST", "/api/v1/namespaces/crowd/configmaps", JSON, body).await }
    });
    let answers = futures::future::join_all(creates).await;
    let created = answers.iter().filter(|answer| answer.code == 201).count();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.code == 403).collect();
    assert_eq!((created, refused.len()), (10, 90));
    let why = "is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=10, limited: \
               count/configmaps=10";
    assert!(refused[0].message().ends_with(why), "{}", refused[0].message());
    let listed = cluster.get("/api/v1/namespaces/crowd/configmaps").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 10);
    assert_eq!(used(&cluster, "crowd").await, json!({"count/configmaps": "10"}));
}

#[tokio::test]
async fn quota_counts_what_is_written_and_nothing_else() {
    let cluster = Cluster::start().await;
    namespace(&cluster, "n", json!({})).await;
    let hard = json!({"configmaps": "2", "services.nodeports": "1"});
    quota(&cluster, "n", hard, json!({"configmaps": "0", "services.nodeports": "0"})).await;
    let path = "/api/v1/namespaces/n/configmaps";
    assert_eq!(cluster.post(path, &config_map("a")).await.code, 201);
    assert_eq!(cluster.post(path, &config_map("a")).await.code, 409);
    assert_eq!(used(&cluster, "n").await["configmaps"], "1", "a write that fails gives back");
    assert_eq!(cluster.post(&format!("{path}?dryRun=All"), &config_map("b")).await.code, 201);
    assert_eq!(used(&cluster, "n").await["configmaps"], "1");
    assert_eq!(cluster.post(path, &config_map("b")).await.code, 201);
    assert_eq!(cluster.post(&format!("{path}?dryRun=All"), &config_map("c")).await.code, 403);
    // A Service that becomes a NodePort takes ports by an update.
    let services = "/api/v1/namespaces/n/services";
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}});
    assert_eq!(cluster.post(services, &service).await.code, 201);
    let wider = json!({"spec": {"type": "NodePort"}});
    let merge = "application/merge-patch+json";
    let answer = cluster.patch(&format!("{services}/s"), merge, &wider).await;
    assert_eq!(
        answer.message(),
        "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, \
         limited: services.nodeports=1"
    );
    let narrower = json!({"spec": {"type": "NodePort", "ports": [{"name": "a", "port": 1}]}});
    assert_eq!(cluster.patch(&format!("{services}/s"), merge, &narrower).await.code, 200);
    assert_eq!(used(&cluster, "n").await["services.nodeports"], "1");
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

#[tokio::test]
async fn pod_security() {
    let cluster = Cluster::start().await;
    let label = |mode: &str| format!("pod-security.kubernetes.io/{mode}");
    namespace(&cluster, "safe", json!({label("enforce"): "baseline", label("warn"): "restricted"})).await;
    let container = json!([{"name": "c", "image": "i"}]);
    let answer = cluster
        .post("/api/v1/namespaces/safe/pods", &pod(json!({"hostPID": true, "containers": container})))
        .await;
    assert_eq!(answer.code, 403);
    assert_eq!(
        answer.message(),
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    let answer = cluster.post("/api/v1/namespaces/safe/pods", &pod(json!({"containers": container}))).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let warning = answer.headers["warning"].to_str().unwrap();
    assert!(
        warning.starts_with("299 - \"would violate PodSecurity \\\"restricted:latest\\\": "),
        "{warning}"
    );
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"hostNetwork": true, "containers": container}}}});
    let answer = cluster.post("/apis/apps/v1/namespaces/safe/deployments", &deployment).await;
    assert_eq!(answer.code, 201, "workloads are warned about only: {}", answer.text);
    assert!(answer.headers["warning"].to_str().unwrap().contains("host namespaces (hostNetwork=true)"));
    let tighter = json!({"metadata": {"labels": {label("enforce"): "restricted"}}});
    let answer = cluster.patch("/api/v1/namespaces/safe", "application/merge-patch+json", &tighter).await;
    let warnings: Vec<&str> = answer.headers.get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("existing pods in namespace \\\"safe\\\" violate"), "{warnings:?}");
    let wrong = json!({"metadata": {"labels": {label("enforce"): "x"}}});
    let answer = cluster.patch("/api/v1/namespaces/safe", "application/merge-patch+json", &wrong).await;
    assert_eq!(answer.code, 422, "{}", answer.text);
}

#[tokio::test]
async fn defaults_for_pods_claims_and_ingresses() {
    let cluster = Cluster::start().await;
    namespace(&cluster, "n", json!({})).await;
    let create = async |path: &str, object: Value| {
        let answer = cluster.post(path, &object).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
        answer.json()
    };
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}]}});
    create("/api/v1/namespaces/n/limitranges", range).await;
    let runtime = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "vm"},
        "handler": "kata", "overhead": {"podFixed": {"cpu": "250m"}}, "scheduling": {"nodeSelector": {"vm": "yes"}}});
    create("/apis/node.k8s.io/v1/runtimeclasses", runtime).await;
    let spec = json!({"runtimeClassName": "vm", "containers": [{"name": "c", "image": "i"}]});
    let made = create("/api/v1/namespaces/n/pods", pod(spec)).await;
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}})
    );
    assert_eq!(
        (&made["spec"]["overhead"], &made["spec"]["nodeSelector"]),
        (&json!({"cpu": "250m"}), &json!({"vm": "yes"}))
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let big = json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "2"}}}]});
    let answer = cluster.post("/api/v1/namespaces/n/pods", &pod(big)).await;
    assert_eq!(
        answer.message(),
        "pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    );
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "x", "metadata": {
        "name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    create("/apis/storage.k8s.io/v1/storageclasses", class).await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let made = create("/api/v1/namespaces/n/persistentvolumeclaims", claim).await;
    assert_eq!(made["spec"]["storageClassName"], "fast");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let merge = "application/merge-patch+json";
    let answer = cluster.patch("/api/v1/namespaces/n/persistentvolumeclaims/c", merge, &grow).await;
    assert!(matches!(answer.code, 403 | 422), "an unbound claim does not grow: {}", answer.text);
    let ingresses = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "spec": {"controller": "a.b/c"},
        "metadata": {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}});
    create("/apis/networking.k8s.io/v1/ingressclasses", ingresses).await;
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"}, "spec": {
        "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let made = create("/apis/networking.k8s.io/v1/namespaces/n/ingresses", ingress).await;
    assert_eq!(made["spec"]["ingressClassName"], "web");
}

#[tokio::test]
async fn bindings_carry_the_zone_and_nodes_evict_their_own() {
    let cluster = Cluster::start().await;
    namespace(&cluster, "n", json!({})).await;
    for node in ["here", "there"] {
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node,
            "labels": {"topology.kubernetes.io/zone": format!("{node}-zone")}}});
        let made = cluster.post("/api/v1/nodes", &object).await.json();
        assert_eq!(made["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    }
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    assert_eq!(cluster.post("/api/v1/namespaces/n/pods", &pod(spec)).await.code, 201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "here"}});
    let answer = cluster.post("/api/v1/namespaces/n/pods/p/binding", &binding).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let bound = cluster.get("/api/v1/namespaces/n/pods/p").await.json();
    assert_eq!(bound["metadata"]["labels"], json!({"topology.kubernetes.io/zone": "here-zone"}));
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "n"}});
    let path = "/api/v1/namespaces/n/pods/p/eviction";
    let other = cluster.client("system:node:there", "system:nodes").await;
    let answer = send(&other, "POST", path, JSON, eviction.to_string()).await;
    assert_eq!(
        answer.message(),
        "pods \"p\" is forbidden: node there can only evict pods with spec.nodeName set to itself"
    );
    let own = cluster.client("system:node:here", "system:nodes").await;
    assert_eq!(send(&own, "POST", path, JSON, eviction.to_string()).await.code, 201);
}

/// A user with these rules.
async fn user(cluster: &Cluster, name: &str, rules: Value) -> kube::Client {
    let api = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{api}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let path = format!("/apis/{api}/v1/clusterroles");
    assert_eq!(cluster.post(&path, &role).await.code, 201);
    let binding = json!({"apiVersion": format!("{api}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": api, "kind": "User", "name": name}]});
    assert_eq!(cluster.post(&format!("/apis/{api}/v1/clusterrolebindings"), &binding).await.code, 201);
    cluster.client(name, "").await
}

#[tokio::test]
async fn approving_takes_a_right_on_the_signer() {
    let cluster = Cluster::start().await;
    let group = "certificates.k8s.io";
    let approve = json!({"apiGroups": [group], "resources": ["certificatesigningrequests/approval"], "verbs": ["update"]});
    let signer = json!({"apiGroups": [group], "resources": ["signers"], "verbs": ["approve"],
        "resourceNames": ["example.com/*"]});
    let bare = user(&cluster, "bare", json!([approve])).await;
    let right = user(&cluster, "right", json!([approve, signer])).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let pem = base64::engine::general_purpose::STANDARD.encode(pem);
    let object = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "c"}, "spec": {"signerName": "example.com/s", "usages": ["client auth"], "request": pem}});
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let made = cluster.post(path, &object).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let mut approved = made.json();
    approved["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True", "reason": "R", "message": "m"}]});
    let at = format!("{path}/c/approval");
    let answer = send(&bare, "PUT", &at, JSON, approved.to_string()).await;
    assert_eq!(
        answer.message(),
        "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to approve requests with \
         signerName \"example.com/s\""
    );
    let answer = send(&right, "PUT", &at, JSON, approved.to_string()).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
}

#[tokio::test]
async fn plug_ins_on_demand() {
    let cluster = Cluster::start_with(|config| {
        config.enable_admission_plugins =
            ["AlwaysPullImages", "DenyServiceExternalIPs", "OwnerReferencesPermissionEnforcement"]
                .map(str::to_owned)
                .to_vec();
        config.disable_admission_plugins = vec!["ServiceAccount".to_owned()];
    })
    .await;
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    assert_eq!(cluster.post("/api/v1/namespaces", &object).await.code, 201);
    let spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    let made = cluster.post("/api/v1/namespaces/n/pods", &pod(spec)).await;
    assert_eq!(made.code, 201, "no account is needed: {}", made.text);
    assert_eq!(made.json()["spec"]["containers"][0]["imagePullPolicy"], "Always");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 1}], "externalIPs": ["1.2.3.4"]}});
    let answer = cluster.post("/api/v1/namespaces/n/services", &service).await;
    assert_eq!(
        answer.message(),
        "services \"s\" is forbidden: Use of external IPs is denied by admission control"
    );
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]});
    let bob = user(&cluster, "bob", json!([rule])).await;
    let mut owned = config_map("c");
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made.json()["metadata"]["uid"]}]);
    let answer = send(&bob, "POST", "/api/v1/namespaces/n/configmaps", JSON, owned.to_string()).await;
    assert_eq!(
        answer.message(),
        "configmaps \"c\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>"
    );
}
