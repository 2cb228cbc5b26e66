//! PriorityClasses.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, default_text, drop_nulls, flag, int, text};
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
        default_text(obj, &["preemptionPolicy"], "PreemptLowerPriority");
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let value = int(obj, &["value"]).unwrap_or(0);
        let class = meta::name(obj);
        if class.starts_with("system-") {
            let known = SYSTEM_CLASSES.iter().find(|(name, _)| *name == class);
            let problem = match known {
                None => Some("is not a known system priority class".to_owned()),
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
        errors.extend(one_of(obj, "preemptionPolicy", &["Never", "PreemptLowerPriority"], &Path::root()));
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
    use crate::testing::{create, update};

    #[test]
    fn values_are_bounded_and_fixed() {
        let (old, errors) = create(&PriorityClass, json!({"value": 5}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(old["preemptionPolicy"], "PreemptLowerPriority");
        let mut new = old.clone();
        new["value"] = json!(6);
        assert_eq!(
            update(&PriorityClass, new, &old).1,
            ["value: Forbidden: may not be changed in an update."]
        );
        assert_eq!(
            create(&PriorityClass, json!({"value": 1_000_000_001})).1,
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
        let system = json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000});
        assert_eq!(create(&PriorityClass, system).1, Vec::<String>::new());
    }
}
