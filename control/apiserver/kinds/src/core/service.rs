//! Services. Allocating addresses and node ports is the API server's part, not this crate's.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::FieldError;

use super::{service_update, service_validate};
use crate::shared::access::{
    at, default_text, default_to, drop_nulls, has, int, list, list_mut, remove, set, text, texts,
};
use crate::table::{AGE, NAME, age, column, labels, name, or_none, wide};
use crate::{Column, Context, Facts, NameRule, Strategy, generic};

fn initial_status() -> Value {
    json!({"loadBalancer": {}})
}

static FACTS: Facts = Facts::namespaced("", "Service", "services")
    .with_initial_status(initial_status)
    .with_name(NameRule::Label);
const COLUMNS: &[Column] = &[
    NAME,
    column("Type", "string", "How the Service is exposed."),
    column("Cluster-IP", "string", "The address inside the cluster."),
    column("External-IP", "string", "The addresses outside the cluster."),
    column("Port(s)", "string", "The ports it listens on."),
    AGE,
    wide("Selector", "string", "The labels of the pods it sends to."),
];

/// The strategy of Services.
pub struct Service;

/// The Service's type, `ClusterIP` when missing.
pub fn kind(obj: &Value) -> &str {
    match text(obj, &["spec", "type"]) {
        "" => "ClusterIP",
        kind => kind,
    }
}

/// True when clients outside the cluster reach the Service through a node or a load balancer.
pub fn is_external(obj: &Value) -> bool {
    matches!(kind(obj), "NodePort" | "LoadBalancer")
        || (kind(obj) == "ClusterIP" && !list(obj, &["spec", "externalIPs"]).is_empty())
}

/// True when the type gives the Service cluster addresses.
pub fn needs_cluster_ip(obj: &Value) -> bool {
    kind(obj) != "ExternalName"
}

/// True when the type gives its ports a port on every node.
pub fn needs_node_port(obj: &Value) -> bool {
    kind(obj) == "NodePort"
        || (kind(obj) == "LoadBalancer"
            && at(obj, &["spec", "allocateLoadBalancerNodePorts"]).as_bool().unwrap_or(true))
}

/// True for `clusterIP: None`.
pub fn is_headless(obj: &Value) -> bool {
    text(obj, &["spec", "clusterIP"]) == "None"
        || texts(obj, &["spec", "clusterIPs"]).first() == Some(&"None")
}

impl Strategy for Service {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["spec", "sessionAffinity"], "None");
        match text(obj, &["spec", "sessionAffinity"]) {
            "None" => remove(obj, &["spec", "sessionAffinityConfig"]),
            "ClientIP" => {
                default_to(obj, &["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"], 10800)
            }
            _ => {}
        }
        default_text(obj, &["spec", "type"], "ClusterIP");
        for port in list_mut(obj, &["spec", "ports"]) {
            default_text(port, &["protocol"], "TCP");
            let target = at(port, &["targetPort"]);
            if target.is_null() || *target == json!(0) || *target == json!("") {
                let number = at(port, &["port"]).clone();
                set(port, &["targetPort"], number);
            }
        }
        if is_external(obj) {
            default_text(obj, &["spec", "externalTrafficPolicy"], "Cluster");
        }
        if needs_cluster_ip(obj) {
            default_text(obj, &["spec", "internalTrafficPolicy"], "Cluster");
        }
        if kind(obj) == "LoadBalancer" {
            default_to(obj, &["spec", "allocateLoadBalancerNodePorts"], true);
            for ingress in list_mut(obj, &["status", "loadBalancer", "ingress"]) {
                if has(ingress, &["ip"]) {
                    default_to(ingress, &["ipMode"], "VIP");
                }
            }
        }
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        service_update::normalize_on_create(obj);
        default_families(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(service_validate::validate(obj, &Value::Null));
        errors
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        service_update::normalize_on_update(obj, old);
        service_update::keep_allocated(obj, old);
        service_update::drop_unneeded(obj, old);
        default_families(obj);
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(service_update::validate_update(obj, old));
        errors.extend(service_validate::validate(obj, old));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(service_validate::validate_load_balancer(obj, old));
        errors
    }

    fn selectable_field_names(&self) -> &[&str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(obj),
            json!(kind(obj)),
            json!(or_none(text(obj, &["spec", "clusterIP"]))),
            json!(external_addresses(obj)),
            json!(or_none(ports(obj))),
            age(obj, now),
            json!(labels(at(obj, &["spec", "selector"]))),
        ]
    }
}

/// The address families of a Service that has cluster addresses: those of its addresses, else IPv4.
fn default_families(obj: &mut Value) {
    if !needs_cluster_ip(obj) {
        return;
    }
    let selectorless =
        is_headless(obj) && at(obj, &["spec", "selector"]).as_object().is_none_or(|s| s.is_empty());
    if selectorless && !has(obj, &["spec", "ipFamilyPolicy"]) && list(obj, &["spec", "ipFamilies"]).is_empty()
    {
        set(obj, &["spec", "ipFamilyPolicy"], json!("RequireDualStack"));
        set(obj, &["spec", "ipFamilies"], json!(["IPv4", "IPv6"]));
        return;
    }
    if list(obj, &["spec", "ipFamilies"]).is_empty() {
        let family = |ip: &str| if ip.contains(':') { "IPv6" } else { "IPv4" };
        let mut families: Vec<&str> =
            texts(obj, &["spec", "clusterIPs"]).into_iter().filter(|ip| *ip != "None").map(family).collect();
        if families.is_empty() {
            families.push("IPv4");
        }
        let families = json!(families);
        set(obj, &["spec", "ipFamilies"], families);
    }
    let dual = list(obj, &["spec", "ipFamilies"]).len() > 1;
    default_text(obj, &["spec", "ipFamilyPolicy"], if dual { "RequireDualStack" } else { "SingleStack" });
}

fn external_addresses(obj: &Value) -> String {
    let external = texts(obj, &["spec", "externalIPs"]);
    match kind(obj) {
        "ClusterIP" | "NodePort" => or_none(external.join(",")),
        "LoadBalancer" => {
            let mut all: Vec<&str> = balancer_addresses(obj);
            all.extend(external);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => text(obj, &["spec", "externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// The addresses or names of a load balancer, sorted.
pub fn balancer_addresses(obj: &Value) -> Vec<&str> {
    let address = |ingress| match text(ingress, &["ip"]) {
        "" => text(ingress, &["hostname"]),
        ip => ip,
    };
    let found = list(obj, &["status", "loadBalancer", "ingress"]).iter().map(address);
    let sorted: std::collections::BTreeSet<&str> = found.filter(|address| !address.is_empty()).collect();
    sorted.into_iter().collect()
}

fn ports(obj: &Value) -> String {
    let one = |port: &Value| {
        let (number, protocol) = (int(port, &["port"]).unwrap_or(0), text(port, &["protocol"]));
        match int(port, &["nodePort"]).unwrap_or(0) {
            0 => format!("{number}/{protocol}"),
            node => format!("{number}:{node}/{protocol}"),
        }
    };
    list(obj, &["spec", "ports"]).iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn defaults_are_upstreams() {
        let (service, errors) =
            create(&Service, json!({"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            service["spec"],
            json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"a": "b"},
                "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
        );
        assert_eq!(service["status"], json!({"loadBalancer": {}}));
        let (node_port, _) = create(&Service, json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}));
        assert_eq!(node_port["spec"]["externalTrafficPolicy"], "Cluster");
        let (sticky, _) =
            create(&Service, json!({"spec": {"sessionAffinity": "ClientIP", "ports": [{"port": 80}]}}));
        assert_eq!(sticky["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
    }

    #[test]
    fn rows_show_addresses_and_ports() {
        let cells = |obj: Value| {
            Service
                .row(&obj, now())
                .iter()
                .map(|c| c.as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let meta = json!({"name": "s", "creationTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(
            cells(json!({"metadata": meta, "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1",
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
                "selector": {"a": "b"}}})),
            ["s", "LoadBalancer", "10.96.0.1", "<pending>", "80:30080/TCP,53/UDP", "60m", "a=b"]
        );
        assert_eq!(
            cells(json!({"metadata": meta, "spec": {"type": "ExternalName", "externalName": "x.y"}})),
            ["s", "ExternalName", "<none>", "x.y", "<none>", "60m", "<none>"]
        );
    }
}
