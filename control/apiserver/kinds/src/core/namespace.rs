//! Namespaces: a label with their name, the `kubernetes` finalizer, a phase.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, list, set, text, texts};
use crate::shared::formats::qualified_name;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, NameRule, Strategy, generic};

static FACTS: Facts = Facts::cluster("", "Namespace", "namespaces").with_status().with_name(NameRule::Label);
const COLUMNS: &[Column] = &[NAME, column("Status", "string", "The status of the namespace"), AGE];

const STANDARD_FINALIZERS: &[&str] = &["foregroundDeletion", "kubernetes", "orphan"];

/// The strategy of namespaces.
pub struct Namespace;

impl Strategy for Namespace {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        let name = text(obj, &["metadata", "name"]).to_owned();
        if !name.is_empty() {
            set(obj, &["metadata", "labels", "kubernetes.io/metadata.name"], json!(name));
        }
        if text(obj, &["status", "phase"]).is_empty() {
            set(obj, &["status", "phase"], json!("Active"));
        }
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        self.defaults(obj);
        let mut finalizers = list(obj, &["spec", "finalizers"]).to_vec();
        if !finalizers.contains(&json!("kubernetes")) {
            finalizers.push(json!("kubernetes"));
        }
        set(obj, &["spec", "finalizers"], Value::Array(finalizers));
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let path = Path::new("spec").child("finalizers");
        for finalizer in texts(obj, &["spec", "finalizers"]) {
            errors.extend(validate_finalizer(finalizer, &path));
        }
        errors
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        set(obj, &["spec", "finalizers"], at(old, &["spec", "finalizers"]).clone());
        drop_nulls(obj);
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        generic::validate_update(&FACTS, obj, old)
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let path = Path::new("status").child("Phase");
        let phase = text(obj, &["status", "phase"]);
        if at(obj, &["metadata", "deletionTimestamp"]).is_null() {
            if phase != "Active" {
                let detail = "may only be 'Active' if `deletionTimestamp` is empty";
                errors.push(FieldError::invalid(&path, phase, detail));
            }
        } else if phase != "Terminating" {
            let detail = "may only be 'Terminating' if `deletionTimestamp` is not empty";
            errors.push(FieldError::invalid(&path, phase, detail));
        }
        errors
    }

    fn validate_subresource_update(&self, _sub: &str, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let path = Path::new("spec").child("finalizers");
        for (index, finalizer) in texts(obj, &["spec", "finalizers"]).into_iter().enumerate() {
            errors.extend(validate_finalizer(finalizer, &path.index(index)));
        }
        errors
    }

    fn selectable_field_names(&self) -> &[&str] {
        &["status.phase"]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(text(obj, &["status", "phase"])), age(obj, now)]
    }
}

fn validate_finalizer(finalizer: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = qualified_name(finalizer, path);
    if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, finalizer, detail));
    }
    errors
}
