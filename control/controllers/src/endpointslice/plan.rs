//! From a Service and its pods to the fewest writes of EndpointSlices. Pure.
//!
//! Endpoints stay in the slice they are in; changed slices are filled before untouched ones, and new slices are made
//! only for what is left (upstream's endpointslice reconciler). Then all slices of a family get their hints together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::hints::nodes::Shares;
use super::hints::{self, Outcome, Policy};
use super::members;
use super::slices::Slices;
use crate::machinery::claim;

/// How many endpoints a slice may have.
pub const MAX_ENDPOINTS: usize = 100;
/// Which Service a slice is of.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who writes a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// This controller's name in [`MANAGED_BY`].
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Marks the slices of headless Services.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// When the change that led to a write happened.
pub const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The writes, and what came of the annotation that asks for hints.
#[derive(Debug, Default)]
pub struct Plan {
    /// Slices to create.
    pub create: Vec<EndpointSlice>,
    /// Slices to replace.
    pub update: Vec<EndpointSlice>,
    /// Slices to delete.
    pub delete: Vec<Arc<EndpointSlice>>,
    /// The outcome for each family.
    pub outcomes: Vec<(String, Outcome)>,
}

impl Plan {
    /// Whether there is anything to write.
    pub fn writes(&self) -> bool {
        !(self.create.is_empty() && self.update.is_empty() && self.delete.is_empty())
    }
}

/// What is known of the nodes: `zone` looks a node's zone up.
pub struct Topology<'a, Z> {
    /// From a node's name to its zone.
    pub zone: Z,
    /// The zones' shares of CPU, if they are known.
    pub shares: Option<&'a Shares>,
}

/// Whether a slice is this controller's.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY)).is_some_and(|m| m == MANAGER)
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| key != SERVICE_NAME && key != MANAGED_BY && key != HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if members::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// Says in a slice that is written when that was.
fn stamp(slice: &mut EndpointSlice, now: Timestamp) {
    let trigger = xebec_api::time::format_rfc3339_seconds(now);
    slice.metadata.annotations.get_or_insert_default().insert(TRIGGER.to_owned(), trigger);
}

fn empty_slice(service: &Service, family: &str, ports: &[EndpointPort]) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![claim::controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(Vec::new()),
        ports: Some(ports.to_vec()),
    }
}

fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|r| r.uid.clone());
    uid.unwrap_or_else(|| endpoint.addresses.join(","))
}

/// Whether an endpoint is as it was, but for the hints, which are given later.
fn is_same(new: &Endpoint, old: &Endpoint) -> bool {
    *new == Endpoint { hints: None, ..old.clone() }
}

fn ports_of(slice: &EndpointSlice) -> Vec<EndpointPort> {
    slice.ports.clone().unwrap_or_default()
}

fn sorted(mut ports: Vec<EndpointPort>) -> Vec<EndpointPort> {
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
    ports
}

/// An existing slice on its way to what it should be.
struct Draft {
    before: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// Plans the slices of one Service; `existing` are those this controller manages.
pub fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    topology: &Topology<'_, impl Fn(&str) -> Option<String>>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let families = members::families(service);
    let policy = Policy::of(service);
    plan.delete.extend(existing.iter().filter(|s| !families.contains(&s.address_type)).cloned());
    for family in families {
        let here: Vec<_> = existing.iter().filter(|s| s.address_type == family).cloned().collect();
        let mut slices = plan_family(service, pods, here, &family, &topology.zone);
        plan.outcomes.push((family, hints::give(policy, topology.shares, &mut slices)));
        plan.create.extend(slices.create);
        // Hints that were given again as they are need no write.
        let changed = slices.update.into_iter().filter(|(before, after)| **before != *after);
        plan.update.extend(changed.map(|(_, after)| after));
        plan.delete.extend(slices.delete);
    }
    plan.create.iter_mut().chain(&mut plan.update).for_each(|slice| stamp(slice, now));
    plan
}

fn plan_family(
    service: &Service,
    pods: &[Arc<Pod>],
    mut existing: Vec<Arc<EndpointSlice>>,
    family: &str,
    zone: &impl Fn(&str) -> Option<String>,
) -> Slices {
    let mut slices = Slices::default();
    let mut groups: Vec<(Vec<EndpointPort>, Vec<Endpoint>)> = Vec::new();
    for pod in pods.iter().filter(|p| members::eligible(p, true)) {
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
        let endpoint = members::endpoint(service, pod, family, zone(node));
        if endpoint.addresses.is_empty() {
            continue;
        }
        let ports = members::ports(service, pod);
        match groups.iter_mut().find(|(p, _)| *p == ports) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => groups.push((ports, vec![endpoint])),
        }
    }
    existing.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    if groups.is_empty() {
        // A Service without endpoints keeps one empty slice, so that its readers see it exists.
        groups.push((Vec::new(), Vec::new()));
    }
    for (ports, endpoints) in groups {
        let key = sorted(ports.clone());
        let (same, rest): (Vec<_>, Vec<_>) = existing.into_iter().partition(|s| sorted(ports_of(s)) == key);
        existing = rest;
        plan_group(service, family, &ports, endpoints, same, &mut slices);
    }
    slices.delete.extend(existing);
    slices
}

fn plan_group(
    service: &Service,
    family: &str,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
    existing: Vec<Arc<EndpointSlice>>,
    slices: &mut Slices,
) {
    let placeholder = endpoints.is_empty();
    let order: Vec<String> = endpoints.iter().map(identity).collect();
    let mut wanted: HashMap<String, Endpoint> = endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    let mut drafts: Vec<Draft> = existing
        .into_iter()
        .map(|before| {
            let old = before.endpoints.as_deref().unwrap_or_default();
            let kept: Vec<Endpoint> = old.iter().filter_map(|e| wanted.remove(&identity(e))).collect();
            let changed =
                kept.len() != old.len() || kept.iter().zip(old).any(|(new, old)| !is_same(new, old));
            Draft { before, endpoints: kept, changed }
        })
        .collect();
    let mut new: Vec<Endpoint> = order.iter().filter_map(|id| wanted.remove(id)).collect();
    new.reverse();
    // Slices that are written anyway take what they can.
    for draft in drafts.iter_mut().filter(|d| d.changed) {
        fill(draft, &mut new);
    }
    // What is left goes into one untouched slice if it fits, the fullest that does.
    if !new.is_empty() && new.len() < MAX_ENDPOINTS {
        let fits = drafts.iter_mut().filter(|d| !d.changed && d.endpoints.len() + new.len() <= MAX_ENDPOINTS);
        if let Some(draft) = fits.max_by_key(|d| d.endpoints.len()) {
            fill(draft, &mut new);
        }
    }
    while !new.is_empty() {
        let mut slice = empty_slice(service, family, ports);
        let at = new.len().saturating_sub(MAX_ENDPOINTS);
        let mut chunk = new.split_off(at);
        chunk.reverse();
        slice.endpoints = Some(chunk);
        slices.create.push(slice);
    }
    let mut keep_empty = placeholder;
    let labels = labels(service);
    let owners = vec![claim::controller_reference(service)];
    for draft in drafts {
        if draft.endpoints.is_empty() && !std::mem::take(&mut keep_empty) {
            slices.delete.push(draft.before);
            continue;
        }
        let meta = &draft.before.metadata;
        let relabelled =
            meta.labels.as_ref() != Some(&labels) || meta.owner_references.as_ref() != Some(&owners);
        if draft.changed || relabelled {
            let mut slice = (*draft.before).clone();
            slice.endpoints = Some(draft.endpoints);
            slice.metadata.labels = Some(labels.clone());
            slice.metadata.owner_references = Some(owners.clone());
            slices.update.push((draft.before, slice));
        } else {
            slices.unchanged.push(draft.before);
        }
    }
    if keep_empty {
        slices.create.push(empty_slice(service, family, ports));
    }
}

/// Moves endpoints from the end of `new` into a slice, as many as fit.
fn fill(draft: &mut Draft, new: &mut Vec<Endpoint>) {
    while draft.endpoints.len() < MAX_ENDPOINTS
        && let Some(endpoint) = new.pop()
    {
        draft.endpoints.push(endpoint);
        draft.changed = true;
    }
}
