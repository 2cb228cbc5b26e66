//! Security contexts of pods and containers.
//!
//! Authority: upstream's validatePodSpecSecurityContext and ValidateSecurityContext.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::volumes::descending_path;
use super::windows;
use crate::shared::access::{at, flag, has, int, list, text};
use crate::shared::rules::one_of_given;

/// The largest id of a user or group.
pub const MAX_ID: i64 = i32::MAX as i64;
/// What an id must be.
pub const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
const SYSCTL: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn validate_id(context: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    match int(context, &[key]) {
        Some(id) if !(0..=MAX_ID).contains(&id) => {
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
        if !(0..=MAX_ID).contains(&id) {
            errors.push(FieldError::invalid(&path.child("supplementalGroups").index(index), id, ID_RANGE));
        }
    }
    if flag(spec, &["shareProcessNamespace"]) && flag(spec, &["hostPID"]) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    errors.extend(validate_sysctls(spec, context, &path.child("sysctls")));
    if has(context, &["fsGroupChangePolicy"]) {
        errors.extend(one_of_given(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &path));
    }
    errors.extend(validate_seccomp(context, &path));
    errors.extend(windows::validate_options(context, &path));
    errors.extend(validate_app_armor(context, &path));
    if has(context, &["supplementalGroupsPolicy"]) {
        errors.extend(one_of_given(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &path));
    }
    if has(context, &["seLinuxChangePolicy"]) {
        let policies = ["MountOption", "Recursive"];
        errors.extend(one_of_given(context, "seLinuxChangePolicy", &policies, &path));
    }
    errors
}

fn validate_sysctls(spec: &Value, context: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (index, sysctl) in list(context, &["sysctls"]).iter().enumerate() {
        let path = path.index(index).child("name");
        let name = text(sysctl, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !is_sysctl(name) {
            errors.push(FieldError::invalid(&path, name, SYSCTL));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        let dotted = name.replace('/', ".");
        let ipc = dotted == "kernel.sem"
            || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| dotted.starts_with(prefix));
        if dotted.starts_with("net.") && flag(spec, &["hostNetwork"]) {
            let detail = "may not be specified when 'hostNetwork' is true";
            errors.push(FieldError::invalid(&path, name, detail));
        } else if ipc && flag(spec, &["hostIPC"]) {
            errors.push(FieldError::invalid(&path, name, "may not be specified when 'hostIPC' is true"));
        }
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

const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn validate_seccomp(context: &Value, path: &Path) -> Vec<FieldError> {
    let profile = at(context, &["seccompProfile"]);
    if profile.is_null() {
        return Vec::new();
    }
    let path = path.child("seccompProfile");
    let mut errors = Vec::new();
    let kind = text(profile, &["type"]);
    if kind.is_empty() {
        let detail = "type is required when seccompProfile is set";
        errors.push(FieldError::required(&path.child("type"), detail));
    } else if !PROFILE_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, PROFILE_TYPES));
    }
    let file_path = path.child("localhostProfile");
    match (kind, at(profile, &["localhostProfile"]).as_str()) {
        ("Localhost", None) => {
            let detail = "must be set when seccomp type is Localhost";
            errors.push(FieldError::required(&file_path, detail));
        }
        ("Localhost", Some(file)) => errors.extend(descending_path(file, &file_path)),
        (_, Some(_)) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(&file_path, profile, detail));
        }
        (_, None) => {}
    }
    errors
}

const APP_ARMOR_MAX: usize = 4095;

/// Every error of a security context's AppArmor profile.
pub fn validate_app_armor(context: &Value, path: &Path) -> Vec<FieldError> {
    let profile = at(context, &["appArmorProfile"]);
    if profile.is_null() {
        return Vec::new();
    }
    let path = path.child("appArmorProfile");
    let file_path = path.child("localhostProfile");
    let missing = "must be set when AppArmor type is Localhost";
    let file = at(profile, &["localhostProfile"]).as_str();
    match (text(profile, &["type"]), file) {
        ("Localhost", None | Some("")) => vec![FieldError::required(&file_path, missing)],
        ("Localhost", Some(file)) => {
            let mut errors = Vec::new();
            if file.trim() != file {
                errors.push(FieldError::invalid(&file_path, file, "must not be padded with whitespace"));
            }
            if file.len() > APP_ARMOR_MAX {
                errors.push(FieldError::too_long(&file_path, APP_ARMOR_MAX));
            }
            errors
        }
        ("RuntimeDefault" | "Unconfined", None) => Vec::new(),
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            let detail = "can only be set when AppArmor type is Localhost";
            vec![FieldError::invalid(&file_path, file, detail)]
        }
        ("", _) => {
            vec![FieldError::required(&path.child("type"), "type is required when appArmorProfile is set")]
        }
        (other, _) => vec![FieldError::not_supported(&path.child("type"), other, PROFILE_TYPES)],
    }
}

/// Every error of a container's security context.
pub fn validate_container(container: &Value, host_users: bool, path: &Path) -> Vec<FieldError> {
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
        if host_users && text(context, &["procMount"]) == "Unmasked" {
            let detail = "`hostUsers` must be false to use `Unmasked`";
            errors.push(FieldError::invalid(&path.child("procMount"), "Unmasked", detail));
        }
    }
    errors.extend(validate_seccomp(context, &path));
    if at(context, &["allowPrivilegeEscalation"]).as_bool() == Some(false) {
        if flag(context, &["privileged"]) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(&path, context, detail));
        }
        for _ in list(context, &["capabilities", "add"]).iter().filter(|added| *added == "CAP_SYS_ADMIN") {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(&path, context, detail));
        }
    }
    errors.extend(windows::validate_options(context, &path));
    errors.extend(validate_app_armor(context, &path));
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
                json!({"sysctls": [{"name": "net.ipv4.x", "value": "1"}, {"name": "net.ipv4.x", "value": "2"}]})
            ),
            ["spec.securityContext.sysctls[1].name: Duplicate value: \"net.ipv4.x\""]
        );
    }
}
