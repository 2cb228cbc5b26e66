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
mod tests;
