//! A whole pod spec, in a pod or in a template.
//!
//! Authority: upstream's ValidatePodSpec, in its order.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{containers, pod_resources, resources, scheduling, security, volumes, windows};
use crate::shared::access::{at, flag, has, int, list, text, texts};
use crate::shared::addresses::validate_ip;
use crate::shared::labels::validate_labels;
use crate::shared::rules::{invalid_each, one_of};

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// Every error of a pod spec. `pod` is the pod's name, `None` in a template.
pub fn validate(spec: &Value, pod: Option<&str>, path: &Path) -> Vec<FieldError> {
    let (volumes, mut errors) = volumes::validate_volumes(spec, pod, &path.child("volumes"));
    errors.extend(validate_claims(spec, &path.child("resourceClaims")));
    errors.extend(containers::validate(spec, &volumes, path));
    errors.extend(pod_resources::validate(spec, &path.child("resources")));
    errors.extend(validate_host_network(spec, pod.is_some(), &path.child("containers")));
    errors.extend(one_of(spec, "restartPolicy", RESTART_POLICIES, path));
    errors.extend(one_of(spec, "dnsPolicy", DNS_POLICIES, path));
    errors.extend(validate_labels(at(spec, &["nodeSelector"]), &path.child("nodeSelector")));
    errors.extend(security::validate_pod(spec, path));
    errors.extend(scheduling::validate_affinity(at(spec, &["affinity"]), &path.child("affinity")));
    errors.extend(validate_dns(spec, &path.child("dnsConfig")));
    for (index, gate) in list(spec, &["readinessGates"]).iter().enumerate() {
        let path = path.child("readinessGates").index(index).child("conditionType");
        let kind = text(gate, &["conditionType"]);
        errors.extend(invalid_each(&path, kind, names::is_qualified_name(kind)));
    }
    errors.extend(scheduling::validate_gates(spec, &path.child("schedulingGates")));
    let spread = path.child("topologySpreadConstraints");
    errors.extend(scheduling::validate_spread(spec, pod.is_some(), &spread));
    errors.extend(windows::validate_host_process(spec, path));
    errors.extend(windows::validate_host_users(spec, path));
    errors.extend(validate_hostname_override(spec, &path.child("hostnameOverride")));
    errors.extend(validate_references(spec, path));
    errors.extend(windows::validate_os(spec, path));
    errors
}

/// The errors of a host name in place of the pod's name and domain (KEP-4762).
fn validate_hostname_override(spec: &Value, path: &Path) -> Vec<FieldError> {
    const MAX: usize = 64;
    let Some(host) = at(spec, &["hostnameOverride"]).as_str() else { return Vec::new() };
    let mut errors = Vec::new();
    for key in ["setHostnameAsFQDN", "hostNetwork"] {
        if flag(spec, &[key]) {
            errors.push(FieldError::forbidden(path, format!("may not be specified when {key} is true")));
        }
    }
    if host.len() > MAX {
        errors.push(FieldError::too_long(path, MAX));
    }
    errors.extend(invalid_each(path, host, names::is_dns1123_subdomain(host)));
    errors
}

/// Every error of the claims a pod makes or takes (KEP-4381).
fn validate_claims(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, claim) in list(spec, &["resourceClaims"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(claim, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        } else {
            errors.extend(invalid_each(&path.child("name"), name, names::is_dns1123_label(name)));
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.iter().filter(|key| has(claim, &[key])).count() {
            2 => {
                let detail =
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(FieldError::invalid(&path, claim, detail));
            }
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(FieldError::invalid(&path, claim, detail));
            }
            _ => {}
        }
        for key in sources {
            if let Some(target) = at(claim, &[key]).as_str() {
                errors.extend(invalid_each(&path.child(key), target, names::is_dns1123_subdomain(target)));
            }
        }
    }
    errors
}

/// On the host's network a container's port is the host's: a pod says so, a template may leave it out.
fn validate_host_network(spec: &Value, in_pod: bool, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !flag(spec, &["hostNetwork"]) {
        return errors;
    }
    for (index, container) in list(spec, &["containers"]).iter().enumerate() {
        for (position, port) in list(container, &["ports"]).iter().enumerate() {
            let host = int(port, &["hostPort"]).unwrap_or(0);
            if (in_pod || host != 0) && host != int(port, &["containerPort"]).unwrap_or(0) {
                let path = path.index(index).child("ports").index(position).child("hostPort");
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&path, host, detail));
            }
        }
    }
    errors
}

type Rule = crate::shared::rules::TextRule;

fn validate_names(spec: &Value, rules: &[(&str, Rule)], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, rule) in rules {
        let value = text(spec, &[key]);
        if !value.is_empty() {
            errors.extend(invalid_each(&path.child(key), value, rule(value)));
        }
    }
    errors
}

fn validate_references(spec: &Value, path: &Path) -> Vec<FieldError> {
    let rules: [(&str, Rule); 2] =
        [("serviceAccountName", names::is_dns1123_subdomain), ("nodeName", names::is_dns1123_subdomain)];
    let mut errors = validate_names(spec, &rules, path);
    let deadline = int(spec, &["activeDeadlineSeconds"]);
    if let Some(seconds) = deadline.filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), seconds, detail));
    }
    let rules: [(&str, Rule); 2] =
        [("hostname", names::is_dns1123_label), ("subdomain", names::is_dns1123_label)];
    errors.extend(validate_names(spec, &rules, path));
    let tolerations = list(spec, &["tolerations"]);
    errors.extend(scheduling::validate_tolerations(tolerations, &path.child("tolerations")));
    errors.extend(validate_aliases(spec, &path.child("hostAliases")));
    let rules: [(&str, Rule); 1] = [("priorityClassName", names::is_dns1123_subdomain)];
    errors.extend(validate_names(spec, &rules, path));
    if let Some(class) = at(spec, &["runtimeClassName"]).as_str() {
        let messages = names::is_dns1123_subdomain(class);
        errors.extend(invalid_each(&path.child("runtimeClassName"), class, messages));
    }
    if has(spec, &["preemptionPolicy"]) {
        errors.extend(one_of(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path));
    }
    if has(spec, &["overhead"]) {
        // Upstream checks the overhead as the limits of a container, and says so in the path.
        let limits = json!({"limits": at(spec, &["overhead"])});
        errors.extend(resources::validate_requirements(&limits, &path.child("overhead")));
    }
    errors
}

fn validate_aliases(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.index(index);
        errors.extend(validate_ip(text(alias, &["ip"]), &[], &path.child("ip")));
        for (position, host) in texts(alias, &["hostnames"]).iter().enumerate() {
            let path = path.child("hostnames").index(position);
            errors.extend(invalid_each(&path, host, names::is_dns1123_subdomain(host)));
        }
    }
    errors
}

/// What is wrong with a search domain: a subdomain whose labels may hold underscores and start with one.
fn search_domain(name: &str) -> Vec<String> {
    const PATTERN: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
    let mut messages = Vec::new();
    if name.len() > 253 {
        messages.push(names::max_len_error(253));
    }
    let good = name.split('.').all(|label| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(plain)
            && bytes.last().is_some_and(plain)
            && bytes.iter().all(|byte| plain(byte) || matches!(byte, b'-' | b'_'))
    });
    if !good {
        let intro = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        messages.push(names::regex_error(intro, PATTERN, &["example.com"]));
    }
    messages
}

fn validate_dns(spec: &Value, path: &Path) -> Vec<FieldError> {
    let config = at(spec, &["dnsConfig"]);
    let servers = texts(config, &["nameservers"]);
    if text(spec, &["dnsPolicy"]) == "None" {
        if config.is_null() {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            return vec![FieldError::required(path, detail)];
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return vec![FieldError::required(&path.child("nameservers"), detail)];
        }
    }
    let mut errors = Vec::new();
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(&path.child("nameservers"), &servers, detail));
    }
    for (index, server) in servers.iter().enumerate() {
        errors.extend(validate_ip(server, &[], &path.child("nameservers").index(index)));
    }
    let searches = texts(config, &["searches"]);
    if searches.len() > 32 {
        let detail = "must not have more than 32 search paths";
        errors.push(FieldError::invalid(&path.child("searches"), &searches, detail));
    }
    if searches.join(" ").len() > 2048 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.push(FieldError::invalid(&path.child("searches"), &searches, detail));
    }
    for (index, search) in searches.iter().enumerate() {
        let trimmed = search.strip_suffix('.').unwrap_or(search);
        let messages = if *search == "." { Vec::new() } else { search_domain(trimmed) };
        errors.extend(invalid_each(&path.child("searches").index(index), search, messages));
    }
    for (index, _) in
        list(config, &["options"]).iter().enumerate().filter(|(_, o)| text(o, &["name"]).is_empty())
    {
        errors.push(FieldError::required(&path.child("options").index(index), "must not be empty"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::defaults::pod_spec;
    use crate::testing::messages;
    use serde_json::json;

    fn with(key: &str, value: Value) -> Vec<String> {
        let mut spec = json!({"containers": [{"name": "a", "image": "b"}]});
        spec[key] = value;
        pod_spec(&mut spec);
        messages(&validate(&spec, None, &Path::new("spec")))
    }

    #[test]
    fn each_field_has_its_rule() {
        let cases = [
            (
                "restartPolicy",
                json!("Sometimes"),
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ),
            (
                "dnsPolicy",
                json!("None"),
                "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
            ),
            (
                "activeDeadlineSeconds",
                json!(0),
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            ),
            (
                "hostAliases",
                json!([{"ip": "x"}]),
                "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
            (
                "hostnameOverride",
                json!(format!("a.{}", "b".repeat(63))),
                "spec.hostnameOverride: Too long: may not be more than 64 bytes",
            ),
            (
                "os",
                json!({"name": "dos"}),
                "spec.os: Unsupported value: \"dos\": supported values: \"linux\", \"windows\"",
            ),
        ];
        assert_eq!(with("hostname", json!("ok")), Vec::<String>::new());
        assert_eq!(with("hostnameOverride", json!("web.example.com")), Vec::<String>::new());
        for (key, value, want) in cases {
            assert_eq!(with(key, value), [want], "{key}");
        }
    }
}
