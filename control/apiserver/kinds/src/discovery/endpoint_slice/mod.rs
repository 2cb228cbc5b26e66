//! EndpointSlices: the addresses behind a Service.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::convert::{HOST, ZONE};
use crate::core::endpoints::not_special;
use crate::pod::probes::PROTOCOLS;
use crate::shared::access::{
    at, default_to, drop_nulls, entries, has, int, list, list_mut, remove, set, text, texts,
};
use crate::shared::addresses::{ip_warnings, validate_ip};
use crate::shared::formats::{label, qualified_name, subdomain};
use crate::shared::labels::validate_labels;
use crate::shared::meta::map_at;
use crate::shared::rules::{TextRule, immutable, invalid_each, one_of, one_of_given};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::namespaced("discovery.k8s.io", "EndpointSlice", "endpointslices")
    .with_generation(Generation::Content);
const COLUMNS: &[Column] = &[
    NAME,
    column("AddressType", "string", "The type of address carried by this EndpointSlice."),
    column("Ports", "string", "The ports exposed by each endpoint in this slice."),
    column("Endpoints", "string", "The endpoints in this slice."),
    AGE,
];
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_TOPOLOGY: usize = 16;
const MAX_HINTS: usize = 8;
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// The strategy of EndpointSlices.
pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        for port in list_mut(obj, &["ports"]) {
            default_to(port, &["name"], "");
            default_to(port, &["protocol"], "TCP");
        }
    }

    fn prepare_for_create(&self, ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        drop_topology(ctx, obj, &Value::Null);
    }

    fn prepare_for_update(&self, ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        // Who watches slices chooses them by label, so a label counts as content.
        let generation = |slice: &Value| int(slice, &["metadata", "generation"]).unwrap_or(0);
        let (before, same) = (generation(old), map_at(obj, "labels") == map_at(old, "labels"));
        if !same && generation(obj) == before {
            set(obj, &["metadata", "generation"], json!(before + 1));
        }
        drop_topology(ctx, obj, old);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        validate_all(obj, None)
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_all(obj, Some(old));
        errors.extend(generic::validate_update(&FACTS, obj, old));
        let kind = |slice| at(slice, &["addressType"]);
        errors.extend(immutable(kind(obj), kind(old), &Path::new("addressType")));
        errors
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let names = text(obj, &["addressType"]) == "FQDN";
        let deprecated = names.then(|| "spec.addressType: FQDN endpoints are deprecated".to_owned());
        deprecated.into_iter().chain(address_warnings(obj)).collect()
    }

    fn update_warnings(&self, obj: &Value, _old: &Value) -> Vec<String> {
        address_warnings(obj)
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let ports: Vec<String> = list(obj, &["ports"])
            .iter()
            .map(|port| match (int(port, &["port"]), at(port, &["name"])) {
                (Some(number), _) => number.to_string(),
                (None, Value::String(name)) => name.clone(),
                (None, _) => "*".to_owned(),
            })
            .collect();
        let addresses: Vec<String> = list(obj, &["endpoints"])
            .iter()
            .flat_map(|endpoint| texts(endpoint, &["addresses"]))
            .map(str::to_owned)
            .collect();
        vec![
            name(obj),
            json!(text(obj, &["addressType"])),
            json!(first_three(&ports)),
            json!(first_three(&addresses)),
            age(obj, now),
        ]
    }
}

/// Only v1beta1 writes `deprecatedTopology`: another version's write drops it where it touches the endpoints, and the
/// node names that were kept there move into `nodeName`.
///
/// Authority: dropTopologyOnV1 of pkg/registry/discovery/endpointslice/strategy.go.
fn drop_topology(ctx: &Context<'_>, obj: &mut Value, old: &Value) {
    let endpoints = at(old, &["endpoints"]);
    if ctx.version == "v1beta1" || (!old.is_null() && at(obj, &["endpoints"]) == endpoints) {
        return;
    }
    let host = |endpoint: &Value| text(endpoint, &["deprecatedTopology", HOST]).to_owned();
    let known: BTreeSet<String> = list(old, &["endpoints"]).iter().map(host).collect();
    for endpoint in list_mut(obj, &["endpoints"]).filter(|endpoint| endpoint.is_object()) {
        let node = host(endpoint);
        let moves = !has(endpoint, &["nodeName"]) && known.contains(&node);
        if moves && !node.is_empty() && names::is_dns1123_subdomain(&node).is_empty() {
            set(endpoint, &["nodeName"], json!(node));
        }
        remove(endpoint, &["deprecatedTopology"]);
    }
}

fn first_three(all: &[String]) -> String {
    match all.len() {
        count if count > 3 => format!("{} + {} more...", all[..3].join(","), count - 3),
        _ => Some(all.join(",")).filter(|shown| !shown.is_empty()).unwrap_or_else(|| "<unset>".to_owned()),
    }
}

/// Every error of a slice. Endpoints that do not change stay, even if they were valid only for an older server.
fn validate_all(obj: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    errors.extend(one_of(obj, "addressType", &["FQDN", "IPv4", "IPv6"], &Path::root()));
    errors.extend(validate_ports(list(obj, &["ports"])));
    if old.is_none_or(|old| at(old, &["endpoints"]) != at(obj, &["endpoints"])) {
        errors.extend(validate_endpoints(obj));
    }
    errors
}

/// The warnings about oddly written addresses. The controllers' own slices are not looked at: they write addresses well.
fn address_warnings(obj: &Value) -> Vec<String> {
    let manager = map_at(obj, "labels").get(MANAGED_BY).and_then(Value::as_str).unwrap_or_default();
    if MANAGERS.contains(&manager) {
        return Vec::new();
    }
    let path = Path::new("endpoints");
    let endpoints = list(obj, &["endpoints"]).iter().enumerate();
    endpoints
        .flat_map(|(index, endpoint)| {
            let path = path.index(index).child("addresses");
            let addresses = texts(endpoint, &["addresses"]).into_iter().enumerate();
            addresses
                .flat_map(|(position, address)| ip_warnings(address, &path.index(position)))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn validate_endpoints(obj: &Value) -> Vec<FieldError> {
    let endpoints = list(obj, &["endpoints"]);
    let path = Path::new("endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        return vec![FieldError::too_many(&path, endpoints.len(), MAX_ENDPOINTS)];
    }
    let kind = text(obj, &["addressType"]);
    let mut errors = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(index);
        let addresses = texts(endpoint, &["addresses"]);
        let list_path = path.child("addresses");
        if addresses.is_empty() {
            errors.push(FieldError::required(&list_path, "must contain at least 1 address"));
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(FieldError::too_many(&list_path, addresses.len(), MAX_ADDRESSES));
        }
        for (position, address) in addresses.iter().enumerate() {
            errors.extend(validate_address(kind, address, &list_path.index(position)));
        }
        if has(endpoint, &["nodeName"]) {
            errors.extend(subdomain(text(endpoint, &["nodeName"]), &path.child("nodeName")));
        }
        let (topology, topology_path) =
            (at(endpoint, &["deprecatedTopology"]), path.child("deprecatedTopology"));
        let count = entries(topology, &[]).count();
        if count > MAX_TOPOLOGY {
            errors.push(FieldError::too_many(&topology_path, count, MAX_TOPOLOGY));
        }
        errors.extend(validate_labels(topology, &topology_path));
        if has(topology, &[ZONE]) {
            let detail = "reserved key was not removed in conversion";
            errors.push(FieldError::internal(&topology_path.key(ZONE), detail));
        }
        if has(endpoint, &["hostname"]) {
            errors.extend(label(text(endpoint, &["hostname"]), &path.child("hostname")));
        }
        errors.extend(validate_hints(at(endpoint, &["hints"]), &path.child("hints")));
    }
    errors
}

/// The zones and nodes an endpoint is for, each named once; after a list that is too long nothing more is said.
fn validate_hints(hints: &Value, path: &Path) -> Vec<FieldError> {
    let rules: [(&str, TextRule); 2] =
        [("forZones", names::is_label_value), ("forNodes", names::is_dns1123_subdomain)];
    let mut errors = Vec::new();
    for (key, rule) in rules {
        let (hints, path) = (list(hints, &[key]), path.child(key));
        if hints.len() > MAX_HINTS {
            errors.push(FieldError::too_many(&path, hints.len(), MAX_HINTS));
            return errors;
        }
        let mut seen = BTreeSet::new();
        for (index, hint) in hints.iter().enumerate() {
            let (name, path) = (text(hint, &["name"]), path.index(index).child("name"));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&path, name));
            }
            errors.extend(invalid_each(&path, name, rule(name)));
        }
    }
    errors
}

fn validate_address(kind: &str, address: &str, path: &Path) -> Vec<FieldError> {
    match kind {
        "IPv4" | "IPv6" => {}
        "FQDN" => return invalid_each(path, address, names::is_fully_qualified_domain_name(address)),
        _ => return Vec::new(),
    }
    let mut errors = validate_ip(address, &[], path);
    if errors.is_empty() {
        if address.contains(':') != (kind == "IPv6") {
            errors.push(FieldError::invalid(path, address, format!("must be an {kind} address")));
        }
        errors.extend(not_special(address, path));
    }
    errors
}

fn validate_ports(ports: &[Value]) -> Vec<FieldError> {
    let path = Path::new("ports");
    if ports.len() > MAX_PORTS {
        return vec![FieldError::too_many(&path, ports.len(), MAX_PORTS)];
    }
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            errors.extend(label(name, &path.child("name")));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        errors.extend(one_of_given(port, "protocol", PROTOCOLS, &path));
        if has(port, &["appProtocol"]) {
            errors.extend(qualified_name(text(port, &["appProtocol"]), &path.child("appProtocol")));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
