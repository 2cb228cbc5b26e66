//! What a write to a pod's status may say.

use super::*;
use crate::testing::{patched, update_status};

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
    table.status(&[
        (
            "conditions",
            json!({"status.observedGeneration": -1, "status.conditions": [{"type": "-", "observedGeneration": -1}, {"type": "Ready"}]}),
            &[
                "status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer",
                "status.conditions[0].Type: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
            ],
        ),
        ("a node to come", json!({"status.nominatedNodeName": "n"}), &[]),
    ]);
    table.status_of(
        &json!({"spec.nodeName": "n", "status.nominatedNodeName": "m"}),
        &[
            ("still nominated", json!({"status.phase": "Running"}), &[]),
            (
                "nominated late",
                json!({"status.nominatedNodeName": "n"}),
                &["status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node"],
            ),
        ],
    );
    table.status_of(
        &json!({"status.podIPs": [{"ip": "010.0.0.1"}]}),
        &[("an address that was accepted", json!({"status.phase": "Running"}), &[])],
    );
}

#[test]
fn restarts() {
    let revived = |list: &str| {
        format!("status.{list}[0].state: Forbidden: may not be transitioned to non-terminated state")
    };
    let ended = |code: i64| json!([{"name": "c", "state": {"terminated": {"exitCode": code}}}]);
    let alive = json!({"status.containerStatuses[0].state": {"running": {}}});
    let never = json!({"spec.restartPolicy": "Never", "status.containerStatuses": ended(1)});
    let with = |more: Value| {
        patched(&never, &json!({})).as_object().cloned().map(|mut patch| {
            patch.extend(more.as_object().cloned().unwrap_or_default());
            Value::Object(patch)
        })
    };
    let rule = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]);
    let all = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [7]}}]);
    let cases = [
        ("for good", json!({}), false),
        ("on failure", json!({"spec.restartPolicy": "OnFailure"}), true),
        ("done", json!({"spec.restartPolicy": "OnFailure", "status.containerStatuses": ended(0)}), false),
        ("always", json!({"spec.restartPolicy": "Always"}), true),
        ("nobody's", json!({"spec.restartPolicy": "Always", "spec.containers[0].name": "d"}), false),
        ("its own policy", json!({"spec.containers[0].restartPolicy": "OnFailure"}), true),
        (
            "never, by its own policy",
            json!({"spec.restartPolicy": "Always", "spec.containers[0].restartPolicy": "Never"}),
            false,
        ),
        (
            "a rule",
            json!({"spec.containers[0].restartPolicy": "Never", "spec.containers[0].restartPolicyRules": rule}),
            true,
        ),
        (
            "another code's rule",
            json!({"spec.containers[0].restartPolicy": "Never", "spec.containers[0].restartPolicyRules": rule, "status.containerStatuses": ended(2)}),
            false,
        ),
        (
            "a rule for all",
            json!({"spec.containers[1]": {"name": "d", "restartPolicy": "Never", "restartPolicyRules": all}}),
            true,
        ),
    ];
    for (name, stored, allowed) in cases {
        let forbidden = revived("containerStatuses");
        let want: &[&str] = if allowed { &[] } else { &[&forbidden] };
        table().status_of(&with(stored).expect("a patch"), &[(name, alive.clone(), want)]);
    }
    table().status_of(
        &json!({"status.ephemeralContainerStatuses": ended(1)}),
        &[(
            "ephemeral",
            json!({"status.ephemeralContainerStatuses[0].state": {}}),
            &[&revived("ephemeralContainerStatuses")],
        )],
    );
    let sidecar = json!({"name": "c", "image": "i", "restartPolicy": "Always"});
    table().status_of(
        &json!({"spec.restartPolicy": "Never", "spec.initContainers": [sidecar], "status.initContainerStatuses": ended(1)}),
        &[("a sidecar", json!({"status.initContainerStatuses[0].state": {"running": {}}}), &[])],
    );
}

#[test]
fn users_and_devices() {
    let table = table();
    table.status(&[
        (
            "users",
            json!({"status.containerStatuses": [{"name": "c", "user": {"linux": {"uid": -1, "gid": 0, "supplementalGroups": [-2]}}}]}),
            &[
                "status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "status.containerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: -2: must be between 0 and 2147483647, inclusive",
            ],
        ),
        (
            "health",
            json!({"status.containerStatuses": [{"name": "c", "allocatedResourcesStatus": [
                {"name": "claim:a", "resources": []},
                {"name": "x.io/gpu", "resources": [{"resourceID": "1", "health": "Odd"}, {"resourceID": "1", "health": "Healthy"}]}]}],
                "status.ephemeralContainerStatuses": [{"name": "d", "allocatedResourcesStatus": [{"name": "x"}]}]}),
            &[
                "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"claim:a\": must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                "status.containerStatuses[0].allocatedResourcesStatus[1].name: Invalid value: \"x.io/gpu\": must match one of the container's resource requests",
                "status.containerStatuses[0].allocatedResourcesStatus[1].resources[0].health: Unsupported value: \"Odd\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"",
                "status.containerStatuses[0].allocatedResourcesStatus[1].resources[1].resourceID: Duplicate value: \"1\"",
                "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status",
            ],
        ),
        (
            "an extended claim",
            json!({"status.extendedResourceClaimStatus": {"requestMappings": [{"containerName": "x", "resourceName": "r", "requestName": "A"}]}}),
            &[
                "status.extendedResourceClaimStatus.requestMappings[0].containerName: Invalid value: \"x\": must match the name of an entry in spec.initContainers.name or spec.containers.name",
                "status.extendedResourceClaimStatus.requestName: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "status.extendedResourceClaimStatus.resourceClaimName: Required value",
            ],
        ),
    ]);
    table.status_of(
        &json!({"spec.os": {"name": "windows"}}),
        &[(
            "a user of another system",
            json!({"status.containerStatuses": [{"name": "c", "user": {"linux": {"uid": 1, "gid": 1}}}]}),
            &["status.containerStatuses[0].user.linux: Forbidden: cannot be set for a windows pod"],
        )],
    );
    let gpu = json!({"requests": {"x.io/gpu": "1"}, "limits": {"x.io/gpu": "1"}, "claims": [{"name": "a", "request": "r"}]});
    table.status_of(
        &json!({"spec.containers[0].resources": gpu}),
        &[(
            "devices",
            json!({"status.containerStatuses": [{"name": "c", "allocatedResourcesStatus": [
                {"name": "claim:a/r", "resources": [{"resourceID": "1", "health": "Unknown"}]}, {"name": "x.io/gpu"}]}],
                "status.extendedResourceClaimStatus": {"resourceClaimName": "c", "requestMappings": [{"containerName": "c", "resourceName": "x.io/gpu", "requestName": "r"}]}}),
            &[],
        )],
    );
}

#[test]
fn a_status_write_keeps_owners_and_generations() {
    let old = patched(
        table().stored(),
        &json!({"metadata.ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
            "status.observedGeneration": 3, "status.conditions": [{"type": "a", "observedGeneration": 2}, {"type": "b"}]}),
    );
    let patch = json!({"metadata.ownerReferences": null, "status.observedGeneration": null,
        "status.conditions": [{"type": "a"}, {"type": "a"}, {"type": "b", "observedGeneration": 4}]});
    let (new, errors) = update_status(&Pod, patched(&old, &patch), &old);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(new["metadata"], old["metadata"]);
    assert_eq!(new["status"]["observedGeneration"], 3);
    let conditions = json!([{"type": "a", "observedGeneration": 2}, {"type": "a"}, {"type": "b", "observedGeneration": 4}]);
    assert_eq!(new["status"]["conditions"], conditions);
}
