//! EndpointSlices: the addresses behind a Service.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::core::endpoints::not_special;
use crate::pod::probes::PROTOCOLS;
use crate::shared::access::{
    at, default_text, default_to, drop_nulls, has, int, list, list_mut, text, texts,
};
use crate::shared::labels::validate_labels;
use crate::shared::rules::{invalid_each, is_ip, one_of, port_number};
use crate::table::{AGE, NAME, age, column, name, or_none};
use crate::{Column, Facts, Generation, Strategy, generic};

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
        let node = text(endpoint, &["nodeName"]);
        if has(endpoint, &["nodeName"]) {
            errors.extend(invalid_each(&path.child("nodeName"), node, names::is_dns1123_subdomain(node)));
        }
        let host = text(endpoint, &["hostname"]);
        if has(endpoint, &["hostname"]) {
            errors.extend(invalid_each(&path.child("hostname"), host, names::is_dns1123_label(host)));
        }
        let topology = at(endpoint, &["deprecatedTopology"]);
        errors.extend(validate_labels(topology, &path.child("deprecatedTopology")));
        for (position, zone) in list(endpoint, &["hints", "forZones"]).iter().enumerate() {
            let path = path.child("hints").child("forZones").index(position).child("name");
            let zone = text(zone, &["name"]);
            errors.extend(invalid_each(&path, zone, names::is_label_value(zone)));
        }
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
            errors.extend(invalid_each(&path.child("name"), name, names::is_dns1123_label(name)));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        if let Some(number) = int(port, &["port"]) {
            errors.extend(port_number(number, &path.child("port")));
        }
        errors.extend(one_of(port, "protocol", PROTOCOLS, &path));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    #[test]
    fn a_slice_is_defaulted_and_shown() {
        let (slice, errors) = create(
            &EndpointSlice,
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}],
                "ports": [{"port": 80}]}),
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(slice["ports"][0], json!({"name": "", "port": 80, "protocol": "TCP"}));
        assert_eq!(
            EndpointSlice.row(&slice, now()),
            [json!("a"), json!("IPv4"), json!("80"), json!("10.0.0.1,10.0.0.2"), json!("60m")]
        );
        let mut new = slice.clone();
        new["addressType"] = json!("FQDN");
        new["endpoints"] = json!([]);
        assert_eq!(
            update(&EndpointSlice, new, &slice).1,
            ["addressType: Invalid value: \"FQDN\": field is immutable"]
        );
    }

    #[test]
    fn each_error_has_upstreams_words() {
        assert_eq!(create(&EndpointSlice, json!({"endpoints": []})).1, ["addressType: Required value"]);
        assert_eq!(
            create(
                &EndpointSlice,
                json!({"addressType": "IPv4", "endpoints": [{"addresses": []}, {"addresses": ["127.0.0.1"]}]})
            )
            .1,
            [
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ]
        );
    }
}
