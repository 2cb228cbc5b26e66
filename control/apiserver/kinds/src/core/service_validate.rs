//! What a Service must say.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::endpoints::not_special;
use super::service::{is_external, is_headless, kind};
use super::service_addresses::validate_cluster_ips;
use crate::pod::probes::PROTOCOLS;
use crate::shared::access::{at, has, int, list, text, texts};
use crate::shared::addresses::{texts_under, validate_cidr, validate_ip};
use crate::shared::labels::validate_labels;
use crate::shared::meta;
use crate::shared::rules::{
    invalid_each, is_ip, one_of, one_of_or_missing, port_number, port_number_or_name,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// Every error of a Service's spec; `old` is null for a new Service.
pub fn validate(obj: &Value, old: &Value) -> Vec<FieldError> {
    let before = at(old, &["spec"]);
    let spec = at(obj, &["spec"]);
    let path = Path::new("spec");
    let ports = list(spec, &["ports"]);
    let mut errors: Vec<FieldError> = validate_topology(obj).into_iter().collect();
    if ports.is_empty() && !is_headless(obj) && kind(obj) != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    errors.extend(validate_type(obj, spec, &path));
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        errors.extend(validate_port(port, ports.len() > 1, &mut seen, &path));
    }
    errors.extend(validate_labels(at(spec, &["selector"]), &path.child("selector")));
    errors.extend(validate_affinity(spec, &path));
    errors.extend(validate_cluster_ips(spec, before, &path));
    let known = texts(before, &["externalIPs"]);
    for (index, ip) in texts(spec, &["externalIPs"]).iter().enumerate() {
        let path = path.child("externalIPs").index(index);
        let found = validate_ip(ip, &known, &path);
        if found.is_empty() {
            errors.extend(not_special(ip, &path));
        }
        errors.extend(found);
    }
    errors.extend(one_of(spec, "type", TYPES, &path));
    errors.extend(validate_duplicates(ports, kind(obj), &path.child("ports")));
    errors.extend(validate_balancer(obj, old, &path));
    errors.extend(validate_traffic(obj, spec, &path));
    errors
}

/// The old and the new name of one annotation may not disagree.
fn validate_topology(obj: &Value) -> Option<FieldError> {
    const NEW: &str = "service.kubernetes.io/topology-mode";
    const OLD: &str = "service.kubernetes.io/topology-aware-hints";
    let (mode, hints) = (meta::annotation(obj, NEW)?, meta::annotation(obj, OLD)?);
    let detail = format!("must match annotations[{OLD}] when both are specified");
    let path = Path::new("metadata").child("annotations").key(NEW);
    (mode != hints).then(|| FieldError::invalid(&path, mode, detail))
}

fn validate_type(obj: &Value, spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match kind(obj) {
        "LoadBalancer" => {
            errors.extend(not_headless(obj, "may not be set to 'None' for LoadBalancer services", path));
        }
        "NodePort" => {
            errors.extend(not_headless(obj, "may not be set to 'None' for NodePort services", path));
        }
        "ExternalName" => {
            for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let unset = list(spec, &[key]).is_empty() && text(spec, &[key]).is_empty();
                if !unset {
                    let detail = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(&path.child(key), detail));
                }
            }
            let external = text(spec, &["externalName"]);
            if external.is_empty() {
                errors.push(FieldError::required(&path.child("externalName"), ""));
            } else {
                let trimmed = external.strip_suffix('.').unwrap_or(external);
                let messages = names::is_dns1123_subdomain(trimmed);
                errors.extend(invalid_each(&path.child("externalName"), trimmed, messages));
            }
        }
        _ => {}
    }
    errors
}

fn not_headless(obj: &Value, detail: &str, path: &Path) -> Vec<FieldError> {
    if is_headless(obj) {
        vec![FieldError::invalid(&path.child("clusterIPs").index(0), "None", detail)]
    } else {
        Vec::new()
    }
}

fn validate_port<'a>(
    port: &'a Value,
    named: bool,
    seen: &mut BTreeSet<&'a str>,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match text(port, &["name"]) {
        "" if named => errors.push(FieldError::required(&path.child("name"), "")),
        "" => {}
        name => {
            errors.extend(invalid_each(&path.child("name"), name, names::is_dns1123_label(name)));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
    }
    errors.extend(port_number(int(port, &["port"]).unwrap_or(0), &path.child("port")));
    errors.extend(one_of(port, "protocol", PROTOCOLS, path));
    errors.extend(port_number_or_name(at(port, &["targetPort"]), &path.child("targetPort")));
    let protocol = text(port, &["appProtocol"]);
    if has(port, &["appProtocol"]) {
        errors.extend(invalid_each(&path.child("appProtocol"), protocol, names::is_qualified_name(protocol)));
    }
    errors
}

fn validate_affinity(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = one_of(spec, "sessionAffinity", &["ClientIP", "None"], path);
    let path = path.child("sessionAffinityConfig");
    if text(spec, &["sessionAffinity"]) == "ClientIP" {
        let detail = "when session affinity type is ClientIP";
        let config = at(spec, &["sessionAffinityConfig"]);
        let timeout = path.child("clientIP").child("timeoutSeconds");
        match int(config, &["clientIP", "timeoutSeconds"]) {
            _ if config.is_null() => errors.push(FieldError::required(&path, detail)),
            _ if !has(config, &["clientIP"]) => {
                errors.push(FieldError::required(&path.child("clientIP"), detail));
            }
            None => errors.push(FieldError::required(&timeout, detail)),
            Some(seconds) if !(1..=86400).contains(&seconds) => {
                let detail = "must be greater than 0 and less than 86400";
                errors.push(FieldError::invalid(&timeout, seconds, detail));
            }
            Some(_) => {}
        }
    } else if text(spec, &["sessionAffinity"]) == "None" && has(spec, &["sessionAffinityConfig"]) {
        let detail = "must not be set when session affinity is None";
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

fn validate_duplicates(ports: &[Value], kind: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let node = |port: &Value| int(port, &["nodePort"]).unwrap_or(0);
    let using = || ports.iter().enumerate().filter(|(_, port)| node(port) != 0);
    for (index, _) in using().filter(|_| kind == "ClusterIP") {
        let detail = "may not be used when `type` is 'ClusterIP'";
        errors.push(FieldError::forbidden(&path.index(index).child("nodePort"), detail));
    }
    let mut taken = BTreeSet::new();
    for (index, port) in using() {
        if !taken.insert((text(port, &["protocol"]), node(port))) {
            errors.push(FieldError::duplicate(&path.index(index).child("nodePort"), node(port)));
        }
    }
    let mut numbers = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (protocol, number) = (text(port, &["protocol"]), int(port, &["port"]).unwrap_or(0));
        if !numbers.insert((protocol, number)) {
            // Upstream shows the pair as a whole port, with the fields it compares and a target of 0.
            let key = json!({"protocol": protocol, "port": number, "targetPort": 0});
            errors.push(FieldError::duplicate(&path.index(index), key));
        }
    }
    errors
}

const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

fn validate_balancer(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let spec = at(obj, &["spec"]);
    let mut errors = validate_ranges(obj, old, path);
    let balancer = kind(obj) == "LoadBalancer";
    let allocates = has(spec, &["allocateLoadBalancerNodePorts"]);
    if !balancer && allocates {
        errors.push(FieldError::forbidden(&path.child("allocateLoadBalancerNodePorts"), BALANCER_ONLY));
    }
    if balancer && !allocates {
        errors.push(FieldError::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    if let Some(class) = at(spec, &["loadBalancerClass"]).as_str() {
        let path = path.child("loadBalancerClass");
        if balancer {
            errors.extend(invalid_each(&path, class, names::is_qualified_name(class)));
        } else {
            errors.push(FieldError::forbidden(&path, BALANCER_ONLY));
        }
    }
    errors
}

/// The ranges may have spaces around them: so had those of the annotation they came from.
fn validate_ranges(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let balancer = kind(obj) == "LoadBalancer";
    let ranges = texts(obj, &["spec", "loadBalancerSourceRanges"]);
    if !ranges.is_empty() {
        let path = path.child("LoadBalancerSourceRanges");
        if !balancer {
            errors.push(FieldError::forbidden(&path, BALANCER_ONLY));
        }
        let known = texts(old, &["spec", "loadBalancerSourceRanges"]);
        let known: Vec<&str> = known.into_iter().map(str::trim).collect();
        for (index, range) in ranges.iter().enumerate() {
            errors.extend(validate_cidr(range.trim(), &known, &path.index(index)));
        }
    } else if let Some(ranges) = meta::annotation(obj, RANGES) {
        let path = Path::new("metadata").child("annotations").key(RANGES);
        if !balancer {
            errors.push(FieldError::forbidden(&path, BALANCER_ONLY));
        }
        if !ranges.trim().is_empty() && meta::annotation(old, RANGES) != Some(ranges) {
            let each = ranges.trim().split(',').map(str::trim);
            errors.extend(each.flat_map(|range| validate_cidr(range, &[], &path)));
        }
    }
    errors
}

fn validate_traffic(obj: &Value, spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let policies = ["Cluster", "Local"];
    let external = text(spec, &["externalTrafficPolicy"]);
    let external_path = path.child("externalTrafficPolicy");
    if !is_external(obj) {
        if !external.is_empty() {
            let detail = "may only be set for externally-accessible services";
            errors.push(FieldError::invalid(&external_path, external, detail));
        }
    } else if external.is_empty() {
        errors.push(FieldError::required(&external_path, ""));
    } else if !policies.contains(&external) {
        errors.push(FieldError::not_supported(&external_path, external, &policies));
    }
    let health = int(spec, &["healthCheckNodePort"]).unwrap_or(0);
    let health_path = path.child("healthCheckNodePort");
    if kind(obj) != "LoadBalancer" || external != "Local" {
        if health != 0 {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&health_path, health, detail));
        }
    } else if health != 0 {
        // A missing one is no error of the client's: the allocator gives it before upstream validates.
        errors.extend(port_number(health, &health_path));
    }
    let internal = at(spec, &["internalTrafficPolicy"]);
    if internal.is_null() && matches!(kind(obj), "ClusterIP" | "NodePort" | "LoadBalancer") {
        errors.push(FieldError::required(&path.child("internalTrafficPolicy"), ""));
    }
    errors.extend(one_of_or_missing(spec, "internalTrafficPolicy", &policies, path));
    let near = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    errors.extend(one_of_or_missing(spec, "trafficDistribution", &near, path));
    errors
}

/// Every error of the load balancer's status.
pub fn validate_load_balancer(obj: &Value, old: &Value) -> Vec<FieldError> {
    let known = texts_under(at(old, &["status", "loadBalancer"]), &["ip"]);
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let mut errors = Vec::new();
    let ingresses = list(obj, &["status", "loadBalancer", "ingress"]);
    if !ingresses.is_empty() && kind(obj) != "LoadBalancer" {
        return vec![FieldError::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    for (index, ingress) in ingresses.iter().enumerate() {
        let path = path.index(index);
        let (ip, host) = (text(ingress, &["ip"]), text(ingress, &["hostname"]));
        if !ip.is_empty() {
            errors.extend(validate_ip(ip, &known, &path.child("ip")));
        }
        let mode = path.child("ipMode");
        match (has(ingress, &["ipMode"]), ip.is_empty()) {
            (false, false) => errors.push(FieldError::required(&mode, "must be specified when `ip` is set")),
            (true, true) => {
                errors.push(FieldError::forbidden(&mode, "may not be specified when `ip` is not set"));
            }
            (true, false) => errors.extend(one_of_or_missing(ingress, "ipMode", &["Proxy", "VIP"], &path)),
            (false, true) => {}
        }
        if !host.is_empty() {
            errors.extend(invalid_each(&path.child("hostname"), host, names::is_dns1123_subdomain(host)));
            if is_ip(host) {
                let detail = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(&path.child("hostname"), host, detail));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::service::Service;
    use crate::testing::create;
    use serde_json::{Value, json};

    fn errors(spec: Value) -> Vec<String> {
        create(&Service, json!({"spec": spec})).1
    }

    #[test]
    fn each_error_has_upstreams_words() {
        let cases = [
            (json!({}), "spec.ports: Required value"),
            (
                json!({"ports": [{"port": 0, "targetPort": 1}]}),
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (
                json!({"ports": [{"port": 80, "protocol": "X"}]}),
                "spec.ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ),
            (
                json!({"ports": [{"port": 80, "nodePort": 30000}]}),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ),
            (json!({"type": "ExternalName"}), "spec.externalName: Required value"),
            (
                json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            ),
            (
                json!({"ports": [{"port": 80}], "clusterIP": "x"}),
                "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
            (
                json!({"ports": [{"port": 80}], "type": "Odd", "internalTrafficPolicy": "Cluster"}),
                "spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ),
            (
                json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            ),
        ];
        for (spec, want) in cases {
            assert_eq!(errors(spec.clone()), [want], "{spec}");
        }
    }

    #[test]
    fn many_ports_need_names() {
        assert_eq!(
            errors(json!({"ports": [{"port": 80, "name": "a"}, {"port": 81}]})),
            ["spec.ports[1].name: Required value"]
        );
        assert_eq!(
            errors(json!({"clusterIP": "None"})),
            Vec::<String>::new(),
            "a headless Service needs no port"
        );
    }
}
