//! PodDisruptionBudgets.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, has, int};
use crate::shared::labels::validate_selector;
use crate::shared::rules::{at_most_all, int_or_percent, not_negative, one_of};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Generation, Strategy, generic};

fn initial_status() -> Value {
    json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
}

static FACTS: Facts = Facts::namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets")
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
        if has(spec, &["unhealthyPodEvictionPolicy"]) {
            let policies = ["AlwaysAllow", "IfHealthyBudget"];
            errors.extend(one_of(spec, "unhealthyPodEvictionPolicy", &policies, &path));
        }
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            errors.extend(not_negative(at(obj, &["status"]), key, &Path::new("status")));
        }
        errors
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
    use crate::testing::{create, now};

    #[test]
    fn one_bound_at_a_time() {
        let (pdb, errors) = create(&PodDisruptionBudget, json!({"spec": {"minAvailable": "50%"}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(PodDisruptionBudget.row(&pdb, now())[1..4], [json!("50%"), json!("N/A"), json!(0)]);
        assert_eq!(
            create(&PodDisruptionBudget, json!({"spec": {"minAvailable": 1, "maxUnavailable": 1}})).1,
            [
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set"
            ]
        );
    }
}
