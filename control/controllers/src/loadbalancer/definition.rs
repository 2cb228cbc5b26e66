//! The definition of LoadBalancerPool, and what is to be done about the one that is stored. Pure.
//!
//! What the schema and its rules cannot say (that a range of IPv6 addresses runs upwards, the syntax of label keys) the
//! controller says in the pool's condition `Ready`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// The definition's name.
pub const NAME: &str = "loadbalancerpools.network.xebec.dev";

/// Which edition of the definition an object is; one more with every change of [`definition`].
const EDITION: &str = "network.xebec.dev/edition";
const OURS: u32 = 1;

/// What is to be done about the definition.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Apply this: there is none, or one of an older edition (then only over the version that was seen).
    Apply(Value),
    /// Nothing until it changes: it is going away, or not served yet.
    Wait,
    /// Nothing: it is served, in this edition or a newer one.
    Done,
}

/// Decides about the stored definition.
pub fn step(stored: Option<&CustomResourceDefinition>) -> Step {
    let Some(stored) = stored else { return Step::Apply(definition()) };
    if stored.metadata.deletion_timestamp.is_some() {
        return Step::Wait;
    }
    let annotations = stored.metadata.annotations.as_ref();
    let edition = annotations.and_then(|all| all.get(EDITION)).and_then(|text| text.parse().ok());
    if edition.unwrap_or(0) < OURS {
        let mut wanted = definition();
        wanted["metadata"]["resourceVersion"] = json!(stored.metadata.resource_version);
        return Step::Apply(wanted);
    }
    let conditions = stored.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut established = conditions.filter(|one| one.type_ == "Established" && one.status == "True");
    if established.next().is_some() { Step::Done } else { Step::Wait }
}

/// The CustomResourceDefinition.
fn definition() -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": NAME,
            "annotations": {EDITION: OURS.to_string()},
        },
        "spec": {
            "group": "network.xebec.dev", "scope": "Cluster",
            "names": {
                "plural": "loadbalancerpools", "singular": "loadbalancerpool", "kind": "LoadBalancerPool",
                "listKind": "LoadBalancerPoolList", "shortNames": ["lbpool"],
            },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema()},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("Addresses", "string", ".spec.addresses"),
                    column("Auto-Assign", "boolean", ".spec.autoAssign"),
                    column("Total", "integer", ".status.total"),
                    column("Used", "integer", ".status.used"),
                    column("Age", "date", ".metadata.creationTimestamp"),
                ],
            }],
        },
    })
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["spec"],
        "description": "Addresses that Services of type LoadBalancer are given; the nodes answer for them on their networks.",
        "properties": {
            "spec": {
                "type": "object", "required": ["addresses"],
                "properties": {
                    "addresses": addresses(),
                    "autoAssign": {
                        "type": "boolean", "default": true,
                        "description": "Whether Services get addresses from here without asking for the pool or the address.",
                    },
                    "serviceSelector": selector("The Services that may have an address, by their labels; all if absent."),
                    "namespaceSelector": selector("The namespaces whose Services may have an address, by their labels; all if absent."),
                },
            },
            "status": {
                "type": "object",
                "properties": {
                    "total": {"type": "integer", "format": "int64", "description": "How many addresses the pool has."},
                    "used": {"type": "integer", "format": "int64", "description": "How many of them Services have."},
                    "conditions": conditions(),
                },
            },
        },
    })
}

fn addresses() -> Value {
    // Every rule holds where it has nothing to say, so that one mistake is one message.
    let first = "self.substring(0, self.indexOf('-'))";
    let last = "self.substring(self.indexOf('-') + 1)";
    let range = format!("self.contains('-') && isIP({first}) && isIP({last})");
    let family = |address: &str| format!("ip({address}).family()");
    // No comprehension: the estimate of its cost would be beyond the budget.
    let number = |address: &str| {
        let parts = [(0, 16_777_216), (1, 65_536), (2, 256), (3, 1)];
        parts.map(|(index, weight)| format!("int({address}.split('.')[{index}]) * {weight}")).join(" + ")
    };
    let (first_family, last_family) = (family(first), family(last));
    let (low, high) = (number(first), number(last));
    json!({
        "type": "array", "minItems": 1, "maxItems": 64, "x-kubernetes-list-type": "set",
        "description": "Networks (192.0.2.0/28), ranges (192.0.2.1-192.0.2.9) or single addresses, of either family. All of a network's addresses are given out, its first and last, too.",
        "items": {
            "type": "string", "minLength": 2, "maxLength": 80,
            "x-kubernetes-validations": [
                {
                    "rule": format!("{range} || isIP(self) || isCIDR(self)"),
                    "message": "must be a network such as 192.0.2.0/28, a range such as 192.0.2.1-192.0.2.9, or an address",
                },
                {
                    "rule": format!("!({range}) || {first_family} == {last_family}"),
                    "message": "must be a range from an address to one of the same family",
                },
                {
                    "rule": format!("!({range}) || {first_family} != 4 || {last_family} != 4 || {low} <= {high}"),
                    "message": "must be a range from the lower address to the higher one",
                },
            ],
        },
    })
}

/// A label selector, as upstream's kinds have it.
fn selector(description: &str) -> Value {
    json!({
        "type": "object", "description": description, "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
            "matchExpressions": {
                "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object", "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string", "minLength": 1},
                        "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                        "values": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string"}},
                    },
                    "x-kubernetes-validations": [{
                        "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
                        "message": "must be specified for the operators In and NotIn, and for no other",
                        "fieldPath": ".values",
                    }],
                },
            },
        },
    })
}

fn conditions() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object", "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": text, "reason": text, "message": text,
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64"},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition as it is stored, with a change.
    fn stored(change: Value) -> CustomResourceDefinition {
        let mut value = definition();
        value["metadata"]["resourceVersion"] = json!("7");
        value["status"] = json!({
            "acceptedNames": value["spec"]["names"],
            "conditions": [{"type": "Established", "status": "True", "reason": "", "message": ""}],
            "storedVersions": ["v1alpha1"],
        });
        xebec_api::patch::merge_patch(&mut value, &change);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_definition_is_made_renewed_and_waited_for() {
        let edition = |text: Value| json!({"metadata": {"annotations": {EDITION: text}}});
        let mut renewed = definition();
        renewed["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(step(None), Step::Apply(definition()));
        for (change, wanted) in [
            (json!({}), Step::Done),
            (json!({"spec": {"preserveUnknownFields": false}}), Step::Done),
            (edition(json!("2")), Step::Done),
            (edition(json!("0")), Step::Apply(renewed.clone())),
            (edition(json!("x")), Step::Apply(renewed.clone())),
            (edition(Value::Null), Step::Apply(renewed.clone())),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), Step::Wait),
            (json!({"status": null}), Step::Wait),
            (
                json!({"status": {"conditions": [
                    {"type": "Established", "status": "False", "reason": "", "message": ""}]}}),
                Step::Wait,
            ),
        ] {
            assert_eq!(step(Some(&stored(change.clone()))), wanted, "{change}");
        }
    }
}
