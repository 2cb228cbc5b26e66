//! What may be written through a pod's subresources.

use super::*;
use crate::testing::{create, messages, now, patched};
use crate::{Context, Strategy};

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
        (
            json!({"spec.containers[0].resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]}),
            vec!["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
        (
            json!({"spec.containers[1]": {"name": "d", "image": "i"}}),
            vec!["spec.containers: Forbidden: containers may not be added or removed on resize"],
        ),
        (
            json!({"spec.containers[0].name": "d", "spec.initContainers[0].name": "j"}),
            vec![
                "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
                "spec.initContainers[0].name: Forbidden: initContainers may not be renamed or reordered on resize",
            ],
        ),
    ];
    for (patch, want) in cases {
        let (new, found) = through("resize", &stored, &patch);
        assert_eq!(found, want, "{patch}");
        assert_eq!(new["metadata"]["generation"], 2, "{patch}");
    }
    let others = json!({"spec.nodeName": "n", "metadata.labels.x": "y", "status.phase": "Failed", "spec.containers[0].image": "j"});
    assert_eq!(through("resize", &stored, &others), (stored.clone(), vec![]), "nothing else is written");
    let claims = patched(
        &stored,
        &json!({"spec.containers[0].resources.claims": [{"name": "a"}], "spec.resourceClaims": [{"name": "a", "resourceClaimName": "a"}]}),
    );
    assert_eq!(
        through("resize", &claims, &json!({format!("{resources}.limits.cpu"): "4"})).1,
        ["spec: Forbidden: only cpu and memory resources are mutable"]
    );
    let (alone, _) = create(&Pod, patched(&stored, &json!({"spec.initContainers": null})));
    let patch =
        json!({format!("{resources}.limits.memory"): "1Gi", format!("{resources}.requests.cpu"): "2"});
    assert_eq!(
        through("resize", &alone, &patch).1,
        ["spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"]
    );
    let windows = patched(&stored, &json!({"spec.os.name": "windows"}));
    assert_eq!(through("resize", &windows, &json!({})).1, ["[]: Forbidden: windows pods cannot be resized"]);
}

#[test]
fn resizes_of_whole_pods() {
    let whole = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}});
    let (stored, errors) = create(&Pod, patched(&base(), &json!({"spec.resources": whole})));
    assert_eq!(errors, Vec::<String>::new());
    let cases: Vec<(Value, Vec<&str>)> = vec![
        (json!({"spec.resources.limits.cpu": "3"}), vec![]),
        (
            json!({"spec.resources.limits.cpu": null}),
            vec!["spec.resources.limits: Forbidden: pod-level resource limits cannot be removed"],
        ),
        (
            json!({"spec.resources.limits.hugepages-2Mi": "2Mi"}),
            vec!["spec: Forbidden: only cpu and memory resources are mutable at pod-level"],
        ),
    ];
    for (patch, want) in cases {
        assert_eq!(through("resize", &stored, &patch).1, want, "{patch}");
    }
    let without = through("resize", &stored, &json!({"spec.resources": null})).1;
    assert!(
        without.contains(&"spec.resources: Forbidden: pod-level resources cannot be removed".to_owned()),
        "{without:?}"
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
    let others = json!({"spec.containers[0].image": "j", "metadata.labels.x": "y", "status.phase": "Failed"});
    assert_eq!(
        through("ephemeralcontainers", &stored, &others),
        (stored.clone(), vec![]),
        "nothing else is written"
    );
    let mirror = patched(&stored, &json!({"metadata.annotations": {"kubernetes.io/config.mirror": "x"}}));
    assert_eq!(
        through("ephemeralcontainers", &mirror, &json!({})).1,
        ["[]: Forbidden: static pods do not support ephemeral containers"]
    );
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
