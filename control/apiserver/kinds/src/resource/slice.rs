//! ResourceSlices: the devices of a driver's pool, as many as fit one object.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::device::{self, required_label, validate_counters};
use super::{GROUP, each_unique, formats, own_name};
use crate::pod::scheduling::validate_node_selector;
use crate::shared::access::{
    at, default_text, drop_nulls, entries, flag, has, int, list, list_mut, remove, text,
};
use crate::shared::formats::{driver_name, subdomain};
use crate::shared::quantities::canonical;
use crate::shared::rules::immutable;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, Generation, Strategy, generic};

static FACTS: Facts =
    Facts::cluster(GROUP, "ResourceSlice", "resourceslices").with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column("Node", "string", "NodeName identifies the node which provides the resources in this pool."),
    column("Driver", "string", "Driver identifies the DRA driver providing the capacity information."),
    column("Pool", "string", "Name is used to identify the pool."),
    AGE,
];
const DEVICES_MAX: usize = 128;
/// The most devices when any has taints or consumes counters, which take more room.
const DEVICES_MAX_ADVANCED: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
/// The lists of values of an attribute, behind a gate that is off.
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
const MAPPINGS: &str = "nodeAllocatableResourceMappings";

/// The strategy of ResourceSlices.
pub struct ResourceSlice;

fn devices(obj: &Value) -> &[Value] {
    list(obj, &["spec", "devices"])
}

fn uses_lists(obj: &Value) -> bool {
    let mut attributes = devices(obj).iter().flat_map(|device| entries(device, &["attributes"]));
    attributes.any(|(_, attribute)| LISTS.iter().any(|key| has(attribute, &[key])))
}

/// Drops what gates that are off guard, unless the stored object has it; dates new taints.
fn prepare(obj: &mut Value, old: &Value, now: Timestamp) {
    let keep_lists = uses_lists(old);
    let keep_mappings = devices(old).iter().any(|device| has(device, &[MAPPINGS]));
    for device in list_mut(obj, &["spec", "devices"]) {
        if !keep_mappings {
            remove(device, &[MAPPINGS]);
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flat_map(|map| map.values_mut()).filter(|_| !keep_lists) {
            LISTS.iter().for_each(|key| remove(attribute, &[key]));
        }
        for taint in list_mut(device, &["taints"]).filter(|taint| taint.is_object()) {
            default_text(taint, &["timeAdded"], &xebec_api::time::format_rfc3339_seconds(now));
        }
    }
}

fn validate_pool(pool: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = formats::pool_name(text(pool, &["name"]), &path.child("name"));
    let number = |key: &str| int(pool, &[key]).unwrap_or(0);
    if number("resourceSliceCount") <= 0 {
        let path = path.child("resourceSliceCount");
        errors.push(FieldError::invalid(&path, number("resourceSliceCount"), "must be greater than zero"));
    }
    if number("generation") < 0 {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&path.child("generation"), number("generation"), detail));
    }
    errors
}

/// The nodes that have the devices: exactly one of four ways.
fn validate_nodes(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut given = Vec::new();
    match at(spec, &["nodeName"]).as_str() {
        None => {}
        Some("") => {
            let detail = "must be either unset or set to a non-empty string";
            errors.push(FieldError::invalid(&path.child("nodeName"), "", detail));
        }
        Some(node) => {
            given.push("`nodeName`");
            errors.extend(subdomain(node, &path.child("nodeName")));
        }
    }
    if has(spec, &["nodeSelector"]) {
        given.push("`nodeSelector`");
        let selector_path = path.child("nodeSelector");
        errors.extend(validate_node_selector(at(spec, &["nodeSelector"]), &selector_path));
        let terms = list(spec, &["nodeSelector", "nodeSelectorTerms"]);
        if terms.len() != 1 {
            let detail = "must have exactly one node selector term";
            errors.push(FieldError::invalid(&selector_path.child("nodeSelectorTerms"), terms, detail));
        }
    }
    for (key, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match at(spec, &[key]) {
            Value::Null => {}
            Value::Bool(true) => given.push(shown),
            other => {
                let detail = "must be either unset or set to true";
                errors.push(FieldError::invalid(&path.child(key), other, detail));
            }
        }
    }
    let detail =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match given.len() {
        0 => errors.push(FieldError::required(path, detail)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", given.join(", "));
            errors.push(FieldError::invalid(path, shown, format!("{detail}, but multiple fields are set")));
        }
    }
    errors
}

fn validate_all(obj: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    errors.extend(driver_name(text(spec, &["driver"]), &path.child("driver")));
    errors.extend(validate_pool(at(spec, &["pool"]), &path.child("pool")));
    if let Some(old) = old.map(|old| at(old, &["spec"])) {
        let pool_path = path.child("pool").child("name");
        errors.extend(immutable(at(spec, &["pool", "name"]), at(old, &["pool", "name"]), &pool_path));
        for key in ["driver", "nodeName"] {
            errors.extend(immutable(at(spec, &[key]), at(old, &[key]), &path.child(key)));
        }
    }
    errors.extend(validate_nodes(spec, &path));
    if has(spec, &["sharedCounters"]) && has(spec, &["devices"]) {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(&path, "", detail));
    }
    let any = |key: &str| devices(obj).iter().any(|device| !list(device, &[key]).is_empty());
    let advanced = any("taints") || any("consumesCounters") || uses_lists(obj);
    let max = if advanced { DEVICES_MAX_ADVANCED } else { DEVICES_MAX };
    let own_nodes = flag(spec, &["perDeviceNodeSelection"]);
    errors.extend(each_unique(devices(obj), max, &path.child("devices"), own_name, |found, path| {
        let before = old.and_then(|old| devices(old).iter().find(|device| device["name"] == found["name"]));
        device::validate(found, before, own_nodes, path)
    }));
    let sets = list(spec, &["sharedCounters"]);
    let sets_path = path.child("sharedCounters");
    errors.extend(each_unique(sets, COUNTER_SETS_MAX, &sets_path, own_name, |set, path| {
        let mut errors = required_label(text(set, &["name"]), &path.child("name"));
        errors.extend(validate_counters(set, path));
        errors
    }));
    errors
}

impl Strategy for ResourceSlice {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        for device in list_mut(obj, &["spec", "devices"]) {
            let capacities = device.get_mut("capacity").and_then(Value::as_object_mut);
            for capacity in capacities.into_iter().flat_map(|map| map.values_mut()) {
                capacity.get_mut("value").into_iter().for_each(canonical);
            }
        }
    }

    fn prepare_for_create(&self, ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        prepare(obj, &Value::Null, ctx.now);
    }

    fn prepare_for_update(&self, ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        prepare(obj, old, ctx.now);
        generic::prepare_for_update(&FACTS, obj, old);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        validate_all(obj, None)
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_all(obj, Some(old));
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors
    }

    fn selectable_field_names(&self) -> &[&str] {
        &["spec.driver", "spec.nodeName"]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let driver = text(obj, &["spec", "driver"]);
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        let quoted = xebec_api::gotext::quote(driver);
        vec![format!("spec.driver: driver names should be lowercase; {quoted} contains uppercase characters")]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let part = |path: &[&str]| json!(text(obj, path));
        vec![
            name(obj),
            part(&["spec", "nodeName"]),
            part(&["spec", "driver"]),
            part(&["spec", "pool", "name"]),
            age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests {
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
        let one =
            "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
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
}
