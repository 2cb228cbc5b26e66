//! Parameters: by name, by selector, missing, of the wrong scope.

use serde_json::{Value, json};

use super::validating;
use crate::testing::{Bench, deployment};
use crate::{Operation, Recorded};

fn limit(name: &str, labels: Value, replicas: i64) -> Value {
    json!({
        "apiVersion": "rules.example.com/v1", "kind": "ReplicaLimit", "metadata": {"name": name, "labels": labels},
        "maxReplicas": replicas,
    })
}

fn bench(reference: Value) -> Bench {
    validating(
        json!({
            "paramKind": {"apiVersion": "rules.example.com/v1", "kind": "ReplicaLimit"},
            "validations": [{"expression": "params == null || object.spec.replicas <= params.maxReplicas", "messageExpression": "'at most ' + string(params.maxReplicas)"}],
        }),
        json!({"paramRef": reference}),
    )
}

/// What follows `denied request: `, or nothing when the request passes.
async fn outcome(bench: &Bench, replicas: i64) -> String {
    let mut object = deployment("prod");
    object["spec"]["replicas"] = json!(replicas);
    let attributes = bench.attributes(Operation::Create, "prod");
    match bench.dynamic.validate(&attributes, Some(&object), &Recorded::default()).await {
        Ok(()) => String::new(),
        Err(error) => error.message.split_once("denied request: ").unwrap().1.to_owned(),
    }
}

#[tokio::test]
async fn by_name() {
    let bench = bench(json!({"name": "limit", "parameterNotFoundAction": "Deny"}));
    let missing =
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(outcome(&bench, 1).await, missing);
    bench.objects.add(limit("limit", json!({}), 3));
    assert_eq!(outcome(&bench, 3).await, "");
    assert_eq!(outcome(&bench, 4).await, "at most 3");
}

#[tokio::test]
async fn missing_ones_may_be_allowed() {
    assert_eq!(outcome(&bench(json!({"name": "limit", "parameterNotFoundAction": "Allow"})), 100).await, "");
}

#[tokio::test]
async fn by_selector_each_counts() {
    let bench =
        bench(json!({"selector": {"matchLabels": {"env": "prod"}}, "parameterNotFoundAction": "Deny"}));
    bench.objects.add(limit("a", json!({"env": "prod"}), 10));
    bench.objects.add(limit("b", json!({"env": "prod"}), 3));
    bench.objects.add(limit("c", json!({"env": "test"}), 1));
    assert_eq!(outcome(&bench, 3).await, "");
    assert_eq!(outcome(&bench, 4).await, "at most 3");
}

#[tokio::test]
async fn bindings_without_a_reference_have_null() {
    assert_eq!(outcome(&bench(Value::Null), 100).await, "");
}

#[tokio::test]
async fn mistakes() {
    let cases = [
        (
            json!({"name": "a", "namespace": "x"}),
            "failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`",
        ),
        (json!({}), "failed to configure binding: one of name or selector must be provided"),
        (
            json!({"name": "a", "selector": {}}),
            "failed to configure binding: paramRef.name and paramRef.selector are mutually exclusive",
        ),
    ];
    for (reference, expected) in cases {
        assert_eq!(outcome(&bench(reference), 1).await, expected);
    }
    let unknown = validating(
        json!({"paramKind": {"apiVersion": "x.y/v1", "kind": "Z"}, "validations": [{"expression": "true"}]}),
        json!({"paramRef": {"name": "a"}}),
    );
    assert_eq!(
        outcome(&unknown, 1).await,
        "failed to configure policy: failed to find resource referenced by paramKind: 'x.y/v1, Kind=Z'"
    );
}

#[tokio::test]
async fn namespaced_parameters_come_from_the_requests_namespace() {
    let bench = validating(
        json!({
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "validations": [{"expression": "string(object.spec.replicas) == params.data.n"}],
            "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]},
        }),
        json!({"paramRef": {"name": "n", "parameterNotFoundAction": "Deny"}}),
    );
    let map = |namespace: &str, n: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "namespace": namespace}, "data": {"n": n}});
    bench.objects.add(map("prod", "2"));
    bench.objects.add(map("default", "9"));
    assert_eq!(outcome(&bench, 2).await, "");
    let attributes = bench.attributes(Operation::Create, "default");
    assert!(
        bench
            .dynamic
            .validate(&attributes, Some(&deployment("default")), &Recorded::default())
            .await
            .is_err()
    );
    let cluster = bench.attributes(Operation::Create, "");
    let error =
        bench.dynamic.validate(&cluster, Some(&deployment("")), &Recorded::default()).await.unwrap_err();
    assert!(
        error.message.ends_with(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
        ),
        "{}",
        error.message
    );
}
