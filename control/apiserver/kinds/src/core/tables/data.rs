//! Tables of ConfigMaps and Secrets.

use serde_json::json;

use crate::core::config_map::ConfigMap;
use crate::core::secret::Secret;
use crate::testing::Table;

const FIXED: &str = "Forbidden: field is immutable when `immutable` is set";

#[test]
fn config_maps() {
    let table = Table::of(&ConfigMap, json!({"metadata": {"name": "m"}, "data": {"a": "1"}}));
    table.invalid(&[
        (
            "a key twice",
            json!({"binaryData": {"a": "AA=="}}),
            &["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"],
        ),
        (
            "too much",
            json!({"data.b": "x".repeat(1 << 20)}),
            &["[]: Too long: may not be more than 1048576 bytes"],
        ),
    ]);
    table.updates(&[("data", json!({"data.a": "2", "immutable": true}), &[])]);
    table.updates_of(
        &json!({"immutable": true}),
        &[
            ("labels", json!({"metadata.labels": {"x": "y"}}), &[]),
            (
                "everything",
                json!({"immutable": false, "data.a": "2", "binaryData": {"b": "AA=="}}),
                &[&format!("immutable: {FIXED}"), &format!("data: {FIXED}"), &format!("binaryData: {FIXED}")],
            ),
        ],
    );
    table.rows(&[(json!({"binaryData": {"b": "AA=="}}), json!(["m", 2, "60m"]))]);
}

#[test]
fn secrets() {
    let table = Table::of(&Secret, json!({"metadata": {"name": "s"}, "stringData": {"a": "1"}}));
    let registries = "kubernetes.io/dockerconfigjson";
    let redacted = "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\"";
    table.defaults(&[(json!({}), json!({"type": "Opaque", "data": {"a": "MQ=="}, "stringData": null}))]);
    table.invalid(&[
        (
            "tls",
            json!({"type": "kubernetes.io/tls"}),
            &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            "password",
            json!({"type": "kubernetes.io/basic-auth"}),
            &["data[username]: Required value", "data[password]: Required value"],
        ),
        ("key", json!({"type": "kubernetes.io/ssh-auth"}), &["data[ssh-privatekey]: Required value"]),
        (
            "token",
            json!({"type": "kubernetes.io/service-account-token"}),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        (
            "an empty key",
            json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}}),
            &["data[ssh-privatekey]: Required value"],
        ),
        (
            "registries",
            json!({"type": "kubernetes.io/dockerconfigjson"}),
            &["data[.dockerconfigjson]: Required value"],
        ),
        // Go reads null as an empty map.
        ("no registry", json!({"type": registries, "stringData": {".dockerconfigjson": "null"}}), &[]),
        (
            "nothing",
            json!({"type": registries, "stringData": {".dockerconfigjson": ""}}),
            &[&format!("{redacted}: unexpected end of JSON input")],
        ),
        (
            "a list of registries",
            json!({"type": registries, "stringData": {".dockerconfigjson": "[]"}}),
            &[&format!(
                "{redacted}: json: cannot unmarshal array into Go value of type map[string]interface {{}}"
            )],
        ),
    ]);
    table.updates(&[("type", json!({"type": "x/y"}), &["type: Invalid value: \"x/y\": field is immutable"])]);
    table.updates_of(
        &json!({"immutable": true}),
        &[("data", json!({"data.a": "Mg=="}), &[&format!("data: {FIXED}")])],
    );
    table.rows(&[(json!({}), json!(["s", "Opaque", 1, "60m"]))]);
    table.selectable(&[("type", "Opaque")]);
}
