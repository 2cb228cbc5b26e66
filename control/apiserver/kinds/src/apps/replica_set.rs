//! ReplicaSets.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::workload::{
    selector_is_immutable, template_defaults, validate_selector_and_template, validate_status,
};
use crate::pod::template;
use crate::shared::access::{at, default_to, drop_nulls, int};
use crate::shared::rules::not_negative;
use crate::table::{AGE, CONTAINERS, IMAGES, NAME, age, column, containers_and_images, name, selector, wide};
use crate::{Column, Facts, Generation, Strategy, generic};

/// The status of a new set.
pub const STATUS: fn() -> Value = || json!({"replicas": 0});
static FACTS: Facts = Facts::namespaced("apps", "ReplicaSet", "replicasets")
    .with_initial_status(STATUS)
    .with_generation(Generation::Spec);

/// The columns of ReplicaSets and ReplicationControllers.
pub const COLUMNS: &[Column] = &[
    NAME,
    column("Desired", "integer", "Replicas is the number of desired pods."),
    column("Current", "integer", "Replicas is the most recently observed number of non-terminating pods."),
    column("Ready", "integer", "The number of non-terminating pods with a Ready Condition."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "string", "Selector is a label query over pods that should match the replica count."),
];

/// The strategy of ReplicaSets.
pub struct ReplicaSet;

/// The cells of a ReplicaSet or ReplicationController.
pub fn row_cells(obj: &Value, selector: Value, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers_and_images(at(obj, &["spec", "template", "spec"]));
    vec![
        name(obj),
        json!(int(obj, &["spec", "replicas"]).unwrap_or(0)),
        json!(int(obj, &["status", "replicas"]).unwrap_or(0)),
        json!(int(obj, &["status", "readyReplicas"]).unwrap_or(0)),
        age(obj, now),
        json!(names),
        json!(images),
        selector,
    ]
}

/// Every error of the counts in the status.
pub fn replicas_status_errors(obj: &Value, old: &Value) -> Vec<FieldError> {
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    let bounds = [
        ("fullyLabeledReplicas", "replicas", "cannot be greater than status.replicas"),
        ("readyReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ];
    validate_status(obj, old, &counts, &bounds)
}

impl Strategy for ReplicaSet {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "replicas"], 1);
        template_defaults(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        for key in ["replicas", "minReadySeconds"] {
            errors.extend(not_negative(spec, key, &path));
        }
        errors.extend(validate_selector_and_template(spec, &path));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors.extend(selector_is_immutable(obj, old));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(replicas_status_errors(obj, old));
        errors
    }

    fn selectable_field_names(&self) -> &[&str] {
        &["status.replicas"]
    }

    fn selectable_fields(&self, obj: &Value) -> Vec<(String, String)> {
        vec![("status.replicas".to_owned(), int(obj, &["status", "replicas"]).unwrap_or(0).to_string())]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        row_cells(obj, json!(selector(at(obj, &["spec", "selector"]))), now)
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        template::workload_warnings(obj, true)
    }

    fn update_warnings(&self, obj: &Value, old: &Value) -> Vec<String> {
        template::workload_update_warnings(obj, old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    fn set() -> Value {
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[test]
    fn a_set_is_defaulted_and_shown() {
        let (obj, errors) = create(&ReplicaSet, set());
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(obj["spec"]["replicas"], 1);
        assert_eq!(obj["spec"]["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(
            ReplicaSet.row(&obj, now()),
            [json!("a"), json!(1), json!(0), json!(0), json!("60m"), json!("c"), json!("i"), json!("a=b")]
        );
    }

    #[test]
    fn the_selector_matches_and_stays() {
        let mut wrong = set();
        wrong["spec"]["selector"]["matchLabels"]["a"] = json!("c");
        assert_eq!(
            create(&ReplicaSet, wrong).1,
            [
                "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"
            ]
        );
        let (old, _) = create(&ReplicaSet, set());
        let mut new = old.clone();
        new["spec"]["selector"]["matchLabels"] = json!({"x": "y"});
        new["spec"]["template"]["metadata"]["labels"] = json!({"x": "y"});
        assert_eq!(
            update(&ReplicaSet, new, &old).1,
            ["spec.selector: Invalid value: {\"matchLabels\":{\"x\":\"y\"}}: field is immutable"]
        );
    }
}
