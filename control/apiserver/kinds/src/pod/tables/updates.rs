//! What may change in a pod, its status and through its subresources.

use super::*;
use crate::testing::{create, messages, now, patched};
use crate::{Context, Strategy};

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

#[test]
fn status_writes() {
    let ip = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    let table = table();
    table.status(&[
        ("running", json!({"status.phase": "Running", "status.podIPs": [{"ip": "10.0.0.1"}, {"ip": "::1"}]}), &[]),
        ("class", json!({"status.qosClass": "Guaranteed"}), &["status.qosClass: Invalid value: \"Guaranteed\": field is immutable"]),
        (
            "addresses",
            json!({"status.podIPs": [{"ip": "x"}], "status.hostIP": "1.1.1.1", "status.hostIPs": [{"ip": "1.1.1.2"}, {"ip": "1.1.1.2"}]}),
            &[
                &format!("status.podIPs[0]: Invalid value: \"x\": {ip}"),
                "status.hostIPs[0].ip: Invalid value: \"1.1.1.2\": must be equal to `hostIP`",
                "status.hostIPs: Invalid value: [{\"ip\":\"1.1.1.2\"},{\"ip\":\"1.1.1.2\"}]: may specify no more than one IP for each IP family",
                "status.hostIPs[1]: Duplicate value: {\"ip\":\"1.1.1.2\"}",
            ],
        ),
        (
            "claims",
            json!({"status.resourceClaimStatuses": [{"name": "a"}]}),
            &["status.resourceClaimStatuses[0].name: Invalid value: \"a\": must match the name of an entry in `spec.resourceClaims`"],
        ),
    ]);
    table.status_of(
        &json!({"spec.restartPolicy": "Never", "status.containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]}),
        &[(
            "back to life",
            json!({"status.containerStatuses[0].state": {"running": {}}}),
            &["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"],
        )],
    );
}

/// Runs a write to a subresource as the registry does.
fn through(sub: &str, stored: &Value, patch: &Value) -> (Value, Vec<String>) {
    let mut new = patched(stored, patch);
    Pod.defaults(&mut new);
    Pod.prepare_for_subresource_update(sub, &Context::new("me", "ns", now()), &mut new, stored);
    let errors = messages(&Pod.validate_subresource_update(sub, &new, stored));
    (new, errors)
}

#[test]
fn resizes() {
    let mut pod = base();
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    pod["spec"]["initContainers"] = json!([{"name": "i", "image": "i"}]);
    let (stored, _) = create(&Pod, pod);
    let resources = "spec.containers[0].resources";
    let cases: Vec<(Value, Vec<&str>)> = vec![
        (json!({format!("{resources}.requests.cpu"): "1500m"}), vec![]),
        (json!({format!("{resources}.limits.cpu"): "4"}), vec![]),
        (
            json!({format!("{resources}.requests.cpu"): "3"}),
            vec![
                "spec.containers[0].resources.requests: Invalid value: \"3\": must be less than or equal to cpu limit of 2",
            ],
        ),
        (
            json!({format!("{resources}.limits.cpu"): null}),
            vec!["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"],
        ),
        (
            json!({format!("{resources}.limits.ephemeral-storage"): "1Gi"}),
            vec!["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
        (
            json!({"spec.initContainers[0].resources.requests.cpu": "1"}),
            vec!["spec: Forbidden: resources for non-sidecar init containers are immutable"],
        ),
        (json!({"spec.nodeName": "n"}), vec!["spec: Forbidden: only cpu and memory resources are mutable"]),
    ];
    for (patch, want) in cases {
        let (new, found) = through("resize", &stored, &patch);
        assert_eq!(found, want, "{patch}");
        assert_eq!(new["metadata"]["generation"], 2, "{patch}");
    }
    let (alone, _) = create(&Pod, patched(&stored, &json!({"spec.initContainers": null})));
    let patch =
        json!({format!("{resources}.limits.memory"): "1Gi", format!("{resources}.requests.cpu"): "2"});
    assert_eq!(
        through("resize", &alone, &patch).1,
        ["spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"]
    );
    let windows = patched(&stored, &json!({"spec.os.name": "windows"}));
    assert_eq!(
        through("resize", &windows, &json!({})).1,
        ["<nil>: Forbidden: windows pods cannot be resized"]
    );
}

#[test]
fn ephemeral_containers_are_only_added() {
    let (mut stored, _) = create(&Pod, base());
    let debug =
        json!({"spec.ephemeralContainers": [{"name": "d", "image": "i:1", "targetContainerName": "c"}]});
    let (with, errors) = through("ephemeralcontainers", &stored, &debug);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(with["metadata"]["generation"], 2);
    stored = with;
    let cases: Vec<(Value, Vec<&str>)> = vec![
        (json!({"spec.ephemeralContainers[1]": {"name": "e", "image": "i"}}), vec![]),
        (
            json!({"spec.ephemeralContainers": []}),
            vec![
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n",
            ],
        ),
        (
            json!({"spec.ephemeralContainers[0].image": "j:1"}),
            vec![
                "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n  image: \"i:1\" -> \"j:1\"",
            ],
        ),
        (
            json!({"spec.ephemeralContainers[1]": {"name": "c", "image": "i", "ports": [{"containerPort": 1}], "targetContainerName": "x",
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}}),
            vec![
                "spec.ephemeralContainers[1].name: Duplicate value: \"c\"",
                "spec.ephemeralContainers[1].targetContainerName: Not found: \"x\"",
                "spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers[1].lifecycle: Forbidden: cannot be set for an Ephemeral Container",
            ],
        ),
    ];
    for (patch, want) in cases {
        assert_eq!(through("ephemeralcontainers", &stored, &patch).1, want, "{patch}");
    }
}
