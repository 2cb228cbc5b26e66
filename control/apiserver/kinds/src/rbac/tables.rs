//! Tables of roles and bindings.

use serde_json::{Value, json};

use super::binding::{ClusterRoleBinding, RoleBinding};
use super::role::{ClusterRole, Role};
use crate::Strategy;
use crate::testing::Table;

const GROUP: &str = "rbac.authorization.k8s.io";
const NO_VERBS: &str = "rules[0].verbs: Required value: verbs must contain at least one value";
const NO_GROUPS: &str =
    "rules[0].apiGroups: Required value: resource rules must supply at least one api group";
const NO_RESOURCES: &str =
    "rules[0].resources: Required value: resource rules must supply at least one resource";
const MIXED: &str = "rules cannot apply to both regular resources and non-resource URLs";

fn pods() -> Value {
    json!({"metadata": {"name": "system:x"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]})
}

#[test]
fn roles() {
    let table = Table::of(&Role, pods());
    table.valid(&[("no rules", json!({"rules": null}))]);
    table.invalid(&[
        ("its name", json!({"metadata.name": "a/b"}), &["metadata.name: Invalid value: \"a/b\": may not contain '/'"]),
        ("nothing", json!({"rules": [{}]}), &[NO_VERBS, NO_GROUPS, NO_RESOURCES]),
        (
            "addresses",
            json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
            &["rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"],
        ),
    ]);
    table.updates(&[
        ("more", json!({"rules[0].verbs": ["get", "list"]}), &[]),
        ("no verbs", json!({"rules[0].verbs": []}), &[NO_VERBS]),
    ]);
    table.columns(&["Name", "Created At"]);
    table.rows(&[(json!({}), json!(["system:x", "2026-01-01T00:00:00Z"]))]);
}

#[test]
fn cluster_roles() {
    let table = Table::of(&ClusterRole, pods());
    table.valid(&[
        ("addresses", json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x", "/y/*"]}]})),
        ("gathered", json!({"rules": null, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}})),
    ]);
    table.invalid(&[
        ("nothing", json!({"rules": [{}]}), &[NO_VERBS, NO_GROUPS, NO_RESOURCES]),
        (
            "both",
            json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"], "resourceNames": ["a"]}]}),
            &[&format!("rules[0].nonResourceURLs: Invalid value: [\"/x\"]: {MIXED}")],
        ),
        (
            "gathered from nothing",
            json!({"aggregationRule": {}}),
            &["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"],
        ),
        (
            "a selector",
            json!({"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}]}}),
            &[
                "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                "aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector.",
            ],
        ),
    ]);
    table.updates(&[("no resources", json!({"rules[0].resources": []}), &[NO_RESOURCES])]);
}

fn binding() -> Value {
    json!({"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [
        {"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]})
}

#[test]
fn role_bindings() {
    let table = Table::of(&RoleBinding, binding());
    table.defaults(&[(
        json!({}),
        json!({"roleRef.apiGroup": GROUP, "subjects[0].apiGroup": GROUP, "subjects[1].apiGroup": GROUP, "subjects[2].apiGroup": null}),
    )]);
    table.valid(&[
        ("a role", json!({"roleRef.kind": "Role"})),
        ("nobody", json!({"subjects": null})),
        ("an account of its namespace", json!({"subjects[2].namespace": null})),
    ]);
    table.invalid(&[
        (
            "no role",
            json!({"roleRef": {"apiGroup": "x"}}),
            &[
                &format!("roleRef.apiGroup: Unsupported value: \"x\": supported values: \"{GROUP}\""),
                "roleRef.kind: Unsupported value: \"\": supported values: \"Role\", \"ClusterRole\"",
                "roleRef.name: Required value",
            ],
        ),
        ("a name", json!({"roleRef.name": ".."}), &["roleRef.name: Invalid value: \"..\": may not be '..'"]),
        (
            "subjects",
            json!({"subjects": [{"kind": "Robot", "name": "r"}, {"kind": "User", "apiGroup": "x"}, {"kind": "ServiceAccount", "name": "a_b", "apiGroup": "x"}]}),
            &[
                "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
                "subjects[1].name: Required value",
                &format!("subjects[1].apiGroup: Unsupported value: \"x\": supported values: \"{GROUP}\""),
                "subjects[2].name: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "subjects[2].apiGroup: Unsupported value: \"x\": supported values: \"\"",
            ],
        ),
    ]);
    table.updates(&[
        ("subjects", json!({"subjects": []}), &[]),
        (
            "another role",
            json!({"roleRef.name": "edit"}),
            &[&format!("roleRef: Invalid value: {{\"APIGroup\":\"{GROUP}\",\"Kind\":\"ClusterRole\",\"Name\":\"edit\"}}: cannot change roleRef")],
        ),
    ]);
    table.columns(&["Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*"]);
    table.rows(&[(json!({}), json!(["a", "ClusterRole/view", "60m", "u", "g", "n/s"]))]);
}

#[test]
fn cluster_role_bindings() {
    let table = Table::of(&ClusterRoleBinding, binding());
    table.defaults(&[(json!({}), json!({"roleRef.apiGroup": GROUP, "subjects[0].apiGroup": GROUP}))]);
    table.invalid(&[
        (
            "a role of a namespace",
            json!({"roleRef.kind": "Role"}),
            &["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""],
        ),
        (
            "an account of no namespace",
            json!({"subjects[2].namespace": null}),
            &["subjects[2].namespace: Required value"],
        ),
    ]);
    table.updates(&[(
        "another role",
        json!({"roleRef.name": "edit"}),
        &[&format!("roleRef: Invalid value: {{\"APIGroup\":\"{GROUP}\",\"Kind\":\"ClusterRole\",\"Name\":\"edit\"}}: cannot change roleRef")],
    )]);
}

#[test]
fn a_put_creates() {
    assert!(Role.create_on_update() && ClusterRole.create_on_update());
    assert!(RoleBinding.create_on_update() && ClusterRoleBinding.create_on_update());
}
