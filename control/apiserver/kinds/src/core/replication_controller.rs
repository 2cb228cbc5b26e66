//! ReplicationControllers: the workload before ReplicaSets, with a plain map as selector.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::apps::replica_set::{STATUS, replicas_status_errors, row_cells};
use crate::apps::workload::never_ends;
use crate::pod::template;
use crate::shared::access::{at, default_to, drop_nulls, entries, set};
use crate::shared::rules::not_negative;
use crate::table::labels;
use crate::{Column, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::namespaced("", "ReplicationController", "replicationcontrollers")
    .with_initial_status(STATUS)
    .with_generation(Generation::Spec);

/// The strategy of ReplicationControllers.
pub struct ReplicationController;

impl Strategy for ReplicationController {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "replicas"], 1);
        let pod_labels = at(obj, &["spec", "template", "metadata", "labels"]).clone();
        if pod_labels.is_object() {
            for path in [["spec", "selector"], ["metadata", "labels"]] {
                if entries(obj, &path).next().is_none() {
                    set(obj, &path, pod_labels.clone());
                }
            }
        }
        template::defaults(obj, &["spec", "template"]);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        errors.extend(not_negative(spec, "minReadySeconds", &path));
        let selector = at(spec, &["selector"]);
        let selects = entries(selector, &[]).next().is_some();
        if !selects {
            errors.push(FieldError::required(&path.child("selector"), ""));
        }
        errors.extend(not_negative(spec, "replicas", &path));
        let (template, template_path) = (at(spec, &["template"]), path.child("template"));
        if template.is_null() {
            errors.push(FieldError::required(&template_path, ""));
            return errors;
        }
        let labels = at(template, &["metadata", "labels"]);
        if entries(selector, &[]).any(|(key, value)| at(labels, &[key]) != value) {
            let path = template_path.child("metadata").child("labels");
            errors.push(FieldError::invalid(&path, labels, "`selector` does not match template `labels`"));
        }
        errors.extend(template::validate(template, &template_path));
        errors.extend(never_ends(template, &template_path, "ReplicationController"));
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

    fn columns(&self) -> &[Column] {
        crate::apps::replica_set::COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        row_cells(obj, json!(labels(at(obj, &["spec", "selector"]))), now)
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
    use crate::testing::Table;

    fn base() -> Value {
        json!({"spec": {"template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}
        }}})
    }

    #[test]
    fn defaults_table_and_selectors() {
        let table = Table::of(&ReplicationController, base());
        table.defaults(&[(
            json!({}),
            json!({
                "spec.replicas": 1,
                "spec.selector": {"a": "b"},
                "metadata.labels": {"a": "b"},
                "spec.template.spec.restartPolicy": "Always",
                "status": {"replicas": 0},
                "metadata.generation": 1
            }),
        )]);
        table.columns(&["Name", "Desired", "Current", "Ready", "Age", "Containers*", "Images*", "Selector*"]);
        table.rows(&[(
            json!({"status": {"replicas": 2, "readyReplicas": 1}}),
            json!(["a", 1, 2, 1, "60m", "c", "i", "a=b"]),
        )]);
        table.selectable(&[("status.replicas", "0")]);
        table.generation(&[
            (json!({"spec.replicas": 3}), true),
            (json!({"metadata.annotations": {"a": "b"}}), false),
        ]);
        table.status_is_separate(&json!({"status.replicas": 5}), &json!({"spec.replicas": 5}));
    }

    #[test]
    fn fields_are_checked() {
        let table = Table::of(&ReplicationController, base());
        table.valid(&[("none", json!({"spec.replicas": 0}))]);
        table.invalid(&[
            (
                "less than none",
                json!({"spec.replicas": -1, "spec.minReadySeconds": -1}),
                &[
                    "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            ("no labels", json!({"spec.template.metadata": null}), &["spec.selector: Required value"]),
            ("no template", json!({"spec": {"selector": {"a": "b"}}}), &["spec.template: Required value"]),
            (
                "another selector",
                json!({"spec.selector": {"x": "y"}}),
                &["spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"],
            ),
            (
                "pods that end",
                json!({"spec.template.spec.restartPolicy": "Never", "spec.template.spec.activeDeadlineSeconds": 5}),
                &[
                    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
                ],
            ),
        ]);
        table.updates(&[("another image", json!({"spec.template.spec.containers[0].image": "j"}), &[])]);
        table.status(&[(
            "a negative count",
            json!({"status.replicas": -1}),
            &[
                "status.replicas: Invalid value: -1: must be greater than or equal to 0",
                "status.fullyLabeledReplicas: Invalid value: 0: cannot be greater than status.replicas",
                "status.readyReplicas: Invalid value: 0: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 0: cannot be greater than status.replicas",
            ],
        )]);
    }
}
