//! What an update may change in a pod.

use super::*;

const ALLOWED: &str = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

#[test]
fn updates() {
    let table = table();
    table.generation(&[
        (json!({"metadata.labels.x": "y"}), false),
        (json!({"spec.containers[0].image": "j"}), true),
        (json!({"spec.tolerations": [{"operator": "Exists"}]}), true),
    ]);
    table.status_is_separate(&json!({"status.phase": "Failed"}), &json!({"spec.nodeName": "n"}));
    table.updates(&[
        ("deadline", json!({"spec.activeDeadlineSeconds": 5}), &[]),
        (
            "no image",
            json!({"spec.containers[0].image": ""}),
            &["spec.containers[0].image: Required value", "spec.containers[0].image: Required value"],
        ),
        (
            "one more",
            json!({"spec.containers[1]": {"name": "d", "image": "i"}}),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        ("node", json!({"spec.nodeName": "n"}), &[&format!("{ALLOWED}\n  nodeName: null -> \"n\"")]),
        (
            "gate",
            json!({"spec.schedulingGates": [{"name": "g"}]}),
            &["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"],
        ),
        (
            "mirror",
            json!({"metadata.annotations": {"kubernetes.io/config.mirror": "x"}}),
            &[
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
                "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation",
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            ],
        ),
    ]);
    table.updates_of(
        &json!({"spec.activeDeadlineSeconds": 5, "spec.terminationGracePeriodSeconds": -1, "spec.tolerations": [{"key": "a", "operator": "Exists"}]}),
        &[
            ("sooner", json!({"spec.activeDeadlineSeconds": 4}), &[]),
            (
                "later",
                json!({"spec.activeDeadlineSeconds": 6}),
                &["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"],
            ),
            (
                "never",
                json!({"spec.activeDeadlineSeconds": null}),
                &["spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"],
            ),
            ("grace of one", json!({"spec.terminationGracePeriodSeconds": 1}), &[]),
            (
                "another toleration",
                json!({"spec.tolerations": [{"key": "b", "operator": "Exists"}]}),
                &["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
            ),
        ],
    );
}

#[test]
fn gated_pods_are_placed_tighter() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let affinity = |terms: Value| json!({"nodeAffinity": {required: {"nodeSelectorTerms": terms}}});
    let a = json!({"key": "a", "operator": "Exists"});
    let b = json!({"key": "b", "operator": "Exists"});
    let terms = |terms: Value| json!({"spec.affinity": affinity(terms)});
    let at = format!("spec.affinity.nodeAffinity.{required}.nodeSelectorTerms");
    table().updates_of(
        &json!({"spec.schedulingGates": [{"name": "g"}], "spec.nodeSelector": {"x": "1"},
            "spec.affinity": affinity(json!([{"matchExpressions": [a]}]))}),
        &[
            ("more labels", json!({"spec.nodeSelector.y": "2"}), &[]),
            ("more requirements", terms(json!([{"matchExpressions": [a, b]}])), &[]),
            ("no gate", json!({"spec.schedulingGates": []}), &[]),
            (
                "another label",
                json!({"spec.nodeSelector": {"x": "2"}}),
                &["spec.nodeSelector: Invalid value: {\"x\":\"2\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"],
            ),
            (
                "another term",
                terms(json!([{"matchExpressions": [a]}, {"matchExpressions": [b]}])),
                &[&format!("{at}: Invalid value: [{{\"matchExpressions\":[{{\"key\":\"a\",\"operator\":\"Exists\"}}]}},{{\"matchExpressions\":[{{\"key\":\"b\",\"operator\":\"Exists\"}}]}}]: no additions/deletions to non-empty NodeSelectorTerms list are allowed")],
            ),
            (
                "another requirement",
                terms(json!([{"matchExpressions": [b]}])),
                &[&format!("{at}[0]: Invalid value: {{\"matchExpressions\":[{{\"key\":\"b\",\"operator\":\"Exists\"}}]}}: only additions are allowed (no mutations or deletions)")],
            ),
        ],
    );
    table().updates_of(
        &json!({"spec.schedulingGates": [{"name": "g"}]}),
        &[
            ("a first affinity", terms(json!([{"matchExpressions": [a]}])), &[]),
            ("a first selector", json!({"spec.nodeSelector": {"x": "2"}}), &[]),
        ],
    );
    table().updates(&[(
        "no gate",
        json!({"spec.nodeSelector": {"x": "2"}}),
        &[&format!("{ALLOWED}\n  nodeSelector: null -> {{\"x\":\"2\"}}")],
    )]);
}
