//! Endpoints: the addresses behind a Service, in the form before EndpointSlice.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::pod::probes::PROTOCOLS;
use crate::shared::access::{at, default_text, drop_nulls, has, int, list, list_mut, text};
use crate::shared::addresses::{ip_warnings, validate_ip};
use crate::shared::formats::{label, qualified_name, subdomain};
use crate::shared::rules::{one_of, port_number};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::namespaced("", "Endpoints", "endpoints");
const COLUMNS: &[Column] =
    &[NAME, column("Endpoints", "string", "The set of all endpoints is the union of all subsets."), AGE];

/// The strategy of Endpoints.
pub struct Endpoints;

impl Strategy for Endpoints {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        for subset in list_mut(obj, &["subsets"]) {
            list_mut(subset, &["ports"]).for_each(|port| default_text(port, &["protocol"], "TCP"));
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        for (index, subset) in list(obj, &["subsets"]).iter().enumerate() {
            errors.extend(validate_subset(subset, &Path::new("subsets").index(index)));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let same = at(obj, &["subsets"]) == at(old, &["subsets"]);
        // What is unchanged was accepted once.
        let of_subsets = |error: &FieldError| error.field.starts_with("subsets");
        errors.extend(self.validate(obj).into_iter().filter(|error| !(same && of_subsets(error))));
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, subset) in list(obj, &["subsets"]).iter().enumerate() {
            for key in ["addresses", "notReadyAddresses"] {
                let path = Path::new("subsets").index(index).child(key);
                for (index, address) in list(subset, &[key]).iter().enumerate() {
                    warnings.extend(ip_warnings(text(address, &["ip"]), &path.index(index).child("ip")));
                }
            }
        }
        warnings
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(addresses(obj)), age(obj, now)]
    }
}

fn validate_subset(subset: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (ready, other) = (list(subset, &["addresses"]), list(subset, &["notReadyAddresses"]));
    if ready.is_empty() && other.is_empty() {
        errors.push(FieldError::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for (key, addresses) in [("addresses", ready), ("notReadyAddresses", other)] {
        for (index, address) in addresses.iter().enumerate() {
            errors.extend(validate_address(address, &path.child(key).index(index)));
        }
    }
    let ports = list(subset, &["ports"]);
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        match text(port, &["name"]) {
            "" if ports.len() > 1 => errors.push(FieldError::required(&path.child("name"), "")),
            "" => {}
            name => errors.extend(label(name, &path.child("name"))),
        }
        errors.extend(port_number(int(port, &["port"]).unwrap_or(0), &path.child("port")));
        errors.extend(one_of(port, "protocol", PROTOCOLS, &path));
        if has(port, &["appProtocol"]) {
            errors.extend(qualified_name(text(port, &["appProtocol"]), &path.child("appProtocol")));
        }
    }
    errors
}

fn validate_address(address: &Value, path: &Path) -> Vec<FieldError> {
    let (ip, ip_path) = (text(address, &["ip"]), path.child("ip"));
    let mut errors = validate_ip(ip, &[], &ip_path);
    let host = text(address, &["hostname"]);
    if !host.is_empty() {
        errors.extend(label(host, &path.child("hostname")));
    }
    if has(address, &["nodeName"]) {
        errors.extend(subdomain(text(address, &["nodeName"]), &path.child("nodeName")));
    }
    errors.extend(not_special(ip, &ip_path));
    errors
}

/// The errors of an address no Service may send to: none at all, unspecified, loopback, link-local.
pub fn not_special(text: &str, path: &Path) -> Vec<FieldError> {
    let Ok(ip) = text.parse::<std::net::IpAddr>() else {
        return vec![FieldError::invalid(path, text, "must be a valid IP address")];
    };
    let (link_local, link_multicast) = match ip {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("may not be unspecified ({text})");
    let rules = [
        (ip.is_unspecified(), unspecified.as_str()),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    rules
        .iter()
        .filter(|(found, _)| *found)
        .map(|(_, detail)| FieldError::invalid(path, text, *detail))
        .collect()
}

/// `address:port` of the first three ready endpoints, and how many more there are.
fn addresses(obj: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(obj, &["subsets"]) {
        let ready = || list(subset, &["addresses"]).iter().map(|address| text(address, &["ip"]));
        let ports = list(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(ready().map(str::to_owned));
        }
        for port in ports {
            let number = int(port, &["port"]).unwrap_or(0);
            let join = |ip: &str| {
                if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") }
            };
            all.extend(ready().map(join));
        }
    }
    match all.len() {
        _ if list(obj, &["subsets"]).is_empty() => "<none>".to_owned(),
        count if count > 3 => format!("{} + {} more...", all[..3].join(","), count - 3),
        _ => all.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn addresses_are_listed_three_at_most() {
        let address = |last: u8| json!({"ip": format!("10.0.0.{last}")});
        let (obj, errors) = create(
            &Endpoints,
            json!({"subsets": [{"addresses": (1..6).map(address).collect::<Vec<_>>(), "ports": [{"port": 80}]}]}),
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(obj["subsets"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(Endpoints.row(&obj, now())[1], "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
        assert_eq!(Endpoints.row(&json!({}), now())[1], "<none>");
    }
}
