//! From a Service and its pods to the Endpoints object of its name. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::endpointslice::members;
use crate::machinery::pods;

const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const OVER: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// The most addresses an Endpoints object lists; the ready ones first.
pub const MAX_ADDRESSES: usize = 1000;

/// What to write.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// Nothing.
    Keep,
    /// The first.
    Create(Endpoints),
    /// Another state of it.
    Update(Endpoints),
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    members::ports(service, pod)
        .into_iter()
        .map(|p| EndpointPort {
            name: p.name.filter(|n| !n.is_empty()),
            port: p.port.unwrap_or_default(),
            protocol: p.protocol,
            app_protocol: p.app_protocol,
        })
        .collect()
}

/// The subsets: pods with the same ports together, ready and not ready apart, in address order.
pub fn subsets(service: &Service, members_now: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let family = members::families(service).into_iter().next().unwrap_or_default();
    let publish = members::publishes_not_ready(service);
    let mut groups: Vec<EndpointSubset> = Vec::new();
    for pod in members_now.iter().filter(|p| members::eligible(p, publish)) {
        let Some(ip) = members::addresses(pod, &family).into_iter().next() else { continue };
        let ports = ports(service, pod);
        let declared = service.spec.as_ref().and_then(|s| s.ports.as_ref()).is_some_and(|p| !p.is_empty());
        if ports.is_empty() && (declared || !members::is_headless(service)) {
            continue;
        }
        let address = EndpointAddress {
            ip,
            hostname: members::hostname(service, pod),
            node_name: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
            target_ref: Some(members::reference(pod)),
        };
        let ports = (!ports.is_empty()).then_some(ports);
        let at = groups.iter().position(|g| g.ports == ports).unwrap_or_else(|| {
            groups.push(EndpointSubset { ports, ..EndpointSubset::default() });
            groups.len() - 1
        });
        let ready = publish || pods::is_ready(pod);
        let list = if ready { &mut groups[at].addresses } else { &mut groups[at].not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    let mut room = MAX_ADDRESSES;
    let mut over = false;
    for ready in [true, false] {
        for group in &mut groups {
            let slot = if ready { &mut group.addresses } else { &mut group.not_ready_addresses };
            if let Some(list) = slot {
                list.sort_by(|a, b| {
                    (&a.ip, a.target_ref.as_ref().map(|r| &r.uid))
                        .cmp(&(&b.ip, b.target_ref.as_ref().map(|r| &r.uid)))
                });
                over |= list.len() > room;
                list.truncate(room);
                room -= list.len();
                if list.is_empty() {
                    *slot = None;
                }
            }
        }
    }
    groups.retain(|g| g.addresses.is_some() || g.not_ready_addresses.is_some());
    groups.sort_by_key(|g| serde_json::to_string(&g.ports).unwrap_or_default());
    (groups, over)
}

/// Plans the Endpoints of one Service.
pub fn plan(service: &Service, pods: &[Arc<Pod>], existing: Option<&Endpoints>, now: Timestamp) -> Plan {
    let (subsets, over) = subsets(service, pods);
    let subsets = (!subsets.is_empty()).then_some(subsets);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    labels.remove(HEADLESS);
    if members::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let marked = existing.and_then(|e| e.metadata.annotations.as_ref()).is_some_and(|a| a.contains_key(OVER));
    if let Some(existing) = existing
        && existing.subsets.clone().filter(|s| !s.is_empty()) == subsets
        && existing.metadata.labels.as_ref() == Some(&labels)
        && marked == over
    {
        return Plan::Keep;
    }
    let mut object = existing.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    object.subsets = subsets;
    object.metadata.labels = Some(labels);
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert(TRIGGER.to_owned(), xebec_api::time::format_rfc3339_seconds(now));
    annotations.remove(OVER);
    if over {
        annotations.insert(OVER.to_owned(), "truncated".to_owned());
    }
    if existing.is_some() { Plan::Update(object) } else { Plan::Create(object) }
}
