//! Rules: which operations on which resources a webhook or policy is asked about.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{default_to, list_mut, texts};
use crate::shared::formats::path_segment;
use crate::shared::rules::one_of_or_missing;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];

/// Defaults every rule of a list.
pub fn defaults(holder: &mut Value, key: &str) {
    for rule in list_mut(holder, &[key]) {
        default_to(rule, &["scope"], json!("*"));
    }
}

/// Every error of a rule with resource names (a policy's).
pub fn validate_named(rule: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let names = texts(rule, &["resourceNames"]);
    for (index, name) in names.iter().enumerate() {
        let path = path.child("resourceNames").index(index);
        errors.extend(path_segment(name, &path));
        if names[..index].contains(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
    errors.extend(validate(rule, path));
    errors
}

/// Every error of a rule.
pub fn validate(rule: &Value, path: &Path) -> Vec<FieldError> {
    let operations = texts(rule, &["operations"]);
    let operations_path = path.child("operations");
    let mut errors = only_wildcard(&operations, &operations_path, "operations");
    for (index, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(operation) {
            errors.push(FieldError::not_supported(&operations_path.index(index), operation, OPERATIONS));
        }
    }
    errors.extend(only_wildcard(&texts(rule, &["apiGroups"]), &path.child("apiGroups"), "API groups"));
    let versions = texts(rule, &["apiVersions"]);
    let versions_path = path.child("apiVersions");
    errors.extend(only_wildcard(&versions, &versions_path, "API versions"));
    for (index, _) in versions.iter().enumerate().filter(|(_, version)| version.is_empty()) {
        errors.push(FieldError::required(&versions_path.index(index), ""));
    }
    errors.extend(validate_resources(&texts(rule, &["resources"]), &path.child("resources")));
    errors.extend(one_of_or_missing(rule, "scope", SCOPES, path));
    errors
}

fn only_wildcard(values: &[&str], path: &Path, what: &str) -> Vec<FieldError> {
    if values.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    if values.len() > 1 && values.contains(&"*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        return vec![FieldError::invalid(path, values, detail)];
    }
    Vec::new()
}

/// The resources of a rule: `pods`, `pods/log`, `pods/*`, `*/scale`, `*`, `*/*`; wildcards must not cover others.
fn validate_resources(resources: &[&str], path: &Path) -> Vec<FieldError> {
    if resources.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Vec::new();
    let (mut whole, mut every): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    // As upstream: the last resource without a subresource decides.
    let mut plain = false;
    for (index, found) in resources.iter().enumerate() {
        let path = path.index(index);
        if found.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let Some((resource, sub)) = found.split_once('/') else {
            plain = *found != "*";
            continue;
        };
        if whole.contains(&resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {found}");
            errors.push(FieldError::invalid(&path, found, detail));
        }
        if every.contains(&sub) {
            let detail = format!("if '*/{sub}' is present, must not specify {found}");
            errors.push(FieldError::invalid(&path, found, detail));
        }
        if sub == "*" {
            whole.push(resource);
        }
        if resource == "*" {
            every.push(sub);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, resources, detail));
    }
    if plain && resources.contains(&"*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, resources, detail));
    }
    errors
}
