use serde_json::json;

use super::harness::{Cluster, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_bodies_are_taken_and_given() {
    let cluster = Cluster::start().await;
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pb", "namespace": "default"}, "data": {"k": "v"}});
    let body = xebec_api::protobuf::encode(&value).unwrap();
    let headers = [
        ("content-type", "application/vnd.kubernetes.protobuf"),
        ("accept", "application/vnd.kubernetes.protobuf,application/json"),
    ];
    let path = "/api/v1/namespaces/default/configmaps";
    let made = cluster.send("POST", path, &headers, body).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.json()["data"]["k"], "v");
    let only = [("accept", "application/vnd.kubernetes.protobuf")];
    let client = cluster.admin().await;
    let request = http::Request::get(format!("{path}/pb"))
        .header(only[0].0, only[0].1)
        .body(kube::client::Body::empty())
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf");
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let decoded = xebec_api::protobuf::decode(&bytes).unwrap();
    assert_eq!(decoded["data"]["k"], "v");
    let garbage = cluster.send("POST", path, &[headers[0]], "k8s\0garbage").await;
    assert_eq!(garbage.code, 400, "{}", garbage.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_in_three_forms() {
    let cluster = Cluster::start().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let apis = cluster.send("GET", "/apis", &[("accept", accept)], "").await;
    assert_eq!(
        apis.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(apis.json()["kind"], "APIGroupDiscoveryList");
    let tag = apis.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        cluster.send("GET", "/apis", &[("accept", accept), ("if-none-match", &tag)], "").await.code,
        304
    );
    assert_eq!(cluster.get("/api").await.json()["versions"], json!(["v1"]));
    assert_eq!(cluster.get("/apis/apps/v1").await.json()["groupVersion"], "apps/v1");
    assert_eq!(cluster.get("/apis/nope/v1").await.code, 404);
    assert_eq!(
        cluster.get("/apis/nope/v1/things").await.message(),
        "the server could not find the requested resource"
    );
    assert_eq!(cluster.send("DELETE", "/api/v1/namespaces", &[], "").await.code, 405);
    for method in ["PUT", "PATCH"] {
        let answer = cluster.send(method, "/api/v1/namespaces/default/configmaps", &[], "{}").await;
        assert_eq!(
            (answer.code, answer.json()["reason"].as_str()),
            (405, Some("MethodNotAllowed")),
            "{method}"
        );
    }
    assert_eq!(cluster.get("/openapi/v3").await.code, 200);
    let swagger = cluster.get("/openapi/v2").await;
    assert_eq!(swagger.headers["content-type"], "application/json");
    assert_eq!(swagger.json()["swagger"], "2.0");
    let protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let swagger = cluster.send("GET", "/openapi/v2", &[("accept", protobuf)], "").await;
    assert_eq!((swagger.code, swagger.headers["content-type"].to_str().unwrap()), (200, protobuf));
    let tag = swagger.headers["etag"].to_str().unwrap();
    let known = [("accept", protobuf), ("if-none-match", tag)];
    assert_eq!(cluster.send("GET", "/openapi/v2", &known, "").await.code, 304);
    assert_eq!(cluster.send("GET", "/openapi/v2", &[("accept", "text/html")], "").await.code, 406);
    assert_eq!(cluster.get("/version").await.json()["minor"], "36");
    let keys = cluster.get("/openid/v1/jwks").await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert!(
        cluster.get("/metrics").await.text.contains("apiserver_storage_objects{resource=\"namespaces\"} 4")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_one_set_in_two_versions() {
    let cluster = Cluster::start().await;
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2026-11-24T02:00:00.000000Z", "reportingController": "x/y", "reportingInstance": "i",
        "action": "a", "reason": "R", "type": "Normal", "note": "hello", "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}});
    let made = cluster.post("/apis/events.k8s.io/v1/namespaces/default/events", &event).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let core =
        cluster.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp").await.json();
    assert_eq!(core["items"][0]["message"], "hello");
    assert_eq!(
        cluster.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.json()["note"],
        "hello"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_and_too_much() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let headers = [("content-type", "application/json")];
    let large = cluster.send("POST", path, &headers, vec![b' '; crate::serve::body::LIMIT + 1]).await;
    assert_eq!(
        (large.code, large.json()["reason"].as_str().unwrap().to_owned()),
        (413, "RequestEntityTooLarge".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_in_use_are_named() {
    let cluster = Cluster::start().await;
    let error = crate::bind(cluster.address).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}: the port is in use by another process", cluster.address)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stored_kind_is_served() {
    let cluster = Cluster::start().await;
    let client = cluster.admin().await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    for served in xebec_api::resource::table().iter().filter(|r| r.storage && r.default_on) {
        let root =
            if served.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", served.group) };
        let path = format!("{root}/{}/{}", served.version, served.plural);
        let listed = send(&client, "GET", &path, &[], "").await;
        assert_eq!(listed.code, 200, "{path}: {}", listed.text);
        assert_eq!(listed.json()["kind"], format!("{}List", served.kind), "{path}");
        let table = send(&client, "GET", &path, &accept, "").await;
        assert_eq!(
            (table.code, table.json()["kind"].as_str().unwrap()),
            (200, "Table"),
            "{path}: {}",
            table.text
        );
        let rows = table.json()["rows"].as_array().cloned().unwrap_or_default();
        let columns = table.json()["columnDefinitions"].as_array().unwrap().len();
        assert!(rows.iter().all(|row| row["cells"].as_array().unwrap().len() == columns), "{path}");
    }
}
