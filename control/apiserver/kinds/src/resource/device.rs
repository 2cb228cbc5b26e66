//! One device of a slice.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::formats::{KEY_MAX_BYTES, qualified, shown_key};
use super::rules::{validate_binding_conditions, validate_taint};
use super::{capacity, each, each_unique};
use crate::pod::scheduling::validate_node_selector;
use crate::shared::access::{at, entries, flag, has, list, text};
use crate::shared::formats::{label, subdomain};

const ATTRIBUTES_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const CONSUMPTIONS_MAX: usize = 2;
/// The most counters of a set, and of a device's consumption of one.
pub const COUNTERS_MAX: usize = 32;
const VALUE_MAX_BYTES: usize = 64;

/// Every error of a device; `old` is the device of that name before an update.
pub fn validate(device: &Value, old: Option<&Value>, own_nodes: bool, path: &Path) -> Vec<FieldError> {
    let changed = |key: &str| old.is_none_or(|old| at(old, &[key]) != at(device, &[key]));
    let mut errors = label(text(device, &["name"]), &path.child("name"));
    let count = entries(device, &["attributes"]).count() + entries(device, &["capacity"]).count();
    if count > ATTRIBUTES_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.push(FieldError::invalid(path, count, detail));
    }
    let attributes_path = path.child("attributes");
    for (key, attribute) in entries(device, &["attributes"]) {
        errors.extend(qualified(key, &attributes_path));
        errors.extend(validate_attribute(attribute, &attributes_path.key(&shown_key(key, KEY_MAX_BYTES))));
    }
    if changed("capacity") {
        let shared = flag(device, &["allowMultipleAllocations"]);
        let path = path.child("capacity");
        for (key, found) in entries(device, &["capacity"]) {
            errors.extend(qualified(key, &path));
            errors.extend(capacity::validate(found, shared, &path.key(&shown_key(key, KEY_MAX_BYTES))));
        }
    }
    if changed("taints") {
        let taints = list(device, &["taints"]);
        errors.extend(each(taints, TAINTS_MAX, &path.child("taints"), validate_taint));
    }
    let consumed = list(device, &["consumesCounters"]);
    let set = |consumption: &Value| text(consumption, &["counterSet"]).to_owned();
    let consumed_path = path.child("consumesCounters");
    errors.extend(each_unique(consumed, CONSUMPTIONS_MAX, &consumed_path, set, |consumption, path| {
        let mut errors = required_label(text(consumption, &["counterSet"]), &path.child("counterSet"));
        errors.extend(validate_counters(consumption, path));
        errors
    }));
    errors.extend(validate_nodes(device, own_nodes, path));
    errors.extend(validate_binding_conditions(device, path));
    errors
}

/// The errors of a required DNS label.
pub fn required_label(name: &str, path: &Path) -> Vec<FieldError> {
    match name {
        "" => vec![FieldError::required(path, "")],
        name => label(name, path),
    }
}

/// The errors of the counters of a set or of a consumption.
pub fn validate_counters(holder: &Value, path: &Path) -> Vec<FieldError> {
    let path = path.child("counters");
    match entries(holder, &["counters"]).count() {
        0 => vec![FieldError::required(&path, "")],
        count if count > COUNTERS_MAX => vec![FieldError::too_many(&path, count, COUNTERS_MAX)],
        _ => entries(holder, &["counters"]).flat_map(|(name, _)| label(name, &path)).collect(),
    }
}

fn validate_attribute(attribute: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let given = ["bool", "int", "string", "version"].iter().filter(|key| has(attribute, &[key])).count();
    let too_long = |key: &str| text(attribute, &[key]).len() > VALUE_MAX_BYTES;
    if too_long("string") {
        errors.push(FieldError::too_long(&path.child("string"), VALUE_MAX_BYTES));
    }
    if let Some(version) = at(attribute, &["version"]).as_str() {
        if !is_semver(version) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid(&path.child("version"), version, detail));
        }
        if too_long("version") {
            errors.push(FieldError::too_long(&path.child("version"), VALUE_MAX_BYTES));
        }
    }
    let detail = "exactly one value must be specified";
    match given {
        0 => errors.push(FieldError::invalid(path, "", detail)),
        1 => {}
        _ => errors.push(FieldError::invalid(path, attribute, detail)),
    }
    errors
}

/// True for `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]` as semver.org 2.0.0 has it.
fn is_semver(version: &str) -> bool {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric());
    let identifier = |part: &str| word(part) && (number(part) || !part.bytes().all(|b| b.is_ascii_digit()));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(identifier))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// The nodes that have the device: given here when the slice leaves it to each device, and only then.
fn validate_nodes(device: &Value, own_nodes: bool, path: &Path) -> Vec<FieldError> {
    let keys = ["nodeName", "nodeSelector", "allNodes"];
    if !own_nodes {
        if !keys.iter().any(|key| has(device, &[key])) {
            return Vec::new();
        }
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        return vec![FieldError::invalid(path, Value::Null, detail)];
    }
    let mut errors = Vec::new();
    let mut given = Vec::new();
    match at(device, &["nodeName"]).as_str() {
        None => {}
        Some("") => {
            errors.push(FieldError::invalid(&path.child("nodeName"), "", "must not be empty"));
        }
        Some(node) => {
            given.push("`nodeName`");
            errors.extend(subdomain(node, &path.child("nodeName")));
        }
    }
    if has(device, &["nodeSelector"]) {
        given.push("`nodeSelector`");
        errors.extend(validate_node_selector(at(device, &["nodeSelector"]), &path.child("nodeSelector")));
    }
    match at(device, &["allNodes"]) {
        Value::Null => {}
        Value::Bool(true) => given.push("`allNodes`"),
        other => {
            let detail = "must be either unset or set to true";
            errors.push(FieldError::invalid(&path.child("allNodes"), other, detail));
        }
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match given.len() {
        0 => errors.push(FieldError::required(path, detail)),
        1 => {}
        _ => errors.push(FieldError::invalid(path, json!(format!("{{{}}}", given.join(", "))), detail)),
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["1.2.3", "0.0.0", "1.0.0-alpha.1", "1.0.0-0a+b.01", "1.0.0+x-y"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3.4"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
