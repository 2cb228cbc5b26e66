//! Who gets in, and what the plain paths answer.

use super::*;
use crate::ServeError;

#[tokio::test]
async fn without_a_credential_nothing_is_answered() {
    let house = House::open().await;
    let mut stranger = house.client(None, "").await.unwrap();
    for path in ["/healthz", "/pods", "/metrics", "/exec/default/web/app", "/nothing"] {
        assert_eq!(stranger.get(path).await, (401, "Unauthorized".to_owned()), "{path}");
    }
    assert_eq!(stranger.get_as("/metrics", Some("forged")).await.0, 401);
    assert_eq!(stranger.get_as("/metrics", Some("unknowable")).await.0, 401);
    assert!(house.judge.asked.lock().is_empty());
    assert_eq!(stranger.get_as("/metrics", Some("scraper")).await.0, 200);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let house = House::open().await;
    let other = Authority::new("other");
    let mut client = house.client(Some(&other), "kube-apiserver-kubelet-client").await.unwrap();
    let request = Request::get("/healthz").header("host", "node").body(Body::empty()).unwrap();
    assert!(client.send(request).await.is_err());
    assert!(house.judge.asked.lock().is_empty());
}

#[tokio::test]
async fn permission_is_asked_fine_first_then_proxy_and_remembered() {
    let house = House::open().await;
    let mut scraper = house.client(None, "").await.unwrap();
    for _ in 0..3 {
        let (status, words) = scraper.get_as("/pods", Some("scraper")).await;
        let want = "Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[pods proxy])\n";
        assert_eq!((status, words.as_str()), (403, want));
    }
    let asked: Vec<_> = house.judge.asked.lock().iter().map(|(_, a)| (a.verb, a.subresource)).collect();
    assert_eq!(asked, [("get", "pods"), ("get", "proxy")]);
    let mut unlucky = house.client(Some(&house.authority), "unlucky").await.unwrap();
    let (status, words) = unlucky.get("/pods").await;
    assert_eq!(
        (status, words.starts_with("Authorization error (user=unlucky, verb=get")),
        (500, true),
        "{words}"
    );
}

#[tokio::test]
async fn the_plain_paths() {
    let house = House::open().await;
    let mut client = house.api_server().await;
    assert_eq!(client.get("/healthz").await, (200, "ok".to_owned()));
    let (_, pods) = client.get("/pods").await;
    let pods: serde_json::Value = serde_json::from_str(&pods).unwrap();
    assert_eq!((&pods["kind"], &pods["items"][0]["metadata"]["uid"]), (&"PodList".into(), &"u1".into()));
    let (_, running) = client.get("/runningpods/").await;
    let running: serde_json::Value = serde_json::from_str(&running).unwrap();
    let names: Vec<_> = running["items"][0]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(names, ["app", "twice"]);
    let (_, summary) = client.get("/stats/summary").await;
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["node"]["nodeName"], "n1");
    assert_eq!(summary["pods"][0]["podRef"]["name"], "web");
    assert_eq!(summary["pods"][0]["containers"][0]["cpu"]["usageCoreNanoSeconds"], 1_500_000_000);
    assert_eq!(summary["node"]["memory"]["time"], "2026-01-02T03:04:05Z");
    let (_, resource) = client.get("/metrics/resource").await;
    for line in [
        "# TYPE container_cpu_usage_seconds_total counter",
        "container_cpu_usage_seconds_total{container=\"app\",namespace=\"default\",pod=\"web\"} 1.5 1767323045000",
        "container_start_time_seconds{container=\"app\",namespace=\"default\",pod=\"web\"} 1767323045",
        "pod_memory_working_set_bytes{namespace=\"default\",pod=\"web\"} 10 1767323045000",
        "node_memory_working_set_bytes 10 1767323045000",
        "resource_scrape_error 0",
    ] {
        assert!(resource.lines().any(|got| got == line), "{line} not in\n{resource}");
    }
    let (_, metrics) = client.get("/metrics").await;
    assert!(metrics.contains("kubelet_running_containers{container_state=\"running\"} 2\n"), "{metrics}");
    assert_eq!(client.get("/configz").await.1, r#"{"kubeletconfig":{"maxPods":110}}"#);
    assert!(client.get("/logs/").await.1.contains("kubelet.crt"));
    assert_eq!(client.get("/nothing").await, (404, "404 page not found\n".to_owned()));
    let run = Request::post("/run/default/web/u1/app?cmd=echo%20hi")
        .header("host", "n")
        .body(Body::empty())
        .unwrap();
    assert_eq!(text(client.send(run).await.unwrap()).await, (200, r#"app1 ran ["echo", "hi"]"#.to_owned()));
}

#[tokio::test]
async fn logs_and_the_words_without_them() {
    let house = House::open().await;
    let mut client = house.api_server().await;
    assert_eq!(
        client.get("/containerLogs/default/web/app?tailLines=5&timestamps=true").await,
        (200, "one\ntwo\n".to_owned())
    );
    let (path, options) = house.lines.asked.lock()[0].clone();
    assert_eq!((path.as_str(), options.tail_lines, options.timestamps), ("/logs/u1/app1", Some(5), true));
    let table = [
        ("/containerLogs/default/gone/app", 404, r#"pod "gone" does not exist"#),
        ("/containerLogs/default/web/none", 404, r#"container "none" not found in pod "web""#),
        (
            "/containerLogs/default/web/slow",
            400,
            r#"container "slow" in pod "web" is waiting to start: ContainerCreating"#,
        ),
        (
            "/containerLogs/default/web/app?previous=true",
            400,
            r#"previous terminated container "app" in pod "web" not found"#,
        ),
        (
            "/containerLogs/default/web/twice?previous=true",
            400,
            r#"failed to read log of container "twice" in pod "web": no such file"#,
        ),
        ("/containerLogs/default/web/app?tailLines=x", 400, r#"{"message": "Unable to decode query."}"#),
        ("/containerLogs/default/web/app?limitBytes=0", 422, r#"{"message": "Invalid request."}"#),
    ];
    for (path, status, words) in table {
        assert_eq!(client.get(path).await, (status, words.to_owned()), "{path}");
    }
    // followed: what is there comes at once, although the log has not ended
    let request = Request::get("/containerLogs/default/web/app?follow=true").header("host", "n");
    let response = client.send(request.body(Body::empty()).unwrap()).await.unwrap();
    let first = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"one\n"));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let house = House::open().await;
    let Err(error) = Server::bind(options(house.directory.path(), house.address)).await else {
        panic!("two servers on one port")
    };
    assert!(matches!(error, ServeError::InUse(address) if address == house.address), "{error}");
}

#[tokio::test]
async fn a_renewed_certificate_serves_without_a_restart() {
    let house = House::open().await;
    let old = house.api_server().await.seen;
    // a half-written renewal leaves the old one in place
    std::fs::write(house.directory.path().join("kubelet.crt"), "garbage").unwrap();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    tokio::time::resume();
    assert_eq!(house.api_server().await.seen, old);
    house.authority.write_serving(house.directory.path(), "renewed");
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    tokio::time::resume();
    assert_ne!(house.api_server().await.seen, old);
}
