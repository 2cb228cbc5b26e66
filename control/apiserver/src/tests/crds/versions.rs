//! Two versions of one resource.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::super::dynamic::hook::Hook;
use super::{CRDS, Cluster, MERGE, crontabs, define, made, path, tab, until, warnings};

/// v1 is stored and deprecated, v2 is served too.
fn two(conversion: &Value) -> Value {
    let mut crd = crontabs();
    let mut v2 = crd["spec"]["versions"][0].clone();
    v2["name"] = json!("v2");
    v2["storage"] = json!(false);
    let spec = &mut v2["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec.as_object_mut().unwrap().remove("x-kubernetes-validations");
    spec.as_object_mut().unwrap().remove("required");
    spec["properties"]["schedule"] = json!({"type": "string"});
    crd["spec"]["versions"][0]["deprecated"] = json!(true);
    crd["spec"]["versions"].as_array_mut().unwrap().push(v2);
    crd["spec"]["conversion"] = conversion.clone();
    crd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_webhook_only_the_name_changes() {
    let cluster = Cluster::start().await;
    define(&cluster, &two(&json!({"strategy": "None"}))).await;
    let answer = cluster.post(&path("v1", ""), &tab("a", &json!({"cronSpec": "1"}))).await;
    let warned = warnings(&answer);
    assert!(
        warned[0].contains("g.example.com/v1 CronTab is deprecated; use g.example.com/v2 CronTab"),
        "{warned:?}"
    );
    let v2 = cluster.get(&path("v2", "/a")).await;
    assert!(warnings(&v2).is_empty());
    assert_eq!(
        (&v2.json()["apiVersion"], &v2.json()["spec"]["cronSpec"]),
        (&json!("g.example.com/v2"), &json!("1"))
    );
    let patched = cluster.patch(&path("v2", "/a"), MERGE, &json!({"spec": {"color": "red"}})).await.json();
    assert_eq!(patched["apiVersion"], "g.example.com/v2");
    let stored = cluster.store.list("/registry/g.example.com/crontabs/").await.unwrap().0;
    let stored: Value = serde_json::from_slice(&stored[0].value).unwrap();
    assert_eq!(
        (&stored["apiVersion"], &stored["spec"]["color"]),
        (&json!("g.example.com/v1"), &json!("red"))
    );
    let group = cluster.get("/apis/g.example.com").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v2");

    // The other version is stored from now on: an update that changes nothing stores the object anew.
    let operations = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let one = format!("{CRDS}/crontabs.g.example.com");
    let crd = cluster.patch(&one, "application/json-patch+json", &operations).await;
    assert_eq!(crd.json()["status"]["storedVersions"], json!(["v1", "v2"]), "{}", crd.text);
    let stored = || async {
        let stored = cluster.store.list("/registry/g.example.com/crontabs/").await.unwrap().0;
        serde_json::from_slice::<Value>(&stored[0].value).unwrap()["apiVersion"].clone()
    };
    for _ in 0..200 {
        let object = cluster.get(&path("v1", "/a")).await.text;
        let put =
            cluster.send("PUT", &path("v1", "/a"), &[("content-type", "application/json")], object).await;
        assert_eq!(put.code, 200, "{}", put.text);
        if stored().await == "g.example.com/v2" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(stored().await, "g.example.com/v2");
}

/// v1 says `cronSpec` where v2 says `schedule`.
fn converted(request: &Value) -> Value {
    let wanted = &request["desiredAPIVersion"];
    let objects = request["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        let (from, to) =
            if *wanted == "g.example.com/v2" { ("cronSpec", "schedule") } else { ("schedule", "cronSpec") };
        object["apiVersion"] = wanted.clone();
        let value = object["spec"].as_object_mut().unwrap().remove(from).unwrap();
        object["spec"][to] = value;
        object["metadata"]["labels"] = json!({"version": wanted.as_str().unwrap().rsplit('/').next()});
        object
    });
    json!({"convertedObjects": objects.collect::<Vec<_>>(), "result": {"status": "Success"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_converts_and_is_asked_once() {
    let cluster = Cluster::start().await;
    let broken = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&broken);
    let hook = Hook::start(&cluster, move |request| match fails.load(Ordering::Relaxed) {
        true => json!({"result": {"status": "Failed", "message": "out of order"}}),
        false => converted(request),
    })
    .await;
    let conversion = json!({"strategy": "Webhook",
        "webhook": {"clientConfig": hook.url(), "conversionReviewVersions": ["v1"]}});
    define(&cluster, &two(&conversion)).await;
    made(&cluster, &path("v1", ""), &tab("a", &json!({"cronSpec": "1"}))).await;
    assert!(hook.requests().is_empty(), "nothing to convert yet");
    let v2 = cluster.get(&path("v2", "/a")).await.json();
    assert_eq!((&v2["spec"]["schedule"], &v2["spec"].get("cronSpec")), (&json!("1"), &None), "{v2}");
    assert_eq!(hook.last()["desiredAPIVersion"], "g.example.com/v2");
    let asked = hook.requests().len();
    for _ in 0..3 {
        let list = cluster.get(&path("v2", "?labelSelector=version%3Dv2")).await.json();
        assert_eq!(list["items"][0]["spec"]["schedule"], "1", "{list}");
    }
    let none = cluster.get(&path("v2", "?labelSelector=version%3Dv1")).await.json();
    assert_eq!(none["items"], json!([]), "selectors see what is shown");
    assert_eq!(hook.requests().len(), asked, "converted once");

    let watched = tokio::spawn({
        let client = cluster.admin().await;
        let path = path("v2", "?watch=1&timeoutSeconds=3&labelSelector=version%3Dv2");
        async move { super::super::harness::send(&client, "GET", &path, &[], "").await.text }
    });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let patched = cluster.patch(&path("v2", "/a"), MERGE, &json!({"spec": {"schedule": "2"}})).await;
    assert_eq!(patched.json()["spec"]["schedule"], "2", "{}", patched.text);
    assert_eq!(cluster.get(&path("v1", "/a")).await.json()["spec"]["cronSpec"], "2");
    let events: Vec<Value> =
        watched.await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> =
        events.iter().map(|e| (e["type"].clone(), e["object"]["spec"]["schedule"].clone())).collect();
    assert_eq!(seen, [(json!("ADDED"), json!("1")), (json!("MODIFIED"), json!("2"))]);

    broken.store(true, Ordering::Relaxed);
    made(&cluster, &path("v1", ""), &tab("b", &json!({"cronSpec": "3"}))).await;
    let failed = cluster.get(&path("v2", "/b")).await;
    assert_eq!(failed.code, 500, "{}", failed.text);
    assert_eq!(
        failed.message(),
        "conversion webhook for g.example.com/v1, Kind=CronTab failed: out of order"
    );
    // Deleting takes no conversion from the version that is stored, even while the webhook is out of order.
    cluster.send("DELETE", &format!("{CRDS}/crontabs.g.example.com"), &[], "").await;
    until(&cluster, &path("v1", ""), |answer| answer.code == 404).await;
}
