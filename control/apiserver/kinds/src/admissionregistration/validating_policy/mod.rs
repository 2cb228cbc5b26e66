//! ValidatingAdmissionPolicies.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::policy::{self, Scope};
use super::{GROUP, conditions};
use crate::expression::Role;
use crate::shared::access::{at, has, list, text};
use crate::shared::formats::qualified_name;
use crate::shared::meta;
use crate::shared::rules::one_of_or_missing;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Context, Expression, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::cluster(GROUP, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
    .with_status()
    .with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Validations",
        "integer",
        "Validations indicates the number of validation rules defined in this configuration",
    ),
    column(
        "ParamKind",
        "string",
        "ParamKind specifies the kind of resources used to parameterize this policy",
    ),
    AGE,
];
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_EXPRESSION_MAX_BYTES: usize = 5 * 1024;

/// The strategy of ValidatingAdmissionPolicies.
pub struct ValidatingAdmissionPolicy;

fn validate_all(obj: &Value, with_conditions: bool) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    errors.extend(policy::validate_head(spec, &path));
    if with_conditions {
        errors.extend(conditions::validate(spec, &path));
    }
    errors.extend(policy::validate_variables(spec, &path));
    let (validations, annotations) = (list(spec, &["validations"]), list(spec, &["auditAnnotations"]));
    let annotations_path = path.child("auditAnnotations");
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&path.child("validations"), detail));
        errors.push(FieldError::required(&annotations_path, detail));
        return errors;
    }
    for (index, validation) in validations.iter().enumerate() {
        errors.extend(validate_validation(validation, &path.child("validations").index(index)));
    }
    if annotations.len() > ANNOTATIONS_MAX {
        let detail = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.push(FieldError::invalid(&annotations_path, annotations, detail));
    }
    for (index, annotation) in annotations.iter().enumerate() {
        let path = annotations_path.index(index);
        errors.extend(validate_annotation(meta::name(obj), annotation, &path));
        let key = text(annotation, &["key"]);
        if annotations[..index].iter().any(|earlier| text(earlier, &["key"]) == key) {
            errors.push(FieldError::duplicate(&path.child("key"), key));
        }
    }
    errors
}

fn validate_validation(validation: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(validation, &["expression"]).trim().is_empty() {
        errors.push(FieldError::required(&path.child("expression"), "expression is not specified"));
    }
    let by_expression = text(validation, &["messageExpression"]);
    if !by_expression.is_empty() && by_expression.trim().is_empty() {
        let detail = "must be non-empty if specified";
        errors.push(FieldError::invalid(&path.child("messageExpression"), by_expression, detail));
    }
    let message = text(validation, &["message"]);
    if !message.is_empty() && message.trim().is_empty() {
        let detail = "message must be non-empty if specified";
        errors.push(FieldError::invalid(&path.child("message"), message, detail));
    } else if message.trim().contains(['\n', '\r']) {
        let detail = "message must not contain line breaks";
        errors.push(FieldError::invalid(&path.child("message"), message, detail));
    }
    errors.extend(one_of_or_missing(validation, "reason", REASONS, path));
    errors
}

fn validate_annotation(policy: &str, annotation: &Value, path: &Path) -> Vec<FieldError> {
    let key = text(annotation, &["key"]);
    let mut errors = if policy.is_empty() {
        vec![FieldError::invalid(&path.child("key"), key, "requires metadata.name be non-empty")]
    } else {
        qualified_name(&format!("{policy}/{key}"), &path.child("key"))
    };
    let expression_path = path.child("valueExpression");
    match text(annotation, &["valueExpression"]).trim().len() {
        0 => errors.push(FieldError::required(&expression_path, "valueExpression is not specified")),
        length if length > ANNOTATION_EXPRESSION_MAX_BYTES => {
            let detail = format!("must not exceed {ANNOTATION_EXPRESSION_MAX_BYTES} bytes in length");
            errors.push(FieldError::required(&expression_path, detail));
        }
        _ => {}
    }
    errors
}

impl Strategy for ValidatingAdmissionPolicy {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        policy::defaults(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        validate_all(obj, true)
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_all(obj, !policy::same_conditions(obj, old));
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        meta::keep_for_status(obj, old);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let path = Path::new("status");
        let warnings_path = path.child("typeChecking").child("expressionWarnings");
        for (index, warning) in
            list(obj, &["status", "typeChecking", "expressionWarnings"]).iter().enumerate()
        {
            let path = warnings_path.index(index);
            for key in ["warning", "fieldRef"] {
                if text(warning, &[key]).trim().is_empty() {
                    errors.push(FieldError::required(&path.child(key), ""));
                }
            }
        }
        let found = list(obj, &["status", "conditions"]);
        errors.extend(crate::shared::conditions::validate(found, &path.child("conditions")));
        errors
    }

    fn expressions(&self, obj: &Value, old: Option<&Value>) -> Vec<Expression> {
        let scope = Scope::of(obj, old);
        let unchanged = old.is_some_and(|old| policy::same_conditions(obj, old));
        let known = scope.known("validations", "expression");
        let known_messages = scope.known("validations", "messageExpression");
        let known_annotations = scope.known("auditAnnotations", "valueExpression");
        // As upstream: a variable counts as known when a stored validation has its text.
        let mut found = scope.head(unchanged, &known);
        let path = Path::new("spec");
        for (index, validation) in list(obj, &["spec", "validations"]).iter().enumerate() {
            let path = path.child("validations").index(index);
            let condition = text(validation, &["expression"]);
            found.extend(scope.expression(
                path.child("expression"),
                condition,
                Role::Validation,
                true,
                &known,
            ));
            let message = text(validation, &["messageExpression"]);
            let message_path = path.child("messageExpression");
            found.extend(scope.expression(message_path, message, Role::Message, false, &known_messages));
        }
        for (index, annotation) in list(obj, &["spec", "auditAnnotations"]).iter().enumerate() {
            let path = path.child("auditAnnotations").index(index).child("valueExpression");
            let whole = text(annotation, &["valueExpression"]);
            if whole.trim().len() <= ANNOTATION_EXPRESSION_MAX_BYTES {
                let one = scope.expression(path, whole, Role::AuditAnnotation, true, &known_annotations);
                found.extend(one.map(|one| Expression { text: whole.trim().to_owned(), ..one }));
            }
        }
        found
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(obj),
            json!(list(obj, &["spec", "validations"]).len()),
            json!(param_kind(obj)),
            age(obj, now),
        ]
    }
}

/// The kind of a policy's parameters as kubectl shows it.
pub(super) fn param_kind(obj: &Value) -> String {
    if !has(obj, &["spec", "paramKind"]) {
        return "<unset>".to_owned();
    }
    let part = |key: &str| text(obj, &["spec", "paramKind", key]);
    format!("{}/{}", part("apiVersion"), part("kind"))
}

#[cfg(test)]
mod tests;
