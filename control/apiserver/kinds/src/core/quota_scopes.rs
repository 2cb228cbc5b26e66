//! Which of a namespace's objects a ResourceQuota counts.
//!
//! Authority: pkg/apis/core/validation (validateResourceQuotaScopes, validateScopedResourceSelectorRequirement) and
//! pkg/apis/core/helper.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::pod::resources::is_standard_of_quota;
use crate::shared::access::{at, entries, has, list, text, texts};

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const COMPUTE: &[&str] =
    &["cpu", "limits.cpu", "limits.memory", "memory", "pods", "requests.cpu", "requests.memory"];
/// Pairs no object can be in both of.
const CONFLICTS: &[[&str; 2]] = &[["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

/// True when objects in the scope can use the resource.
fn counts(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => COMPUTE.contains(&resource),
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// Every error of a quota's `scopes` and `scopeSelector`.
pub fn validate(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let scopes = texts(spec, &["scopes"]);
    let (given, scopes_path) = (at(spec, &["scopes"]), path.child("scopes"));
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.push(FieldError::invalid(&scopes_path, given, "unsupported scope"));
        }
        errors.extend(uncounted(spec, scope, given, &scopes_path));
    }
    errors.extend(conflicts(&scopes, given, &scopes_path));
    if !has(spec, &["scopeSelector"]) {
        return errors;
    }
    // Upstream names no index, and shows the selector or the scopes for the whole list.
    let path = path.child("scopeSelector").child("matchExpressions");
    let requirements = list(spec, &["scopeSelector", "matchExpressions"]);
    for requirement in requirements {
        let scope = text(requirement, &["scopeName"]);
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        errors.extend(uncounted(spec, scope, at(spec, &["scopeSelector"]), &path));
        errors.extend(validate_operator(requirement, scope, &path));
    }
    let scopes: Vec<&str> = requirements.iter().map(|found| text(found, &["scopeName"])).collect();
    errors.extend(conflicts(&scopes, given, &path));
    errors
}

/// An error for each bounded resource that objects in the scope cannot use.
fn uncounted(spec: &Value, scope: &str, shown: &Value, path: &Path) -> Vec<FieldError> {
    let bounded: BTreeSet<&String> = entries(spec, &["hard"]).map(|(resource, _)| resource).collect();
    let wrong =
        bounded.into_iter().filter(|resource| is_standard_of_quota(resource) && !counts(scope, resource));
    wrong.map(|_| FieldError::invalid(path, shown, "unsupported scope applied to resource")).collect()
}

fn conflicts(scopes: &[&str], shown: &Value, path: &Path) -> Vec<FieldError> {
    let found = CONFLICTS.iter().filter(|pair| pair.iter().all(|scope| scopes.contains(scope)));
    found.map(|_| FieldError::invalid(path, shown, "conflicting scopes")).collect()
}

fn validate_operator(requirement: &Value, scope: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (operator, operator_path) = (text(requirement, &["operator"]), path.child("operator"));
    let plain = SCOPES.contains(&scope) && !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
    if plain && operator != "Exists" {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(FieldError::invalid(&operator_path, operator, detail));
    }
    let values = at(requirement, &["values"]);
    let some = !list(requirement, &["values"]).is_empty();
    match operator {
        "In" | "NotIn" if !some => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "Exists" | "DoesNotExist" if some => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(FieldError::invalid(&path.child("values"), values, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.push(FieldError::invalid(&operator_path, operator, "not a valid selector operator")),
    }
    errors
}
