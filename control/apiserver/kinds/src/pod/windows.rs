//! What a pod's operating system allows: Windows options, host processes, fields of the other system.
//!
//! Authority: upstream's validateWindowsSecurityContextOptions, validateWindowsHostProcessPod, validateOS,
//! validateLinux, validateWindows.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, flag, has, list, text};
use crate::shared::rules::invalid_each;

const SPEC_MAX_KIB: usize = 64;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;

/// Every error of the `windowsOptions` of a security context.
pub fn validate_options(context: &Value, path: &Path) -> Vec<FieldError> {
    let options = at(context, &["windowsOptions"]);
    let path = path.child("windowsOptions");
    let mut errors = Vec::new();
    if let Some(name) = at(options, &["gmsaCredentialSpecName"]).as_str() {
        let path = path.child("gmsaCredentialSpecName");
        errors.extend(invalid_each(&path, name, names::is_dns1123_subdomain(name)));
    }
    if let Some(spec) = at(options, &["gmsaCredentialSpec"]).as_str() {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.push(FieldError::invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > SPEC_MAX_KIB * 1024 {
            let detail = format!("gmsaCredentialSpec size must be under {SPEC_MAX_KIB} KiB");
            errors.push(FieldError::invalid(&path, spec, detail));
        }
    }
    if let Some(name) = at(options, &["runAsUserName"]).as_str() {
        let path = path.child("runAsUserName");
        let messages = user_name_messages(name);
        errors.extend(messages.into_iter().map(|message| FieldError::invalid(&path, name, message)));
    }
    errors
}

fn user_name_messages(name: &str) -> Vec<String> {
    let one = |message: &str| vec![message.to_owned()];
    if name.is_empty() {
        return one("runAsUserName cannot be an empty string");
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return one("runAsUserName cannot contain control characters");
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return one("runAsUserName cannot contain more than one backslash"),
    };
    let mut messages = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= DOMAIN_MAX {
            messages.push(format!("runAsUserName's Domain length must be under {DOMAIN_MAX} characters"));
        }
        if !is_net_bios(domain) && !is_dns_domain(domain) {
            messages.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
        }
    }
    if user.is_empty() {
        messages.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_MAX {
        messages.push(format!("runAsUserName's User length must not be longer than {USER_MAX} characters"));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        messages.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        let detail = r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#;
        messages.push(detail.to_owned());
    }
    messages
}

fn is_net_bios(domain: &str) -> bool {
    let bad = ['\\', '/', ':', '*', '?', '"', '<', '>', '|'];
    (1..=15).contains(&domain.chars().count()) && !domain.starts_with('.') && !domain.contains(bad)
}

fn is_dns_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}

/// The containers of every list with their paths, in upstream's order of visit.
fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let of = |key: &&str| {
        let path = path.child(key);
        list(spec, &[key]).iter().enumerate().map(move |(i, c)| (c, path.index(i))).collect::<Vec<_>>()
    };
    lists.iter().flat_map(of).collect()
}

/// Every error of a pod with Windows host processes: all of its containers are, and it is on the host's network.
pub fn validate_host_process(spec: &Value, path: &Path) -> Vec<FieldError> {
    const KEY: [&str; 3] = ["securityContext", "windowsOptions", "hostProcess"];
    let own = at(spec, &KEY).as_bool();
    let mut errors = Vec::new();
    let (mut count, all) = (0, containers(spec, path));
    for (container, path) in &all {
        let inner = at(container, &KEY).as_bool();
        if let (Some(own), Some(inner)) = (own, inner)
            && own != inner
        {
            let path = path.child("securityContext").child("windowsOptions").child("hostProcess");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {own}");
            errors.push(FieldError::invalid(&path, inner, detail));
        }
        count += usize::from(inner.or(own).unwrap_or(false));
    }
    if count == 0 {
        return errors;
    }
    if count != all.len() {
        let detail =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", detail));
    }
    if !flag(spec, &["hostNetwork"]) {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&path.child("hostNetwork"), false, detail));
    }
    errors
}

/// Every error of `os` and of the fields it rules out.
pub fn validate_os(spec: &Value, path: &Path) -> Vec<FieldError> {
    if !has(spec, &["os"]) {
        return Vec::new();
    }
    match text(spec, &["os", "name"]) {
        "" => vec![FieldError::required(&path.child("os").child("name"), "cannot be empty")],
        "linux" => forbid_on_linux(spec, path),
        "windows" => forbid_on_windows(spec, path),
        other => vec![FieldError::not_supported(&path.child("os"), other, &["linux", "windows"])],
    }
}

fn forbid_on_linux(spec: &Value, path: &Path) -> Vec<FieldError> {
    let all = std::iter::once((spec, path.clone())).chain(containers(spec, path));
    all.filter(|(holder, _)| has(holder, &["securityContext", "windowsOptions"]))
        .map(|(_, path)| {
            let detail = "windows options cannot be set for a linux pod";
            FieldError::forbidden(&path.child("securityContext").child("windowsOptions"), detail)
        })
        .collect()
}

/// Fields of a pod that Windows has not; those of the pod itself stand alone, the others in its context.
const NOT_WINDOWS_POD: &[(bool, &str)] = &[
    (true, "appArmorProfile"),
    (true, "seLinuxOptions"),
    (false, "hostUsers"),
    (false, "hostPID"),
    (false, "hostIPC"),
    (true, "seccompProfile"),
    (true, "fsGroup"),
    (true, "fsGroupChangePolicy"),
    (true, "sysctls"),
    (false, "shareProcessNamespace"),
    (true, "runAsUser"),
    (true, "runAsGroup"),
    (true, "supplementalGroups"),
    (true, "supplementalGroupsPolicy"),
    (true, "seLinuxChangePolicy"),
];
const NOT_WINDOWS_CONTAINER: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn forbid_on_windows(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let detail = "cannot be set for a windows pod";
    for (inside, key) in NOT_WINDOWS_POD {
        let holder = if *inside { at(spec, &["securityContext"]) } else { spec };
        let found = at(holder, &[key]);
        // Upstream holds the host namespaces as plain booleans: false is as good as missing.
        let unset = found.is_null() || (matches!(*key, "hostPID" | "hostIPC") && found == false);
        if !unset {
            let path = if *inside { path.child("securityContext") } else { path.clone() };
            errors.push(FieldError::forbidden(&path.child(key), detail));
        }
    }
    for (container, path) in containers(spec, path) {
        for key in NOT_WINDOWS_CONTAINER {
            if has(container, &["securityContext", key]) {
                errors.push(FieldError::forbidden(&path.child("securityContext").child(key), detail));
            }
        }
    }
    errors
}

/// Every error of a pod with users of its own: the host's other namespaces are out of its reach.
pub fn validate_host_users(spec: &Value, path: &Path) -> Vec<FieldError> {
    if at(spec, &["hostUsers"]).as_bool() != Some(false) {
        return Vec::new();
    }
    let detail = "when `pod.Spec.HostUsers` is false";
    [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
        .into_iter()
        .filter(|(key, _)| flag(spec, &[key]))
        .map(|(_, shown)| FieldError::forbidden(&path.child(shown), detail))
        .collect()
}
