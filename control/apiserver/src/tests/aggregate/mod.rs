//! A group served by another API server, from its APIService to its end.

mod extension;

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::gateway::client::{head, tls};
use super::harness::Cluster;
use super::kubectl::Kubectl;
use extension::{ADDRESS, Extension};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..300 {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come about")
}

/// Waits for a condition of this reason; its message.
async fn condition(cluster: &Cluster, reason: &str) -> String {
    let path = format!("{SERVICES}/v1.far.example");
    eventually(reason, async || {
        let object = cluster.get(&path).await.json();
        let condition = &object["status"]["conditions"][0];
        (condition["reason"] == reason).then(|| condition["message"].as_str().unwrap().to_owned())
    })
    .await
}

fn api_service(cluster: &Cluster) -> Value {
    let bundle = base64::engine::general_purpose::STANDARD.encode(cluster.pki.ca_pem());
    json!({"kind": "APIService", "metadata": {"name": "v1.far.example"}, "spec": {
        "group": "far.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "caBundle": bundle, "service": {"namespace": "default", "name": "api", "port": 443}}})
}

async fn create(cluster: &Cluster, path: &str, value: &Value) {
    let made = cluster.post(path, value).await;
    assert_eq!(made.code, 201, "{}", made.text);
}

fn slice(ready: bool) -> Value {
    json!({"kind": "EndpointSlice", "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
        "addressType": "IPv4", "ports": [{"name": "https", "port": 8443}],
        "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": ready}}]})
}

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

async fn available(cluster: &Cluster) {
    let service = json!({"kind": "Service", "metadata": {"name": "api"},
        "spec": {"ports": [{"name": "https", "port": 443}]}});
    create(cluster, "/api/v1/namespaces/default/services", &service).await;
    create(cluster, SLICES, &slice(true)).await;
    create(cluster, SERVICES, &api_service(cluster)).await;
    condition(cluster, "Passed").await;
    eventually("a route", async || (cluster.get("/apis/far.example/v1").await.code == 200).then_some(()))
        .await;
}

/// The group's entry in aggregated discovery, and the names of all groups.
async fn discovery(cluster: &Cluster) -> (Option<Value>, Vec<String>) {
    let list = cluster.send("GET", "/apis", &[("accept", V2)], "").await.json();
    let items = list["items"].as_array().unwrap().clone();
    let names = items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    (items.into_iter().find(|item| item["metadata"]["name"] == "far.example"), names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn availability_follows_service_endpoints_and_answers() {
    let cluster = Cluster::start().await;
    let extension = Extension::start(&cluster).await;
    create(&cluster, SERVICES, &api_service(&cluster)).await;
    assert_eq!(condition(&cluster, "ServiceNotFound").await, "service/api in \"default\" is not present");
    let refused = eventually("a route", async || {
        let answer = cluster.get("/apis/far.example/v1/namespaces/default/stars").await;
        (answer.code == 503).then_some(answer)
    });
    let refused = refused.await;
    assert_eq!(refused.text, "service unavailable\n");
    assert_eq!(refused.headers["content-type"], "text/plain; charset=utf-8");
    let (group, _) = discovery(&cluster).await;
    assert_eq!(group.unwrap()["versions"], json!([{"version": "v1", "freshness": "Stale"}]));
    let service = json!({"kind": "Service", "metadata": {"name": "api"},
        "spec": {"ports": [{"name": "https", "port": 443}]}});
    create(&cluster, "/api/v1/namespaces/default/services", &service).await;
    condition(&cluster, "EndpointsNotFound").await;
    create(&cluster, SLICES, &slice(false)).await;
    assert_eq!(
        condition(&cluster, "MissingEndpoints").await,
        "endpointslices for service/api in \"default\" have no addresses with port name \"https\""
    );
    extension.down.store(true, Ordering::SeqCst);
    let ready = json!({"endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": true}}]});
    let path = format!("{SLICES}/api-1");
    assert_eq!(cluster.patch(&path, "application/merge-patch+json", &ready).await.code, 200);
    let url = format!("https://{ADDRESS}:8443/apis/far.example/v1");
    assert_eq!(
        condition(&cluster, "FailedDiscoveryCheck").await,
        format!("failing or missing response from {url}: bad status from {url}: 500")
    );
    extension.down.store(false, Ordering::SeqCst);
    assert_eq!(condition(&cluster, "Passed").await, "all checks passed");
    let resources = eventually("discovery", async || {
        let (group, _) = discovery(&cluster).await;
        let version = group?["versions"][0].clone();
        (version["freshness"] == "Current").then(|| version["resources"].clone())
    });
    assert_eq!(resources.await[0]["shortNames"], json!(["sta"]));
    // A CA that did not sign its certificate.
    let other = cluster.pki.path("front-proxy-ca.crt");
    let other = base64::engine::general_purpose::STANDARD.encode(std::fs::read(other).unwrap());
    let service = format!("{SERVICES}/v1.far.example");
    let patch = json!({"spec": {"caBundle": other}});
    assert_eq!(cluster.patch(&service, "application/merge-patch+json", &patch).await.code, 200);
    let message = condition(&cluster, "FailedDiscoveryCheck").await;
    assert!(message.ends_with("x509: certificate signed by unknown authority"), "{message}");
    let patch = json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}});
    assert_eq!(cluster.patch(&service, "application/merge-patch+json", &patch).await.code, 200);
    condition(&cluster, "Passed").await;
    assert_eq!(cluster.send("DELETE", &service, &[], "").await.code, 200);
    eventually("the end", async || discovery(&cluster).await.0.is_none().then_some(())).await;
    assert_eq!(cluster.get("/apis/far.example/v1").await.code, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_carry_who_asks() {
    let cluster = Cluster::start().await;
    let _extension = Extension::start(&cluster).await;
    available(&cluster).await;
    let headers = [
        ("impersonate-user", "ann"),
        ("impersonate-group", "system:masters"),
        ("impersonate-extra-scope", "some"),
        ("x-remote-user", "root"),
        ("x-remote-extra-more", "claims"),
    ];
    let path = "/apis/far.example/v1/namespaces/default/stars?limit=5&fieldSelector=a%3Db";
    let echo = cluster.send("GET", path, &headers, "").await.json();
    assert_eq!(echo["line"], format!("GET {path}"));
    assert_eq!(
        echo["headers"],
        json!([
            "x-forwarded-for=127.0.0.1",
            "x-forwarded-uri=/apis/far.example/v1/namespaces/default/stars",
            "x-remote-extra-scope=some",
            "x-remote-group=system:authenticated",
            "x-remote-group=system:masters",
            "x-remote-user=ann"
        ])
    );
    assert_eq!(echo["version"], "HTTP/2.0", "connections are pooled");
    let stranger = cluster.client("nobody", "").await;
    let refused = super::harness::send(&stranger, "GET", path, &[], "").await;
    assert_eq!(refused.code, 403, "authorization is this server's: {}", refused.text);
    let redirect = cluster.get("/apis/far.example/v1/redirect").await;
    assert_eq!(redirect.code, 502);
    assert_eq!(redirect.text, "the backend attempted to redirect this request, which is not permitted");
    let mut stream = tls(&cluster).await;
    let request = "GET /apis/far.example/v1/upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    stream.write_all(b"through two servers").await.unwrap();
    let mut got = [0; 19];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"through two servers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_and_openapi_are_one() {
    let cluster = Cluster::start().await;
    let extension = Extension::start(&cluster).await;
    extension.old.store(true, Ordering::SeqCst);
    available(&cluster).await;
    let group = eventually("discovery", async || {
        let group = discovery(&cluster).await.0?;
        (group["versions"][0]["freshness"] == "Current").then_some(group)
    });
    let star = json!({"resource": "stars", "singularResource": "star", "scope": "Namespaced", "verbs": ["get", "list"],
        "responseKind": {"group": "far.example", "version": "v1", "kind": "Star"}});
    assert_eq!(group.await["versions"][0]["resources"], json!([star]), "from the old form of discovery");
    let (_, names) = discovery(&cluster).await;
    assert_eq!(names[..3], ["apiregistration.k8s.io", "apps", "events.k8s.io"], "by priority");
    assert_eq!(names.last().unwrap(), "far.example");
    let groups = cluster.get("/apis").await.json();
    let last = groups["groups"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["preferredVersion"], json!({"groupVersion": "far.example/v1", "version": "v1"}));
    assert_eq!(cluster.get("/apis/far.example").await.json()["kind"], "APIGroup");
    let index = eventually("its OpenAPI", async || {
        let index = cluster.get("/openapi/v3").await.json();
        index["paths"]["apis/far.example/v1"].is_object().then_some(index)
    });
    let index = index.await;
    assert!(!index["paths"]["apis/apps/v1"].to_string().contains("evil"), "nobody describes another's group");
    let url = index["paths"]["apis/far.example/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = cluster.get(url).await;
    assert_eq!(
        (document.json()["far"].clone(), &document.headers["etag"]),
        (json!(true), &"\"7\"".parse().unwrap())
    );
    assert_eq!(cluster.send("GET", url, &[("if-none-match", "\"7\"")], "").await.code, 304);
    let swagger = eventually("a merged document", async || {
        let swagger = cluster.get("/openapi/v2").await.json();
        swagger["paths"]["/apis/far.example/v1/stars"].is_object().then_some(swagger)
    });
    let swagger = swagger.await;
    assert!(swagger["definitions"]["example.far.Star"].is_object());
    assert!(swagger["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"].is_object());
    let own = cluster.get(&format!("{SERVICES}/v1.apps")).await.json();
    assert_eq!(own["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(
        (&own["spec"]["groupPriorityMinimum"], &own["spec"]["versionPriority"]),
        (&json!(17800), &json!(15))
    );
    let local = eventually("a condition", async || {
        let own = cluster.get(&format!("{SERVICES}/v1.apps")).await.json();
        own["status"]["conditions"][0]["reason"].as_str().map(str::to_owned)
    });
    assert_eq!(local.await, "Local");
    if let Some(kubectl) = Kubectl::find(&cluster) {
        let shown =
            tokio::task::spawn_blocking(move || kubectl.run("api-resources --api-group=far.example", ""));
        let shown = shown.await.unwrap();
        assert!(shown.contains("stars") && shown.contains("far.example/v1"), "{shown}");
    } else {
        println!("skipped in part: XEBEC_KUBECTL names no kubectl");
    }
}
