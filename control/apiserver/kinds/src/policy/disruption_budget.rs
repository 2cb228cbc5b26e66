//! PodDisruptionBudgets.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, has, int, list};
use crate::shared::conditions;
use crate::shared::labels::validate_selector;
use crate::shared::rules::{at_most_all, int_or_percent, not_negative, one_of_or_missing};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Generation, NameRule, Strategy, generic};

fn initial_status() -> Value {
    json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
}

// Upstream has no rule of its own for a budget's name: what holds is that of every path.
static FACTS: Facts = Facts::namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets")
    .with_name(NameRule::PathSegment)
    .with_initial_status(initial_status)
    .with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column("Min Available", "string", "The minimum number of pods that must be available."),
    column("Max Unavailable", "string", "The maximum number of pods that may be unavailable."),
    column("Allowed Disruptions", "integer", "Calculated number of pods that may be disrupted at this time."),
    AGE,
];

/// The strategy of PodDisruptionBudgets.
pub struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        if has(spec, &["minAvailable"]) && has(spec, &["maxUnavailable"]) {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid(&path, spec, detail));
        }
        for key in ["minAvailable", "maxUnavailable"] {
            errors.extend(int_or_percent(at(spec, &[key]), &path.child(key)));
            errors.extend(at_most_all(at(spec, &[key]), &path.child(key)));
        }
        errors.extend(validate_selector(at(spec, &["selector"]), &path.child("selector")));
        let policies = ["AlwaysAllow", "IfHealthyBudget"];
        errors.extend(one_of_or_missing(spec, "unhealthyPodEvictionPolicy", &policies, &path));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let path = Path::new("status").child("conditions");
        errors.extend(conditions::validate(list(obj, &["status", "conditions"]), &path));
        for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            errors.extend(not_negative(at(obj, &["status"]), key, &Path::new("status")));
        }
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let bound = |key: &str| match at(obj, &["spec", key]) {
            Value::Null => "N/A".to_owned(),
            Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        let allowed = int(obj, &["status", "disruptionsAllowed"]).unwrap_or(0);
        vec![
            name(obj),
            json!(bound("minAvailable")),
            json!(bound("maxUnavailable")),
            json!(allowed),
            age(obj, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn budgets() {
        let table = Table::of(&PodDisruptionBudget, json!({"spec": {"minAvailable": "50%", "selector": {}}}));
        table.defaults(&[(
            json!({"status": {"expectedPods": 9}}),
            json!({"metadata.generation": 1, "status": {"disruptionsAllowed": 0, "currentHealthy": 0,
                "desiredHealthy": 0, "expectedPods": 0}}),
        )]);
        table.valid(&[
            ("neither", json!({"spec": {}})),
            ("any name that is one part of a path", json!({"metadata": {"name": "A_b"}})),
            ("a number", json!({"spec": {"maxUnavailable": 0, "unhealthyPodEvictionPolicy": "AlwaysAllow"}})),
        ]);
        assert!(!PodDisruptionBudget.unconditional_update());
        let not_percent = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
        table.invalid(&[
            (
                "both",
                json!({"spec": {"minAvailable": 1, "maxUnavailable": 1}}),
                &["spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set"],
            ),
            (
                "bounds",
                json!({"spec": {"minAvailable": "x"}}),
                &[&format!("spec.minAvailable: Invalid value: \"x\": {not_percent}")],
            ),
            (
                "too much",
                json!({"spec": {"maxUnavailable": "101%"}}),
                &["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"],
            ),
            (
                "less than nothing",
                json!({"spec": {"maxUnavailable": -1, "unhealthyPodEvictionPolicy": "X"}}),
                &[
                    "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
                    "spec.unhealthyPodEvictionPolicy: Unsupported value: \"X\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
                ],
            ),
            (
                "the selector",
                json!({"spec.selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
                &["spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"],
            ),
        ]);
        table.updates(&[(
            "another bound",
            json!({"spec.minAvailable": 2, "spec.selector": {"matchLabels": {"a": "b"}}}),
            &[],
        )]);
        table.generation(&[
            (json!({"spec.minAvailable": 2}), true),
            (json!({"metadata.labels": {"a": "b"}}), false),
        ]);
        table.status(&[
            ("counts", json!({"status.disruptionsAllowed": 1, "status.observedGeneration": 1}), &[]),
            (
                "negative counts",
                json!({"status": {"disruptionsAllowed": -1, "currentHealthy": -1, "desiredHealthy": -1, "expectedPods": -1}}),
                &[
                    "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
                    "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
                    "status.desiredHealthy: Invalid value: -1: must be greater than or equal to 0",
                    "status.expectedPods: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                "a condition",
                json!({"status.conditions": [{"type": "X", "status": "True", "reason": "R"}]}),
                &["status.conditions[0].lastTransitionTime: Required value: must be set"],
            ),
        ]);
        table.status_is_separate(&json!({"status.expectedPods": 3}), &json!({"spec.minAvailable": 3}));
        table.columns(&["Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"]);
        table.rows(&[(json!({}), json!(["a", "50%", "N/A", 0, "60m"]))]);
    }
}
