//! Tables of Nodes.

use serde_json::json;

use crate::Strategy;
use crate::core::node::Node;
use crate::testing::{Table, patched};

const ONE_OF_EACH: &str = "may specify no more than one CIDR for each IP family";
const FIXED_RANGE: &str =
    "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid";

fn table() -> Table<'static> {
    Table::of(
        &Node,
        json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.0.0/24", "providerID": "cloud://n",
            "taints": [{"key": "a", "effect": "NoSchedule"}]}, "status": {"capacity": {"cpu": "2000m"}}}),
    )
}

#[test]
fn defaults_and_new_nodes() {
    let table = table();
    table.defaults(&[
        (
            json!({}),
            json!({"spec.podCIDRs": ["10.1.0.0/24"], "status.capacity.cpu": "2", "status.allocatable": {"cpu": "2"}}),
        ),
        (json!({"spec.podCIDR": null, "spec.podCIDRs": ["10.2.0.0/24"]}), json!({"spec.podCIDR": "10.2.0.0/24"})),
        (
            json!({"spec.configSource": {"configMap": {"name": "m"}}, "status.config": {"error": "e"}}),
            json!({"spec.configSource": null, "status.config": null}),
        ),
        (json!({"spec": null, "status": null}), json!({"spec": {}, "status": {}})),
    ]);
    table.valid(&[
        ("two families", json!({"spec.podCIDRs": ["10.1.0.0/24", "fd00::/64"]})),
        ("one taint with two effects", json!({"spec.taints[1]": {"key": "a", "effect": "NoExecute"}})),
    ]);
    table.invalid(&[
        (
            "taints",
            json!({"spec.taints": [{"key": "-", "value": "/", "effect": "Never"}, {"key": "b"}]}),
            &[
                "metadata.taints[0].key: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "metadata.taints[0].value: Invalid value: \"/\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                "metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                "metadata.taints[1].effect: Required value",
            ],
        ),
        (
            "a taint twice",
            json!({"spec.taints[1]": {"key": "a", "value": "v", "effect": "NoSchedule"}}),
            &["metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\",\"value\":\"v\"}: taints must be unique by key and effect pair"],
        ),
        (
            "no range",
            json!({"spec.podCIDR": "x", "spec.podCIDRs": ["x"]}),
            &["spec.podCIDRs[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"],
        ),
        (
            "a family twice",
            json!({"spec.podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]}),
            &[&format!("spec.podCIDRs: Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: {ONE_OF_EACH}")],
        ),
        (
            "three ranges",
            json!({"spec.podCIDRs": ["10.1.0.0/24", "fd00::/64", "10.1.0.0/24"]}),
            &[
                &format!("spec.podCIDRs: Invalid value: [\"10.1.0.0/24\",\"fd00::/64\",\"10.1.0.0/24\"]: {ONE_OF_EACH}"),
                "spec.podCIDRs[2]: Duplicate value: \"10.1.0.0/24\"",
            ],
        ),
        (
            "swap",
            json!({"status.nodeInfo.swap.capacity": 0}),
            &["metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero"],
        ),
        (
            "amounts",
            json!({"status.capacity": {"cpu": "-1"}, "status.allocatable": {"pods": "500m"}}),
            &[
                "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
                "status.allocatable.pods: Invalid value: \"500m\": must be an integer",
            ],
        ),
    ]);
}

#[test]
fn warnings() {
    let node = patched(
        table().stored(),
        &json!({"spec.configSource": {}, "spec.externalID": "x", "spec.podCIDRs": ["10.1.0.0/24", "FD00::/64"]}),
    );
    assert_eq!(
        Node.warnings(&node),
        [
            "spec.configSource: the feature is removed",
            "spec.externalID: this field is deprecated, and is unused by Kubernetes",
            "spec.podCIDRs[1]: IPv6 CIDR value \"FD00::/64\" should be in RFC 5952 canonical format (\"fd00::/64\")",
        ]
    );
}

#[test]
fn updates() {
    let table = table();
    table.updates(&[
        ("unschedulable", json!({"spec.unschedulable": true, "spec.taints": null}), &[]),
        ("another range", json!({"spec.podCIDRs": ["10.2.0.0/24"]}), &[FIXED_RANGE]),
        ("one more range", json!({"spec.podCIDRs[1]": "fd00::/64"}), &[FIXED_RANGE]),
        (
            "the provider",
            json!({"spec.providerID": "cloud://m"}),
            &["spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid"],
        ),
        (
            "the old identity",
            json!({"spec.externalID": "x"}),
            &["spec.externalID: Forbidden: may not be updated"],
        ),
        ("no configuration", json!({"spec.configSource": {}}), &[]),
    ]);
    table.updates_of(
        &json!({"spec.podCIDR": null, "spec.podCIDRs": null, "spec.providerID": null}),
        &[("a first range", json!({"spec.podCIDRs": ["10.2.0.0/24"], "spec.providerID": "cloud://m"}), &[])],
    );
    let map = json!({"name": "m", "namespace": "ns", "kubeletConfigKey": "k"});
    let none = "Invalid value: {}: exactly one reference subfield must be non-nil";
    table.updates_of(
        &json!({"spec.configSource": {"configMap": map}}),
        &[
            ("kept", json!({}), &[]),
            ("emptied", json!({"spec.configSource": {}}), &[&format!("spec.configSource: {none}")]),
            (
                "everything wrong",
                json!({"spec.configSource.configMap": {"uid": "u", "resourceVersion": "1", "namespace": "a.b", "kubeletConfigKey": ".."}}),
                &[
                    "spec.configSource.configMap.uid: Forbidden: uid must not be set in spec",
                    "spec.configSource.configMap.resourceVersion: Forbidden: resourceVersion must not be set in spec",
                    "spec.configSource.configMap.namespace: Invalid value: \"a.b\": must not contain dots",
                    "spec.configSource.configMap.name: Required value",
                    "spec.configSource.configMap.kubeletConfigKey: Invalid value: \"..\": must not be '..'",
                ],
            ),
        ],
    );
    table.status(&[
        ("ready", json!({"status.conditions": [{"type": "Ready", "status": "True"}]}), &[]),
        (
            "an address twice",
            json!({"status.addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "10.0.0.1"}]}),
            &["status.addresses[1]: Duplicate value: {\"address\":\"10.0.0.1\",\"type\":\"InternalIP\"}"],
        ),
        (
            "amounts",
            json!({"status.capacity.cpu": "-1"}),
            &["status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
    ]);
    table.status_of(
        &json!({"status.config": {"active": {"configMap": map}}}),
        &[(
            "without identity",
            json!({"status.config.assigned": {}}),
            &[
                &format!("status.config.assigned: {none}"),
                "status.config.active.configMap.uid: Required value",
                "status.config.active.configMap.resourceVersion: Required value",
            ],
        )],
    );
    table.status_is_separate(&json!({"status.phase": "x"}), &json!({"spec.unschedulable": true}));
}
