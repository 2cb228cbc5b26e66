//! ValidatingWebhookConfigurations and MutatingWebhookConfigurations.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{FAILURE_POLICIES, GROUP, MATCH_POLICIES, REINVOCATION_POLICIES, client, conditions, rule};
use crate::shared::access::{at, default_to, drop_nulls, has, int, list, list_mut, text, texts};
use crate::shared::labels::validate_selector;
use crate::shared::rules::{one_of_given, one_of_or_missing};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Expression, Facts, Generation, Strategy, generic};

static VALIDATING: Facts =
    Facts::cluster(GROUP, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .with_generation(Generation::Content);
static MUTATING: Facts =
    Facts::cluster(GROUP, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .with_generation(Generation::Content);
const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Webhooks",
        "integer",
        "Webhooks indicates the number of webhooks registered in this configuration.",
    ),
    AGE,
];
const NO_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
/// The versions of AdmissionReview the server speaks.
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];

/// The strategy of ValidatingWebhookConfigurations.
pub struct ValidatingWebhookConfiguration;
/// The strategy of MutatingWebhookConfigurations.
pub struct MutatingWebhookConfiguration;

/// Which rules an update still enforces: those the stored webhooks already keep. Authority: upstream ratchets so
/// that objects from before a rule stay writable.
#[derive(Clone, Copy)]
struct Enforced {
    match_conditions: bool,
    no_side_effects: bool,
    known_versions: bool,
    unique_names: bool,
    label_values: bool,
}

impl Enforced {
    const ALL: Enforced = Enforced {
        match_conditions: true,
        no_side_effects: true,
        known_versions: true,
        unique_names: true,
        label_values: true,
    };

    fn after(new: &Value, old: &Value) -> Self {
        let hooks = list(old, &["webhooks"]);
        let selectors = ["namespaceSelector", "objectSelector"];
        let bad_selector = |hook: &Value| {
            selectors.iter().any(|key| !validate_selector(at(hook, &[key]), &Path::root()).is_empty())
        };
        Enforced {
            match_conditions: !same_conditions(new, old),
            no_side_effects: hooks.iter().all(|hook| NO_SIDE_EFFECTS.contains(&text(hook, &["sideEffects"]))),
            known_versions: hooks.iter().all(|hook| {
                let versions = texts(hook, &["admissionReviewVersions"]);
                versions.is_empty() || versions.iter().any(|version| REVIEW_VERSIONS.contains(version))
            }),
            unique_names: (1..hooks.len())
                .all(|index| !hooks[..index].iter().any(|hook| hook["name"] == hooks[index]["name"])),
            label_values: !hooks.iter().any(bad_selector),
        }
    }
}

fn same_conditions(new: &Value, old: &Value) -> bool {
    let (new, old) = (list(new, &["webhooks"]), list(old, &["webhooks"]));
    new.len() == old.len()
        && new
            .iter()
            .zip(old)
            .all(|(new, old)| at(new, &["matchConditions"]) == at(old, &["matchConditions"]))
}

fn set_defaults(obj: &mut Value, mutating: bool) {
    drop_nulls(obj);
    for hook in list_mut(obj, &["webhooks"]) {
        default_to(hook, &["failurePolicy"], "Fail");
        default_to(hook, &["matchPolicy"], "Equivalent");
        default_to(hook, &["namespaceSelector"], json!({}));
        default_to(hook, &["objectSelector"], json!({}));
        default_to(hook, &["timeoutSeconds"], 10);
        if mutating {
            default_to(hook, &["reinvocationPolicy"], "Never");
        }
        if has(hook, &["clientConfig", "service"]) {
            default_to(hook, &["clientConfig", "service", "port"], 443);
        }
        rule::defaults(hook, "rules");
    }
}

fn validate_all(facts: &Facts, obj: &Value, enforced: Enforced, mutating: bool) -> Vec<FieldError> {
    let mut errors = generic::validate(facts, obj);
    let hooks = list(obj, &["webhooks"]);
    for (index, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        errors.extend(validate_hook(hook, enforced, mutating, &path));
        errors.extend(validate_versions(
            &texts(hook, &["admissionReviewVersions"]),
            enforced.known_versions,
            &path.child("admissionReviewVersions"),
        ));
        let name = text(hook, &["name"]);
        let taken = hooks[..index].iter().any(|earlier| text(earlier, &["name"]) == name);
        if enforced.unique_names && !name.is_empty() && taken {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
    errors
}

fn validate_hook(hook: &Value, enforced: Enforced, mutating: bool, path: &Path) -> Vec<FieldError> {
    let mut errors = fully_qualified(text(hook, &["name"]), &path.child("name"));
    for (index, found) in list(hook, &["rules"]).iter().enumerate() {
        errors.extend(rule::validate(found, &path.child("rules").index(index)));
    }
    errors.extend(one_of_or_missing(hook, "failurePolicy", FAILURE_POLICIES, path));
    errors.extend(one_of_or_missing(hook, "matchPolicy", MATCH_POLICIES, path));
    let allowed = if enforced.no_side_effects { NO_SIDE_EFFECTS } else { SIDE_EFFECTS };
    if has(hook, &["sideEffects"]) {
        errors.extend(one_of_given(hook, "sideEffects", allowed, path));
    } else {
        let detail = format!("must specify one of {}", allowed.join(", "));
        errors.push(FieldError::required(&path.child("sideEffects"), detail));
    }
    if let Some(timeout) = int(hook, &["timeoutSeconds"]).filter(|seconds| !(1..=30).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&path.child("timeoutSeconds"), timeout, detail));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        let found = validate_selector(at(hook, &[key]), &path.child(key));
        let bad_value =
            |error: &FieldError| error.field.contains(".values[") || error.field.ends_with("matchLabels");
        errors.extend(found.into_iter().filter(|error| enforced.label_values || !bad_value(error)));
    }
    if mutating {
        errors.extend(one_of_or_missing(hook, "reinvocationPolicy", REINVOCATION_POLICIES, path));
    }
    errors.extend(client::validate(at(hook, &["clientConfig"]), &path.child("clientConfig")));
    if enforced.match_conditions {
        errors.extend(conditions::validate(hook, path));
    }
    errors
}

/// A name of at least three DNS labels.
fn fully_qualified(name: &str, path: &Path) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let problems = names::is_dns1123_subdomain(name);
    if !problems.is_empty() {
        return vec![FieldError::invalid(path, name, problems.join(","))];
    }
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        return vec![FieldError::invalid(path, name, detail)];
    }
    Vec::new()
}

fn validate_versions(versions: &[&str], known: bool, path: &Path) -> Vec<FieldError> {
    let spoken = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        return vec![FieldError::required(path, format!("must specify one of {spoken}"))];
    }
    let mut errors = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(&path, version, "duplicate version"));
            continue;
        }
        let problems = names::is_dns1035_label(version);
        errors.extend(problems.into_iter().map(|problem| FieldError::invalid(&path, version, problem)));
    }
    if known && !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        let detail = format!("must include at least one of {spoken}");
        errors.push(FieldError::invalid(path, versions, detail));
    }
    errors
}

fn expressions_of(obj: &Value, old: Option<&Value>) -> Vec<Expression> {
    if old.is_some_and(|old| same_conditions(obj, old)) {
        return Vec::new();
    }
    let known: Vec<&str> =
        old.into_iter().flat_map(|old| list(old, &["webhooks"])).flat_map(conditions::texts_of).collect();
    let hooks = list(obj, &["webhooks"]).iter().enumerate();
    hooks
        .flat_map(|(index, hook)| {
            conditions::expressions(hook, false, &known, &Path::new("webhooks").index(index))
        })
        .collect()
}

fn cells(obj: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(obj), json!(list(obj, &["webhooks"]).len()), age(obj, now)]
}

macro_rules! configuration {
    ($kind:ident, $facts:ident, $mutating:literal) => {
        impl Strategy for $kind {
            fn facts(&self) -> &Facts {
                &$facts
            }

            fn defaults(&self, obj: &mut Value) {
                set_defaults(obj, $mutating);
            }

            fn validate(&self, obj: &Value) -> Vec<FieldError> {
                validate_all(&$facts, obj, Enforced::ALL, $mutating)
            }

            fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
                let mut errors = validate_all(&$facts, obj, Enforced::after(obj, old), $mutating);
                errors.extend(generic::validate_update(&$facts, obj, old));
                errors
            }

            fn expressions(&self, obj: &Value, old: Option<&Value>) -> Vec<Expression> {
                expressions_of(obj, old)
            }

            fn unconditional_update(&self) -> bool {
                false
            }

            fn columns(&self) -> &[Column] {
                COLUMNS
            }

            fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
                cells(obj, now)
            }
        }
    };
}

configuration!(ValidatingWebhookConfiguration, VALIDATING, false);
configuration!(MutatingWebhookConfiguration, MUTATING, true);

#[cfg(test)]
mod tests {
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
        let service =
            |key: &str, value: Value| json!({format!("webhooks[0].clientConfig.service.{key}"): value});
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
}
