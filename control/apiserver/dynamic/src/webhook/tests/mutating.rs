//! Mutating webhooks: patches, their order, the second round.

use serde_json::{Value, json};

use super::{configure, hook, mutating, patching};
use crate::testing::{Bench, Reply, Webhook, deployment};
use crate::{Operation, Recorded, Reinvocation};
use xebec_api::status::ApiError;

/// Runs one round, then the second if one is needed; whether it was.
async fn mutate(bench: &Bench, object: &mut Value, record: &Recorded) -> Result<bool, ApiError> {
    let mut state = Reinvocation::default();
    let attributes = bench.attributes(Operation::Create, "prod");
    bench.dynamic.mutate(&attributes, Some(object), &mut state, record).await?;
    let again = state.needed();
    if again {
        state.begin();
        bench.dynamic.mutate(&attributes, Some(object), &mut state, record).await?;
        assert!(!state.needed(), "there is no third round");
    }
    Ok(again)
}

#[tokio::test]
async fn patches_are_applied_defaulted_and_annotated() {
    let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 5}, {"op": "add", "path": "/spec/bogus", "value": 1}]);
    let response = patching(&patch);
    let server = Webhook::start(move |_| Reply::Review(response.clone())).await;
    let bench = mutating(&server, json!({}));
    let (mut object, record) = (deployment("prod"), Recorded::default());
    assert!(mutate(&bench, &mut object, &record).await.unwrap());
    assert_eq!(object["spec"]["replicas"], 5);
    assert_eq!(object["spec"]["paused"], false, "defaulted");
    assert!(object["spec"].get("bogus").is_none(), "unknown fields are dropped");
    let annotations = record.annotations();
    let about: Value =
        serde_json::from_str(&annotations["mutation.webhook.admission.k8s.io/round_0_index_0"]).unwrap();
    assert_eq!(about, json!({"configuration": "c", "webhook": "x.example.com", "mutated": true}));
    let about: Value =
        serde_json::from_str(&annotations["patch.webhook.admission.k8s.io/round_0_index_0"]).unwrap();
    assert_eq!(about["patch"], patch);
    assert_eq!(server.count(), 1, "reinvocationPolicy Never");
}

#[tokio::test]
async fn each_sees_what_the_ones_before_made() {
    let append = |server: &'static str| {
        move |review: &Value| {
            let seen =
                review["request"]["object"]["metadata"]["labels"]["seen"].as_str().unwrap_or("").to_owned();
            let value = format!("{seen}{server}");
            Reply::Review(patching(&json!([{"op": "add", "path": "/metadata/labels/seen", "value": value}])))
        }
    };
    let (a, b) = (Webhook::start(append("a")).await, Webhook::start(append("b")).await);
    let bench = Bench::new();
    // Configurations are taken by name, whatever the order they were made in.
    configure(
        &bench,
        "MutatingWebhookConfiguration",
        "2",
        vec![hook("a.example.com", a.url("/"), json!({}))],
    );
    configure(
        &bench,
        "MutatingWebhookConfiguration",
        "1",
        vec![hook("b.example.com", b.url("/"), json!({}))],
    );
    let mut object = deployment("prod");
    mutate(&bench, &mut object, &Recorded::default()).await.unwrap();
    assert_eq!(object["metadata"]["labels"]["seen"], "ba");
}

#[tokio::test]
async fn if_needed_is_called_again_once_and_only_after_a_change() {
    let first = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let count = |review: &Value| {
        let n =
            review["request"]["object"]["metadata"]["labels"]["n"].as_str().map_or(0, |n| n.parse().unwrap());
        Reply::Review(patching(
            &json!([{"op": "add", "path": "/metadata/labels/n", "value": format!("{}", n + 1)}]),
        ))
    };
    let second = Webhook::start(count).await;
    let if_needed = json!({"reinvocationPolicy": "IfNeeded"});
    let bench = Bench::new();
    let hooks = vec![
        hook("a.example.com", first.url("/"), if_needed.clone()),
        hook("b.example.com", second.url("/"), if_needed),
    ];
    configure(&bench, "MutatingWebhookConfiguration", "c", hooks);
    let mut object = deployment("prod");
    assert!(mutate(&bench, &mut object, &Recorded::default()).await.unwrap());
    assert_eq!((first.count(), second.count()), (2, 1), "nothing changed after the second");
    assert_eq!(object["metadata"]["labels"]["n"], "1");
}

#[tokio::test]
async fn changes_by_the_built_in_plugins_reinvoke_too() {
    let server = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let bench = mutating(&server, json!({"reinvocationPolicy": "IfNeeded"}));
    let (mut object, record) = (deployment("prod"), Recorded::default());
    let mut state = Reinvocation::default();
    let attributes = bench.attributes(Operation::Create, "prod");
    bench.dynamic.mutate(&attributes, Some(&mut object), &mut state, &record).await.unwrap();
    assert!(!state.needed());
    state.begin();
    object["spec"]["replicas"] = json!(9);
    bench.dynamic.mutate(&attributes, Some(&mut object), &mut state, &record).await.unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn objects_come_back_in_the_version_they_came_in() {
    let response = patching(&json!([{"op": "replace", "path": "/spec/replicas", "value": 7}]));
    let server = Webhook::start(move |_| Reply::Review(response.clone())).await;
    let rules =
        json!([{"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1beta1"], "resources": ["*"]}]);
    let bench = mutating(&server, json!({ "rules": rules }));
    let mut object = deployment("prod");
    mutate(&bench, &mut object, &Recorded::default()).await.unwrap();
    assert_eq!(server.requests()[0]["object"]["apiVersion"], "apps/v1beta1");
    assert_eq!((object["apiVersion"].as_str(), &object["spec"]["replicas"]), (Some("apps/v1"), &json!(7)));
}

#[tokio::test]
async fn bad_patches() {
    use base64::Engine;
    let raw = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let cases = [
        (
            patching(&json!([{"op": "remove", "path": "/spec/nothing"}])),
            "Internal error occurred: remove operation at",
        ),
        (
            patching(&json!([{"op": "test", "path": "/spec/replicas", "value": 3}])),
            "Internal error occurred: testing value /spec/replicas failed",
        ),
        (
            patching(&json!([{"op": "replace", "path": "/spec/replicas", "value": "many"}])),
            "Internal error occurred: json: cannot unmarshal string",
        ),
        (
            json!({"allowed": true, "patchType": "JSONPatch", "patch": raw("no json")}),
            "Internal error occurred: failed calling webhook \"x.example.com\": received undecodable patch in webhook response",
        ),
        (
            json!({"allowed": true, "patchType": "MergePatch", "patch": raw("[{}]")}),
            "Internal error occurred: failed calling webhook \"x.example.com\": unsupported patch type \"MergePatch\"",
        ),
    ];
    for (response, expected) in cases {
        let server = Webhook::start(move |_| Reply::Review(response.clone())).await;
        let bench = mutating(&server, json!({}));
        let mut object = deployment("prod");
        let error = mutate(&bench, &mut object, &Recorded::default()).await.unwrap_err();
        assert_eq!(error.code, 500, "{expected}");
        assert!(error.message.starts_with(expected), "{}", error.message);
        assert_eq!(object, deployment("prod"), "untouched");
    }
}

#[tokio::test]
async fn a_patch_without_an_object_is_refused() {
    let response = patching(&json!([{"op": "add", "path": "/x", "value": 1}]));
    let server = Webhook::start(move |_| Reply::Review(response.clone())).await;
    let bench = mutating(&server, json!({"failurePolicy": "Ignore"}));
    let old = deployment("prod");
    let mut attributes = bench.attributes(Operation::Delete, "prod");
    attributes.old_object = Some(&old);
    let mut state = Reinvocation::default();
    let error = bench.dynamic.mutate(&attributes, None, &mut state, &Recorded::default()).await.unwrap_err();
    assert_eq!(
        error.message,
        "Internal error occurred: admission webhook \"x.example.com\" attempted to modify the object, which is not \
         supported for this operation"
    );
}

#[tokio::test]
async fn a_refusal_stops_the_rest() {
    let no = Webhook::start(|_| Reply::Review(json!({"allowed": false, "status": {"reason": "Why"}}))).await;
    let later = Webhook::start(|_| Reply::Review(json!({"allowed": true}))).await;
    let bench = Bench::new();
    let hooks =
        vec![hook("a.example.com", no.url("/"), json!({})), hook("b.example.com", later.url("/"), json!({}))];
    configure(&bench, "MutatingWebhookConfiguration", "c", hooks);
    let error = mutate(&bench, &mut deployment("prod"), &Recorded::default()).await.unwrap_err();
    assert_eq!((error.code, later.count()), (400, 0));
    assert_eq!(error.message, "admission webhook \"a.example.com\" denied the request: Why");
}
