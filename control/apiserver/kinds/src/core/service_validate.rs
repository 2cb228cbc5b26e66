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
use crate::shared::labels::validate_labels;
use crate::shared::rules::{
    BAD_CIDR, BAD_IP, invalid_each, is_cidr, is_ip, one_of, port_number, port_number_or_name,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const KUBELET_PORT: i64 = 10250;

/// Every error of a Service's spec.
pub fn validate(obj: &Value) -> Vec<FieldError> {
    let spec = at(obj, &["spec"]);
    let path = Path::new("spec");
    let ports = list(spec, &["ports"]);
    let mut errors = Vec::new();
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
    errors.extend(validate_cluster_ips(spec, &path));
    for (index, ip) in texts(spec, &["externalIPs"]).iter().enumerate() {
        let path = path.child("externalIPs").index(index);
        if is_ip(ip) {
            errors.extend(not_special(ip, &path));
        } else {
            errors.push(FieldError::invalid(&path, ip, BAD_IP));
        }
    }
    errors.extend(one_of(spec, "type", TYPES, &path));
    errors.extend(validate_duplicates(ports, kind(obj), &path.child("ports")));
    errors.extend(validate_balancer(obj, spec, &path));
    errors.extend(validate_traffic(obj, spec, &path));
    errors
}

fn validate_type(obj: &Value, spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match kind(obj) {
        "LoadBalancer" => {
            for (index, port) in list(spec, &["ports"]).iter().enumerate() {
                if int(port, &["port"]) == Some(KUBELET_PORT) {
                    let detail = "may not expose port 10250 externally since it is used by kubelet";
                    errors.push(FieldError::invalid(&path.child("ports").index(index), KUBELET_PORT, detail));
                }
            }
            errors.extend(not_headless(obj, "may not be set to 'None' for LoadBalancer services", path));
        }
        "NodePort" => {
            errors.extend(not_headless(obj, "may not be set to 'None' for NodePort services", path));
        }
        "ExternalName" => {
            for key in ["clusterIPs", "clusterIP"] {
                if !list(spec, &[key]).is_empty() || !text(spec, &[key]).is_empty() {
                    let detail = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(&path.child(key), detail));
                    break;
                }
            }
            for (key, detail) in [
                ("ipFamilies", "may not be set for ExternalName services"),
                ("ipFamilyPolicy", "may not be set for ExternalName services"),
            ] {
                if has(spec, &[key]) {
                    errors.push(FieldError::forbidden(&path.child(key), detail));
                }
            }
            let external = text(spec, &["externalName"]);
            if external.is_empty() {
                errors.push(FieldError::required(&path.child("externalName"), ""));
            } else {
                let trimmed = external.strip_suffix('.').unwrap_or(external);
                let messages = names::is_dns1123_subdomain(trimmed);
                errors.extend(invalid_each(&path.child("externalName"), external, messages));
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
        let seconds = int(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).unwrap_or(0);
        if !(1..=86400).contains(&seconds) {
            let detail = "must be greater than 0 and less than 86400";
            let path = path.child("clientIP").child("timeoutSeconds");
            errors.push(FieldError::invalid(&path, seconds, detail));
        }
    } else if has(spec, &["sessionAffinityConfig"]) {
        let detail = "must not be set when session affinity is None";
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

fn validate_duplicates(ports: &[Value], kind: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (mut node_ports, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let protocol = text(port, &["protocol"]);
        let node = int(port, &["nodePort"]).unwrap_or(0);
        if node != 0 {
            if kind == "ClusterIP" {
                let detail = "may not be used when `type` is 'ClusterIP'";
                errors.push(FieldError::forbidden(&path.child("nodePort"), detail));
            }
            if !node_ports.insert((protocol, node)) {
                errors.push(FieldError::duplicate(&path.child("nodePort"), node));
            }
        }
        let number = int(port, &["port"]).unwrap_or(0);
        if !numbers.insert((protocol, number)) {
            let key = json!({"port": number, "protocol": protocol});
            errors.push(FieldError::duplicate(&path, key));
        }
    }
    errors
}

fn validate_balancer(obj: &Value, spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let ranges = texts(spec, &["loadBalancerSourceRanges"]);
    let balancer = kind(obj) == "LoadBalancer";
    let ranges_path = path.child("loadBalancerSourceRanges");
    if !ranges.is_empty() && !balancer {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(&ranges_path, detail));
    }
    for (index, range) in ranges.iter().enumerate().filter(|(_, range)| !is_cidr(range.trim())) {
        errors.push(FieldError::invalid(&ranges_path.index(index), range, BAD_CIDR));
    }
    if balancer && at(spec, &["allocateLoadBalancerNodePorts"]).is_null() {
        errors.push(FieldError::required(&path.child("allocateLoadBalancerNodePorts"), ""));
    }
    for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !balancer && has(spec, &[key]) {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            errors.push(FieldError::forbidden(&path.child(key), detail));
        }
    }
    let class = text(spec, &["loadBalancerClass"]);
    if balancer && has(spec, &["loadBalancerClass"]) {
        errors.extend(invalid_each(&path.child("loadBalancerClass"), class, names::is_qualified_name(class)));
    }
    errors
}

fn validate_traffic(obj: &Value, spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let policies = ["Cluster", "Local"];
    if kind(obj) != "ExternalName" {
        errors.extend(one_of(spec, "internalTrafficPolicy", &policies, path));
    }
    let external = text(spec, &["externalTrafficPolicy"]);
    if is_external(obj) {
        if external.is_empty() {
            errors.push(FieldError::required(&path.child("externalTrafficPolicy"), ""));
        } else if !policies.contains(&external) {
            let path = path.child("externalTrafficPolicy");
            errors.push(FieldError::not_supported(&path, external, &policies));
        }
    } else if !external.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(&path.child("externalTrafficPolicy"), external, detail));
    }
    let health = int(spec, &["healthCheckNodePort"]).unwrap_or(0);
    if health != 0 && !(kind(obj) == "LoadBalancer" && external == "Local") {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(&path.child("healthCheckNodePort"), health, detail));
    }
    errors
}

/// Every error of the load balancer's status.
pub fn validate_load_balancer(obj: &Value) -> Vec<FieldError> {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let mut errors = Vec::new();
    let ingresses = list(obj, &["status", "loadBalancer", "ingress"]);
    if !ingresses.is_empty() && kind(obj) != "LoadBalancer" {
        errors.push(FieldError::forbidden(&path, "may only be used when `spec.type` is LoadBalancer"));
    }
    for (index, ingress) in ingresses.iter().enumerate() {
        let path = path.index(index);
        let (ip, host) = (text(ingress, &["ip"]), text(ingress, &["hostname"]));
        if !ip.is_empty() && !is_ip(ip) {
            errors.push(FieldError::invalid(&path.child("ip"), ip, BAD_IP));
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
