//! FlowSchemas, case by case.

use super::*;
use crate::testing::{Table, create};

fn base() -> Value {
    json!({"spec": {
        "priorityLevelConfiguration": {"name": "p"},
        "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "u"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}]
        }]
    }})
}

#[test]
fn defaults_and_table() {
    let table = Table::of(&FlowSchema, base());
    table.defaults(&[
        (json!({}), json!({"spec.matchingPrecedence": 1000, "metadata.generation": 1, "status": {}})),
        (json!({"spec.matchingPrecedence": 7}), json!({"spec.matchingPrecedence": 7})),
    ]);
    table.columns(&[
        "Name",
        "PriorityLevel",
        "MatchingPrecedence",
        "DistinguisherMethod",
        "Age",
        "MissingPL",
    ]);
    table.rows(&[
        (json!({}), json!(["a", "p", 1000, "<none>", "60m", "?"])),
        (
            json!({
                "spec.distinguisherMethod": {"type": "ByUser"},
                "status.conditions": [{"type": "Dangling", "status": "False"}]
            }),
            json!(["a", "p", 1000, "ByUser", "60m", "False"]),
        ),
    ]);
    table.generation(&[
        (json!({"spec.matchingPrecedence": 5}), true),
        (json!({"metadata.labels": {"a": "b"}}), false),
    ]);
    table.status_is_separate(
        &json!({"status.conditions": [{"type": "Dangling", "status": "True"}]}),
        &json!({"spec.matchingPrecedence": 5, "metadata.annotations": {"a": "b"}}),
    );
    assert!(!FlowSchema.unconditional_update());
}

#[test]
fn specs_are_checked() {
    let table = Table::of(&FlowSchema, base());
    table.invalid(&[
        (
            "negative precedence",
            json!({"spec.matchingPrecedence": -1}),
            &["spec.matchingPrecedence: Invalid value: -1: must be a positive value"],
        ),
        (
            "the highest precedence",
            json!({"spec.matchingPrecedence": 1}),
            &["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"],
        ),
        (
            "a precedence too low",
            json!({"spec.matchingPrecedence": 10001}),
            &["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
        ),
        (
            "the distinguisher",
            json!({"spec.distinguisherMethod": {"type": "ByLuck"}}),
            &["spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"ByLuck\"}: supported values: \"ByNamespace\", \"ByUser\""],
        ),
        (
            "no level",
            json!({"spec.priorityLevelConfiguration": {}}),
            &["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
        ),
        (
            "an empty rule",
            json!({"spec.rules[0]": {}}),
            &[
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ],
        ),
    ]);
}

#[test]
fn subjects_are_checked() {
    let table = Table::of(&FlowSchema, base());
    let subject = |value: Value| json!({"spec.rules[0].subjects[0]": value});
    table.valid(&[
        (
            "all accounts",
            subject(json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "n"}})),
        ),
        ("a group", subject(json!({"kind": "Group", "group": {"name": "g"}}))),
    ]);
    table.invalid(&[
        (
            "an unknown kind",
            subject(json!({"kind": "Robot"})),
            &["spec.rules[0].subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\""],
        ),
        (
            "others' fields",
            subject(json!({"kind": "User", "serviceAccount": {"name": "a", "namespace": "n"}, "group": {"name": "g"}})),
            &[
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[0].serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'",
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            ],
        ),
        (
            "an account of nothing",
            subject(json!({"kind": "ServiceAccount", "serviceAccount": {}})),
            &[
                "spec.rules[0].subjects[0].serviceAccount.name: Required value",
                "spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account",
            ],
        ),
        (
            "a nameless group",
            subject(json!({"kind": "Group", "group": {}})),
            &["spec.rules[0].subjects[0].group.name: Required value"],
        ),
    ]);
}

#[test]
fn rules_are_checked() {
    let table = Table::of(&FlowSchema, base());
    let rule = |key: &str, value: Value| json!({format!("spec.rules[0].resourceRules[0].{key}"): value});
    let url =
        |url: &str| json!({"spec.rules[0].nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": [url]}]});
    table.valid(&[
        ("the root", url("/")),
        ("below", url("/a/*")),
        ("cluster scope", json!({"spec.rules[0].resourceRules[0].clusterScope": true, "spec.rules[0].resourceRules[0].namespaces": null})),
    ]);
    let at = "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]";
    let wrong = |url: &str, problem: &str| format!("{at}: Invalid value: \"{url}\": {problem}");
    table.invalid(&[
        ("no verbs", rule("verbs", json!([])), &["spec.rules[0].resourceRules[0].verbs: Required value: verbs must contain at least one value"]),
        (
            "any verb and one",
            rule("verbs", json!(["*", "get"])),
            &["spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs"],
        ),
        (
            "an unknown verb",
            rule("verbs", json!(["eat"])),
            &["spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"eat\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\""],
        ),
        ("no groups", rule("apiGroups", json!([])), &["spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group"]),
        (
            "any resource and one",
            rule("resources", json!(["*", "pods"])),
            &["spec.rules[0].resourceRules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources"],
        ),
        (
            "no namespaces",
            rule("namespaces", json!(null)),
            &["spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace"],
        ),
        (
            "a namespace's shape",
            rule("namespaces", json!(["a.b"])),
            &["spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"a.b\": each member of this list must be '*' or a DNS-1123 label; must not contain dots"],
        ),
        ("an empty URL", url(""), &[&wrong("", "must not be empty")]),
        ("no slash", url("a"), &[&wrong("a", "must start with slash")]),
        ("a space", url("/a b"), &[&wrong("/a b", "must not contain white-space")]),
        ("two slashes", url("/a//b"), &[&wrong("/a//b", "must not contain double slash")]),
        ("a star inside", url("/a*/b"), &[&wrong("/a*/b", "wildcard can only do suffix matching")]),
    ]);
}

#[test]
fn mandatory_schemas_are_fixed_and_status_is_checked() {
    for schema in ["exempt", "catch-all"] {
        let spec = mandatory::flow_schema(schema).unwrap();
        let (obj, errors) = create(&FlowSchema, json!({"metadata": {"name": schema}, "spec": spec}));
        assert_eq!(errors, Vec::<String>::new());
        let mut new = obj.clone();
        new["spec"]["rules"][0]["nonResourceRules"] = json!([]);
        let errors = crate::testing::update(&FlowSchema, new, &obj).1;
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].ends_with(&format!(": spec of '{schema}' must equal the fixed value")),
            "{}",
            errors[0]
        );
    }
    Table::of(&FlowSchema, base()).status(&[
        ("dangling", json!({"status.conditions": [{"type": "Dangling", "status": "True"}]}), &[]),
        (
            "conditions",
            json!({"status.conditions": [{"type": "A"}, {"type": "A"}, {}]}),
            &[
                "status.conditions[1].type: Duplicate value: \"A\"",
                "status.conditions[2].type: Required value: must not be empty",
            ],
        ),
    ]);
}
