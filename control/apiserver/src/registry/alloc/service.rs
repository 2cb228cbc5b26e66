//! What a Service needs and gives up in a write. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Value, json};
use xebec_api::field::FieldError;

use super::{Cidr, families};

/// An address to allocate.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// The one the client named.
    This(String),
    /// Any of this range.
    AnyOf(Cidr),
}

/// A node port to allocate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPort {
    /// Which of the Service's ports; `None` for its `healthCheckNodePort`.
    pub index: Option<usize>,
    /// Its protocol.
    pub protocol: String,
    /// The number, if the client named one.
    pub port: Option<u16>,
}

/// What has to be taken before and freed after the write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServicePlan {
    pub(super) addresses: Vec<Wanted>,
    pub(super) ports: Vec<WantedPort>,
    pub(super) free_addresses: Vec<IpAddr>,
    pub(super) free_ports: Vec<(String, u16)>,
}

pub(super) fn kind_of(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

fn needs_address(service: &Value) -> bool {
    kind_of(service) != "ExternalName" && service["spec"]["clusterIP"] != "None"
}

fn needs_ports(service: &Value) -> bool {
    match kind_of(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// The Service's allocated addresses.
#[must_use]
pub fn addresses(service: &Value) -> Vec<IpAddr> {
    texts(service).iter().filter_map(|text| text.parse().ok()).collect()
}

pub(super) fn texts(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    let list: Vec<String> = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(text_of).collect();
    if list.is_empty() { text_of(&spec["clusterIP"]).into_iter().collect() } else { list }
}

pub(super) fn text_of(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The ports on every node that the Service holds, with their protocols: those of its ports and, for health checks of
/// a load balancer that sends to local pods only, `healthCheckNodePort`.
#[must_use]
pub fn node_ports(service: &Value) -> Vec<(String, u16)> {
    let mut held = port_numbers(service);
    held.extend(health_port(service).map(|port| ("TCP".to_owned(), port)));
    held
}

fn port_numbers(service: &Value) -> Vec<(String, u16)> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| Some((protocol(port), number(&port["nodePort"])?))).collect()
}

fn needs_health_check(service: &Value) -> bool {
    kind_of(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

fn health_port(service: &Value) -> Option<u16> {
    number(&service["spec"]["healthCheckNodePort"]).filter(|_| needs_health_check(service))
}

fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_owned()
}

fn number(port: &Value) -> Option<u16> {
    port.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
}

/// Makes the Service's address fields agree and says what is to be allocated and freed, or why it cannot be.
pub fn plan(
    service: &mut Value,
    old: Option<&Value>,
    ranges: &[Cidr],
) -> Result<ServicePlan, Vec<FieldError>> {
    let mut plan = ServicePlan::default();
    if let Some(old) = old {
        keep_allocated(service, old);
    }
    families::settle(service, old, ranges)?;
    let old_addresses = old.filter(|old| needs_address(old)).map(texts).unwrap_or_default();
    if needs_address(service) {
        let mut named = texts(service).into_iter();
        let families: Vec<String> =
            service["spec"]["ipFamilies"].as_array().into_iter().flatten().filter_map(text_of).collect();
        for family in families {
            match named.next() {
                Some(text) if old_addresses.contains(&text) => {}
                Some(text) => plan.addresses.push(Wanted::This(text)),
                None => plan
                    .addresses
                    .extend(ranges.iter().find(|r| r.family() == family).copied().map(Wanted::AnyOf)),
            }
        }
    } else if let Some(spec) = service["spec"].as_object_mut()
        && old.is_some_and(needs_address)
        && spec.get("clusterIP").is_none_or(|ip| ip != "None")
    {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    let kept = if needs_address(service) { texts(service) } else { Vec::new() };
    plan.free_addresses = old_addresses
        .iter()
        .filter(|text| !kept.contains(text))
        .filter_map(|text| text.parse().ok())
        .collect();
    plan_ports(service, old, &mut plan);
    Ok(plan)
}

fn plan_ports(service: &mut Value, old: Option<&Value>, plan: &mut ServicePlan) {
    let before = old.map(port_numbers).unwrap_or_default();
    let needed = needs_ports(service);
    if let Some(ports) = service["spec"]["ports"].as_array_mut() {
        for (index, port) in ports.iter_mut().enumerate() {
            let (protocol, number) = (protocol(port), number(&port["nodePort"]));
            let known = number.is_some_and(|number| before.contains(&(protocol.clone(), number)));
            if needed && !known {
                plan.ports.push(WantedPort { index: Some(index), protocol, port: number });
            } else if !needed
                && known
                && let Some(port) = port.as_object_mut()
            {
                port.remove("nodePort");
            }
        }
    }
    if needs_health_check(service) {
        let before = old.and_then(health_port);
        let asked = health_port(service);
        match (asked, before) {
            (None, Some(port)) => service["spec"]["healthCheckNodePort"] = json!(port),
            _ if asked.is_some() && asked == before => {}
            _ => plan.ports.push(WantedPort { index: None, protocol: "TCP".to_owned(), port: asked }),
        }
    }
    let mut after = if needed { port_numbers(service) } else { Vec::new() };
    after.extend(health_port(service).map(|port| ("TCP".to_owned(), port)));
    let held = old.map(node_ports).unwrap_or_default();
    plan.free_ports = held.into_iter().filter(|held| !after.contains(held)).collect();
}

/// What the client left out on an update and still has stays.
fn keep_allocated(service: &mut Value, old: &Value) {
    if needs_address(service) && needs_address(old) && texts(service).is_empty() {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old["spec"].get(field) {
                service["spec"][field] = value.clone();
            }
        }
    }
    if service["spec"]["clusterIP"].is_null()
        && old["spec"]["clusterIP"] == "None"
        && kind_of(service) != "ExternalName"
    {
        service["spec"]["clusterIP"] = json!("None");
        service["spec"]["clusterIPs"] = json!(["None"]);
    }
    if kind_of(service) != "ExternalName" {
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = old["spec"].get(field).filter(|_| service["spec"][field].is_null()) {
                service["spec"][field] = value.clone();
            }
        }
    }
    if needs_ports(service) && needs_ports(old) {
        let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
        let old_ports = old["spec"]["ports"].as_array().into_iter().flatten();
        let known: HashMap<String, u16> =
            old_ports.filter_map(|p| Some((name(p), number(&p["nodePort"])?))).collect();
        let taken = node_ports(service);
        for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if number(&port["nodePort"]).is_none()
                && let Some(number) = known.get(&name(port))
                && !taken.contains(&(protocol(port), *number))
            {
                port["nodePort"] = json!(number);
            }
        }
    }
}

/// Writes newly allocated addresses behind those the Service has.
pub fn set_addresses(service: &mut Value, allocated: &[String]) {
    if allocated.is_empty() || !needs_address(service) {
        return;
    }
    let mut all = texts(service);
    for address in allocated {
        if !all.contains(address) {
            all.push(address.clone());
        }
    }
    service["spec"]["clusterIP"] = json!(all[0]);
    service["spec"]["clusterIPs"] = json!(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges() -> Vec<Cidr> {
        vec!["10.96.0.0/12".parse().unwrap()]
    }

    fn plan(service: &mut Value, old: Option<&Value>, ranges: &[Cidr]) -> ServicePlan {
        super::plan(service, old, ranges).unwrap()
    }

    #[test]
    fn a_new_service_gets_an_address() {
        let mut service = json!({"spec": {"ports": [{"port": 80}]}});
        let plan = plan(&mut service, None, &ranges());
        assert_eq!(plan.addresses, [Wanted::AnyOf(ranges()[0])]);
        assert!(plan.ports.is_empty());
        set_addresses(&mut service, &["10.96.0.9".to_owned()]);
        let spec = json!({"ports": [{"port": 80}], "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"});
        assert_eq!(service["spec"], spec);
    }

    #[test]
    fn headless_services_get_none() {
        let mut service = json!({"spec": {"clusterIP": "None", "selector": {"a": "b"}}});
        assert!(plan(&mut service, None, &ranges()).addresses.is_empty());
        assert_eq!(service["spec"]["clusterIPs"], json!(["None"]));
        let mut selectorless = json!({"spec": {"clusterIP": "None"}});
        let _ = plan(&mut selectorless, None, &ranges());
        assert_eq!(selectorless["spec"]["ipFamilyPolicy"], "RequireDualStack");
    }

    #[test]
    fn updates_keep_and_free() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "a", "port": 80, "protocol": "TCP", "nodePort": 30001}]}});
        let mut same =
            json!({"spec": {"type": "NodePort", "ports": [{"name": "a", "port": 81, "protocol": "TCP"}]}});
        assert_eq!(plan(&mut same, Some(&old), &ranges()), ServicePlan::default());
        assert_eq!(
            (same["spec"]["clusterIP"].as_str(), &same["spec"]["ports"][0]["nodePort"]),
            (Some("10.96.0.9"), &json!(30001))
        );

        let mut external = json!({"spec": {"type": "ExternalName", "externalName": "x.y"}});
        let freed = plan(&mut external, Some(&old), &ranges());
        assert_eq!(freed.free_addresses, ["10.96.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(freed.free_ports, [("TCP".to_owned(), 30001)]);

        let mut inner = old.clone();
        inner["spec"]["type"] = json!("ClusterIP");
        let freed = plan(&mut inner, Some(&old), &ranges());
        assert_eq!(freed.free_ports, [("TCP".to_owned(), 30001)]);
        assert!(inner["spec"]["ports"][0].get("nodePort").is_none());
    }

    #[test]
    fn balancers_to_local_pods_hold_a_port_for_health_checks() {
        let balancer = |policy: &str| {
            json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy, "clusterIP": "10.96.0.9",
                "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}})
        };
        let wanted = |port| WantedPort { index: None, protocol: "TCP".to_owned(), port };
        let mut made = balancer("Local");
        assert_eq!(plan(&mut made, Some(&balancer("Cluster")), &ranges()).ports, [wanted(None)]);
        let mut named = balancer("Local");
        named["spec"]["healthCheckNodePort"] = json!(30002);
        assert_eq!(plan(&mut named, Some(&balancer("Cluster")), &ranges()).ports, [wanted(Some(30002))]);
        assert_eq!(node_ports(&named), [("TCP".to_owned(), 30001), ("TCP".to_owned(), 30002)]);

        let mut kept = balancer("Local");
        let same = plan(&mut kept, Some(&named), &ranges());
        assert!(same.ports.is_empty() && same.free_ports.is_empty());
        assert_eq!(kept["spec"]["healthCheckNodePort"], 30002);
        let freed = plan(&mut balancer("Cluster"), Some(&named), &ranges());
        assert_eq!(freed.free_ports, [("TCP".to_owned(), 30002)]);
    }
}
