//! PriorityClasses.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, default_to, drop_nulls, flag, int, text};
use crate::shared::meta;
use crate::shared::rules::{immutable, one_of};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::cluster("scheduling.k8s.io", "PriorityClass", "priorityclasses")
    .with_generation(Generation::Content);
const COLUMNS: &[Column] = &[
    NAME,
    column("Value", "integer", "The priority pods receive when they name this class."),
    column("Global-Default", "boolean", "Whether pods without a class get this one."),
    AGE,
    column("PreemptionPolicy", "string", "Whether its pods preempt pods with lower priority."),
];
/// The highest value users may give.
pub const HIGHEST_USER_VALUE: i64 = 1_000_000_000;

/// The values of the classes with reserved names.
pub const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The strategy of PriorityClasses.
pub struct PriorityClass;

impl Strategy for PriorityClass {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["preemptionPolicy"], "PreemptLowerPriority");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let value = int(obj, &["value"]).unwrap_or(0);
        let class = meta::name(obj);
        if class.starts_with("system-") {
            let known = SYSTEM_CLASSES.iter().find(|(name, _)| *name == class);
            let problem = match known {
                None => Some(format!("{class} is not a known system priority class")),
                Some((_, fixed)) if *fixed != value => {
                    Some(format!("value of {class} PriorityClass must be {fixed}"))
                }
                Some(_) if flag(obj, &["globalDefault"]) => {
                    Some(format!("globalDefault of {class} PriorityClass must be false"))
                }
                Some(_) => None,
            };
            if let Some(problem) = problem {
                let path = Path::new("metadata").child("name");
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
                );
                errors.push(FieldError::forbidden(&path, detail));
            }
        } else if value > HIGHEST_USER_VALUE {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_VALUE}");
            errors.push(FieldError::forbidden(&Path::new("value"), detail));
        }
        errors.extend(one_of(obj, "preemptionPolicy", &["PreemptLowerPriority", "Never"], &Path::root()));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        if int(obj, &["value"]) != int(old, &["value"]) {
            errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        let path = Path::new("preemptionPolicy");
        errors.extend(immutable(at(obj, &["preemptionPolicy"]), at(old, &["preemptionPolicy"]), &path));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(obj),
            json!(int(obj, &["value"]).unwrap_or(0)),
            json!(flag(obj, &["globalDefault"])),
            age(obj, now),
            json!(text(obj, &["preemptionPolicy"])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn classes() {
        let table = Table::of(&PriorityClass, json!({"metadata": {"name": "c"}, "value": 5}));
        table.defaults(&[(
            json!({}),
            json!({"preemptionPolicy": "PreemptLowerPriority", "metadata.generation": 1}),
        )]);
        let system = json!({"metadata.name": "system-node-critical", "value": 2_000_001_000});
        table.valid(&[
            (
                "the highest",
                json!({"value": HIGHEST_USER_VALUE, "globalDefault": true, "preemptionPolicy": "Never"}),
            ),
            ("a negative one", json!({"value": -5})),
            ("the system's", system),
        ]);
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error:";
        table.invalid(&[
            (
                "too high",
                json!({"value": 1_000_000_001}),
                &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
            ),
            (
                "the system's name",
                json!({"metadata.name": "system-x"}),
                &[&format!("{reserved} system-x is not a known system priority class")],
            ),
            (
                "the system's value",
                json!({"metadata.name": "system-node-critical"}),
                &[&format!("{reserved} value of system-node-critical PriorityClass must be 2000001000")],
            ),
            (
                "the system's default",
                json!({"metadata.name": "system-node-critical", "value": 2_000_001_000, "globalDefault": true}),
                &[&format!("{reserved} globalDefault of system-node-critical PriorityClass must be false")],
            ),
            (
                "an empty policy",
                json!({"preemptionPolicy": ""}),
                &["preemptionPolicy: Required value"],
            ),
            (
                "the policy",
                json!({"preemptionPolicy": "X"}),
                &["preemptionPolicy: Unsupported value: \"X\": supported values: \"PreemptLowerPriority\", \"Never\""],
            ),
        ]);
        table.updates(&[
            ("the description", json!({"description": "d", "globalDefault": true}), &[]),
            (
                "the value and the policy",
                json!({"value": 6, "preemptionPolicy": "Never"}),
                &[
                    "value: Forbidden: may not be changed in an update.",
                    "preemptionPolicy: Invalid value: \"Never\": field is immutable",
                ],
            ),
        ]);
        table.generation(&[
            (json!({"description": "d"}), true),
            (json!({"metadata.labels": {"a": "b"}}), false),
        ]);
        table.columns(&["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"]);
        table.rows(&[(json!({}), json!(["c", 5, false, "60m", "PreemptLowerPriority"]))]);
    }
}
