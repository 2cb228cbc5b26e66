//! What the statuses of a pod's containers say of users and devices.
//!
//! Authority: upstream's validateContainerStatusUsers, validateContainerStatusAllocatedResourcesStatus and
//! validatePodExtendedResourceClaimStatus (KEP-3619, KEP-4680, KEP-5004).

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::pod::security::{ID_RANGE, MAX_ID};
use crate::shared::access::{at, has, int, list, text};
use crate::shared::formats::{label, subdomain};
use crate::shared::rules::one_of_given;

const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", ""),
];

/// Every error of the users and the devices' health that statuses name.
pub fn validate(obj: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, _) in STATUSES {
        for (index, status) in list(obj, &["status", key]).iter().enumerate() {
            let path = path.child(key).index(index).child("user").child("linux");
            let user = at(status, &["user", "linux"]);
            match text(obj, &["spec", "os", "name"]) {
                _ if user.is_null() => {}
                "windows" => errors.push(FieldError::forbidden(&path, "cannot be set for a windows pod")),
                _ => errors.extend(validate_user(user, &path)),
            }
        }
    }
    for (key, containers) in STATUSES {
        for (index, status) in list(obj, &["status", key]).iter().enumerate() {
            let path = path.child(key).index(index).child("allocatedResourcesStatus");
            let resources = list(status, &["allocatedResourcesStatus"]);
            if containers.is_empty() && !resources.is_empty() {
                errors.push(FieldError::forbidden(&path, "must not be specified in container status"));
                continue;
            }
            let of_status = |container: &&Value| text(container, &["name"]) == text(status, &["name"]);
            let container = list(obj, &["spec", containers]).iter().find(of_status);
            for (index, resource) in resources.iter().enumerate() {
                errors.extend(validate_health(resource, container, &path.index(index)));
            }
        }
    }
    errors
}

fn validate_user(user: &Value, path: &Path) -> Vec<FieldError> {
    let ids = ["uid", "gid"].map(|key| (int(user, &[key]).unwrap_or(0), path.child(key)));
    let groups = list(user, &["supplementalGroups"]).iter().enumerate();
    let groups =
        groups.map(|(index, id)| (id.as_i64().unwrap_or(-1), path.child("supplementalGroups").index(index)));
    let wrong = ids.into_iter().chain(groups).filter(|(id, _)| !(0..=MAX_ID).contains(id));
    wrong.map(|(id, path)| FieldError::invalid(&path, id, ID_RANGE)).collect()
}

/// Every error of the health of one resource's devices; a container that is not there is not looked for.
fn validate_health(resource: &Value, container: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = text(resource, &["name"]);
    if let Some(container) = container {
        let (known, detail) = match name.strip_prefix("claim:") {
            Some(claim) => (
                list(container, &["resources", "claims"]).iter().any(|own| claim_name(own) == claim),
                "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
            ),
            None => (
                has(container, &["resources", "requests", name]),
                "must match one of the container's resource requests",
            ),
        };
        if !known {
            errors.push(FieldError::invalid(&path.child("name"), name, detail));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, device) in list(resource, &["resources"]).iter().enumerate() {
        let path = path.child("resources").index(index);
        errors.extend(one_of_given(device, "health", &["Healthy", "Unhealthy", "Unknown"], &path));
        let id = text(device, &["resourceID"]);
        if !seen.insert(id) {
            errors.push(FieldError::duplicate(&path.child("resourceID"), id));
        }
    }
    errors
}

fn claim_name(claim: &Value) -> String {
    match (text(claim, &["name"]), text(claim, &["request"])) {
        (name, "") => name.to_owned(),
        (name, request) => format!("{name}/{request}"),
    }
}

/// Every error of the claim that was made for a pod's extended resources.
pub fn validate_extended_claim(obj: &Value, path: &Path) -> Vec<FieldError> {
    let status = at(obj, &["status", "extendedResourceClaimStatus"]);
    if status.is_null() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let (mappings, mappings_path) = (list(status, &["requestMappings"]), path.child("requestMappings"));
    if mappings.is_empty() {
        errors.push(FieldError::required(&mappings_path, "at least one request mapping is required"));
    }
    let mut seen = BTreeSet::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let path_of = |key: &str| mappings_path.index(index).child(key);
        let [container, resource, request] =
            ["containerName", "resourceName", "requestName"].map(|key| text(mapping, &[key]));
        let all = list(obj, &["spec", "containers"]).iter().chain(list(obj, &["spec", "initContainers"]));
        match all.into_iter().find(|own| text(own, &["name"]) == container) {
            None => {
                let detail =
                    "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(FieldError::invalid(&path_of("containerName"), container, detail));
            }
            Some(own) if !has(own, &["resources", "requests", resource]) => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(FieldError::invalid(&path_of("resourceName"), resource, detail));
            }
            Some(_) => {}
        }
        // Upstream files this beside the mappings.
        errors.extend(label(request, &path.child("requestName")));
        if !seen.insert((container, resource, request)) {
            for (key, value) in
                [("containerName", container), ("resourceName", resource), ("requestName", request)]
            {
                errors.push(FieldError::duplicate(&path_of(key), value));
            }
        }
    }
    match text(status, &["resourceClaimName"]) {
        "" => errors.push(FieldError::required(&path.child("resourceClaimName"), "")),
        name => errors.extend(subdomain(name, &path.child("resourceClaimName"))),
    }
    errors
}
