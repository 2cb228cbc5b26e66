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
mod tests {
    use super::*;
    use crate::testing::{Table, patched};

    fn base() -> Value {
        json!({"spec": {
            "matchConstraints": {"resourceRules": [
                {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
            ]},
            "validations": [{"expression": "true"}]
        }})
    }

    #[test]
    fn defaults_and_table() {
        let table = Table::of(&ValidatingAdmissionPolicy, base());
        table.defaults(&[(
            json!({}),
            json!({
                "spec.failurePolicy": "Fail",
                "spec.matchConstraints.matchPolicy": "Equivalent",
                "spec.matchConstraints.namespaceSelector": {},
                "spec.matchConstraints.objectSelector": {},
                "spec.matchConstraints.resourceRules[0].scope": "*",
                "metadata.generation": 1
            }),
        )]);
        table.columns(&["Name", "Validations", "ParamKind", "Age"]);
        table.rows(&[
            (json!({}), json!(["a", 1, "<unset>", "60m"])),
            (
                json!({"spec.paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}),
                json!(["a", 1, "v1/ConfigMap", "60m"]),
            ),
        ]);
        table.generation(&[
            (json!({"spec.failurePolicy": "Ignore"}), true),
            (json!({"metadata.labels": {"a": "b"}}), false),
        ]);
        table.status_is_separate(
            &json!({"status.observedGeneration": 4}),
            &json!({"spec.failurePolicy": "Ignore", "metadata.labels": {"a": "b"}}),
        );
    }

    #[test]
    fn the_head_is_checked() {
        let table = Table::of(&ValidatingAdmissionPolicy, base());
        table.valid(&[
            ("parameters", json!({"spec.paramKind": {"apiVersion": "a.b/v1", "kind": "Some"}})),
            ("annotations alone", json!({"spec.validations": null, "spec.auditAnnotations": [{"key": "k", "valueExpression": "'a'"}]})),
        ]);
        table.invalid(&[
            (
                "the failure policy",
                json!({"spec.failurePolicy": "Maybe"}),
                &["spec.failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\""],
            ),
            (
                "parameters without anything",
                json!({"spec.paramKind": {}}),
                &["spec.paramKind.apiVersion: Required value", "spec.paramKind.kind: Required value"],
            ),
            (
                "a version of three parts",
                json!({"spec.paramKind": {"apiVersion": "a/b/c", "kind": "K"}}),
                &["spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"],
            ),
            (
                "no version",
                json!({"spec.paramKind": {"apiVersion": "a/", "kind": "K"}}),
                &["spec.paramKind.apiVersion: Invalid value: \"a/\": version must be specified"],
            ),
            (
                "the kind's shape",
                json!({"spec.paramKind": {"apiVersion": "v1", "kind": "K_"}}),
                &["spec.paramKind.kind: Invalid value: \"K_\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"],
            ),
            ("nothing matched", json!({"spec.matchConstraints": null}), &["spec.matchConstraints: Required value"]),
            (
                "no resources matched",
                json!({"spec.matchConstraints.resourceRules": []}),
                &["spec.matchConstraints.resourceRules: Required value"],
            ),
            (
                "a resource name twice",
                json!({"spec.matchConstraints.resourceRules[0].resourceNames": ["a/b", "c", "c"]}),
                &[
                    "spec.matchConstraints.resourceRules[0].resourceNames[0]: Invalid value: \"a/b\": may not contain '/'",
                    "spec.matchConstraints.resourceRules[0].resourceNames[2]: Duplicate value: \"c\"",
                ],
            ),
            (
                "the match policy",
                json!({"spec.matchConstraints.matchPolicy": "Some"}),
                &["spec.matchConstraints.matchPolicy: Unsupported value: \"Some\": supported values: \"Equivalent\", \"Exact\""],
            ),
            (
                "a match condition's name",
                json!({"spec.matchConditions": [{"name": "", "expression": "true"}]}),
                &["spec.matchConditions[0].name: Required value"],
            ),
        ]);
    }

    #[test]
    fn the_rules_are_checked() {
        let table = Table::of(&ValidatingAdmissionPolicy, base());
        let annotation = |key: &str| json!({"key": key, "valueExpression": "'a'"});
        table.invalid(&[
            (
                "variables",
                json!({"spec.variables": [{"name": "", "expression": ""}, {"name": "a-b", "expression": "1"}]}),
                &[
                    "spec.variables[0].name: Required value: name is not specified",
                    "spec.variables[0].expression: Required value: expression is not specified",
                    "spec.variables[1].name: Invalid value: \"a-b\": name is not a valid CEL identifier",
                ],
            ),
            (
                "no rules",
                json!({"spec.validations": []}),
                &[
                    "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                    "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
                ],
            ),
            (
                "a validation",
                json!({"spec.validations[0]": {"expression": " ", "message": " ", "messageExpression": " ", "reason": "Why"}}),
                &[
                    "spec.validations[0].expression: Required value: expression is not specified",
                    "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
                    "spec.validations[0].message: Invalid value: \" \": message must be non-empty if specified",
                    "spec.validations[0].reason: Unsupported value: \"Why\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
                ],
            ),
            (
                "a message of two lines",
                json!({"spec.validations[0].message": "a\nb"}),
                &["spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks"],
            ),
            (
                "annotations",
                json!({"spec.auditAnnotations": [{"key": "k"}, annotation("k"), {"key": "l", "valueExpression": "x".repeat(5121)}]}),
                &[
                    "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
                    "spec.auditAnnotations[1].key: Duplicate value: \"k\"",
                    "spec.auditAnnotations[2].valueExpression: Required value: must not exceed 5120 bytes in length",
                ],
            ),
        ]);
        let many: Vec<Value> = (0..21).map(|index| annotation(&format!("k{index}"))).collect();
        let (_, errors) = crate::testing::create(
            &ValidatingAdmissionPolicy,
            patched(&base(), &json!({"spec.auditAnnotations": many})),
        );
        assert_eq!(errors.len(), 1);
        assert!(errors[0].ends_with("]: must not have more than 20 auditAnnotations"), "{}", errors[0]);
    }

    #[test]
    fn updates_and_status() {
        let table = Table::of(&ValidatingAdmissionPolicy, base());
        let bad = json!({"spec.matchConditions": [{"name": "", "expression": "true"}]});
        table.updates_of(&bad, &[("old conditions stay", json!({"spec.failurePolicy": "Ignore"}), &[])]);
        table.updates(&[
            ("new conditions are checked", bad, &["spec.matchConditions[0].name: Required value"]),
            ("nothing is immutable", json!({"spec.validations[0].expression": "false"}), &[]),
        ]);
        table.status(&[
            ("observed", json!({"status.observedGeneration": 1}), &[]),
            (
                "warnings",
                json!({"status.typeChecking": {"expressionWarnings": [{"fieldRef": " "}]}}),
                &[
                    "status.typeChecking.expressionWarnings[0].warning: Required value",
                    "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
                ],
            ),
            (
                "conditions",
                json!({"status.conditions": [{"type": "A", "status": "True", "reason": "R"}]}),
                &["status.conditions[0].lastTransitionTime: Required value: must be set"],
            ),
        ]);
    }

    #[test]
    fn expressions_come_in_order_with_their_surroundings() {
        let obj = patched(
            &base(),
            &json!({
                "spec.paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "spec.matchConditions": [{"name": "m", "expression": " 1 == 1"}],
                "spec.variables": [{"name": "v", "expression": "1"}],
                "spec.validations[0].messageExpression": "'m'",
                "spec.auditAnnotations": [{"key": "k", "valueExpression": " 'a' "}]
            }),
        );
        let found = ValidatingAdmissionPolicy.expressions(&obj, None);
        let shown: Vec<(&str, &str)> = found.iter().map(|e| (e.path.as_str(), e.text.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("spec.matchConditions[0].expression", "1 == 1"),
                ("spec.variables[0].expression", "1"),
                ("spec.validations[0].expression", "true"),
                ("spec.validations[0].messageExpression", "'m'"),
                ("spec.auditAnnotations[0].valueExpression", "'a'"),
            ]
        );
        let crate::expression::Environment::Admission(message) = &found[3].environment else { panic!() };
        assert_eq!((&message.role, message.params, message.authorizer), (&Role::Message, true, false));
        assert_eq!(found[4].shown, " 'a' ");
        let again = ValidatingAdmissionPolicy.expressions(&obj, Some(&obj));
        assert_eq!(again.len(), 4, "unchanged match conditions are not compiled again");
        assert_eq!(again.iter().map(|e| e.stored).collect::<Vec<_>>(), [false, true, true, true]);
    }
}
