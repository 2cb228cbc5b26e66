//! Resource requirements of containers and pods.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, entries};
use crate::shared::quantities::{not_negative, parse};
use crate::shared::rules::invalid_each;

const STANDARD_CONTAINER: &[&str] = &["cpu", "ephemeral-storage", "memory"];

/// True for a huge page size's name.
pub fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// True for a resource outside Kubernetes' own names, which nodes advertise and pods may not overcommit.
pub fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// Every error of a resource's name.
pub fn validate_name(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = invalid_each(path, name, names::is_qualified_name(name));
    if errors.is_empty() && !name.contains('/') && !STANDARD_CONTAINER.contains(&name) && !is_huge_page(name)
    {
        let standard = [
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
            "storage",
        ];
        if !standard.contains(&name) {
            let detail = "must be a standard resource type or fully qualified";
            errors.push(FieldError::invalid(path, name, detail));
        }
    }
    errors
}

fn validate_container_name(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_name(name, path);
    if !name.contains('/') && !STANDARD_CONTAINER.contains(&name) && !is_huge_page(name) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    }
    errors
}

/// Every error of a `{requests, limits}` pair.
pub fn validate_requirements(resources: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    let (mut huge, mut cpu_or_memory) = (false, false);
    for (list, list_path) in [("limits", &limits), ("requests", &requests)] {
        for (name, quantity) in entries(resources, &[list]) {
            let path = list_path.key(name);
            errors.extend(validate_container_name(name, list_path));
            errors.extend(validate_quantity(name, quantity, &path));
            huge |= is_huge_page(name);
            cpu_or_memory |= matches!(name.as_str(), "cpu" | "memory");
            if is_huge_page(name)
                && list == "requests"
                && parse(at(resources, &["limits", name])) != parse(quantity)
            {
                let detail = format!("must be equal to {name} limit");
                errors.push(FieldError::invalid(list_path, text_of(quantity), detail));
            } else if list == "requests" {
                errors.extend(validate_against_limit(name, quantity, resources, list_path));
            }
        }
    }
    if huge && !cpu_or_memory {
        let detail = "HugePages require cpu or memory";
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

fn text_of(quantity: &Value) -> String {
    quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned)
}

fn validate_against_limit(name: &str, request: &Value, resources: &Value, path: &Path) -> Vec<FieldError> {
    let limit = at(resources, &["limits", name]);
    let (Some(asked), bound) = (parse(request), parse(limit)) else { return Vec::new() };
    match bound {
        None if is_extended(name) => {
            vec![FieldError::required(
                &Path::new(path.as_str().trim_end_matches(".requests")).child("limits"),
                "Limit must be set for non overcommitable resources",
            )]
        }
        Some(bound) if is_extended(name) && asked != bound => {
            vec![FieldError::invalid(
                path,
                text_of(request),
                format!("must be equal to {name} limit of {bound}"),
            )]
        }
        Some(bound) if asked > bound => {
            let detail = format!("must be less than or equal to {name} limit of {bound}");
            vec![FieldError::invalid(path, text_of(request), detail)]
        }
        _ => Vec::new(),
    }
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
            ["r.limits: Invalid value: \"pods\": must be a standard resource for containers"]
        );
        assert_eq!(
            check(json!({"requests": {"x.io/gpu": "1"}})),
            ["r.limits: Required value: Limit must be set for non overcommitable resources"]
        );
    }
}
