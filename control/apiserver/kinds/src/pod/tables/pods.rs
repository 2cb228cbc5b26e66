//! The rest of a pod: policies, names, DNS, claims, annotations, rows and selectable fields.

use super::*;

#[test]
fn pod_defaults() {
    table().defaults(&[(
        json!({"spec.serviceAccountName": "sa"}),
        json!({"spec.dnsPolicy": "ClusterFirst", "spec.restartPolicy": "Always", "spec.securityContext": {},
            "spec.terminationGracePeriodSeconds": 30, "spec.schedulerName": "default-scheduler",
            "spec.serviceAccount": "sa", "metadata.generation": 1, "status.phase": "Pending"}),
    )]);
}

#[test]
fn policies_and_names() {
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    table().valid(&[
        ("negative grace", json!({"spec.terminationGracePeriodSeconds": -1})),
        ("names", json!({"spec.hostname": "a", "spec.subdomain": "b", "spec.priorityClassName": "p", "spec.preemptionPolicy": "Never"})),
        ("aliases", json!({"spec.hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a.b"]}]})),
        ("claims", json!({"spec.resourceClaims": [{"name": "a", "resourceClaimTemplateName": "t"}]})),
        ("cost", json!({"metadata.annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}})),
    ]);
    table().invalid(&[
        (
            "policies",
            json!({"spec.restartPolicy": "X", "spec.dnsPolicy": "X", "spec.preemptionPolicy": "X"}),
            &[
                "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                "spec.dnsPolicy: Unsupported value: \"X\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
                "spec.preemptionPolicy: Unsupported value: \"X\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ],
        ),
        (
            "names",
            json!({"spec.hostname": "A", "spec.subdomain": "b."}),
            &[
                &format!("spec.hostname: Invalid value: \"A\": {label}"),
                &format!("spec.subdomain: Invalid value: \"b.\": {label}"),
            ],
        ),
        (
            "deadline",
            json!({"spec.activeDeadlineSeconds": 0}),
            &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            "aliases",
            json!({"spec.hostAliases": [{"ip": "x", "hostnames": ["a"]}]}),
            &["spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"],
        ),
        (
            "claims",
            json!({"spec.resourceClaims": [{}, {"name": "a", "resourceClaimName": "x", "resourceClaimTemplateName": "y"}, {"name": "a", "resourceClaimName": "x"}]}),
            &[
                "spec.resourceClaims[0].name: Required value",
                "spec.resourceClaims[0]: Invalid value: {}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                "spec.resourceClaims[1]: Invalid value: {\"name\":\"a\",\"resourceClaimName\":\"x\",\"resourceClaimTemplateName\":\"y\"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
                "spec.resourceClaims[2].name: Duplicate value: \"a\"",
            ],
        ),
        (
            "profiles of annotations",
            json!({"metadata.annotations": {
                "seccomp.security.alpha.kubernetes.io/pod": "x",
                "container.seccomp.security.alpha.kubernetes.io/c": "localhost/../x",
                "container.apparmor.security.beta.kubernetes.io/none": "x",
            }}),
            &[
                "metadata.annotations.container.seccomp.security.alpha.kubernetes.io/c: Invalid value: \"../x\": must not contain '..'",
                "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"x\": must be a valid seccomp profile",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/none]: Invalid value: \"none\": container not found",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/none]: Invalid value: \"x\": invalid AppArmor profile name: \"x\"",
            ],
        ),
        (
            "profiles of annotations and fields",
            json!({
                "metadata.annotations": {
                    "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
                    "container.seccomp.security.alpha.kubernetes.io/c": "localhost/a",
                    "container.apparmor.security.beta.kubernetes.io/c": "runtime/default",
                },
                "spec.securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "appArmorProfile": {"type": "Unconfined"}},
                "spec.containers[0].securityContext": {
                    "seccompProfile": {"type": "Localhost", "localhostProfile": "b"},
                    "appArmorProfile": {"type": "Unconfined"},
                },
            }),
            &[
                "spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
                "spec.containers[0].securityContext.seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match",
                "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match",
            ],
        ),
        (
            "annotations",
            json!({"metadata.annotations": {"kubernetes.io/config.mirror": "x", "controller.kubernetes.io/pod-deletion-cost": "+5"}}),
            &[
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+5\": must be a 32bit integer",
            ],
        ),
    ]);
}

#[test]
fn dns() {
    table().valid(&[
        ("own servers", json!({"spec.dnsPolicy": "None", "spec.dnsConfig": {"nameservers": ["1.1.1.1"]}})),
        ("any search", json!({"spec.dnsConfig": {"searches": [".", "_sip._tcp.a.b.", "a"], "options": [{"name": "ndots", "value": "2"}]}})),
    ]);
    table().invalid(&[
        ("none", json!({"spec.dnsPolicy": "None"}), &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
        (
            "no server",
            json!({"spec.dnsPolicy": "None", "spec.dnsConfig": {}}),
            &["spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"],
        ),
        (
            "servers",
            json!({"spec.dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "x"], "options": [{}]}}),
            &[
                "spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"2.2.2.2\",\"3.3.3.3\",\"x\"]: must not have more than 3 nameservers",
                "spec.dnsConfig.nameservers[3]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.dnsConfig.options[0]: Required value: must not be empty",
            ],
        ),
    ]);
}

#[test]
fn rows_and_fields() {
    let table = table();
    table.columns(&[
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
        "IP*",
        "Node*",
        "Nominated Node*",
        "Readiness Gates*",
    ]);
    table.rows(&[
        (json!({}), json!(["p", "0/1", "Pending", "0", "60m", "<none>", "<none>", "<none>", "<none>"])),
        (
            json!({"spec.nodeName": "n", "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2, "state": {"running": {}}}]}}),
            json!(["p", "1/1", "Running", "2", "60m", "10.0.0.1", "n", "<none>", "<none>"]),
        ),
    ]);
    table.selectable(&[
        ("spec.nodeName", ""),
        ("spec.restartPolicy", "Always"),
        ("spec.schedulerName", "default-scheduler"),
        ("spec.serviceAccountName", ""),
        ("spec.hostNetwork", "false"),
        ("status.phase", "Pending"),
        ("status.podIP", ""),
        ("status.nominatedNodeName", ""),
    ]);
}
