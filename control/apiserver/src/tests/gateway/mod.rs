//! Through the server to kubelets, pods and services.

pub mod client;
mod kubelet;
mod proxies;
mod streams;

use serde_json::json;

use super::harness::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn cluster_with_pod() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.account("default").await;
    let port = kubelet::start(&cluster).await;
    let node = json!({"kind": "Node", "metadata": {"name": "n1"}});
    assert_eq!(cluster.post("/api/v1/nodes", &node).await.code, 201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let patched = cluster.patch("/api/v1/nodes/n1/status", "application/merge-patch+json", &status).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    let containers: Vec<_> =
        ["c", "waiting", "gone", "broken"].map(|name| json!({"name": name, "image": "i"})).to_vec();
    let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": containers}});
    let made = cluster.post(PODS, &pod).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let running = json!({"status": {"phase": "Running"}});
    let patched = cluster.patch(&format!("{PODS}/p/status"), "application/merge-patch+json", &running).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_reach_the_kubelet_and_refusals_the_client() {
    let cluster = cluster_with_pod().await;
    let log = cluster.get(&format!("{PODS}/p/log?container=c&tailLines=5&timestamps=true")).await;
    assert_eq!(
        (log.code, log.text.as_str(), &log.headers["content-type"]),
        (
            200,
            "GET /containerLogs/default/p/c?tailLines=5&timestamps=true",
            &http::HeaderValue::from_static("text/plain")
        )
    );
    let followed = cluster.get(&format!("{PODS}/p/log?container=c&follow=true")).await;
    assert_eq!(followed.text, "line 0\nline 1\nline 2\n");
    for (query, code, message) in [
        (
            "container=waiting",
            400,
            "container \"waiting\" in pod \"p\" is waiting to start: ContainerCreating",
        ),
        ("container=gone", 404, "the server could not find the requested resource ( pods/log p)"),
        ("container=broken", 500, "Internal error occurred: disk on fire"),
        ("container=x", 400, "container x is not valid for pod p"),
        ("", 400, "a container name must be specified for pod p, choose one of: [c waiting gone broken]"),
        (
            "container=c&limitBytes=0",
            422,
            "PodLogOptions \"p\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
        ),
    ] {
        let refused = cluster.get(&format!("{PODS}/p/log?{query}")).await;
        assert_eq!((refused.code, refused.message().as_str()), (code, message), "{query}");
    }
    // By a name its certificate does not say, the kubelet is trusted only by who asks not to look.
    let merge = "application/merge-patch+json";
    let named = json!({"status": {"addresses": [{"type": "Hostname", "address": "localhost"}]}});
    assert_eq!(cluster.patch("/api/v1/nodes/n1/status", merge, &named).await.code, 200);
    let refused = cluster.get(&format!("{PODS}/p/log?container=c")).await;
    assert!(
        refused.code == 500 && refused.message().contains("failed to verify certificate"),
        "{}",
        refused.text
    );
    let skipped = cluster.get(&format!("{PODS}/p/log?container=c&insecureSkipTLSVerifyBackend=true")).await;
    assert_eq!((skipped.code, skipped.text.as_str()), (200, "GET /containerLogs/default/p/c"));
    let back = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}});
    assert_eq!(cluster.patch("/api/v1/nodes/n1/status", merge, &back).await.code, 200);
    let gone = json!({"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}});
    assert_eq!(cluster.patch("/api/v1/nodes/n1/status", merge, &gone).await.code, 200);
    let unreachable = cluster.get(&format!("{PODS}/p/log?container=c")).await;
    assert_eq!(
        (unreachable.code, unreachable.message().as_str()),
        (
            500,
            "Get \"https://127.0.0.1:1/containerLogs/default/p/c\": dial tcp 127.0.0.1:1: connect: connection refused"
        )
    );
    let pod = json!({"kind": "Pod", "metadata": {"name": "waits"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(cluster.post(PODS, &pod).await.code, 201);
    assert_eq!(cluster.get(&format!("{PODS}/waits/log")).await.code, 204);
    let exec = cluster.get(&format!("{PODS}/waits/exec?command=x")).await;
    assert_eq!((exec.code, exec.message().as_str()), (400, "pod waits does not have a host assigned"));
    let plain = cluster.get(&format!("{PODS}/p/exec?command=x&container=c")).await;
    assert_eq!((plain.code, plain.message().as_str()), (400, "Upgrade request required"));
}
