use std::sync::Arc;

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::{Value, json};

use super::plan::aggregated;

fn role(name: &str, labels: Value, rules: Value) -> Arc<ClusterRole> {
    let value = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
    Arc::new(serde_json::from_value(value).unwrap())
}

fn rule(resource: &str) -> Value {
    json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]})
}

fn admin(rules: Value) -> ClusterRole {
    let selectors = json!([{"matchLabels": {"to": "admin"}}, {"matchExpressions": [{"key": "too", "operator": "Exists"}]}]);
    serde_json::from_value(json!({
        "metadata": {"name": "admin", "labels": {"to": "admin"}},
        "aggregationRule": {"clusterRoleSelectors": selectors}, "rules": rules,
    }))
    .unwrap()
}

fn shown(role: &ClusterRole) -> Value {
    serde_json::to_value(&role.rules).unwrap()
}

#[test]
fn rules_are_those_of_the_chosen_roles() {
    let all = vec![
        role("b", json!({"to": "admin"}), json!([rule("pods"), rule("secrets")])),
        role("a", json!({"to": "admin"}), json!([rule("pods")])),
        role("c", json!({"too": "x"}), json!([rule("nodes"), rule("secrets")])),
        role("d", json!({"to": "edit"}), json!([rule("events")])),
        Arc::new(admin(json!([rule("self")]))),
    ];
    let made = aggregated(&admin(json!([rule("stale")])), &all).unwrap();
    assert_eq!(shown(&made), json!([rule("pods"), rule("secrets"), rule("nodes")]));
    assert_eq!(aggregated(&made, &all), None, "it has them");
    let fewer = aggregated(&made, &all[..2]).unwrap();
    assert_eq!(
        shown(&fewer),
        json!([rule("pods"), rule("secrets")]),
        "a source that is gone takes its rules along"
    );
    assert_eq!(shown(&aggregated(&made, &[]).unwrap()), json!([]));
    assert_eq!(aggregated(&all[0], &all), None, "no aggregation rule");
}
