//! What a Service uses: itself, its load balancer and its node ports.

use serde_json::Value;
use xebec_api::meta;

use crate::ResourceList;

pub(crate) fn counts(name: &str) -> bool {
    matches!(name, "count/services" | "services" | "services.nodeports" | "services.loadbalancers")
}

pub(crate) fn usage(service: &Value) -> ResourceList {
    let ports = meta::list_at(service, "/spec/ports");
    let explicit = ports.iter().filter(|port| meta::int_at(port, "/nodePort").unwrap_or(0) != 0).count();
    // Node ports are not handed out yet when a new Service is admitted, so its intent counts.
    let suppressed = service["spec"]["allocateLoadBalancerNodePorts"] == false;
    let (balancers, node_ports) = match meta::str_at(service, "/spec/type") {
        "NodePort" => (0, ports.len()),
        "LoadBalancer" if suppressed => (1, explicit),
        "LoadBalancer" => (1, ports.len()),
        _ => (0, 0),
    };
    let mut usage = ResourceList::new();
    usage.set_count("count/services", 1);
    usage.set_count("services", 1);
    usage.set_count("services.loadbalancers", balancers);
    usage.set_count("services.nodeports", i64::try_from(node_ports).unwrap_or(i64::MAX));
    usage
}
