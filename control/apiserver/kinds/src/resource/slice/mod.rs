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
mod tests;
