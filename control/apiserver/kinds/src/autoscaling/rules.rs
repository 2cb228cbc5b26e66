//! What a HorizontalPodAutoscaler's metrics and behavior must say.
//!
//! Authority: pkg/apis/autoscaling/validation, and the defaults of pkg/apis/autoscaling/v2.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::pod::resources;
use crate::shared::access::{at, at_mut, default_to, has, int, list, text};
use crate::shared::formats::{label, path_segment, required_path_segment};
use crate::shared::quantities::{self, parse};
use crate::shared::rules::{one_of_given, one_of_or_missing};

const KINDS: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// The fields of a metric, one for each of its kinds, in the order upstream looks at them.
const SOURCES: &[&str] = &["object", "external", "pods", "resource", "containerResource"];
const PERIOD_MAX: i64 = 1800;
const WINDOW_MAX: i64 = 3600;

/// Fills in the scaling rules a `behavior` leaves out.
pub fn default_behavior(spec: &mut Value) {
    let Some(behavior) = at_mut(spec, &["behavior"]) else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]});
    let down = json!({"selectPolicy": "Max", "policies": [percent]});
    for (key, rules) in [("scaleUp", up), ("scaleDown", down)] {
        for (field, value) in rules.as_object().into_iter().flatten() {
            default_to(behavior, &[key, field], value.clone());
        }
    }
}

/// The field that holds the source of a metric of this kind.
pub fn source_of(kind: &str) -> String {
    kind.chars().take(1).map(|first| first.to_ascii_lowercase()).chain(kind.chars().skip(1)).collect()
}

/// What the `apiVersion` of a reference must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupRule {
    /// Anything: it was there before.
    Any,
    /// A version, with a group or without.
    WellFormed,
    /// A version with a group.
    Required,
}

/// What is wrong with the `apiVersion` of a reference.
pub fn api_version_problem(version: &str, rule: GroupRule) -> Option<String> {
    match version.split('/').collect::<Vec<_>>()[..] {
        _ if rule == GroupRule::Any => None,
        [_, _, _, ..] => Some(format!("unexpected GroupVersion string: {version}")),
        [] | [_] | ["", _] if rule == GroupRule::Required => {
            Some("apiVersion must specify API group".to_owned())
        }
        _ => None,
    }
}

/// Every error of a required reference to an object by version, kind and name.
pub fn validate_reference(reference: &Value, group: GroupRule, path: &Path) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> =
        ["kind", "name"].iter().flat_map(|key| required_path_segment(reference, key, path)).collect();
    let version = text(reference, &["apiVersion"]);
    if let Some(problem) = api_version_problem(version, group) {
        errors.push(FieldError::invalid(&path.child("apiVersion"), version, problem));
    }
    errors
}

/// Every error of one metric.
pub fn validate_metric(metric: &Value, group: GroupRule, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, type_path) = (text(metric, &["type"]), path.child("type"));
    if kind.is_empty() {
        errors.push(FieldError::required(&type_path, "must specify a metric source type"));
    }
    let known = KINDS.contains(&kind);
    let unknown = || FieldError::not_supported(&type_path, kind, KINDS);
    if !known {
        errors.push(unknown());
    }
    let given: Vec<&str> = SOURCES.iter().copied().filter(|source| has(metric, &[source])).collect();
    if let Some(source) = given.first() {
        errors.extend(validate_source(source, at(metric, &[source]), group, &path.child(source)));
    }
    let expected = source_of(kind);
    if !known {
        errors.push(unknown());
    } else if !given.contains(&expected.as_str()) {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(&path.child(&expected), detail));
    }
    if given.len() > 1 {
        for source in given.iter().filter(|source| **source != expected) {
            let detail = "must populate the given metric source only";
            errors.push(FieldError::forbidden(&path.child(source), detail));
        }
    }
    errors
}

fn validate_source(kind: &str, source: &Value, group: GroupRule, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let target_path = path.child("target");
    let gives = |key: &str| has(source, &["target", key]);
    match kind {
        "object" => {
            let described = at(source, &["describedObject"]);
            errors.extend(validate_reference(described, group, &path.child("describedObject")));
        }
        "resource" | "containerResource" => errors.extend(validate_resource(kind, source, path)),
        _ => {}
    }
    if !kind.ends_with("esource") {
        let (metric, path) = (text(source, &["metric", "name"]), path.child("metric").child("name"));
        if metric.is_empty() {
            errors.push(FieldError::required(&path, "must specify a metric name"));
        } else {
            errors.extend(path_segment(metric, &path));
        }
    }
    errors.extend(validate_target(at(source, &["target"]), &target_path));
    let (needed, detail) = match kind {
        "object" => (["value", "averageValue"], "must set either a target value or averageValue"),
        "external" => {
            (["value", "averageValue"], "must set either a target value for metric or a per-pod target")
        }
        "pods" => (["averageValue"; 2], "must specify a positive target averageValue"),
        _ => (
            ["averageValue", "averageUtilization"],
            "must set either a target raw value or a target utilization",
        ),
    };
    if !needed.iter().any(|key| gives(key)) {
        errors.push(FieldError::required(&target_path.child(needed[1]), detail));
    }
    if kind == "external" && gives("value") && gives("averageValue") {
        let detail = "may not set both a target value for metric and a per-pod target";
        errors.push(FieldError::forbidden(&target_path.child("value"), detail));
    }
    if kind.ends_with("esource") && gives("averageUtilization") && gives("averageValue") {
        let detail = "may not set both a target raw value and a target utilization";
        errors.push(FieldError::forbidden(&target_path.child("averageValue"), detail));
    }
    errors
}

fn validate_resource(kind: &str, source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let of_container = kind == "containerResource";
    let name = text(source, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "must specify a resource name"));
    } else if of_container {
        errors.extend(resources::container_name(name, &path.child("name")));
    }
    if of_container {
        let (container, path) = (text(source, &["container"]), path.child("container"));
        if container.is_empty() {
            errors.push(FieldError::required(&path, "must specify a container"));
        } else {
            errors.extend(label(container, &path));
        }
    }
    errors
}

fn validate_target(target: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, type_path) = (text(target, &["type"]), path.child("type"));
    if kind.is_empty() {
        errors.push(FieldError::required(&type_path, "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(&type_path, kind, detail));
    }
    for key in ["value", "averageValue"] {
        let amount = at(target, &[key]);
        if !amount.is_null() && parse(amount).is_none_or(|amount| amount.sign() != 1) {
            errors.push(FieldError::invalid(&path.child(key), amount, "must be positive"));
        }
    }
    if let Some(percent) = int(target, &["averageUtilization"]).filter(|percent| *percent < 1) {
        let path = path.child("averageUtilization");
        errors.push(FieldError::invalid(&path, percent, "must be greater than 0"));
    }
    errors
}

/// Every error of a `behavior`; a missing one has none.
pub fn validate_behavior(behavior: &Value, path: &Path) -> Vec<FieldError> {
    let keys = ["scaleUp", "scaleDown"].into_iter().filter(|key| has(behavior, &[key]));
    keys.flat_map(|key| validate_rules(at(behavior, &[key]), &path.child(key))).collect()
}

fn validate_rules(rules: &Value, rules_path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let window_path = rules_path.child("stabilizationWindowSeconds");
    match int(rules, &["stabilizationWindowSeconds"]) {
        Some(window) if window < 0 => {
            let detail = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(&window_path, window, detail));
        }
        Some(window) if window > WINDOW_MAX => {
            let detail = format!("must be less than or equal to {WINDOW_MAX}");
            errors.push(FieldError::invalid(&window_path, window, detail));
        }
        _ => {}
    }
    errors.extend(one_of_or_missing(rules, "selectPolicy", &["Disabled", "Max", "Min"], rules_path));
    let (policies, path) = (list(rules, &["policies"]), rules_path.child("policies"));
    if policies.is_empty() {
        errors.push(FieldError::required(&path, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = path.index(index);
        errors.extend(one_of_given(policy, "type", &["Percent", "Pods"], &path));
        for key in ["value", "periodSeconds"] {
            let number = int(policy, &[key]).unwrap_or(0);
            if number <= 0 {
                errors.push(FieldError::invalid(&path.child(key), number, "must be greater than zero"));
            }
        }
        if let Some(period) = int(policy, &["periodSeconds"]).filter(|period| *period > PERIOD_MAX) {
            let detail = format!("must be less than or equal to {PERIOD_MAX}");
            errors.push(FieldError::invalid(&path.child("periodSeconds"), period, detail));
        }
    }
    let tolerance = at(rules, &["tolerance"]);
    if !tolerance.is_null() {
        errors.extend(quantities::not_negative(tolerance, &rules_path.child("tolerance")));
    }
    errors
}
