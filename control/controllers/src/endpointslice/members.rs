//! From a Service and a pod to an endpoint and its ports; shared with the legacy Endpoints. Pure.

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::machinery::pods;

/// Whether a Service's endpoints are this crate's business: it selects, and is no alias.
pub fn selects(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|s| {
        s.type_.as_deref() != Some("ExternalName") && s.selector.as_ref().is_some_and(|m| !m.is_empty())
    })
}

/// Whether a Service's selector takes a pod with these labels.
pub fn matches(service: &Service, labels: &std::collections::BTreeMap<String, String>) -> bool {
    selects(service)
        && service
            .spec
            .as_ref()
            .and_then(|s| s.selector.as_ref())
            .is_some_and(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// Whether the Service has no cluster IP by choice.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods count before they are ready.
pub fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or_default()
}

/// Whether a pod can be an endpoint at all: it has an address and has not run to its end.
pub fn eligible(pod: &Pod, with_terminating: bool) -> bool {
    !pods::is_terminal(pod)
        && pod.status.as_ref().and_then(|s| s.pod_ip.as_deref()).is_some_and(|ip| !ip.is_empty())
        && (with_terminating || !pods::is_terminating(pod))
}

/// Whether an address is of a family (`IPv4`, `IPv6`).
pub fn is_family(ip: &str, family: &str) -> bool {
    (family == "IPv6") == ip.contains(':')
}

/// The families a Service wants endpoints of.
pub fn families(service: &Service) -> Vec<String> {
    let spec = service.spec.clone().unwrap_or_default();
    if let Some(families) = spec.ip_families.filter(|f| !f.is_empty()) {
        return families;
    }
    let six = spec.cluster_ip.is_some_and(|ip| ip.contains(':'));
    vec![if six { "IPv6" } else { "IPv4" }.to_owned()]
}

/// A pod's addresses of a family.
pub fn addresses(pod: &Pod, family: &str) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone());
    let mut all: Vec<String> = listed.collect();
    if all.is_empty() {
        all.extend(status.pod_ip.clone());
    }
    all.retain(|ip| is_family(ip, family));
    all
}

/// The number a Service port has on this pod; a name is looked up in the pod's containers.
pub fn target(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
            ports
                .filter(|p| {
                    p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
                })
                .map(|p| p.container_port)
                .next()
        }
    }
}

/// The ports of a Service as this pod has them.
pub fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let listed = service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let resolve = |port: &ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target(pod, port)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    listed.iter().filter_map(resolve).collect()
}

/// The host name a pod has under a headless Service.
pub fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let named = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|h| named && !h.is_empty())
}

/// The reference from an endpoint back to its pod.
pub fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The endpoint a pod is.
pub fn endpoint(service: &Service, pod: &Pod, family: &str, zone: Option<String>) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pods::is_terminating(pod);
    Endpoint {
        addresses: addresses(pod, family),
        conditions: Some(EndpointConditions {
            ready: Some(publishes_not_ready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        node_name: pod.spec.as_ref().and_then(|s| s.node_name.clone()).filter(|n| !n.is_empty()),
        target_ref: Some(reference(pod)),
        zone,
        ..Endpoint::default()
    }
}

/// Whether two states of a pod differ in anything an endpoint shows.
pub fn differs(old: &Pod, new: &Pod) -> bool {
    let view = |pod: &Pod| {
        let status = pod.status.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        (
            (pods::is_ready(pod), pods::is_terminating(pod), pods::is_terminal(pod)),
            (status.pod_ip, status.pod_ips.map(|ips| ips.into_iter().map(|ip| ip.ip).collect::<Vec<_>>())),
            pod.metadata.labels.clone(),
            (spec.and_then(|s| s.node_name.clone()), spec.and_then(|s| s.hostname.clone())),
        )
    };
    view(old) != view(new)
}
