//! The objects every server has, whose specs are fixed: the schemas and levels `exempt` and `catch-all`.
//!
//! Authority: pkg/apis/flowcontrol/bootstrap. Leaves: specs in defaulted form. Called by validation and by
//! whoever makes the objects when the server starts.

use serde_json::{Value, json};

/// The spec of a mandatory FlowSchema, `None` for any other name.
pub fn flow_schema(name: &str) -> Option<Value> {
    let everything = |subjects: &[&str]| {
        let subjects: Vec<Value> =
            subjects.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect();
        json!([{
            "subjects": subjects,
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}
            ],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
        }])
    };
    match name {
        "exempt" => Some(json!({
            "priorityLevelConfiguration": {"name": "exempt"},
            "matchingPrecedence": 1,
            "rules": everything(&["system:masters"])
        })),
        "catch-all" => Some(json!({
            "priorityLevelConfiguration": {"name": "catch-all"},
            "matchingPrecedence": 10000,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": everything(&["system:unauthenticated", "system:authenticated"])
        })),
        _ => None,
    }
}

/// The spec of a mandatory PriorityLevelConfiguration, `None` for any other name.
pub fn priority_level(name: &str) -> Option<Value> {
    match name {
        "exempt" => Some(json!({
            "type": "Exempt",
            "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}
        })),
        "catch-all" => Some(json!({
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 5,
                "lendablePercent": 0,
                "limitResponse": {"type": "Reject"}
            }
        })),
        _ => None,
    }
}
