//! RuntimeClasses.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::pod::resources::validate_requirements;
use crate::pod::scheduling::validate_tolerations;
use crate::shared::access::{at, drop_nulls, entries, has, list, text};
use crate::shared::labels::validate_labels;
use crate::shared::node_labels::deprecation;
use crate::shared::quantities::canonical_list;
use crate::shared::rules::{immutable, invalid_each};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

static FACTS: Facts = Facts::cluster("node.k8s.io", "RuntimeClass", "runtimeclasses");
const COLUMNS: &[Column] =
    &[NAME, column("Handler", "string", "The runtime's configuration that handles its pods."), AGE];

/// The strategy of RuntimeClasses.
pub struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        canonical_list(obj, &["overhead", "podFixed"]);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let handler = text(obj, &["handler"]);
        errors.extend(invalid_each(&Path::new("handler"), handler, names::is_dns1123_label(handler)));
        if has(obj, &["overhead"]) {
            // Checked as a pod's limits are.
            let limits = json!({"limits": at(obj, &["overhead", "podFixed"])});
            errors.extend(validate_requirements(&limits, &Path::new("overhead")));
        }
        let path = Path::new("scheduling");
        let selector = at(obj, &["scheduling", "nodeSelector"]);
        errors.extend(validate_labels(selector, &path.child("nodeSelector")));
        let tolerations = list(obj, &["scheduling", "tolerations"]);
        let tolerations_path = path.child("tolerations");
        errors.extend(validate_tolerations(tolerations, &tolerations_path));
        let identity = |toleration: &Value| {
            ["key", "operator", "value", "effect"].map(|key| text(toleration, &[key]).to_owned())
        };
        for (index, toleration) in tolerations.iter().enumerate() {
            if tolerations[..index].iter().any(|earlier| identity(earlier) == identity(toleration)) {
                errors.push(FieldError::duplicate(&tolerations_path.index(index), toleration));
            }
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors.extend(immutable(at(obj, &["handler"]), at(old, &["handler"]), &Path::new("handler")));
        errors
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let labels = entries(obj, &["scheduling", "nodeSelector"]);
        let messages = labels.filter_map(|(label, _)| deprecation(label));
        messages.map(|message| format!("scheduling.nodeSelector: {message}")).collect()
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(text(obj, &["handler"])), age(obj, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn a_class_is_checked_and_fixed() {
        let table =
            Table::of(&RuntimeClass, json!({"handler": "h", "overhead": {"podFixed": {"cpu": "0.25"}}}));
        table.defaults(&[(json!({}), json!({"overhead.podFixed.cpu": "250m"}))]);
        table.columns(&["Name", "Handler", "Age"]);
        table.rows(&[(json!({}), json!(["a", "h", "60m"]))]);
        let toleration = json!({"key": "k", "operator": "Exists"});
        table.valid(&[(
            "scheduling",
            json!({"scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [toleration]}}),
        )]);
        table.invalid(&[
            (
                "the handler",
                json!({"handler": "a.b"}),
                &["handler: Invalid value: \"a.b\": must not contain dots"],
            ),
            (
                "less than nothing",
                json!({"overhead.podFixed.cpu": "-1"}),
                &["overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
            ),
            (
                "a toleration twice",
                json!({"scheduling.tolerations": [toleration, toleration]}),
                &["scheduling.tolerations[1]: Duplicate value: {\"key\":\"k\",\"operator\":\"Exists\"}"],
            ),
        ]);
        let limited = |seconds: i64| json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        table.invalid(&[(
            "a toleration twice, for another time",
            json!({"scheduling.tolerations": [limited(1), limited(2)]}),
            &["scheduling.tolerations[1]: Duplicate value: {\"effect\":\"NoExecute\",\"key\":\"k\",\"operator\":\"Exists\",\"tolerationSeconds\":2}"],
        )]);
        let old = json!({"scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux", "a": "b"}}});
        assert_eq!(
            RuntimeClass.warnings(&old),
            ["scheduling.nodeSelector: deprecated since v1.14; use \"kubernetes.io/os\" instead"]
        );
        table.updates(&[
            ("the overhead", json!({"overhead.podFixed.cpu": "1"}), &[]),
            (
                "the handler",
                json!({"handler": "other"}),
                &["handler: Invalid value: \"other\": field is immutable"],
            ),
        ]);
        assert!(!RuntimeClass.unconditional_update());
    }
}
