//! Resource requirements of containers and pods.
//!
//! Authority: upstream's validateResourceRequirements and the helpers of pkg/apis/core/helper.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;
use xebec_api::quantity::Quantity;

use crate::shared::access::{at, entries, list, text};
use crate::shared::quantities::{not_negative, parse};
use crate::shared::rules::invalid_each;

/// The resources without a domain that a quota may bound, huge pages aside.
const STANDARD_OF_QUOTA: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const STANDARD_CONTAINER: &[&str] = &["cpu", "ephemeral-storage", "memory"];

/// True for a huge page size's name.
pub fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// True for the resources without a domain that a quota may bound.
pub fn is_standard_of_quota(name: &str) -> bool {
    STANDARD_OF_QUOTA.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// True for Kubernetes' own names: those without a domain, and those in kubernetes.io.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// True for a resource outside Kubernetes' own names, which nodes advertise and pods may not overcommit.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// True for the resources of which limits may exceed requests.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// The names of the claims a pod spec lists.
pub fn claim_names(spec: &Value) -> BTreeSet<&str> {
    let claims = list(spec, &["resourceClaims"]).iter().map(|claim| text(claim, &["name"]));
    claims.filter(|name| !name.is_empty()).collect()
}

/// Every error of a resource's name.
pub fn validate_name(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = invalid_each(path, name, names::is_qualified_name(name));
    let standard = name == "storage" || is_standard_of_quota(name);
    if errors.is_empty() && !name.contains('/') && !standard {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors
}

/// Every error of the name of a container's resource.
pub fn container_name(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_name(name, path);
    if !name.contains('/') {
        if !STANDARD_CONTAINER.contains(&name) && !is_huge_page(name) {
            errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    errors
}

fn pod_name(name: &str, path: &Path) -> Vec<FieldError> {
    let errors = validate_name(name, path);
    if errors.is_empty() && !is_pod_level(name) {
        return vec![FieldError::not_supported(path, name, &["cpu", "hugepages-", "memory"])];
    }
    errors
}

/// True for the resources a pod may have as a whole (KEP-2837).
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

/// Every error of a `{requests, limits, claims}` of a container.
pub fn validate_container(resources: &Value, claims: &BTreeSet<&str>, path: &Path) -> Vec<FieldError> {
    validate_requirements_of(resources, container_name, claims, path)
}

/// Every error of a `{requests, limits}` of a container that can have no claims.
pub fn validate_requirements(resources: &Value, path: &Path) -> Vec<FieldError> {
    validate_container(resources, &BTreeSet::new(), path)
}

/// Every error of a pod's own `{requests, limits}`, taken alone.
pub fn validate_pod(resources: &Value, claims: &BTreeSet<&str>, path: &Path) -> Vec<FieldError> {
    validate_requirements_of(resources, pod_name, claims, path)
}

fn validate_requirements_of(
    resources: &Value,
    name_rule: fn(&str, &Path) -> Vec<FieldError>,
    claims: &BTreeSet<&str>,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (mut huge, mut cpu_or_memory) = (false, false);
    for list in ["limits", "requests"] {
        let list_path = path.child(list);
        for (name, quantity) in entries(resources, &[list]) {
            let path = list_path.key(name);
            errors.extend(name_rule(name, &path));
            errors.extend(validate_quantity(name, quantity, &path));
            huge |= is_huge_page(name);
            cpu_or_memory |= matches!(name.as_str(), "cpu" | "memory");
            if list == "requests" {
                errors.extend(validate_against_limit(name, quantity, resources, &list_path));
            }
            if is_huge_page(name) && !is_multiple(name, quantity) {
                let detail = format!("{} is not positive integer multiple of {name}", text_of(quantity));
                errors.push(FieldError::invalid(&path, text_of(quantity), detail));
            }
        }
    }
    if huge && !cpu_or_memory {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    errors.extend(validate_claims(list(resources, &["claims"]), claims, &path.child("claims")));
    errors
}

/// True when an amount of huge pages is a positive number of whole pages.
fn is_multiple(name: &str, quantity: &Value) -> bool {
    let size = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok());
    match (size.map(|size| size.value()), parse(quantity).map(|amount| amount.value())) {
        (Some(size), Some(amount)) => size > 0 && amount > 0 && amount % size == 0,
        _ => false,
    }
}

/// Every error of a container's claims: each is one the pod lists, and none is taken twice.
fn validate_claims(claims: &[Value], known: &BTreeSet<&str>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (text(claim, &["name"]), text(claim, &["request"]));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
        if seen.contains(name) {
            errors.push(FieldError::duplicate(&path, name));
        } else {
            if !request.is_empty() {
                let messages = names::is_dns1123_label(request);
                errors.extend(invalid_each(&path.child("request"), request, messages));
            }
            let part_taken = seen.iter().any(|taken| taken.split_once('/').is_some_and(|(of, _)| of == name));
            if seen.contains(&key) || (request.is_empty() && part_taken) {
                errors.push(FieldError::duplicate(&path, &key));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let mut error = FieldError::not_found(&path, name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            match known.is_empty() {
                true => error.detail.push_str(" which is empty"),
                false => {
                    let all: Vec<&str> = known.iter().copied().collect();
                    error.detail.push_str(&format!(": {}", all.join(", ")));
                }
            }
            errors.push(error);
        }
    }
    errors
}

fn text_of(quantity: &Value) -> String {
    quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned)
}

fn validate_against_limit(name: &str, request: &Value, resources: &Value, path: &Path) -> Vec<FieldError> {
    let limit = at(resources, &["limits", name]);
    let (Some(asked), bound) = (parse(request), parse(limit)) else { return Vec::new() };
    let detail = match bound {
        None if !may_overcommit(name) => {
            let limits = Path::new(path.as_str().trim_end_matches("requests").trim_end_matches('.'));
            let detail = "Limit must be set for non overcommitable resources";
            return vec![FieldError::required(&limits.child("limits"), detail)];
        }
        Some(bound) if !may_overcommit(name) && asked != bound => {
            format!("must be equal to {name} limit of {bound}")
        }
        Some(bound) if asked > bound => format!("must be less than or equal to {name} limit of {bound}"),
        _ => return Vec::new(),
    };
    vec![FieldError::invalid(path, text_of(request), detail)]
}

/// Every error of one amount of a resource.
pub fn validate_quantity(name: &str, quantity: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = not_negative(quantity, path);
    if let Some(amount) = parse(quantity) {
        let counted = is_extended(name) || is_integer_count(name);
        if counted && amount.milli_value() % 1000 != 0 {
            errors.push(FieldError::invalid(path, text_of(quantity), "must be an integer"));
        }
    }
    errors
}

fn is_integer_count(name: &str) -> bool {
    name.starts_with("count/")
        || matches!(
            name,
            "pods"
                | "resourcequotas"
                | "services"
                | "replicationcontrollers"
                | "secrets"
                | "configmaps"
                | "persistentvolumeclaims"
                | "services.nodeports"
                | "services.loadbalancers"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    #[test]
    fn requests_stay_under_limits() {
        let check = |resources: Value| messages(&validate_requirements(&resources, &Path::new("r")));
        assert_eq!(check(json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}})), Vec::<String>::new());
        assert_eq!(
            check(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            ["r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"]
        );
        assert_eq!(
            check(json!({"requests": {"memory": "-1"}})),
            ["r.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0"]
        );
        assert_eq!(
            check(json!({"limits": {"pods": "1"}})),
            ["r.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers"]
        );
        assert_eq!(
            check(json!({"requests": {"x.io/gpu": "1"}})),
            ["r.limits: Required value: Limit must be set for non overcommitable resources"]
        );
    }
}
