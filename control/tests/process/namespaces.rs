//! A namespace with custom resources is emptied: what holds it is told, and it goes when that goes.

use std::time::Duration;

use kube::Client;
use kube::core::response::reason;
use serde_json::{Value, json};

use crate::server::Server;

const OBJECTS: &str = "/apis/example.org/v1/namespaces/n/sails";

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Result<Value, kube::Error> {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    client.request(request.body(body).unwrap()).await
}

/// Tries until it works; what is no error of the API ends the test.
async fn until_it_works(client: &Client, method: &str, path: &str, body: &Value) -> Value {
    let mut last = String::new();
    for _ in 0..400 {
        match send(client, method, path, body).await {
            Ok(value) => return value,
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{method} {path}: {last}");
}

/// Reads the namespace until both conditions say so; answers their reasons and messages.
async fn held(client: &Client, status: &str) -> Vec<(String, String)> {
    let mut last = Value::Null;
    for _ in 0..600 {
        last = send(client, "GET", "/api/v1/namespaces/n", &Value::Null).await.unwrap();
        let conditions = last["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found: Vec<_> = ["NamespaceContentRemaining", "NamespaceFinalizersRemaining"]
            .iter()
            .filter_map(|kind| conditions.iter().find(|c| c["type"] == **kind && c["status"] == status))
            .map(|c| (c["reason"].as_str().unwrap().to_owned(), c["message"].as_str().unwrap().to_owned()))
            .collect();
        if found.len() == 2 {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the conditions never were {status}: {last:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_waits_for_the_finalizers_of_custom_resources() {
    let mut server = Server::new();
    server.start_all();
    let client = server.client().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sails.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": "sails", "kind": "Sail"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    send(&client, "POST", definitions, &definition).await.unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    send(&client, "POST", "/api/v1/namespaces", &namespace).await.unwrap();
    let sail = |name: &str, finalizers: Value| json!({"apiVersion": "example.org/v1", "kind": "Sail", "metadata": {"name": name, "finalizers": finalizers}});
    // The definition is established a moment after it is made.
    until_it_works(&client, "POST", OBJECTS, &sail("free", json!([]))).await;
    send(&client, "POST", OBJECTS, &sail("held", json!(["example.org/furl"]))).await.unwrap();

    send(&client, "DELETE", "/api/v1/namespaces/n", &Value::Null).await.unwrap();
    let words = held(&client, "True").await;
    let expected = [
        ("SomeResourcesRemain", "Some resources are remaining: sails.example.org has 1 resource instances"),
        (
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: example.org/furl in 1 resource instances",
        ),
    ];
    assert_eq!(words, expected.map(|(reason, message)| (reason.to_owned(), message.to_owned())));
    let left = send(&client, "GET", OBJECTS, &Value::Null).await.unwrap();
    let left: Vec<_> = left["items"].as_array().unwrap().iter().map(|item| &item["metadata"]).collect();
    assert_eq!(left.len(), 1, "the other one has gone: {left:?}");
    assert_eq!(left[0]["name"], "held");
    assert!(left[0]["deletionTimestamp"].is_string(), "{left:?}");
    let refused = send(&client, "POST", OBJECTS, &sail("late", json!([]))).await.unwrap_err();
    let kube::Error::Api(refused) = refused else { panic!("{refused}") };
    assert_eq!((refused.code, refused.reason.as_str()), (403, reason::FORBIDDEN), "{refused:?}");
    assert!(refused.message.contains("because it is being terminated"), "{refused:?}");

    let free = json!({"metadata": {"finalizers": null}});
    send(&client, "PATCH", &format!("{OBJECTS}/held"), &free).await.unwrap();
    for _ in 0..600 {
        match send(&client, "GET", "/api/v1/namespaces/n", &Value::Null).await {
            Err(kube::Error::Api(gone)) if gone.code == 404 => return,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("the namespace stays: {}", server.log());
}
