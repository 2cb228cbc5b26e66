//! Tables of Namespaces and ServiceAccounts.

use serde_json::json;

use crate::Strategy;
use crate::core::namespace::Namespace;
use crate::core::service_account::ServiceAccount;
use crate::testing::{Table, patched, update};

const BARE: &str = "name is neither a standard finalizer name nor is it fully qualified";

#[test]
fn namespaces() {
    let table = Table::of(&Namespace, json!({"metadata": {"name": "n"}}));
    table.defaults(&[
        (
            json!({}),
            json!({"metadata.labels": {"kubernetes.io/metadata.name": "n"}, "spec.finalizers": ["kubernetes"],
                "status": {"phase": "Active"}}),
        ),
        (json!({"status.phase": "Terminating"}), json!({"status": {"phase": "Active"}})),
        (json!({"spec.finalizers": ["a.b/c"]}), json!({"spec.finalizers": ["a.b/c", "kubernetes"]})),
    ]);
    table.valid(&[
        ("orphan", json!({"spec.finalizers": ["orphan", "foregroundDeletion"]})),
        ("labels", json!({"metadata.labels": {"a": "b"}})),
    ]);
    table.invalid(&[
        (
            "a dot",
            json!({"metadata.name": "a.b"}),
            &["metadata.name: Invalid value: \"a.b\": must not contain dots"],
        ),
        (
            "a bare finalizer",
            json!({"spec.finalizers": ["x"]}),
            &[&format!("spec.finalizers: Invalid value: \"x\": {BARE}")],
        ),
    ]);
    let label = "metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    table.updates(&[
        ("labels", json!({"metadata.labels.a": "b"}), &[]),
        ("a bad label", json!({"metadata.labels.a": "-"}), &[label]),
        (
            "nobody's",
            json!({"metadata.ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n"}]}),
            &["metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"],
        ),
    ]);
    table.status(&[("a bad label", json!({"metadata.labels.a": "-"}), &[label])]);
    table.subresource("finalize", &[("a bad label", json!({"metadata.labels.a": "-"}), &[label])]);
    let (kept, _) =
        update(&Namespace, patched(table.stored(), &json!({"spec.finalizers": []})), table.stored());
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]), "finalizers have their own subresource");
    table.status(&[
        (
            "gone too early",
            json!({"status.phase": "Terminating"}),
            &["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"],
        ),
        ("a condition", json!({"status.conditions": [{"type": "X", "status": "True"}]}), &[]),
    ]);
    table.status_of(
        &json!({"metadata.deletionTimestamp": "2026-01-01T00:00:00Z", "status.phase": "Terminating"}),
        &[
            (
                "back",
                json!({"status.phase": "Active"}),
                &["status.Phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty"],
            ),
            ("going", json!({"status.conditions": [{"type": "X", "status": "True"}]}), &[]),
        ],
    );
    table.subresource(
        "finalize",
        &[
            ("none", json!({"spec.finalizers": []}), &[]),
            (
                "a bare one",
                json!({"spec.finalizers": ["a.b/c", "x"]}),
                &[&format!("spec.finalizers[1]: Invalid value: \"x\": {BARE}")],
            ),
        ],
    );
    table.columns(&["Name", "Status", "Age"]);
    table.rows(&[(json!({}), json!(["n", "Active", "60m"]))]);
    table.selectable(&[("status.phase", "Active")]);
}

#[test]
fn service_accounts() {
    let table = Table::of(
        &ServiceAccount,
        json!({"metadata": {"name": "s"}, "secrets": [{"name": "t"}], "imagePullSecrets": [{"name": "p"}],
            "automountServiceAccountToken": false}),
    );
    table.invalid(&[(
        "its name",
        json!({"metadata.name": "a/b"}),
        &["metadata.name: Invalid value: \"a/b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"],
    )]);
    let secret = json!([{"name": "t", "namespace": "ns", "uid": "u"}, {"kind": "Secret"}]);
    table.defaults(&[(json!({"secrets": secret}), json!({"secrets": [{"name": "t"}, {}]}))]);
    let (kept, _) =
        update(&ServiceAccount, patched(table.stored(), &json!({"secrets": secret})), table.stored());
    assert_eq!(kept["secrets"], json!([{"name": "t"}, {}]));
    table.updates(&[("its secrets", json!({"secrets": null, "automountServiceAccountToken": true}), &[])]);
    table.columns(&["Name", "Secrets", "Age"]);
    table.rows(&[(json!({}), json!(["s", 1, "60m"])), (json!({"secrets": null}), json!(["s", 0, "60m"]))]);
    assert!(ServiceAccount.unconditional_update());
}
