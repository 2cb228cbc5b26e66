//! What a write to a pod's status may say.
//!
//! Authority: upstream's ValidatePodStatusUpdate.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::annotations;
use crate::shared::access::{at, has, int, list, text};
use crate::shared::addresses::validate_ip;
use crate::shared::rules::invalid_each;

/// Every error of a write to a pod's status.
pub fn validate(obj: &Value, old: &Value) -> Vec<FieldError> {
    let (metadata, path) = (Path::new("metadata"), Path::new("status"));
    let mut errors = annotations::validate_update(obj, old, &metadata.child("annotations"));
    for (index, condition) in list(obj, &["status", "conditions"]).iter().enumerate() {
        let kind = text(condition, &["type"]);
        // Upstream files these under the metadata, and spells the type as Go does.
        let path = metadata.child("conditions").index(index).child("Type");
        errors.extend(invalid_each(&path, kind, names::is_qualified_name(kind)));
    }
    let nominated = text(obj, &["status", "nominatedNodeName"]);
    if !nominated.is_empty() && nominated != text(old, &["status", "nominatedNodeName"]) {
        let messages = names::is_dns1123_subdomain(nominated);
        errors.extend(invalid_each(&path.child("nominatedNodeName"), nominated, messages));
    }
    let class = |pod: &Value| text(pod, &["status", "qosClass"]).to_owned();
    if !class(old).is_empty() && !class(obj).is_empty() && class(old) != class(obj) {
        errors.push(FieldError::invalid(&path.child("qosClass"), class(obj), "field is immutable"));
    }
    let policy = text(old, &["spec", "restartPolicy"]);
    for (key, policy) in [
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ] {
        errors.extend(validate_terminated(obj, old, key, policy, &path.child(key)));
    }
    errors.extend(validate_claims(obj, &path.child("resourceClaimStatuses")));
    errors.extend(validate_ips(list(obj, &["status", "podIPs"]), &path.child("podIPs")));
    errors.extend(validate_host_ips(obj, &path.child("hostIPs")));
    errors
}

/// A container that ended and does not restart stays ended.
fn validate_terminated(obj: &Value, old: &Value, key: &str, policy: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if policy == "Always" {
        return errors;
    }
    // A policy or rules of its own decide for a container whether it comes back.
    let restarts_itself = |name: &str| {
        let own = list(old, &["spec", "containers"]).iter().chain(list(old, &["spec", "initContainers"]));
        own.into_iter().any(|c| text(c, &["name"]) == name && has(c, &["restartPolicy"]))
    };
    for (index, before) in list(old, &["status", key]).iter().enumerate() {
        let ended = at(before, &["state", "terminated"]);
        let name = text(before, &["name"]);
        let failed = int(ended, &["exitCode"]).unwrap_or(0) != 0;
        if ended.is_null() || (failed && policy == "OnFailure") || restarts_itself(name) {
            continue;
        }
        let same = |status: &&Value| text(status, &["name"]) == name;
        for _ in
            list(obj, &["status", key]).iter().filter(same).filter(|now| !has(now, &["state", "terminated"]))
        {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(&path.index(index).child("state"), detail));
        }
    }
    errors
}

fn validate_claims(obj: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let claims = list(obj, &["spec", "resourceClaims"]);
    let mut seen = BTreeSet::new();
    for (index, status) in list(obj, &["status", "resourceClaimStatuses"]).iter().enumerate() {
        let name = text(status, &["name"]);
        let path = path.index(index).child("name");
        if !claims.iter().any(|claim| text(claim, &["name"]) == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&path, name, detail));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        if let Some(made) = at(status, &["resourceClaimName"]).as_str() {
            errors.extend(invalid_each(&path, made, names::is_dns1123_subdomain(made)));
        }
    }
    errors
}

fn validate_ips(ips: &[Value], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let all: Vec<&str> = ips.iter().map(|ip| text(ip, &["ip"])).collect();
    for (index, ip) in all.iter().enumerate() {
        errors.extend(validate_ip(ip, &[], &path.index(index)));
    }
    if all.len() > 1 {
        let six = |ip: &&&str| ip.contains(':');
        let dual = all.iter().any(|ip| six(&ip)) && !all.iter().all(|ip| six(&ip));
        if !dual || all.len() > 2 {
            let detail = "may specify no more than one IP for each IP family";
            errors.push(FieldError::invalid(path, ips, detail));
        }
        let mut seen = BTreeSet::new();
        for (index, _) in all.iter().enumerate().filter(|(_, ip)| !seen.insert(**ip)) {
            errors.push(FieldError::duplicate(&path.index(index), &ips[index]));
        }
    }
    errors
}

fn validate_host_ips(obj: &Value, path: &Path) -> Vec<FieldError> {
    let ips = list(obj, &["status", "hostIPs"]);
    let Some(first) = ips.first().map(|ip| text(ip, &["ip"])) else { return Vec::new() };
    let mut errors = Vec::new();
    if first != text(obj, &["status", "hostIP"]) {
        errors.push(FieldError::invalid(&path.index(0).child("ip"), first, "must be equal to `hostIP`"));
    }
    errors.extend(validate_ips(ips, path));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"name": "p"},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}})
    }

    #[test]
    fn an_ended_container_stays_ended() {
        let mut old = pod();
        old["status"] =
            json!({"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 1}}}]});
        let mut new = old.clone();
        new["status"]["containerStatuses"][0]["state"] = json!({"running": {}});
        assert_eq!(
            messages(&validate(&new, &old)),
            ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
        );
        old["spec"]["restartPolicy"] = json!("OnFailure");
        assert_eq!(messages(&validate(&new, &old)), Vec::<String>::new());
    }
}
