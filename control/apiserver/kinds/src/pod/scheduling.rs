//! What places a pod: tolerations, node and pod affinity, topology spread, scheduling gates.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::match_keys;
use crate::shared::access::{at, has, int, list, text, texts};
use crate::shared::labels::{validate_label_name, validate_selector};
use crate::shared::rules::{invalid_each, one_of_given, one_of_or_missing};

const NOT_POSITIVE: &str = "must be greater than zero";

/// The effects of taints.
pub const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Every error of scheduling gates.
pub fn validate_gates(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut gates = BTreeSet::new();
    for (index, gate) in list(spec, &["schedulingGates"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(gate, &["name"]);
        errors.extend(invalid_each(&path, name, names::is_qualified_name(name)));
        if !gates.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
    errors
}

/// Every error of tolerations.
pub fn validate_tolerations(tolerations: &[Value], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator, value, effect) = (
            text(toleration, &["key"]),
            text(toleration, &["operator"]),
            text(toleration, &["value"]),
            text(toleration, &["effect"]),
        );
        if !key.is_empty() {
            errors.extend(validate_label_name(key, &path.child("key")));
        } else if operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&path.child("operator"), operator, detail));
        }
        if has(toleration, &["tolerationSeconds"]) && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&path.child("effect"), effect, detail));
        }
        match operator {
            "" | "Equal" => {
                let messages = names::is_label_value(value);
                if !messages.is_empty() {
                    errors.push(FieldError::invalid(&path.child("operator"), value, messages.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(&path.child("operator"), value, detail));
            }
            "Exists" => {}
            _ => {
                errors.push(FieldError::not_supported(
                    &path.child("operator"),
                    operator,
                    &["Equal", "Exists"],
                ));
            }
        }
        if !effect.is_empty() {
            errors.extend(one_of_given(toleration, "effect", TAINT_EFFECTS, &path));
        }
    }
    errors
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Every error of `affinity`.
pub fn validate_affinity(affinity: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let node = at(affinity, &["nodeAffinity"]);
    let node_path = path.child("nodeAffinity");
    if has(node, &[REQUIRED]) {
        errors.extend(validate_node_selector(at(node, &[REQUIRED]), &node_path.child(REQUIRED)));
    }
    for (index, term) in list(node, &[PREFERRED]).iter().enumerate() {
        let path = node_path.child(PREFERRED).index(index);
        errors.extend(validate_weight(term, &path));
        errors.extend(validate_node_term(at(term, &["preference"]), false, &path.child("preference")));
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let (pods, path) = (at(affinity, &[key]), path.child(key));
        for (index, term) in list(pods, &[REQUIRED]).iter().enumerate() {
            errors.extend(validate_pod_term(term, &path.child(REQUIRED).index(index)));
        }
        for (index, term) in list(pods, &[PREFERRED]).iter().enumerate() {
            let path = path.child(PREFERRED).index(index);
            errors.extend(validate_weight(term, &path));
            errors.extend(validate_pod_term(at(term, &["podAffinityTerm"]), &path.child("podAffinityTerm")));
        }
    }
    errors
}

fn validate_weight(term: &Value, path: &Path) -> Vec<FieldError> {
    let weight = int(term, &["weight"]).unwrap_or(0);
    if (1..=100).contains(&weight) {
        Vec::new()
    } else {
        vec![FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100")]
    }
}

/// Every error of a node selector: its terms are or'ed, a selector needs at least one.
pub fn validate_node_selector(selector: &Value, path: &Path) -> Vec<FieldError> {
    let path = path.child("nodeSelectorTerms");
    let terms = list(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        return vec![FieldError::required(&path, "must have at least one node selector term")];
    }
    let check = |(index, term)| validate_node_term(term, true, &path.index(index));
    terms.iter().enumerate().flat_map(check).collect()
}

/// A preference may hold values no label can have: nothing but a preference is lost.
fn validate_node_term(term: &Value, strict: bool, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, requirement) in list(term, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        errors.extend(validate_node_requirement(requirement, &path));
        errors.extend(validate_label_name(text(requirement, &["key"]), &path.child("key")));
        for (index, value) in texts(requirement, &["values"]).iter().enumerate().filter(|_| strict) {
            let path = path.child("values").index(index);
            errors.extend(invalid_each(&path, value, names::is_label_value(value)));
        }
    }
    for (index, requirement) in list(term, &["matchFields"]).iter().enumerate() {
        let path = path.child("matchFields").index(index);
        let values = texts(requirement, &["values"]);
        match text(requirement, &["operator"]) {
            "In" | "NotIn" if values.len() != 1 => {
                let detail =
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "In" | "NotIn" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(&path.child("operator"), other, detail));
            }
        }
        match text(requirement, &["key"]) {
            "metadata.name" => {
                for (index, value) in values.iter().enumerate() {
                    let messages = names::is_dns1123_subdomain(value);
                    errors.extend(invalid_each(&path.child("values").index(index), value, messages));
                }
            }
            key => {
                let detail = "not a valid field selector key";
                errors.push(FieldError::invalid(&path.child("key"), key, detail));
            }
        }
    }
    errors
}

fn validate_node_requirement(requirement: &Value, path: &Path) -> Vec<FieldError> {
    let values = texts(requirement, &["values"]);
    let values_path = path.child("values");
    let error = match text(requirement, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            FieldError::required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'")
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => FieldError::forbidden(
            &values_path,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        "Gt" | "Lt" if values.len() != 1 => FieldError::required(
            &values_path,
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        ),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => return Vec::new(),
        other => FieldError::invalid(&path.child("operator"), other, "not a valid selector operator"),
    };
    vec![error]
}

fn validate_pod_term(term: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_selector(at(term, &["labelSelector"]), &path.child("labelSelector"));
    errors.extend(validate_selector(at(term, &["namespaceSelector"]), &path.child("namespaceSelector")));
    for namespace in texts(term, &["namespaces"]) {
        let messages = names::is_dns1123_label(namespace);
        errors.extend(invalid_each(&path.child("namespace"), namespace, messages));
    }
    errors.extend(match_keys::validate_affinity_term(term, path));
    let key = text(term, &["topologyKey"]);
    if key.is_empty() {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    errors.extend(validate_label_name(key, &path.child("topologyKey")));
    errors
}

/// Every error of `topologySpreadConstraints`.
pub fn validate_spread(spec: &Value, in_pod: bool, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let constraints = list(spec, &["topologySpreadConstraints"]);
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let skew = int(constraint, &["maxSkew"]).unwrap_or(0);
        if skew <= 0 {
            errors.push(FieldError::invalid(&path.child("maxSkew"), skew, NOT_POSITIVE));
        }
        let key = text(constraint, &["topologyKey"]);
        if key.is_empty() {
            errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
        }
        let kinds = ["DoNotSchedule", "ScheduleAnyway"];
        errors.extend(one_of_given(constraint, "whenUnsatisfiable", &kinds, &path));
        let action = text(constraint, &["whenUnsatisfiable"]);
        let same = |other: &Value| {
            text(other, &["topologyKey"]) == key && text(other, &["whenUnsatisfiable"]) == action
        };
        if constraints[index + 1..].iter().any(same) {
            let pair = format!("{{{key}, {action}}}");
            errors.push(FieldError::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), pair));
        }
        errors.extend(validate_domains(constraint, action, &path.child("minDomains")));
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            errors.extend(one_of_or_missing(constraint, key, &["Honor", "Ignore"], &path));
        }
        errors.extend(match_keys::validate_spread(constraint, in_pod, &path.child("matchLabelKeys")));
        errors.extend(validate_selector(at(constraint, &["labelSelector"]), &path.child("labelSelector")));
    }
    errors
}

fn validate_domains(constraint: &Value, action: &str, path: &Path) -> Vec<FieldError> {
    let Some(domains) = int(constraint, &["minDomains"]) else { return Vec::new() };
    let mut errors = Vec::new();
    if domains <= 0 {
        errors.push(FieldError::invalid(path, domains, NOT_POSITIVE));
    }
    if action != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.push(FieldError::invalid(path, domains, detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    fn check(spec: Value) -> Vec<String> {
        let path = Path::new("spec");
        let mut errors = validate_affinity(at(&spec, &["affinity"]), &path.child("affinity"));
        errors.extend(validate_tolerations(list(&spec, &["tolerations"]), &path.child("tolerations")));
        errors.extend(validate_spread(&spec, true, &path.child("topologySpreadConstraints")));
        messages(&errors)
    }

    #[test]
    fn tolerations_are_checked() {
        assert_eq!(check(json!({"tolerations": [{"operator": "Exists"}]})), Vec::<String>::new());
        assert_eq!(
            check(json!({"tolerations": [{"operator": "Equal"}]})),
            [
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\""
            ]
        );
        assert_eq!(
            check(json!({"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3}]})),
            [
                "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"
            ]
        );
    }

    #[test]
    fn affinity_is_checked() {
        let term = json!({"podAntiAffinity": {REQUIRED: [{}]}});
        assert_eq!(
            check(json!({"affinity": term}))[0],
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty"
        );
        assert_eq!(
            check(json!({"affinity": {"nodeAffinity": {REQUIRED: {}}}})),
            [
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term"
            ]
        );
    }

    #[test]
    fn spread_is_checked() {
        assert_eq!(
            check(
                json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "X"}]})
            ),
            [
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"X\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            ]
        );
    }
}
