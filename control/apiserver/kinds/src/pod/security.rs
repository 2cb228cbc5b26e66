//! Security contexts of pods and containers.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, flag, has, int, list, text};
use crate::shared::rules::{one_of_given, required};

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
const SYSCTL: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn validate_id(context: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    match int(context, &[key]) {
        Some(id) if !(0..=i64::from(i32::MAX)).contains(&id) => {
            vec![FieldError::invalid(&path.child(key), id, ID_RANGE)]
        }
        _ => Vec::new(),
    }
}

/// Every error of a pod's security context.
pub fn validate_pod(spec: &Value, path: &Path) -> Vec<FieldError> {
    let context = at(spec, &["securityContext"]);
    let path = path.child("securityContext");
    let mut errors = Vec::new();
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        errors.extend(validate_id(context, key, &path));
    }
    for (index, group) in list(context, &["supplementalGroups"]).iter().enumerate() {
        let id = group.as_i64().unwrap_or(-1);
        if !(0..=i64::from(i32::MAX)).contains(&id) {
            errors.push(FieldError::invalid(&path.child("supplementalGroups").index(index), id, ID_RANGE));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, sysctl) in list(context, &["sysctls"]).iter().enumerate() {
        let path = path.child("sysctls").index(index).child("name");
        let name = text(sysctl, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !is_sysctl(name) {
            errors.push(FieldError::invalid(&path, name, SYSCTL));
        } else if !seen.insert(name.replace('/', ".")) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
    if has(context, &["fsGroupChangePolicy"]) {
        errors.extend(one_of_given(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &path));
    }
    if has(context, &["supplementalGroupsPolicy"]) {
        errors.extend(one_of_given(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &path));
    }
    errors.extend(validate_seccomp(context, &path));
    if flag(spec, &["shareProcessNamespace"]) && flag(spec, &["hostPID"]) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    errors
}

fn is_sysctl(name: &str) -> bool {
    let good = |part: &str| {
        let bytes = part.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
    };
    name.len() <= 253 && name.split(['.', '/']).all(good)
}

fn validate_seccomp(context: &Value, path: &Path) -> Vec<FieldError> {
    let profile = at(context, &["seccompProfile"]);
    if profile.is_null() {
        return Vec::new();
    }
    let path = path.child("seccompProfile");
    let file = at(profile, &["localhostProfile"]);
    match text(profile, &["type"]) {
        "Localhost" if file.is_null() => {
            let detail = "must be set when seccomp type is Localhost";
            vec![FieldError::required(&path.child("localhostProfile"), detail)]
        }
        "Localhost" => {
            super::volumes::local_path(file.as_str().unwrap_or_default(), &path.child("localhostProfile"))
        }
        "RuntimeDefault" | "Unconfined" if !file.is_null() => {
            let detail = "can only be set when seccomp type is Localhost";
            vec![FieldError::invalid(&path.child("localhostProfile"), file, detail)]
        }
        "RuntimeDefault" | "Unconfined" => Vec::new(),
        "" => required(profile, "type", &path)
            .into_iter()
            .map(|_| FieldError::required(&path.child("type"), "type is required when seccompProfile is set"))
            .collect(),
        other => vec![FieldError::not_supported(
            &path.child("type"),
            other,
            &["Localhost", "RuntimeDefault", "Unconfined"],
        )],
    }
}

/// Every error of a container's security context.
pub fn validate_container(container: &Value, path: &Path) -> Vec<FieldError> {
    let context = at(container, &["securityContext"]);
    if context.is_null() {
        return Vec::new();
    }
    let path = path.child("securityContext");
    let mut errors = Vec::new();
    for key in ["runAsUser", "runAsGroup"] {
        errors.extend(validate_id(context, key, &path));
    }
    if has(context, &["procMount"]) {
        errors.extend(one_of_given(context, "procMount", &["Default", "Unmasked"], &path));
    }
    errors.extend(validate_seccomp(context, &path));
    if at(context, &["allowPrivilegeEscalation"]).as_bool() == Some(false) {
        let escalation = path.clone();
        if flag(context, &["privileged"]) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(&escalation, context, detail));
        }
        let added = list(context, &["capabilities", "add"]);
        if added.iter().any(|capability| matches!(capability.as_str(), Some("CAP_SYS_ADMIN"))) {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(&escalation, context, detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    #[test]
    fn ids_and_profiles_are_checked() {
        let check = |context: Value| {
            messages(&validate_pod(&json!({"securityContext": context}), &Path::new("spec")))
        };
        assert_eq!(
            check(json!({"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}})),
            Vec::<String>::new()
        );
        assert_eq!(
            check(json!({"runAsUser": -1})),
            [
                "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"
            ]
        );
        assert_eq!(
            check(json!({"seccompProfile": {"type": "Localhost"}})),
            [
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"
            ]
        );
        assert_eq!(
            check(
                json!({"sysctls": [{"name": "net.ipv4.x", "value": "1"}, {"name": "net/ipv4/x", "value": "1"}]})
            ),
            ["spec.securityContext.sysctls[1].name: Duplicate value: \"net/ipv4/x\""]
        );
    }
}
