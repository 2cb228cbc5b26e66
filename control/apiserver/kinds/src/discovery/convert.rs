//! EndpointSlices between v1beta1 and v1.
//!
//! v1beta1 keeps an endpoint's place in a map `topology`; v1 has fields `nodeName` and `zone`, and
//! `deprecatedTopology` for the rest. Authority: pkg/apis/discovery/v1beta1/conversion.go.

use serde_json::{Map, Value, json};

use crate::shared::access::{list_mut, text};

pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
pub(super) const HOST: &str = "kubernetes.io/hostname";

fn take_map(endpoint: &mut Value, key: &str) -> Option<Map<String, Value>> {
    match endpoint.as_object_mut()?.remove(key)? {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// A v1beta1 slice as v1.
pub fn to_v1(mut slice: Value) -> Value {
    for endpoint in list_mut(&mut slice, &["endpoints"]) {
        let Some(mut topology) = take_map(endpoint, "topology") else { continue };
        if let Some(zone) = topology.remove(ZONE) {
            endpoint["zone"] = zone;
        }
        // A host that is not the node's name is kept: v1beta1 could say both.
        let node = text(endpoint, &["nodeName"]);
        if !node.is_empty() && topology.get(HOST).and_then(Value::as_str) == Some(node) {
            topology.remove(HOST);
        }
        if !topology.is_empty() {
            endpoint["deprecatedTopology"] = Value::Object(topology);
        }
    }
    slice
}

/// A v1 slice as v1beta1.
pub fn to_v1beta1(mut slice: Value) -> Value {
    for endpoint in list_mut(&mut slice, &["endpoints"]).filter(|endpoint| endpoint.is_object()) {
        let mut topology = take_map(endpoint, "deprecatedTopology").unwrap_or_default();
        let zone = endpoint.as_object_mut().and_then(|endpoint| endpoint.remove("zone"));
        if let Some(zone) = zone.filter(|zone| !zone.is_null()) {
            topology.insert(ZONE.to_owned(), zone);
        }
        let node = text(endpoint, &["nodeName"]);
        let unsaid = topology.get(HOST).and_then(Value::as_str).is_none_or(str::is_empty);
        if !node.is_empty() && unsaid {
            topology.insert(HOST.to_owned(), json!(node));
        }
        if !topology.is_empty() {
            endpoint["topology"] = Value::Object(topology);
        }
    }
    slice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_endpoint_is_kept() {
        let beta = json!({"endpoints": [
            {"addresses": ["10.0.0.1"], "nodeName": "n", "topology": {HOST: "n", ZONE: "z", "rack": "r"}},
            {"addresses": ["10.0.0.2"], "topology": {HOST: "n"}},
            {"addresses": ["10.0.0.3"], "nodeName": "n", "topology": {HOST: "other"}},
            {"addresses": ["10.0.0.4"]}
        ]});
        let v1 = to_v1(beta.clone());
        assert_eq!(
            v1,
            json!({"endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "n", "zone": "z", "deprecatedTopology": {"rack": "r"}},
                {"addresses": ["10.0.0.2"], "deprecatedTopology": {HOST: "n"}},
                {"addresses": ["10.0.0.3"], "nodeName": "n", "deprecatedTopology": {HOST: "other"}},
                {"addresses": ["10.0.0.4"]}
            ]})
        );
        assert_eq!(to_v1beta1(v1), beta);
    }

    #[test]
    fn a_node_alone_becomes_a_topology() {
        let v1 = json!({"endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n"}]});
        let beta = to_v1beta1(v1.clone());
        assert_eq!(beta["endpoints"][0]["topology"], json!({HOST: "n"}));
        assert_eq!(to_v1(beta), v1);
    }
}
