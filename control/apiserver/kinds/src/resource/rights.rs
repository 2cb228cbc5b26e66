//! Which rights a write of a claim's status needs besides that to the status itself (KEP-4817).
//!
//! Enters: the status as it is and as it would be. Leaves: whether the binding changes, the drivers whose devices' status
//! changes, and the node the claim's devices are on. Called by the API server's registry, which asks the authorizers.
//! Authority: pkg/registry/resource/utils.go.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::shared::access::{at, list, text, texts};

/// Whether what the claim is bound to changes: its allocation or its reservations.
#[must_use]
pub fn binding_changes(claim: &Value, old: &Value) -> bool {
    at(claim, &["status", "allocation"]) != at(old, &["status", "allocation"])
        || list(claim, &["status", "reservedFor"]) != list(old, &["status", "reservedFor"])
}

/// The drivers of devices whose status is added, removed or changed.
#[must_use]
pub fn changed_drivers(claim: &Value, old: &Value) -> BTreeSet<String> {
    let key =
        |device: &Value| ["driver", "pool", "device", "shareID"].map(|name| text(device, &[name]).to_owned());
    let missing = |ones: &[Value], others: &[Value]| -> Vec<String> {
        let differs = |one: &&Value| !others.iter().any(|other| key(one) == key(other) && *one == other);
        ones.iter().filter(differs).map(|device| text(device, &["driver"]).to_owned()).collect()
    };
    let (new, old) = (list(claim, &["status", "devices"]), list(old, &["status", "devices"]));
    [missing(new, old), missing(old, new)].into_iter().flatten().collect()
}

/// The node that the claim's devices are on, where its allocation names exactly one.
#[must_use]
pub fn allocated_node(claim: &Value) -> Option<&str> {
    let [term] = list(claim, &["status", "allocation", "nodeSelector", "nodeSelectorTerms"]) else {
        return None;
    };
    let ([], [field]) = (list(term, &["matchExpressions"]), list(term, &["matchFields"])) else {
        return None;
    };
    if text(field, &["key"]) != "metadata.name" || text(field, &["operator"]) != "In" {
        return None;
    }
    match texts(field, &["values"])[..] {
        [node] => Some(node),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bindings_are_allocations_and_reservations() {
        let claim = |status: Value| json!({"status": status});
        let (none, bound) = (json!({}), claim(json!({"allocation": {"devices": {}}})));
        assert!(!binding_changes(&claim(json!({"reservedFor": []})), &none));
        assert!(binding_changes(&bound, &none) && binding_changes(&none, &bound));
        assert!(binding_changes(&claim(json!({"reservedFor": [{"uid": "u"}]})), &none));
        assert!(!binding_changes(&claim(json!({"devices": [{"driver": "d"}]})), &none));
    }

    #[test]
    fn drivers_are_those_of_devices_that_differ() {
        let device =
            |driver: &str, ready: bool| json!({"driver": driver, "pool": "p", "device": "d", "data": ready});
        let claim = |devices: &[Value]| json!({"status": {"devices": devices}});
        let old = claim(&[device("same", true), device("gone", true), device("other", true)]);
        let new = claim(&[device("other", false), device("same", true), device("new", true)]);
        assert_eq!(changed_drivers(&new, &old), ["gone", "new", "other"].map(str::to_owned).into());
        assert_eq!(changed_drivers(&new, &new), BTreeSet::new());
    }

    #[test]
    fn a_node_is_named_by_one_field_of_one_term() {
        let claim =
            |terms: Value| json!({"status": {"allocation": {"nodeSelector": {"nodeSelectorTerms": terms}}}});
        let field = |values: Value| json!({"key": "metadata.name", "operator": "In", "values": values});
        let one = json!({"matchFields": [field(json!(["n"]))]});
        assert_eq!(allocated_node(&claim(json!([one]))), Some("n"));
        let expression = json!({"matchFields": [field(json!(["n"]))], "matchExpressions": [{"key": "a"}]});
        let two = json!({"matchFields": [field(json!(["n", "m"]))]});
        let not = json!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n"]}]});
        for terms in [json!([]), json!([one, one]), json!([expression]), json!([two]), json!([not])] {
            assert_eq!(allocated_node(&claim(terms.clone())), None, "{terms}");
        }
        assert_eq!(allocated_node(&json!({})), None);
    }
}
