//! PodDisruptionBudgets between v1beta1 and v1.
//!
//! One difference: an empty selector selects no pod in v1beta1 and every pod in v1. Upstream carries the meaning
//! over with a label nobody sets. Authority: pkg/apis/policy/v1beta1/conversion.go.

use serde_json::{Value, json};

use crate::shared::access::{at, at_mut, has, set};

const LABEL: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
const SELECTOR: [&str; 2] = ["spec", "selector"];

fn by_label(operator: &str) -> Value {
    json!({"matchExpressions": [{"key": LABEL, "operator": operator}]})
}

fn is_empty(selector: &Value) -> bool {
    selector.as_object().is_some_and(|selector| {
        selector.values().all(|part| {
            part.is_null()
                || part.as_object().is_some_and(|map| map.is_empty())
                || part.as_array().is_some_and(Vec::is_empty)
        })
    })
}

/// A v1beta1 budget as v1.
pub fn to_v1(mut budget: Value) -> Value {
    let selector = at(&budget, &SELECTOR);
    if is_empty(selector) {
        set(&mut budget, &SELECTOR, by_label("Exists"));
    } else if *selector == by_label("DoesNotExist") {
        set(&mut budget, &SELECTOR, json!({}));
    } else if let Some(expressions) =
        at_mut(&mut budget, &["spec", "selector", "matchExpressions"]).and_then(Value::as_array_mut)
    {
        expressions.retain(|expression| expression["key"] != LABEL);
    }
    budget
}

/// A v1 budget as v1beta1.
pub fn to_v1beta1(mut budget: Value) -> Value {
    let selector = at(&budget, &SELECTOR);
    if *selector == by_label("Exists") {
        set(&mut budget, &SELECTOR, json!({}));
    } else if has(&budget, &SELECTOR) && is_empty(selector) {
        set(&mut budget, &SELECTOR, by_label("DoesNotExist"));
    }
    budget
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::labels::selects;

    #[test]
    fn an_empty_selector_keeps_its_meaning() {
        let none = json!({"spec": {"selector": {}}});
        let v1 = to_v1(none.clone());
        assert!(!selects(&v1["spec"]["selector"], &json!({"a": "b"})), "no pod");
        assert_eq!(to_v1beta1(v1), none);
        let all = json!({"spec": {"selector": {}}});
        let beta = to_v1beta1(all.clone());
        assert!(selects(&beta["spec"]["selector"], &json!({"a": "b"})), "every pod");
        assert_eq!(to_v1(beta), all);
        for budget in [json!({"spec": {}}), json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}})] {
            assert_eq!(to_v1(budget.clone()), budget);
            assert_eq!(to_v1beta1(budget.clone()), budget);
        }
        let mixed = json!({"spec": {"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": LABEL, "operator": "Exists"}]}}});
        assert_eq!(to_v1(mixed)["spec"]["selector"]["matchExpressions"], json!([]));
    }
}
