//! Topology hints follow Services and nodes.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, PODS, named};

const NODES: &str = "/api/v1/nodes";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn slices(service: &str) -> String {
    let list = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    format!("{list}?labelSelector=kubernetes.io/service-name={service}")
}

/// Zone and hints of each endpoint, in the order of the pods' names.
fn hints(list: &Value) -> Vec<String> {
    let names = |hints: &Value| {
        let names = hints.as_array().into_iter().flatten().map(|hint| hint["name"].as_str().unwrap());
        names.collect::<Vec<_>>().join("+")
    };
    let endpoints = list["items"].as_array().into_iter().flatten();
    let endpoints = endpoints.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let mut found: Vec<_> = endpoints.filter(|e| e["conditions"]["ready"] == true).collect();
    found.sort_by_key(|e| e["targetRef"]["name"].to_string());
    let show = |endpoint: &&Value| {
        let zone = endpoint["zone"].as_str().unwrap_or("-");
        let hints = &endpoint["hints"];
        format!("{zone} {}/{}", names(&hints["forZones"]), names(&hints["forNodes"]))
    };
    found.iter().map(show).collect()
}

fn status(cpu: &str, ready: &str) -> Value {
    json!({"status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready,
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}

impl Cluster {
    async fn node(&self, name: &str, zone: &str) {
        let labels = json!({"topology.kubernetes.io/zone": zone});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
        self.create(NODES, node).await;
        self.report(name, status("2", "True")).await;
    }

    async fn report(&self, node: &str, status: Value) {
        let answer = self.send(Method::PATCH, &format!("{NODES}/{node}/status"), status).await;
        assert!(named(&answer), "{answer}");
    }

    async fn hints(&self, service: &str, expected: &[&str]) -> Value {
        self.until(&format!("{expected:?}"), &slices(service), |list| hints(list) == expected).await
    }

    async fn said(&self, reason: &str, message: &str) {
        let there = |list: &Value| {
            let mut all = list["items"].as_array().into_iter().flatten();
            all.any(|e| {
                e["reason"] == reason && e["message"] == message && e["involvedObject"]["name"] == "auto"
            })
        };
        self.until(message, "/api/v1/namespaces/default/events", there).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_follow_services_and_nodes() {
    let cluster = Cluster::start().await;
    let _kubelet = cluster.kubelet();
    cluster.node("a", "z0").await;
    cluster.node("b", "z2").await;
    for (name, node) in [("p1", "a"), ("p2", "b")] {
        let container = json!({"name": "c", "image": "i"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
                         "spec": {"nodeName": node, "containers": [container]}});
        cluster.create(PODS, pod).await;
    }
    let mode = "service.kubernetes.io/topology-mode";
    for (name, annotations, distribution) in
        [("near", json!({}), json!("PreferSameNode")), ("auto", json!({mode: "Auto"}), json!(null))]
    {
        let spec =
            json!({"selector": {"app": "web"}, "ports": [{"port": 80}], "trafficDistribution": distribution});
        let metadata = json!({"name": name, "annotations": annotations});
        cluster
            .create(
                SERVICES,
                json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
            )
            .await;
    }
    cluster.hints("near", &["z0 z0/a", "z2 z2/b"]).await;
    cluster.hints("auto", &["z0 z0/", "z2 z2/"]).await;
    cluster
        .said("TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType: IPv4")
        .await;

    let zone = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}});
    cluster.send(Method::PATCH, &format!("{NODES}/a"), zone).await;
    let near = cluster.hints("near", &["z1 z1/a", "z2 z2/b"]).await;
    let balanced: &[&str] = &["z1 z1/", "z2 z2/"];
    cluster.hints("auto", balanced).await;

    // A zone more than there are endpoints: its node comes, is not ready, is again, goes.
    let plain: &[&str] = &["z1 /", "z2 /"];
    cluster.node("c", "z3").await;
    cluster.hints("auto", plain).await;
    let few = "Insufficient number of endpoints (2 endpoints, 3 zones), addressType: IPv4";
    cluster.said("TopologyAwareHintsDisabled", few).await;
    cluster.report("c", status("2", "False")).await;
    cluster.hints("auto", balanced).await;
    cluster.report("c", status("2", "True")).await;
    cluster.hints("auto", plain).await;
    cluster.delete(&format!("{NODES}/c"), "Background").await;
    cluster.hints("auto", balanced).await;

    // More CPU in one zone than half of the endpoints can answer for.
    cluster.report("b", status("8", "True")).await;
    cluster.hints("auto", plain).await;
    let much =
        "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";
    let much = format!("{much} (2 endpoints, 2 zones), addressType: IPv4");
    cluster.said("TopologyAwareHintsDisabled", &much).await;
    cluster.report("b", status("2100m", "True")).await;
    cluster.hints("auto", balanced).await;

    // None of this was anything to the other Service.
    assert_eq!(cluster.get(&slices("near")).await["items"], near["items"]);
    let service = |name: &str| format!("{SERVICES}/{name}");
    cluster.send(Method::PATCH, &service("near"), json!({"spec": {"trafficDistribution": null}})).await;
    cluster.hints("near", plain).await;
    cluster.send(Method::PATCH, &service("auto"), json!({"metadata": {"annotations": {mode: null}}})).await;
    cluster.hints("auto", plain).await;
    cluster
        .said("TopologyAwareHintsDisabled", "Topology Aware Hints has been disabled, addressType: IPv4")
        .await;
}
