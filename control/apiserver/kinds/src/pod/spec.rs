//! A whole pod spec, in a pod or in a template.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{containers, resources, scheduling, security, volumes};
use crate::shared::access::{at, entries, has, int, list, text, texts};
use crate::shared::rules::{BAD_IP, NOT_NEGATIVE, invalid_each, is_ip, one_of};

const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const DNS_POLICIES: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];

/// Every error of a pod spec.
pub fn validate(spec: &Value, path: &Path) -> Vec<FieldError> {
    let (volumes, mut errors) = volumes::validate_volumes(spec, &path.child("volumes"));
    errors.extend(containers::validate(spec, &volumes, path));
    errors.extend(one_of(spec, "restartPolicy", RESTART_POLICIES, path));
    errors.extend(one_of(spec, "dnsPolicy", DNS_POLICIES, path));
    errors.extend(security::validate_pod(spec, path));
    errors.extend(scheduling::validate(spec, path));
    errors.extend(validate_dns(spec, &path.child("dnsConfig")));
    errors.extend(validate_references(spec, path));
    errors.extend(validate_numbers(spec, path));
    for (index, gate) in list(spec, &["readinessGates"]).iter().enumerate() {
        let path = path.child("readinessGates").index(index).child("conditionType");
        let kind = text(gate, &["conditionType"]);
        errors.extend(invalid_each(&path, kind, names::is_qualified_name(kind)));
    }
    for (index, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.child("hostAliases").index(index);
        if !is_ip(text(alias, &["ip"])) {
            errors.push(FieldError::invalid(&path.child("ip"), text(alias, &["ip"]), BAD_IP));
        }
        for (position, host) in texts(alias, &["hostnames"]).iter().enumerate() {
            let path = path.child("hostnames").index(position);
            errors.extend(invalid_each(&path, host, names::is_dns1123_subdomain(host)));
        }
    }
    errors.extend(validate_host_network(spec, path));
    errors
}

/// Pods on the node's network use their own port numbers as host ports.
fn validate_host_network(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !at(spec, &["hostNetwork"]).as_bool().unwrap_or(false) {
        return errors;
    }
    for key in ["containers", "initContainers"] {
        for (index, container) in list(spec, &[key]).iter().enumerate() {
            for (position, port) in list(container, &["ports"]).iter().enumerate() {
                let host = int(port, &["hostPort"]).unwrap_or(0);
                if host != 0 && host != int(port, &["containerPort"]).unwrap_or(0) {
                    let path = path.child(key).index(index).child("ports").index(position);
                    let detail = "must match `hostPort` when `hostNetwork` is true";
                    let value = at(port, &["containerPort"]);
                    errors.push(FieldError::invalid(&path.child("containerPort"), value, detail));
                }
            }
        }
    }
    errors
}

fn validate_references(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    type Rule = fn(&str) -> Vec<String>;
    let rules: [(&str, Rule); 6] = [
        ("serviceAccountName", names::is_dns1123_subdomain),
        ("nodeName", names::is_dns1123_subdomain),
        ("hostname", names::is_dns1123_label),
        ("subdomain", names::is_dns1123_label),
        ("priorityClassName", names::is_dns1123_subdomain),
        ("runtimeClassName", names::is_dns1123_subdomain),
    ];
    for (key, rule) in rules {
        let value = text(spec, &[key]);
        if !value.is_empty() {
            errors.extend(invalid_each(&path.child(key), value, rule(value)));
        }
    }
    if has(spec, &["preemptionPolicy"]) {
        errors.extend(one_of(spec, "preemptionPolicy", &["Never", "PreemptLowerPriority"], path));
    }
    let os = text(spec, &["os", "name"]);
    if has(spec, &["os"]) && !["linux", "windows"].contains(&os) {
        let path = path.child("os").child("name");
        errors.push(if os.is_empty() {
            FieldError::required(&path, "cannot be empty")
        } else {
            FieldError::not_supported(&path, os, &["linux", "windows"])
        });
    }
    errors
}

fn validate_numbers(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(seconds) =
        int(spec, &["activeDeadlineSeconds"]).filter(|s| !(1..=i64::from(i32::MAX)).contains(s))
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), seconds, detail));
    }
    if let Some(seconds) = int(spec, &["terminationGracePeriodSeconds"]).filter(|seconds| *seconds < 0) {
        errors.push(FieldError::invalid(&path.child("terminationGracePeriodSeconds"), seconds, NOT_NEGATIVE));
    }
    for (name, quantity) in entries(spec, &["overhead"]) {
        errors.extend(resources::validate_quantity(name, quantity, &path.child("overhead").key(name)));
    }
    if has(spec, &["resources"]) {
        let path = path.child("resources");
        errors.extend(resources::validate_requirements(at(spec, &["resources"]), &path));
    }
    errors
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
    for (index, server) in servers.iter().enumerate().filter(|(_, server)| !is_ip(server)) {
        errors.push(FieldError::invalid(&path.child("nameservers").index(index), server, BAD_IP));
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
        let messages = if *search == "." { Vec::new() } else { names::is_dns1123_subdomain(trimmed) };
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
        messages(&validate(&spec, &Path::new("spec")))
    }

    #[test]
    fn each_field_has_its_rule() {
        let cases = [
            (
                "restartPolicy",
                json!("Sometimes"),
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
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
                "terminationGracePeriodSeconds",
                json!(-5),
                "spec.terminationGracePeriodSeconds: Invalid value: -5: must be greater than or equal to 0",
            ),
            (
                "hostAliases",
                json!([{"ip": "x"}]),
                "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
            (
                "os",
                json!({"name": "dos"}),
                "spec.os.name: Unsupported value: \"dos\": supported values: \"linux\", \"windows\"",
            ),
        ];
        assert_eq!(with("hostname", json!("ok")), Vec::<String>::new());
        for (key, value, want) in cases {
            assert_eq!(with(key, value), [want], "{key}");
        }
    }
}
