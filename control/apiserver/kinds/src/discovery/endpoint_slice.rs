//! EndpointSlices: the addresses behind a Service.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::convert::HOST;
use crate::core::endpoints::not_special;
use crate::pod::probes::PROTOCOLS;
use crate::shared::access::{
    at, default_text, default_to, drop_nulls, entries, has, int, list, list_mut, remove, set, text, texts,
};
use crate::shared::formats::{label, qualified_name, subdomain};
use crate::shared::labels::validate_labels;
use crate::shared::rules::{TextRule, invalid_each, is_ip, one_of, port_number};
use crate::table::{AGE, NAME, age, column, name, or_none};
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
            default_text(port, &["protocol"], "TCP");
        }
    }

    fn prepare_for_create(&self, ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        drop_topology(ctx, obj, &Value::Null);
    }

    fn prepare_for_update(&self, ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        drop_topology(ctx, obj, old);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(one_of(obj, "addressType", &["FQDN", "IPv4", "IPv6"], &Path::root()));
        errors.extend(validate_endpoints(obj));
        errors.extend(validate_ports(list(obj, &["ports"])));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        let path = Path::new("addressType");
        errors.extend(crate::shared::rules::immutable(
            at(obj, &["addressType"]),
            at(old, &["addressType"]),
            &path,
        ));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let ports: Vec<String> = list(obj, &["ports"])
            .iter()
            .map(|port| match (int(port, &["port"]), text(port, &["name"])) {
                (Some(number), _) => number.to_string(),
                (None, "") => "*".to_owned(),
                (None, name) => name.to_owned(),
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
            json!(if ports.is_empty() { "<unset>".to_owned() } else { first_three(&ports) }),
            json!(if addresses.is_empty() { "<unset>".to_owned() } else { first_three(&addresses) }),
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
        _ => or_none(all.join(",")),
    }
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
        if has(endpoint, &["hostname"]) {
            errors.extend(label(text(endpoint, &["hostname"]), &path.child("hostname")));
        }
        let rules: [(&str, TextRule); 2] =
            [("forZones", names::is_label_value), ("forNodes", names::is_dns1123_subdomain)];
        for (key, rule) in rules {
            let hints = list(endpoint, &["hints", key]);
            errors.extend(validate_hints(hints, rule, &path.child("hints").child(key)));
        }
    }
    errors
}

/// The zones or nodes an endpoint is for, each named once.
fn validate_hints(hints: &[Value], rule: TextRule, path: &Path) -> Vec<FieldError> {
    if hints.len() > MAX_HINTS {
        return vec![FieldError::too_many(path, hints.len(), MAX_HINTS)];
    }
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let (name, path) = (text(hint, &["name"]), path.index(index).child("name"));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        errors.extend(invalid_each(&path, name, rule(name)));
    }
    errors
}

fn validate_address(kind: &str, address: &str, path: &Path) -> Vec<FieldError> {
    let parsed = address.parse::<std::net::IpAddr>().ok();
    match kind {
        "IPv4" if !parsed.is_some_and(|ip| ip.is_ipv4()) => {
            let detail =
                if is_ip(address) { "must be an IPv4 address" } else { crate::shared::rules::BAD_IP };
            vec![FieldError::invalid(path, address, detail)]
        }
        "IPv6" if !parsed.is_some_and(|ip| ip.is_ipv6()) => {
            let detail =
                if is_ip(address) { "must be an IPv6 address" } else { crate::shared::rules::BAD_IP };
            vec![FieldError::invalid(path, address, detail)]
        }
        "IPv4" | "IPv6" => not_special(address, path),
        "FQDN" => invalid_each(path, address, names::is_fully_qualified_domain_name(address)),
        _ => Vec::new(),
    }
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
        if let Some(number) = int(port, &["port"]) {
            errors.extend(port_number(number, &path.child("port")));
        }
        errors.extend(one_of(port, "protocol", PROTOCOLS, &path));
        if has(port, &["appProtocol"]) {
            errors.extend(qualified_name(text(port, &["appProtocol"]), &path.child("appProtocol")));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    fn table() -> Table<'static> {
        let endpoints = json!([{"addresses": ["10.0.0.1"], "nodeName": "n", "hostname": "h"}, {"addresses": ["10.0.0.2"]}]);
        Table::of(
            &EndpointSlice,
            json!({"addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 80}]}),
        )
    }

    #[test]
    fn only_v1beta1_writes_topology() {
        let endpoint =
            |host: &str| json!({"addresses": ["10.0.0.1"], "deprecatedTopology": {HOST: host, "rack": "r"}});
        let write = |version: &str, new: Value, old: Value| {
            let mut new = json!({"endpoints": new});
            let now = Timestamp::UNIX_EPOCH;
            let ctx = Context { version, ..Context::new("u", "default", now) };
            if old.is_null() {
                EndpointSlice.prepare_for_create(&ctx, &mut new);
            } else {
                EndpointSlice.prepare_for_update(&ctx, &mut new, &json!({"endpoints": old}));
            }
            new["endpoints"].take()
        };
        let bare = json!({"addresses": ["10.0.0.1"]});
        assert_eq!(write("v1beta1", json!([endpoint("n")]), Value::Null), json!([endpoint("n")]));
        assert_eq!(write("v1", json!([endpoint("n")]), Value::Null), json!([bare]));
        let old = json!([endpoint("n")]);
        assert_eq!(write("v1", old.clone(), old.clone()), old, "endpoints that do not change keep it");
        let added = json!([endpoint("n"), endpoint("new"), bare]);
        let named = json!({"addresses": ["10.0.0.1"], "nodeName": "n"});
        assert_eq!(write("v1", added.clone(), old.clone()), json!([named, bare, bare]));
        assert_eq!(write("v1beta1", added.clone(), old), added);
        let odd = json!([endpoint("No_Node")]);
        assert_eq!(write("v1", json!([endpoint("No_Node"), bare]), odd), json!([bare, bare]));
    }

    #[test]
    fn slices() {
        let table = table();
        table.defaults(&[
            (
                json!({}),
                json!({"ports": [{"name": "", "port": 80, "protocol": "TCP"}], "metadata.generation": 1}),
            ),
            (json!({"ports[0].name": null}), json!({"ports[0].name": ""})),
        ]);
        table.valid(&[
            ("names", json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.b.c"]}]})),
            (
                "hints",
                json!({"endpoints[0].hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]}}),
            ),
            ("all ports", json!({"ports[0].port": null})),
        ]);
        table.updates(&[
            ("another endpoint", json!({"endpoints[0].addresses": ["10.0.0.3"]}), &[]),
            (
                "another type",
                json!({"addressType": "FQDN", "endpoints": []}),
                &["addressType: Invalid value: \"FQDN\": field is immutable"],
            ),
        ]);
        table.generation(&[
            (json!({"ports[0].port": 81}), true),
            (json!({"metadata.annotations": {"a": "b"}}), false),
        ]);
        table.columns(&["Name", "AddressType", "Ports", "Endpoints", "Age"]);
        table.rows(&[(json!({}), json!(["a", "IPv4", "80", "10.0.0.1,10.0.0.2", "60m"]))]);
    }

    #[test]
    fn each_error_has_upstreams_words() {
        let table = table();
        let many = |count: usize, item: Value| Value::Array(vec![item; count]);
        let nodes: Vec<Value> = (0..9).map(|index| json!({"name": format!("n{index}")})).collect();
        let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        table.invalid(&[
            ("no type", json!({"addressType": null, "endpoints": []}), &["addressType: Required value"]),
            (
                "a type",
                json!({"addressType": "X", "endpoints": []}),
                &["addressType: Unsupported value: \"X\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
            ),
            (
                "addresses",
                json!({"endpoints": [{"addresses": []}, {"addresses": ["127.0.0.1", "fd00::1", "x"]}]}),
                &[
                    "endpoints[0].addresses: Required value: must contain at least 1 address",
                    "endpoints[1].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                    "endpoints[1].addresses[1]: Invalid value: \"fd00::1\": must be an IPv4 address",
                    "endpoints[1].addresses[2]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (
                "too many addresses",
                json!({"endpoints": [{"addresses": many(101, json!("10.0.0.1"))}]}),
                &["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
            ),
            (
                "too many endpoints",
                json!({"endpoints": many(1001, json!({"addresses": ["10.0.0.1"]}))}),
                &["endpoints: Too many: 1001: must have at most 1000 items"],
            ),
            (
                "too many ports",
                json!({"ports": many(20_001, json!({"port": 1}))}),
                &["ports: Too many: 20001: must have at most 20000 items"],
            ),
            (
                "hints",
                json!({"endpoints[0].hints": {"forZones": [{"name": "z"}, {"name": "z"}], "forNodes": nodes}}),
                &[
                    "endpoints[0].hints.forZones[1].name: Duplicate value: \"z\"",
                    "endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items",
                ],
            ),
            (
                "names",
                json!({"endpoints[0].hostname": "a.b"}),
                &["endpoints[0].hostname: Invalid value: \"a.b\": must not contain dots"],
            ),
            (
                "ports",
                json!({"ports": [{"name": "a.b", "port": 0, "protocol": "X"}, {"port": 1}, {"port": 2, "appProtocol": "-"}]}),
                &[
                    "ports[0].name: Invalid value: \"a.b\": must not contain dots",
                    "ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                    "ports[2].name: Duplicate value: \"\"",
                    &format!("ports[2].appProtocol: Invalid value: \"-\": {name}"),
                ],
            ),
        ]);
    }
}
