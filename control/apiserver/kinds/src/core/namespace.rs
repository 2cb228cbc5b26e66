//! Namespaces: a label with their name, the `kubernetes` finalizer, a phase.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use crate::shared::access::{at, drop_nulls, list, set, text, texts};
use crate::shared::rules::invalid_each;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Facts, NameRule, Strategy, generic};

static FACTS: Facts = Facts::cluster("", "Namespace", "namespaces").with_status().with_name(NameRule::Label);
const COLUMNS: &[Column] = &[NAME, column("Status", "string", "The status of the namespace"), AGE];

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
            let messages = names::is_qualified_name(finalizer);
            let clean = messages.is_empty();
            errors.extend(invalid_each(&path, finalizer, messages));
            if clean && !finalizer.contains('/') && finalizer != "kubernetes" {
                let detail = "name is neither a standard finalizer name nor is it fully qualified";
                errors.push(FieldError::invalid(&path, finalizer, detail));
            }
        }
        errors
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        set(obj, &["spec", "finalizers"], at(old, &["spec", "finalizers"]).clone());
        drop_nulls(obj);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    #[test]
    fn a_new_namespace_is_active_labelled_and_finalized() {
        let (ns, errors) = create(&Namespace, json!({"metadata": {"name": "a"}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(ns["metadata"]["labels"]["kubernetes.io/metadata.name"], "a");
        assert_eq!(ns["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(ns["status"]["phase"], "Active");
        assert_eq!(Namespace.row(&ns, now()), [json!("a"), json!("Active"), json!("60m")]);
    }

    #[test]
    fn finalizers_change_only_through_their_subresource() {
        let (old, _) = create(&Namespace, json!({"metadata": {"name": "a"}}));
        let mut new = old.clone();
        new["spec"]["finalizers"] = json!([]);
        assert_eq!(update(&Namespace, new, &old).0["spec"]["finalizers"], json!(["kubernetes"]));
    }

    #[test]
    fn names_are_labels() {
        let (_, errors) = create(&Namespace, json!({"metadata": {"name": "a.b"}}));
        assert_eq!(errors, ["metadata.name: Invalid value: \"a.b\": must not contain dots"]);
    }
}
