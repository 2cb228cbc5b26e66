//! SubjectAccessReviews, about anyone, about oneself, about anyone in a namespace.
//!
//! Authority: pkg/apis/authorization/validation. A question is checked, then answered by the API server.

use serde_json::{Map, Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, has, list, text};
use crate::shared::labels::validate_requirement;
use crate::{Facts, Strategy};

const GROUP: &str = "authorization.k8s.io";
static ANYONE: Facts = Facts::cluster(GROUP, "SubjectAccessReview", "subjectaccessreviews");
static ONESELF: Facts = Facts::cluster(GROUP, "SelfSubjectAccessReview", "selfsubjectaccessreviews");
static LOCAL: Facts = Facts::namespaced(GROUP, "LocalSubjectAccessReview", "localsubjectaccessreviews");

/// The strategy of SubjectAccessReviews.
pub struct SubjectAccessReview;
/// The strategy of SelfSubjectAccessReviews.
pub struct SelfSubjectAccessReview;
/// The strategy of LocalSubjectAccessReviews.
pub struct LocalSubjectAccessReview;

fn validate_attributes(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (resource, other) = (at(spec, &["resourceAttributes"]), at(spec, &["nonResourceAttributes"]));
    if !resource.is_null() && !other.is_null() {
        let detail = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid(&path.child("nonResourceAttributes"), other, detail));
    }
    if resource.is_null() && other.is_null() {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid(&path.child("resourceAttributes"), Value::Null, detail));
    }
    errors
}

fn validate_subject(spec: &Value, path: &Path) -> Vec<FieldError> {
    if !text(spec, &["user"]).is_empty() || !list(spec, &["groups"]).is_empty() {
        return Vec::new();
    }
    vec![FieldError::invalid(&path.child("user"), "", "at least one of user or group must be specified")]
}

/// The errors of the selectors that narrow what is asked about; operators unknown here are let through, since a
/// newer client may know them.
fn validate_selectors(spec: &Value, path: &Path) -> Vec<FieldError> {
    let (attributes, path) = (at(spec, &["resourceAttributes"]), path.child("resourceAttributes"));
    let mut errors = Vec::new();
    for key in ["fieldSelector", "labelSelector"] {
        let (selector, path) = (at(attributes, &[key]), path.child(key));
        if selector.is_null() {
            continue;
        }
        let (raw, requirements) = (text(selector, &["rawSelector"]), list(selector, &["requirements"]));
        if !raw.is_empty() && !requirements.is_empty() {
            let detail = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid(&path.child("rawSelector"), raw, detail));
        }
        if raw.is_empty() && requirements.is_empty() {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(&path.child("requirements"), detail));
        }
        for (index, requirement) in requirements.iter().enumerate() {
            let path = path.child("requirements").index(index);
            let mut found = validate_requirement(requirement, &path);
            let key_path = path.child("key").to_string();
            if key == "fieldSelector" {
                // A field's name has no format.
                found.retain(|error| error.field != key_path && !error.field.contains(".values["));
                if text(requirement, &["key"]).is_empty() {
                    found.insert(0, FieldError::required(&path.child("key"), "must be specified"));
                }
            }
            let operator_path = path.child("operator").to_string();
            errors.extend(found.into_iter().filter(|error| error.field != operator_path));
        }
    }
    errors
}

/// The error of metadata, which a question has none of (but for the namespace of a local one).
fn validate_metadata(obj: &Value, local: bool) -> Option<FieldError> {
    let metadata = at(obj, &["metadata"]);
    let empty = Map::new();
    let mut given = metadata.as_object().unwrap_or(&empty).keys();
    let allowed = |key: &str| key == "managedFields" || (local && key == "namespace");
    let detail = if local { "must be empty except for namespace" } else { "must be empty" };
    (!given.all(|key| allowed(key))).then(|| FieldError::invalid(&Path::new("metadata"), metadata, detail))
}

fn validate_all(obj: &Value, subject: bool, local: bool) -> Vec<FieldError> {
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    let mut errors = validate_attributes(spec, &path);
    if subject {
        errors.extend(validate_subject(spec, &path));
    }
    errors.extend(validate_selectors(spec, &path));
    errors.extend(validate_metadata(obj, local));
    if !local {
        return errors;
    }
    let (namespace, asked) =
        (text(obj, &["metadata", "namespace"]), text(spec, &["resourceAttributes", "namespace"]));
    if has(spec, &["resourceAttributes"]) && asked != namespace {
        let path = path.child("resourceAttributes").child("namespace");
        errors.push(FieldError::invalid(&path, asked, "must match metadata.namespace"));
    }
    if has(spec, &["nonResourceAttributes"]) {
        let shown = at(spec, &["nonResourceAttributes"]);
        let detail = "disallowed on this kind of request";
        errors.push(FieldError::invalid(&path.child("nonResourceAttributes"), json!(shown), detail));
    }
    errors
}

macro_rules! review {
    ($kind:ident, $facts:ident, $subject:literal, $local:literal) => {
        impl Strategy for $kind {
            fn facts(&self) -> &Facts {
                &$facts
            }

            fn defaults(&self, obj: &mut Value) {
                drop_nulls(obj);
            }

            fn validate(&self, obj: &Value) -> Vec<FieldError> {
                validate_all(obj, $subject, $local)
            }
        }
    };
}

review!(SubjectAccessReview, ANYONE, true, false);
review!(SelfSubjectAccessReview, ONESELF, false, false);
review!(LocalSubjectAccessReview, LOCAL, true, true);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;

    fn found(strategy: &dyn Strategy, obj: &Value) -> Vec<String> {
        messages(&strategy.validate(obj))
    }

    #[test]
    fn questions_are_checked() {
        let asked = json!({"verb": "get", "resource": "pods"});
        let none = Vec::<String>::new();
        assert_eq!(found(&SelfSubjectAccessReview, &json!({"spec": {"resourceAttributes": asked}})), none);
        let named =
            json!({"metadata": {"name": "a"}, "spec": {"user": "u", "nonResourceAttributes": {"path": "/"}}});
        assert_eq!(
            found(&SubjectAccessReview, &named),
            ["metadata: Invalid value: {\"name\":\"a\"}: must be empty"]
        );
        assert_eq!(
            found(&SubjectAccessReview, &json!({"spec": {}})),
            [
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
            ]
        );
        let both = json!({"spec": {"groups": ["g"], "resourceAttributes": asked, "nonResourceAttributes": {"path": "/"}}});
        assert_eq!(
            found(&SubjectAccessReview, &both),
            [
                "spec.nonResourceAttributes: Invalid value: {\"path\":\"/\"}: cannot be specified in combination with resourceAttributes"
            ]
        );
    }

    #[test]
    fn local_questions_stay_in_their_namespace() {
        let review = |spec: Value| json!({"metadata": {"namespace": "n"}, "spec": spec});
        let asked = json!({"user": "u", "resourceAttributes": {"namespace": "n", "verb": "get"}});
        assert_eq!(found(&LocalSubjectAccessReview, &review(asked)), Vec::<String>::new());
        let elsewhere = json!({"user": "u", "resourceAttributes": {"namespace": "m", "verb": "get"}});
        assert_eq!(
            found(&LocalSubjectAccessReview, &review(elsewhere)),
            ["spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace"]
        );
        assert_eq!(
            found(
                &LocalSubjectAccessReview,
                &review(json!({"user": "u", "nonResourceAttributes": {"path": "/"}}))
            ),
            [
                "spec.nonResourceAttributes: Invalid value: {\"path\":\"/\"}: disallowed on this kind of request"
            ]
        );
    }

    #[test]
    fn selectors_are_checked() {
        let ask = |key: &str, selector: Value| json!({"spec": {"resourceAttributes": {"verb": "list", key: selector}}});
        assert_eq!(
            found(&SelfSubjectAccessReview, &ask("fieldSelector", json!({}))),
            [
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"
            ]
        );
        assert_eq!(
            found(
                &SelfSubjectAccessReview,
                &ask(
                    "labelSelector",
                    json!({"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "In"}]})
                )
            ),
            [
                "spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements",
                "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ]
        );
        let newer = json!({"requirements": [{"key": "spec.x[0]", "operator": "Near", "values": ["-"]}, {"operator": "Exists"}]});
        assert_eq!(
            found(&SelfSubjectAccessReview, &ask("fieldSelector", newer)),
            ["spec.resourceAttributes.fieldSelector.requirements[1].key: Required value: must be specified"]
        );
    }
}
