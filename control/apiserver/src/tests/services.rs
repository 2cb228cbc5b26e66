use std::sync::Arc;

use serde_json::{Value, json};

use super::harness::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": "a"}, "ports": [{"port": 80}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_given_once_and_come_back() {
    let cluster = Cluster::start().await;
    let own = cluster.get(&format!("{SERVICES}/kubernetes")).await.json();
    assert_eq!(own["spec"]["clusterIP"], "10.96.0.1");
    let mut first = service("a", "ClusterIP");
    first["spec"]["clusterIP"] = json!("10.96.0.77");
    let made = cluster.post(SERVICES, &first).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.json()["spec"]["clusterIPs"], json!(["10.96.0.77"]));
    assert_eq!(cluster.get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.77").await.code, 200);
    first["metadata"]["name"] = json!("b");
    let taken = cluster.post(SERVICES, &first).await;
    assert_eq!(taken.code, 422);
    assert!(
        taken.message().contains("failed to allocate IP 10.96.0.77: provided IP is already allocated"),
        "{}",
        taken.text
    );
    assert_eq!(taken.json()["details"]["causes"][0]["field"], "spec.clusterIPs");
    first["spec"]["clusterIP"] = json!("10.1.2.3");
    let outside = cluster.post(SERVICES, &first).await;
    assert!(outside.message().contains("The range of valid IPs is 10.96.0.0/12"), "{}", outside.text);
    assert_eq!(cluster.send("DELETE", &format!("{SERVICES}/a"), &[], "").await.code, 200);
    first["spec"]["clusterIP"] = json!("10.96.0.77");
    assert_eq!(cluster.post(SERVICES, &first).await.code, 201, "the address is free again");
    let any = cluster.post(SERVICES, &service("c", "ClusterIP")).await.json();
    assert!(any["spec"]["clusterIP"].as_str().unwrap().starts_with("10."), "{any}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_ports_are_given_once() {
    let cluster = Cluster::start().await;
    let made = cluster.post(SERVICES, &service("a", "NodePort")).await.json();
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port));
    let mut same = service("b", "NodePort");
    same["spec"]["ports"][0]["nodePort"] = json!(port);
    let taken = cluster.post(SERVICES, &same).await;
    assert_eq!(taken.code, 422);
    assert!(taken.message().contains("provided port is already allocated"), "{}", taken.text);
    let kept = cluster
        .patch(
            &format!("{SERVICES}/a"),
            "application/merge-patch+json",
            &json!({"metadata": {"labels": {"x": "y"}}}),
        )
        .await;
    assert_eq!(kept.json()["spec"]["ports"][0]["nodePort"], port);
    let inner = cluster
        .patch(
            &format!("{SERVICES}/a"),
            "application/merge-patch+json",
            &json!({"spec": {"type": "ClusterIP"}}),
        )
        .await;
    assert_eq!(inner.code, 200, "{}", inner.text);
    assert!(inner.json()["spec"]["ports"][0].get("nodePort").is_none());
    assert_eq!(cluster.post(SERVICES, &same).await.code, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allocations_survive_a_restart() {
    let cluster = Cluster::start().await;
    let made = cluster.post(SERVICES, &service("a", "NodePort")).await.json();
    let (ip, port) = (made["spec"]["clusterIP"].clone(), made["spec"]["ports"][0]["nodePort"].clone());
    let again =
        crate::ApiServer::build(cluster.server.config.clone(), Arc::clone(&cluster.store)).await.unwrap();
    let client = again.local_client(xebec_identity::User::system_master("test"));
    let mut same = service("b", "NodePort");
    same["spec"]["clusterIP"] = ip;
    let headers = [("content-type", "application/json")];
    let taken = super::harness::send(&client, "POST", SERVICES, &headers, same.to_string()).await;
    assert!(taken.message().contains("provided IP is already allocated"), "{}", taken.text);
    same["spec"]["clusterIP"] = Value::Null;
    same["spec"]["ports"][0]["nodePort"] = port;
    let taken = super::harness::send(&client, "POST", SERVICES, &headers, same.to_string()).await;
    assert!(taken.message().contains("provided port is already allocated"), "{}", taken.text);
    again.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_have_a_node_port() {
    let cluster = Cluster::start().await;
    let mut balancer = service("a", "LoadBalancer");
    balancer["spec"]["externalTrafficPolicy"] = json!("Local");
    let made = cluster.post(SERVICES, &balancer).await;
    let port = made.json()["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port), "{}", made.text);
    let mut same = service("b", "NodePort");
    same["spec"]["ports"][0]["nodePort"] = json!(port);
    assert_eq!(cluster.post(SERVICES, &same).await.code, 422, "the port is held");
    balancer["metadata"]["name"] = json!("c");
    balancer["spec"]["healthCheckNodePort"] = json!(port);
    let taken = cluster.post(SERVICES, &balancer).await;
    assert_eq!(taken.code, 500);
    let why = format!(
        "failed to allocate requested HealthCheck NodePort {port}: provided port is already allocated"
    );
    assert!(taken.message().contains(&why), "{}", taken.text);
    let policy = |policy: &str| json!({"spec": {"externalTrafficPolicy": policy}});
    let path = format!("{SERVICES}/a");
    let given_up = cluster.patch(&path, "application/merge-patch+json", &policy("Cluster")).await;
    assert!(given_up.json()["spec"].get("healthCheckNodePort").is_none(), "{}", given_up.text);
    assert_eq!(cluster.post(SERVICES, &same).await.code, 201, "the port is free again");
    let again = cluster.patch(&path, "application/merge-patch+json", &policy("Local")).await;
    assert!(again.json()["spec"]["healthCheckNodePort"].is_u64(), "{}", again.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_scale() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}});
    let made = cluster.post(path, &deployment).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.json()["spec"]["replicas"], 1);
    let scaled = cluster
        .patch(
            &format!("{path}/web/scale"),
            "application/merge-patch+json",
            &json!({"spec": {"replicas": 3}}),
        )
        .await;
    assert_eq!((scaled.code, &scaled.json()["spec"]["replicas"]), (200, &json!(3)), "{}", scaled.text);
    assert_eq!(scaled.json()["status"]["selector"], "app=web");
    let mut scale = scaled.json();
    scale["spec"]["replicas"] = json!(2);
    let put = cluster.send("PUT", &format!("{path}/web/scale"), &[], scale.to_string()).await;
    assert_eq!(put.code, 200, "kubectl scale sends no Content-Type: {}", put.text);
    let now = cluster.get(&format!("{path}/web")).await.json();
    assert_eq!((&now["spec"]["replicas"], &now["metadata"]["generation"]), (&json!(2), &json!(3)));
    let negative = cluster
        .patch(
            &format!("{path}/web/scale"),
            "application/merge-patch+json",
            &json!({"spec": {"replicas": -1}}),
        )
        .await;
    assert_eq!(negative.code, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_of_the_api_is_put_right_by_itself() {
    let cluster = Cluster::start().await;
    let service = "/api/v1/namespaces/default/services/kubernetes";
    let endpoints = "/api/v1/namespaces/default/endpoints/kubernetes";
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let before = cluster.get(service).await.json();
    let range = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    for path in [service, slice, range] {
        assert_eq!(cluster.send("DELETE", path, &[], "").await.code, 200, "{path}");
    }
    let elsewhere = json!({"subsets": [{"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 1}]}]});
    let changed = cluster.patch(endpoints, "application/merge-patch+json", &elsewhere).await;
    assert_eq!(changed.code, 200, "{}", changed.text);
    for round in 0.. {
        let (new, slice) = (cluster.get(service).await, cluster.get(slice).await);
        let addresses = cluster.get(endpoints).await.json()["subsets"][0]["addresses"].clone();
        let range = cluster.get(range).await;
        if (new.code, slice.code, range.code) == (200, 200, 200) && addresses == json!([{"ip": "10.0.0.10"}])
        {
            assert_eq!(new.json()["spec"], before["spec"]);
            assert_ne!(new.json()["metadata"]["uid"], before["metadata"]["uid"]);
            assert_eq!(slice.json()["endpoints"][0]["addresses"], json!(["10.0.0.10"]));
            assert_eq!(slice.json()["metadata"]["labels"]["kubernetes.io/service-name"], "kubernetes");
            return;
        }
        assert!(round < 300, "{} {} {} {addresses}", new.text, slice.text, range.text);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_may_become_dual_stack() {
    let cluster = Cluster::start().await;
    let mut prefers = service("a", "ClusterIP");
    prefers["spec"]["ipFamilyPolicy"] = json!("PreferDualStack");
    let made = cluster.post(SERVICES, &prefers).await.json();
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]), "{made}");
    let mut requires = service("b", "ClusterIP");
    requires["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    let refused = cluster.post(SERVICES, &requires).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert!(refused.message().contains("not configured for dual-stack services"), "{}", refused.text);

    let mut config = cluster.server.config.clone();
    config.service_cluster_ip_range.push("fd00:10:96::/112".to_owned());
    let dual = crate::ApiServer::build(config, Arc::clone(&cluster.store)).await.unwrap();
    let client = dual.local_client(xebec_identity::User::system_master("test"));
    let send = async |method: &str, path: &str, kind: &str, body: Value| {
        let headers = [("content-type", kind)];
        super::harness::send(&client, method, path, &headers, body.to_string()).await
    };
    let ranges = send("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", "", Value::Null).await;
    assert_eq!(ranges.json()["spec"]["cidrs"], json!(["10.96.0.0/12", "fd00:10:96::/112"]));
    let own = send("GET", &format!("{SERVICES}/kubernetes"), "", Value::Null).await.json();
    assert_eq!(own["spec"]["clusterIPs"], json!(["10.96.0.1"]));

    let made = send("POST", SERVICES, "application/json", requires).await;
    assert_eq!(made.json()["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]), "{}", made.text);
    let second = made.json()["spec"]["clusterIPs"][1].as_str().unwrap().to_owned();
    assert!(second.starts_with("fd00:10:96::"), "{second}");
    let record = format!("/apis/networking.k8s.io/v1/ipaddresses/{second}");
    assert_eq!(send("GET", &record, "", Value::Null).await.code, 200);

    let merge = "application/merge-patch+json";
    let single = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    let down = send("PATCH", &format!("{SERVICES}/b"), merge, single).await;
    assert_eq!(down.json()["spec"]["clusterIPs"].as_array().unwrap().len(), 1, "{}", down.text);
    assert_eq!(send("GET", &record, "", Value::Null).await.code, 404, "the second address is free again");
    let labelled = json!({"metadata": {"labels": {"x": "y"}}});
    let kept = send("PATCH", &format!("{SERVICES}/a"), merge, labelled).await.json();
    assert_eq!(kept["spec"]["ipFamilies"], json!(["IPv4"]), "nobody asked for a second address: {kept}");
    let wider = json!({"spec": {"ipFamilyPolicy": "RequireDualStack"}});
    let up = send("PATCH", &format!("{SERVICES}/a"), merge, wider).await;
    assert_eq!(up.json()["spec"]["clusterIPs"].as_array().unwrap().len(), 2, "{}", up.text);
    dual.shutdown();
}
