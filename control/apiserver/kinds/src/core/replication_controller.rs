//! ReplicationControllers: the workload before ReplicaSets, with a plain map as selector.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::apps::replica_set::{STATUS, replicas_status_errors, row_cells};
use crate::pod::template;
use crate::shared::access::{at, default_to, drop_nulls, entries, has, set};
use crate::shared::labels::validate_labels;
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
        let path = Path::new("spec");
        errors.extend(not_negative(at(obj, &["spec"]), "replicas", &path));
        let selector = at(obj, &["spec", "selector"]);
        if entries(selector, &[]).next().is_none() {
            errors.push(FieldError::required(&path.child("selector"), ""));
        }
        errors.extend(validate_labels(selector, &path.child("selector")));
        let template_path = path.child("template");
        if !has(obj, &["spec", "template"]) {
            errors.push(FieldError::required(&template_path, ""));
            return errors;
        }
        let template = at(obj, &["spec", "template"]);
        let labels = at(template, &["metadata", "labels"]);
        if entries(selector, &[]).any(|(key, value)| at(labels, &[key]) != value) {
            let path = template_path.child("metadata").child("labels");
            errors.push(FieldError::invalid(&path, labels, "`selector` does not match template `labels`"));
        }
        errors.extend(template::validate(template, &template_path));
        errors.extend(template::restarts_always(template, &template_path));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(replicas_status_errors(obj));
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
}
