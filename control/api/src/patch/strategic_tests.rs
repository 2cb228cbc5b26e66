//! One test per rule and directive, on real objects.

use super::*;
use serde_json::json;

fn pod(patch: Value, original: Value) -> Value {
    strategic_merge(&original, &patch, "io.k8s.api.core.v1.Pod").unwrap()
}

#[test]
fn maps_merge_and_nulls_delete() {
    let merged = pod(
        json!({"metadata": {"labels": {"a": "2", "b": null, "c": "3"}}, "status": {"x": null}}),
        json!({"metadata": {"name": "p", "labels": {"a": "1", "b": "1"}}}),
    );
    assert_eq!(merged, json!({"metadata": {"name": "p", "labels": {"a": "2", "c": "3"}}, "status": {}}));
}

#[test]
fn lists_merge_by_key() {
    let merged = pod(
        json!({"spec": {"containers": [{"name": "b", "image": "b2"}, {"name": "c", "image": "c1"}]}}),
        json!({"spec": {"containers": [{"name": "a", "image": "a1"}, {"name": "b", "image": "b1", "tty": true}]}}),
    );
    assert_eq!(
        merged["spec"]["containers"],
        json!([{"name": "a", "image": "a1"}, {"name": "b", "image": "b2", "tty": true}, {"name": "c", "image": "c1"}])
    );
}

#[test]
fn nested_lists_merge_too() {
    let d = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80, "name": "http"}], "args": ["1"]}]}}}});
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "env": [{"name": "Y", "value": "2"}], "ports": [{"containerPort": 80, "name": "web"}], "args": ["2", "3"]}]}}}});
    let merged = strategic_merge_for("apps/v1", "Deployment", &d, &patch).unwrap();
    let c = &merged["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(c["env"], json!([{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]));
    assert_eq!(c["ports"], json!([{"containerPort": 80, "name": "web"}]));
    assert_eq!(c["args"], json!(["2", "3"]));
}

#[test]
fn lists_without_merge_are_replaced() {
    let merged = pod(
        json!({"spec": {"tolerations": [{"key": "b"}]}}),
        json!({"spec": {"tolerations": [{"key": "a"}]}}),
    );
    assert_eq!(merged["spec"]["tolerations"], json!([{"key": "b"}]));
}

#[test]
fn patch_delete_in_a_list_and_a_map() {
    let merged = pod(
        json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}], "securityContext": {"$patch": "delete"}}}),
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "securityContext": {"runAsUser": 1}}}),
    );
    assert_eq!(merged["spec"], json!({"containers": [{"name": "b"}], "securityContext": {}}));
}

#[test]
fn patch_replace_in_a_list_and_a_map() {
    let merged = pod(
        json!({"spec": {"containers": [{"name": "z"}, {"$patch": "replace"}], "securityContext": {"$patch": "replace", "runAsGroup": 2}}}),
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "securityContext": {"runAsUser": 1}}}),
    );
    assert_eq!(merged["spec"], json!({"containers": [{"name": "z"}], "securityContext": {"runAsGroup": 2}}));
}

#[test]
fn patch_merge_is_the_default_said_aloud() {
    let merged = pod(
        json!({"spec": {"securityContext": {"$patch": "merge", "runAsGroup": 2}, "containers": [{"$patch": "merge", "name": "a", "tty": true}]}}),
        json!({"spec": {"securityContext": {"runAsUser": 1}, "containers": [{"name": "a", "image": "i"}]}}),
    );
    assert_eq!(
        merged["spec"],
        json!({"securityContext": {"runAsUser": 1, "runAsGroup": 2}, "containers": [{"name": "a", "image": "i", "tty": true}]})
    );
}

#[test]
fn unknown_directives_are_refused() {
    let original = json!({"spec": {"containers": [{"name": "a"}]}});
    for patch in [
        json!({"$patch": "explode"}),
        json!({"spec": {"containers": [{"name": "a", "$patch": "explode"}]}}),
        json!({"spec": {"containers": [{"name": "a", "$patch": 3}]}}),
    ] {
        let error = strategic_merge_for("v1", "Pod", &original, &patch).unwrap_err();
        assert!(matches!(error, PatchError::BadDirective(_)), "{error}");
    }
}

#[test]
fn element_order() {
    let merged = pod(
        json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "c1"}]}}),
        json!({"spec": {"containers": [{"name": "a"}, {"name": "server-only"}]}}),
    );
    assert_eq!(
        merged["spec"]["containers"],
        json!([{"name": "c", "image": "c1"}, {"name": "a"}, {"name": "server-only"}])
    );
    // The order alone, without changes.
    let merged = pod(
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
        json!({"spec": {"containers": [{"name": "x"}, {"name": "a"}, {"name": "b"}]}}),
    );
    assert_eq!(merged["spec"]["containers"], json!([{"name": "x"}, {"name": "b"}, {"name": "a"}]));
    // With a deletion, as kubectl apply sends it.
    let merged = pod(
        json!({"spec": {
            "$setElementOrder/containers": [{"name": "b"}],
            "containers": [{"$patch": "delete", "name": "a"}]}}),
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
    );
    assert_eq!(merged["spec"]["containers"], json!([{"name": "b"}]));
}

#[test]
fn element_order_of_a_new_list_and_a_mismatch() {
    let merged = pod(
        json!({"spec": {"$setElementOrder/volumes": [{"name": "v"}], "volumes": [{"$retainKeys": ["name", "emptyDir"], "name": "v", "emptyDir": {}}]}}),
        json!({"spec": {}}),
    );
    assert_eq!(merged["spec"], json!({"volumes": [{"name": "v", "emptyDir": {}}]}));
    let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}, {"name": "a"}]}});
    let error = strategic_merge_for("v1", "Pod", &json!({"spec": {"containers": []}}), &patch).unwrap_err();
    assert!(matches!(error, PatchError::OrderMismatch { .. }));
}

#[test]
fn retain_keys() {
    let d = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let merged = strategic_merge_for("apps/v1", "Deployment", &d, &patch).unwrap();
    assert_eq!(merged["spec"]["strategy"], json!({"type": "Recreate"}));
    let merged = pod(
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
    );
    assert_eq!(merged["spec"]["volumes"], json!([{"name": "v", "hostPath": {"path": "/x"}}]));
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    let error = strategic_merge_for("apps/v1", "Deployment", &d, &patch).unwrap_err();
    assert_eq!(error, PatchError::NotRetained("rollingUpdate".into()));
}

#[test]
fn plain_lists() {
    let object = json!({"metadata": {"finalizers": ["a", "b"]}});
    assert_eq!(
        pod(json!({"metadata": {"finalizers": ["c", "a"]}}), object.clone())["metadata"]["finalizers"],
        json!(["c", "a", "b"])
    );
    assert_eq!(
        pod(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}), object.clone()),
        json!({"metadata": {"finalizers": ["b"]}})
    );
    assert_eq!(
        pod(
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}}),
            object
        ),
        json!({"metadata": {"finalizers": ["c", "b"]}})
    );
}

#[test]
fn status_conditions_as_the_kubelet_patches_them() {
    let node = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "DiskPressure", "status": "False"}],
        "addresses": [{"type": "InternalIP", "address": "1.1.1.1"}]}});
    let patch = json!({"status": {"$setElementOrder/conditions": [{"type": "Ready"}, {"type": "DiskPressure"}],
        "conditions": [{"type": "Ready", "status": "True"}]}});
    let merged = strategic_merge_for("v1", "Node", &node, &patch).unwrap();
    assert_eq!(
        merged["status"]["conditions"],
        json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}])
    );
}

#[test]
fn a_field_marked_replace_is_replaced() {
    let original = json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}});
    let patch = json!({"spec": {"selector": {"matchLabels": {"b": "1"}}}});
    let merged = strategic_merge_for("policy/v1", "PodDisruptionBudget", &original, &patch).unwrap();
    assert_eq!(merged["spec"]["selector"], json!({"matchLabels": {"b": "1"}}));
}

#[test]
fn errors() {
    let original = json!({"spec": {"containers": [{"name": "a"}]}});
    let patch = json!({"spec": {"containers": [{"image": "x"}]}});
    let error = strategic_merge_for("v1", "Pod", &original, &patch).unwrap_err();
    assert_eq!(error.to_string(), r#"map: {"image":"x"} does not contain declared merge key: name"#);
    assert!(matches!(
        strategic_merge_for("example.com/v1", "Thing", &original, &json!({})),
        Err(PatchError::UnknownType(_))
    ));
    assert!(matches!(
        strategic_merge_for("v1", "Pod", &original, &json!([])),
        Err(PatchError::NotAnObject(_))
    ));
}

#[test]
fn every_rule_names_a_known_type_and_field() {
    for (name, fields) in RULES.iter() {
        let message = types::by_name(name).unwrap_or_else(|| panic!("{name}"));
        for field in fields.keys() {
            assert!(message.field_by_json(field).is_some(), "{name}.{field}");
        }
    }
    assert_eq!(RULES.len(), 72);
}
