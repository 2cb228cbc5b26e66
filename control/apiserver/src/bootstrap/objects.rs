//! The objects themselves. Pure.

use std::net::IpAddr;

use serde_json::{Value, json};

/// default, kube-system, kube-public, kube-node-lease.
pub fn namespaces() -> Vec<Value> {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .to_vec()
}

/// The two system priority classes.
pub fn priority_classes() -> Vec<Value> {
    let class = |name: &str, value: i64, description: &str| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description,
        })
    };
    vec![
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
}

/// The ServiceCIDR of the configured ranges.
pub fn service_cidr(ranges: &[String]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ranges},
    })
}

/// The Service through which pods reach the API.
pub fn service(address: IpAddr, target_port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": address.to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": target_port}],
        },
    })
}

/// Its Endpoints and EndpointSlice: this server.
pub fn endpoints(address: IpAddr, port: u16) -> [Value; 2] {
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    [
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{"addresses": [{"ip": address.to_string()}], "ports": ports}],
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
            "ports": ports,
        }),
    ]
}

/// What extension API servers need to authenticate requests that come through this server.
pub fn authentication(client_ca: &str, front_proxy_ca: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": client_ca,
            "requestheader-allowed-names": "[\"front-proxy-client\"]",
            "requestheader-client-ca-file": front_proxy_ca,
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]",
        },
    })
}

/// FlowSchemas and PriorityLevelConfigurations: the mandatory and the suggested ones, levels first.
pub fn flow_control() -> Vec<Value> {
    use xebec_flow::objects::{mandatory_levels, mandatory_schemas, suggested_levels, suggested_schemas};
    [mandatory_levels(), suggested_levels(), mandatory_schemas(), suggested_schemas()].concat()
}

/// The present flow control object with the wanted spec, unless an operator has taken it over by its annotation.
pub fn updated_if_automatic(old: &Value, wanted: &Value) -> Value {
    let mut new = old.clone();
    let mandatory = matches!(old["metadata"]["name"].as_str(), Some("exempt" | "catch-all"));
    if mandatory || old["metadata"]["annotations"][xebec_flow::objects::AUTO_UPDATE] == "true" {
        new["spec"] = wanted["spec"].clone();
    }
    new
}

/// The present object with everything but its metadata as wanted.
pub fn overwritten(old: &Value, wanted: &Value) -> Value {
    let mut new = wanted.clone();
    let mut metadata = old["metadata"].clone();
    for (key, value) in wanted["metadata"]["labels"].as_object().into_iter().flatten() {
        metadata["labels"][key] = value.clone();
    }
    new["metadata"] = metadata;
    new
}

/// The present Service with the ports and the type of the wanted one.
pub fn corrected(old: &Value, wanted: &Value) -> Value {
    let mut new = old.clone();
    for field in ["type", "ports"] {
        new["spec"][field] = wanted["spec"][field].clone();
    }
    new
}

/// The present ServiceCIDR with the second of the wanted ranges, if all it has is the first: the cluster has become
/// dual-stack. Another first range, or one less, would leave Services outside.
pub fn widened(old: &Value, wanted: &Value) -> Value {
    let mut new = old.clone();
    let (present, all) = (&old["spec"]["cidrs"], &wanted["spec"]["cidrs"]);
    if present.as_array().is_some_and(|list| list.len() == 1) && present[0] == all[0] {
        new["spec"]["cidrs"] = all.clone();
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_take_a_suggested_object_over() {
        let wanted = &xebec_flow::objects::suggested_levels()[0];
        let mut old = wanted.clone();
        old["spec"]["limited"]["nominalConcurrencyShares"] = json!(7);
        assert_eq!(updated_if_automatic(&old, wanted)["spec"], wanted["spec"]);
        old["metadata"]["annotations"][xebec_flow::objects::AUTO_UPDATE] = json!("false");
        assert_eq!(updated_if_automatic(&old, wanted), old);
    }

    #[test]
    fn a_range_of_the_second_family_may_be_added() {
        let ranges = |list: &[&str]| service_cidr(&list.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
        let (one, two) = (ranges(&["10.96.0.0/12"]), ranges(&["10.96.0.0/12", "fd00::/112"]));
        assert_eq!(widened(&one, &two), two);
        assert_eq!(widened(&two, &one), two);
        let other = ranges(&["10.0.0.0/16"]);
        assert_eq!(widened(&other, &two), other);
    }

    #[test]
    fn a_service_keeps_all_but_ports_and_type() {
        let wanted = service("10.96.0.1".parse().unwrap(), 6443);
        let mut old = wanted.clone();
        old["spec"]["sessionAffinity"] = json!("ClientIP");
        assert_eq!(corrected(&old, &wanted), old);
        let mut other = old.clone();
        other["spec"]["type"] = json!("NodePort");
        other["spec"]["ports"][0]["nodePort"] = json!(30_000);
        assert_eq!(corrected(&other, &wanted), old);
    }

    #[test]
    fn overwriting_keeps_the_metadata() {
        let [old, _] = endpoints("10.0.0.1".parse().unwrap(), 6443);
        let mut old = old;
        old["metadata"]["uid"] = json!("u");
        let [wanted, _] = endpoints("10.0.0.2".parse().unwrap(), 6443);
        let new = overwritten(&old, &wanted);
        assert_eq!(new["metadata"]["uid"], "u");
        assert_eq!(new["subsets"][0]["addresses"][0]["ip"], "10.0.0.2");
    }
}
