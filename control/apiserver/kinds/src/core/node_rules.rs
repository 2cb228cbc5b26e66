//! What a Node must say.
//!
//! Authority: pkg/apis/core/validation (ValidateNode, ValidateNodeUpdate). As upstream, a taint's error names
//! `metadata.taints`, although taints lie in the spec.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::NameRule;
use crate::pod::resources::validate_quantity;
use crate::pod::scheduling::TAINT_EFFECTS;
use crate::shared::access::{at, entries, has, int, list, text, texts};
use crate::shared::addresses::validate_cidr;
use crate::shared::labels::validate_label_name;
use crate::shared::meta::name_messages;
use crate::shared::rules::{TextRule, invalid_each, one_of};

/// Every error of a Node, its metadata aside.
pub fn validate(node: &Value) -> Vec<FieldError> {
    let mut errors = validate_taints(node);
    errors.extend(validate_amounts(node));
    let swap = ["status", "nodeInfo", "swap", "capacity"];
    if let Some(capacity) = int(node, &swap).filter(|capacity| *capacity <= 0) {
        // Upstream files this under the metadata.
        let path = Path::new("metadata").child("nodeSwapStatus").child("capacity");
        errors.push(FieldError::invalid(&path, capacity, "must be greater than zero"));
    }
    errors.extend(validate_ranges(node));
    errors
}

/// Every error of a write to a Node or to its status, its metadata aside.
pub fn validate_update(node: &Value, old: &Value) -> Vec<FieldError> {
    let (spec, path) = (at(node, &["spec"]), Path::new("spec"));
    let mut errors = validate_amounts(node);
    let mut addresses = BTreeSet::new();
    for (index, address) in list(node, &["status", "addresses"]).iter().enumerate() {
        if !addresses.insert((text(address, &["type"]), text(address, &["address"]))) {
            let path = Path::new("status").child("addresses").index(index);
            errors.push(FieldError::duplicate(&path, address));
        }
    }
    let (ranges, before) = (texts(spec, &["podCIDRs"]), texts(old, &["spec", "podCIDRs"]));
    if !before.is_empty() {
        // One error for each range that differs.
        let changed = before.iter().zip(&ranges).filter(|(before, now)| before != now).count();
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        for _ in 0..if before.len() == ranges.len() { changed } else { 1 } {
            errors.push(FieldError::forbidden(&path.child("podCIDRs"), detail));
        }
    }
    let provider = text(old, &["spec", "providerID"]);
    if !provider.is_empty() && provider != text(spec, &["providerID"]) {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("providerID"), detail));
    }
    if has(spec, &["configSource"]) {
        errors.extend(validate_source(at(spec, &["configSource"]), false, &path.child("configSource")));
    }
    for key in ["assigned", "active", "lastKnownGood"] {
        let source = at(node, &["status", "config", key]);
        if !source.is_null() {
            errors.extend(validate_source(source, true, &Path::new("status").child("config").child(key)));
        }
    }
    errors.extend(validate_taints(node));
    if text(spec, &["externalID"]) != text(old, &["spec", "externalID"]) {
        errors.push(FieldError::forbidden(&path.child("externalID"), "may not be updated"));
    }
    errors
}

fn validate_taints(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in list(node, &["spec", "taints"]).iter().enumerate() {
        let path = Path::new("metadata").child("taints").index(index);
        errors.extend(validate_label_name(text(taint, &["key"]), &path.child("key")));
        let value = text(taint, &["value"]);
        let messages = names::is_label_value(value);
        if !messages.is_empty() {
            errors.push(FieldError::invalid(&path.child("value"), value, messages.join(";")));
        }
        errors.extend(one_of(taint, "effect", TAINT_EFFECTS, &path));
        if !seen.insert((text(taint, &["key"]), text(taint, &["effect"]))) {
            let detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(FieldError { detail, ..FieldError::duplicate(&path, taint) });
        }
    }
    errors
}

fn validate_amounts(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in ["capacity", "allocatable"] {
        for (resource, amount) in entries(node, &["status", key]) {
            let path = Path::new("status").child(key).child(resource);
            errors.extend(validate_quantity(resource, amount, &path));
        }
    }
    errors
}

/// One address range for each family.
fn validate_ranges(node: &Value) -> Vec<FieldError> {
    let ranges = texts(node, &["spec", "podCIDRs"]);
    let path = Path::new("spec").child("podCIDRs");
    let mut errors = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        errors.extend(validate_cidr(range, &[], &path.index(index)));
    }
    if ranges.len() < 2 {
        return errors;
    }
    let families: BTreeSet<bool> = ranges.iter().map(|range| range.contains(':')).collect();
    if families.len() < 2 || ranges.len() > 2 || !errors.is_empty() {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(&path, json!(ranges), detail));
    }
    for (index, range) in ranges.iter().enumerate().filter(|(index, range)| ranges[..*index].contains(range))
    {
        errors.push(FieldError::duplicate(&path.index(index), range));
    }
    errors
}

/// A reference to a ConfigMap with a kubelet's configuration: what is asked for (in the spec) or what was found.
fn validate_source(source: &Value, found: bool, path: &Path) -> Vec<FieldError> {
    let map = at(source, &["configMap"]);
    if map.is_null() {
        return vec![FieldError::invalid(path, source, "exactly one reference subfield must be non-nil")];
    }
    let path = path.child("configMap");
    let mut errors = Vec::new();
    for key in ["uid", "resourceVersion"] {
        match (found, text(map, &[key]).is_empty()) {
            (true, true) => {
                errors.push(FieldError::required(&path.child(key), ""));
            }
            (false, false) => {
                errors
                    .push(FieldError::forbidden(&path.child(key), format!("{key} must not be set in spec")));
            }
            _ => {}
        }
    }
    let rules: [(&str, TextRule); 3] = [
        ("namespace", |name| name_messages(NameRule::Label, name)),
        ("name", names::is_dns1123_subdomain),
        ("kubeletConfigKey", names::is_config_map_key),
    ];
    for (key, rule) in rules {
        match text(map, &[key]) {
            "" => errors.push(FieldError::required(&path.child(key), "")),
            value => errors.extend(invalid_each(&path.child(key), value, rule(value))),
        }
    }
    errors
}
