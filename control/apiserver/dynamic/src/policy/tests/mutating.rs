//! Mutations: apply configurations and JSON patches, their mistakes, the second round.

use serde_json::{Value, json};

use super::{bind, mutating, policy};
use crate::testing::{Bench, deployment};
use crate::{Operation, Recorded, Reinvocation};
use xebec_api::status::{ApiError, Reason};

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

async fn mutate(bench: &Bench) -> Result<Value, ApiError> {
    let mut object = deployment("prod");
    let mut state = Reinvocation::default();
    let attributes = bench.attributes(Operation::Create, "prod");
    bench.dynamic.mutate(&attributes, Some(&mut object), &mut state, &Recorded::default()).await?;
    if state.needed() {
        state.begin();
        bench.dynamic.mutate(&attributes, Some(&mut object), &mut state, &Recorded::default()).await?;
    }
    Ok(object)
}

#[tokio::test]
async fn the_sidecar_of_the_documentation() {
    let expression = r#"Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
        containers: [Object.spec.template.spec.containers{name: "mesh-proxy", image: "mesh/proxy:v1", args: ["proxy"]}]
    }}}}"#;
    let bench = mutating(json!({
        "matchConditions": [{"name": "c", "expression": "!object.spec.template.spec.containers.exists(c, c.name == 'mesh-proxy')"}],
        "mutations": [apply(expression)], "reinvocationPolicy": "IfNeeded",
    }));
    let object = mutate(&bench).await.unwrap();
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"],
        json!([{"name": "c", "image": "nginx:1"}, {"name": "mesh-proxy", "image": "mesh/proxy:v1", "args": ["proxy"]}])
    );
    assert_eq!(object["spec"]["paused"], false, "defaulted");
}

#[tokio::test]
async fn json_patches() {
    let expression = r#"[
        JSONPatch{op: "test", path: "/spec/replicas", value: 2},
        JSONPatch{op: "replace", path: "/spec/replicas", value: object.spec.replicas + 1},
        JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/env"), value: namespaceObject.metadata.labels["env"]},
        JSONPatch{op: "add", path: "/spec/template/spec/volumes", value: [Object.spec.template.spec.volumes{name: "v"}]},
        JSONPatch{op: "copy", from: "/metadata/labels/app", path: "/metadata/labels/copy"},
    ]"#;
    // The type of an object in a patch starts at its own name, wherever the patch puts it.
    let object = mutate(&mutating(json!({"mutations": [patch(expression)]}))).await.unwrap();
    assert_eq!(object["spec"]["replicas"], 3);
    assert_eq!(object["metadata"]["labels"], json!({"app": "web", "example.com/env": "prod", "copy": "web"}));
    assert_eq!(object["spec"]["template"]["spec"]["volumes"], json!([{"name": "v"}]));
}

#[tokio::test]
async fn a_failed_test_leaves_the_object() {
    let expression = r#"[JSONPatch{op: "test", path: "/spec/replicas", value: 7}, JSONPatch{op: "remove", path: "/spec"}]"#;
    let object = mutate(&mutating(json!({"mutations": [patch(expression)]}))).await.unwrap();
    assert_eq!(object, deployment("prod"));
}

#[tokio::test]
async fn mistakes_obey_the_failure_policy() {
    let cases = [
        (patch("object.nothing"), "must evaluate to list(JSONPatch) but got dyn"),
        (patch("[JSONPatch{op: 'remove', path: '/nothing'}]"), "JSON Patch: remove operation at"),
        (
            patch("[JSONPatch{op: 'add', path: object.nothing, value: 1}]"),
            "resulted in error: no such key: nothing",
        ),
        (
            apply("Object{spec: Object.spec{selector: Object.spec.selector{}}}"),
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
        ),
        (
            apply("Object{spec: Object.wrong{}}"),
            "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name path from root Object type",
        ),
    ];
    for (mutation, expected) in cases {
        let spec = |failure: &str| json!({"failurePolicy": failure, "mutations": [mutation]});
        assert_eq!(mutate(&mutating(spec("Ignore"))).await.unwrap(), deployment("prod"), "{expected}");
        let error = mutate(&mutating(spec("Fail"))).await.unwrap_err();
        assert_eq!((error.code, error.reason), (403, Reason::Invalid));
        assert!(
            error.message.starts_with("policy 'p' with binding 'b' denied request: "),
            "{}",
            error.message
        );
        assert!(error.message.contains(expected), "{}", error.message);
        assert_eq!(error.details.unwrap().causes[0].message, error.message);
    }
    let unknown = patch("[JSONPatch{op: 'add', path: '/spec/bogus', value: 1}]");
    let error =
        mutate(&mutating(json!({"failurePolicy": "Ignore", "mutations": [unknown]}))).await.unwrap_err();
    assert_eq!(error.message, "Internal error occurred: strict decoding error: unknown field \"spec.bogus\"");
}

#[tokio::test]
async fn policies_follow_each_other_and_run_again_if_needed() {
    let bench = Bench::new();
    let label = |name: &str, value: &str| {
        patch(&format!("[JSONPatch{{op: 'add', path: '/metadata/labels/{name}', value: {value}}}]"))
    };
    let seen = "'last' in object.metadata.labels ? 'twice' : 'once'";
    policy(
        &bench,
        "MutatingAdmissionPolicy",
        "a",
        json!({"mutations": [label("a", seen)], "reinvocationPolicy": "IfNeeded"}),
    );
    policy(
        &bench,
        "MutatingAdmissionPolicy",
        "b",
        json!({"mutations": [label("b", seen)], "reinvocationPolicy": "Never"}),
    );
    policy(
        &bench,
        "MutatingAdmissionPolicy",
        "c",
        json!({"mutations": [label("last", "'yes'")], "reinvocationPolicy": "Never"}),
    );
    for name in ["a", "b", "c"] {
        bind(&bench, "MutatingAdmissionPolicyBinding", name, name, json!({}));
    }
    let labels = mutate(&bench).await.unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels, json!({"app": "web", "a": "twice", "b": "once", "last": "yes"}));
}

#[tokio::test]
async fn deletes_are_not_mutated() {
    let bench = mutating(json!({"mutations": [patch("[JSONPatch{op: 'remove', path: object.nothing}]")]}));
    let old = deployment("prod");
    let mut attributes = bench.attributes(Operation::Delete, "prod");
    attributes.old_object = Some(&old);
    let mut state = Reinvocation::default();
    bench.dynamic.mutate(&attributes, None, &mut state, &Recorded::default()).await.unwrap();
}
