//! Webhook configurations, case by case.

use super::*;
use crate::testing::Table;

fn base() -> Value {
    json!({"webhooks": [{
        "name": "a.example.com",
        "clientConfig": {"service": {"namespace": "ns", "name": "s"}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"]
    }]})
}

#[test]
fn defaults_columns_and_generation() {
    let table = Table::of(&MutatingWebhookConfiguration, base());
    table.defaults(&[(
        json!({}),
        json!({
            "webhooks[0].failurePolicy": "Fail",
            "webhooks[0].matchPolicy": "Equivalent",
            "webhooks[0].namespaceSelector": {},
            "webhooks[0].objectSelector": {},
            "webhooks[0].timeoutSeconds": 10,
            "webhooks[0].reinvocationPolicy": "Never",
            "webhooks[0].clientConfig.service.port": 443,
            "webhooks[0].rules[0].scope": "*",
            "metadata.generation": 1
        }),
    )]);
    table.columns(&["Name", "Webhooks", "Age"]);
    table.rows(&[(json!({}), json!(["a", 1, "60m"]))]);
    table.generation(&[
        (json!({"webhooks[0].timeoutSeconds": 5}), true),
        (json!({"metadata.labels": {"a": "b"}}), false),
    ]);
    let validating = Table::of(&ValidatingWebhookConfiguration, base());
    validating.defaults(&[(json!({}), json!({"webhooks[0].reinvocationPolicy": null}))]);
    assert!(!ValidatingWebhookConfiguration.unconditional_update());
}

#[test]
fn hooks_are_checked() {
    let table = Table::of(&MutatingWebhookConfiguration, base());
    table.valid(&[
        ("no webhooks", json!({"webhooks": []})),
        ("a URL", json!({"webhooks[0].clientConfig": {"url": "https://a.b:8443/c"}})),
        ("a path", json!({"webhooks[0].clientConfig.service.path": "/a/b/"})),
        ("subresources", json!({"webhooks[0].rules[0].resources": ["pods", "pods/*", "*/scale"]})),
    ]);
    table.invalid(&[
        ("no name", json!({"webhooks[0].name": null}), &["webhooks[0].name: Required value"]),
        (
            "a short name",
            json!({"webhooks[0].name": "a.b"}),
            &["webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots"],
        ),
        (
            "policies",
            json!({"webhooks[0].failurePolicy": "No", "webhooks[0].matchPolicy": "No", "webhooks[0].reinvocationPolicy": "No"}),
            &[
                "webhooks[0].failurePolicy: Unsupported value: \"No\": supported values: \"Fail\", \"Ignore\"",
                "webhooks[0].matchPolicy: Unsupported value: \"No\": supported values: \"Equivalent\", \"Exact\"",
                "webhooks[0].reinvocationPolicy: Unsupported value: \"No\": supported values: \"IfNeeded\", \"Never\"",
            ],
        ),
        (
            "no side effects said",
            json!({"webhooks[0].sideEffects": null}),
            &["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"],
        ),
        (
            "side effects",
            json!({"webhooks[0].sideEffects": "Some"}),
            &["webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""],
        ),
        (
            "the timeout",
            json!({"webhooks[0].timeoutSeconds": 31}),
            &["webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"],
        ),
        (
            "a selector",
            json!({"webhooks[0].objectSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            &["webhooks[0].objectSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"],
        ),
        (
            "the same name twice",
            json!({"webhooks[1]": base()["webhooks"][0]}),
            &["webhooks[1].name: Duplicate value: \"a.example.com\""],
        ),
        (
            "no review version",
            json!({"webhooks[0].admissionReviewVersions": []}),
            &["webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"],
        ),
        (
            "unknown review versions",
            json!({"webhooks[0].admissionReviewVersions": ["v9", "v9"]}),
            &[
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v9\": duplicate version",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v9\",\"v9\"]: must include at least one of v1, v1beta1",
            ],
        ),
        (
            "match conditions",
            json!({"webhooks[0].matchConditions": [{"name": "a", "expression": " "}, {"expression": "true"}, {"name": "a", "expression": "true"}]}),
            &[
                "webhooks[0].matchConditions[0].expression: Required value",
                "webhooks[0].matchConditions[1].name: Required value",
                "webhooks[0].matchConditions[2].name: Duplicate value: \"a\"",
            ],
        ),
    ]);
}

#[test]
fn rules_are_checked() {
    let table = Table::of(&ValidatingWebhookConfiguration, base());
    let rule = |key: &str, value: Value| json!({format!("webhooks[0].rules[0].{key}"): value});
    table.invalid(&[
        ("no operations", rule("operations", json!([])), &["webhooks[0].rules[0].operations: Required value"]),
        (
            "operations",
            rule("operations", json!(["*", "READ"])),
            &[
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"READ\"]: if '*' is present, must not specify other operations",
                "webhooks[0].rules[0].operations[1]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            ],
        ),
        (
            "groups",
            rule("apiGroups", json!(["*", "a"])),
            &["webhooks[0].rules[0].apiGroups: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other API groups"],
        ),
        (
            "versions",
            rule("apiVersions", json!([""])),
            &["webhooks[0].rules[0].apiVersions[0]: Required value"],
        ),
        ("no resources", rule("resources", json!([])), &["webhooks[0].rules[0].resources: Required value"]),
        (
            "everything and more",
            rule("resources", json!(["*/*", "a"])),
            &["webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"a\"]: if '*/*' is present, must not specify other resources"],
        ),
        (
            "every resource and one",
            rule("resources", json!(["*", "a"])),
            &["webhooks[0].rules[0].resources: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other resources without subresources"],
        ),
        (
            "covered subresources",
            rule("resources", json!(["a/*", "a/b", "*/c", "d/c"])),
            &[
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
                "webhooks[0].rules[0].resources[3]: Invalid value: \"d/c\": if '*/c' is present, must not specify d/c",
            ],
        ),
        (
            "the scope",
            rule("scope", json!("Here")),
            &["webhooks[0].rules[0].scope: Unsupported value: \"Here\": supported values: \"*\", \"Cluster\", \"Namespaced\""],
        ),
    ]);
}

#[test]
fn clients_are_checked() {
    let table = Table::of(&ValidatingWebhookConfiguration, base());
    let url = |url: &str| json!({"webhooks[0].clientConfig": {"url": url}});
    let service = |key: &str, value: Value| json!({format!("webhooks[0].clientConfig.service.{key}"): value});
    table.invalid(&[
        (
            "neither",
            json!({"webhooks[0].clientConfig": {}}),
            &["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
        ),
        (
            "both",
            json!({"webhooks[0].clientConfig.url": "https://a"}),
            &["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
        ),
        (
            "plain http",
            url("http://a/b"),
            &["webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"],
        ),
        (
            "no host",
            url("https:///b"),
            &["webhooks[0].clientConfig.url: Invalid value: \"\": host must be provided; desired format: https://host[/path]"],
        ),
        (
            "too much",
            url("https://u:p@a/b?c#d"),
            &[
                "webhooks[0].clientConfig.url: Invalid value: \"u:p\": user information is not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"d\": fragments are not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"c\": query parameters are not permitted in the URL",
            ],
        ),
        (
            "no URL",
            url(":a"),
            &["webhooks[0].clientConfig.url: Required value: url must be a valid URL: parse \":a\": missing protocol scheme; desired format: https://host[/path]"],
        ),
        (
            "no service name (reported as upstream does)",
            service("name", json!(null)),
            &["webhooks[0].clientConfig.service.namespace: Required value: service namespace is required"],
        ),
        (
            "the port",
            service("port", json!(65536)),
            &["webhooks[0].clientConfig.service.port: Invalid value: 65536: port is not valid: must be between 1 and 65535, inclusive"],
        ),
        (
            "the path",
            service("path", json!("a//b")),
            &[
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": must start with a '/'",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[0] may not be empty",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[1] may not be empty",
            ],
        ),
    ]);
}

#[test]
fn updates_keep_what_the_stored_object_breaks() {
    let table = Table::of(&ValidatingWebhookConfiguration, base());
    let some = json!({"webhooks[0].sideEffects": "Some"});
    table.updates_of(&some, &[("still some", json!({"webhooks[0].timeoutSeconds": 3}), &[])]);
    table.updates(&[(
        "newly some",
        some,
        &["webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""],
    )]);
    let old_version = json!({"webhooks[0].admissionReviewVersions": ["v0"]});
    table.updates_of(&old_version, &[("an old version", json!({"webhooks[0].timeoutSeconds": 3}), &[])]);
    let twice = json!({"webhooks[1]": table.stored()["webhooks"][0]});
    table.updates_of(&twice, &[("names taken twice", json!({"webhooks[0].timeoutSeconds": 3}), &[])]);
    let label = json!({"webhooks[0].objectSelector": {"matchLabels": {"a": "-"}}});
    table.updates_of(&label, &[("a bad label value", json!({"webhooks[0].timeoutSeconds": 3}), &[])]);
}

#[test]
fn expressions_are_handed_out_unless_unchanged() {
    let with = json!({"webhooks[0].matchConditions": [{"name": "a", "expression": " true "}]});
    let obj = crate::testing::patched(&base(), &with);
    let found = ValidatingWebhookConfiguration.expressions(&obj, None);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path.as_str(), "webhooks[0].matchConditions[0].expression");
    assert_eq!((found[0].text.as_str(), found[0].stored), ("true", false));
    assert_eq!(ValidatingWebhookConfiguration.expressions(&obj, Some(&obj)), []);
    assert_eq!(ValidatingWebhookConfiguration.expressions(&obj, Some(&base())).len(), 1);
}
