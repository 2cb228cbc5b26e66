//! ValidatingAdmissionPolicies, case by case.

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
