//! ResourceSlices, case by case.

use super::*;
use crate::testing::Table;

fn base() -> Value {
    json!({"spec": {
        "driver": "x.y", "nodeName": "n",
        "pool": {"name": "p", "resourceSliceCount": 1, "generation": 0},
        "devices": [{"name": "d", "attributes": {"a": {"int": 1}}, "capacity": {"m": {"value": "1024Mi"}}}]
    }})
}

#[test]
fn defaults_table_and_selectors() {
    let table = Table::of(&ResourceSlice, base());
    table.defaults(&[
        (json!({}), json!({"spec.devices[0].capacity.m.value": "1Gi", "metadata.generation": 1})),
        (
            json!({"spec.devices[0].taints": [{"key": "k", "effect": "NoSchedule"}]}),
            json!({"spec.devices[0].taints[0].timeAdded": "2026-01-01T01:00:00Z"}),
        ),
        (
            json!({"spec.devices[0].attributes.a.ints": [1], "spec.devices[0].nodeAllocatableResourceMappings": {"cpu": {}}}),
            json!({"spec.devices[0].attributes.a": {"int": 1}, "spec.devices[0].nodeAllocatableResourceMappings": null}),
        ),
    ]);
    table.columns(&["Name", "Node", "Driver", "Pool", "Age"]);
    table.rows(&[(json!({}), json!(["a", "n", "x.y", "p", "60m"]))]);
    table.selectable(&[("spec.driver", "x.y"), ("spec.nodeName", "n")]);
    table.generation(&[
        (json!({"spec.pool.generation": 1}), true),
        (json!({"metadata.labels": {"a": "b"}}), false),
    ]);
    assert_eq!(
        ResourceSlice.warnings(&json!({"spec": {"driver": "X.y"}})),
        ["spec.driver: driver names should be lowercase; \"X.y\" contains uppercase characters"]
    );
}

#[test]
fn slices_are_checked() {
    let table = Table::of(&ResourceSlice, base());
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    table.valid(&[
        ("all nodes", json!({"spec.nodeName": null, "spec.allNodes": true})),
        ("counters", json!({"spec.devices": null, "spec.sharedCounters": [{"name": "c", "counters": {"m": {"value": "1"}}}]})),
        (
            "each its own nodes",
            json!({"spec.nodeName": null, "spec.perDeviceNodeSelection": true, "spec.devices[0].allNodes": true}),
        ),
    ]);
    table.invalid(&[
        (
            "the pool",
            json!({"spec.pool": {"generation": -1}}),
            &[
                "spec.pool.name: Required value",
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            ],
        ),
        ("no nodes", json!({"spec.nodeName": null}), &[&format!("spec: Required value: {one}")]),
        (
            "two ways",
            json!({"spec.allNodes": true}),
            &[&format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {one}, but multiple fields are set")],
        ),
        (
            "said as false",
            json!({"spec.allNodes": false, "spec.nodeName": ""}),
            &[
                "spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string",
                "spec.allNodes: Invalid value: false: must be either unset or set to true",
                &format!("spec: Required value: {one}"),
            ],
        ),
        (
            "an empty node selector",
            json!({"spec.nodeName": null, "spec.nodeSelector": {}}),
            &[
                "spec.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
                "spec.nodeSelector.nodeSelectorTerms: Invalid value: []: must have exactly one node selector term",
            ],
        ),
        (
            "counters and devices",
            json!({"spec.sharedCounters": [{"name": "c", "counters": {"m": {"value": "1"}}}]}),
            &["spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed"],
        ),
        (
            "counters of nothing",
            json!({"spec.devices": null, "spec.sharedCounters": [{}]}),
            &["spec.sharedCounters[0].name: Required value", "spec.sharedCounters[0].counters: Required value"],
        ),
        (
            "a device twice",
            json!({"spec.devices[1]": {"name": "d"}}),
            &["spec.devices[1]: Duplicate value: \"d\""],
        ),
    ]);
    let many = |extra: Value| {
        let devices: Vec<Value> = (0..65).map(|index| json!({"name": format!("d{index}")})).collect();
        let mut patch = json!({"spec.devices": devices});
        patch.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        patch
    };
    table.valid(&[("65 plain devices", many(json!({})))]);
    table.invalid(&[(
        "65 devices with a taint",
        many(json!({"spec.devices[0].taints": [{"key": "k", "effect": "None"}]})),
        &["spec.devices: Too many: 65: must have at most 64 items"],
    )]);
}

#[test]
fn devices_are_checked() {
    let table = Table::of(&ResourceSlice, base());
    let device = |key: &str, value: Value| json!({format!("spec.devices[0].{key}"): value});
    let attributes: serde_json::Map<String, Value> =
        (0..32).map(|index| (format!("a{index}"), json!({"bool": true}))).collect();
    table.invalid(&[
        (
            "many attributes",
            device("attributes", json!(attributes)),
            &["spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32"],
        ),
        (
            "attributes of none and two values",
            device("attributes", json!({"a": {}, "b": {"int": 1, "bool": true}})),
            &[
                "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified",
                "spec.devices[0].attributes[b]: Invalid value: {\"bool\":true,\"int\":1}: exactly one value must be specified",
            ],
        ),
        (
            "their values",
            device("attributes", json!({"a": {"string": "x".repeat(65)}, "b": {"version": "1"}})),
            &[
                "spec.devices[0].attributes[a].string: Too long: may not be more than 64 bytes",
                "spec.devices[0].attributes[b].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
            ],
        ),
        (
            "a capacity's policy",
            device("capacity", json!({"m": {"value": "1", "requestPolicy": {"default": "1"}}})),
            &["spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
        ),
        (
            "a taint",
            device("taints", json!([{"key": "k", "value": "v", "effect": "Pain"}, {"key": "k"}])),
            &[
                "spec.devices[0].taints[0].effect: Unsupported value: \"Pain\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
                "spec.devices[0].taints[1].effect: Required value",
            ],
        ),
        (
            "counters",
            device("consumesCounters", json!([{}])),
            &[
                "spec.devices[0].consumesCounters[0].counterSet: Required value",
                "spec.devices[0].consumesCounters[0].counters: Required value",
            ],
        ),
        (
            "nodes of its own",
            device("allNodes", json!(true)),
            &["spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"],
        ),
        (
            "no nodes of its own",
            json!({"spec.nodeName": null, "spec.perDeviceNodeSelection": true}),
            &["spec.devices[0]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"],
        ),
        (
            "binding conditions",
            json!({"spec.devices[0].bindingConditions": ["a", "a"], "spec.devices[0].bindingFailureConditions": ["a"]}),
            &[
                "spec.devices[0].bindingConditions[1]: Duplicate value: \"a\"",
                "spec.devices[0].bindingFailureConditions[0]: Invalid value: \"a\": bindingFailureConditions must not overlap with bindingConditions",
            ],
        ),
    ]);
}

#[test]
fn updates() {
    let table = Table::of(&ResourceSlice, base());
    table.updates(&[
        ("another device", json!({"spec.devices[1]": {"name": "e"}}), &[]),
        (
            "what is fixed",
            json!({"spec.pool.name": "q", "spec.driver": "z", "spec.nodeName": "m"}),
            &[
                "spec.pool.name: Invalid value: \"q\": field is immutable",
                "spec.driver: Invalid value: \"z\": field is immutable",
                "spec.nodeName: Invalid value: \"m\": field is immutable",
            ],
        ),
    ]);
    let old = json!({"spec.devices[0].capacity.m.requestPolicy": {"default": "1"}});
    table.updates_of(
        &old,
        &[("an unchanged capacity is not checked again", json!({"spec.pool.generation": 2}), &[])],
    );
}
