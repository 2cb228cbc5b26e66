//! ValidatingAdmissionPolicyBindings and MutatingAdmissionPolicyBindings.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::{GROUP, match_resources};
use crate::shared::access::{at, drop_nulls, has, text, texts};
use crate::shared::formats::{path_segment, subdomain};
use crate::shared::labels::validate_selector;
use crate::shared::rules::one_of;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Generation, Strategy, generic};

static VALIDATING: Facts =
    Facts::cluster(GROUP, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
        .with_generation(Generation::Spec);
static MUTATING: Facts =
    Facts::cluster(GROUP, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
        .with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column(
        "PolicyName",
        "string",
        "PolicyName indicates the policy definition which the policy binding binded to",
    ),
    column("ParamRef", "string", "ParamRef indicates the param resource which sets the configration param"),
    AGE,
];
const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

/// The strategy of ValidatingAdmissionPolicyBindings. That the user may read the parameters is the API server's
/// to check.
pub struct ValidatingAdmissionPolicyBinding;
/// The strategy of MutatingAdmissionPolicyBindings. That the user may read the parameters is the API server's to
/// check.
pub struct MutatingAdmissionPolicyBinding;

fn validate_all(facts: &Facts, obj: &Value, mutating: bool) -> Vec<FieldError> {
    let mut errors = generic::validate(facts, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    match text(spec, &["policyName"]) {
        "" => errors.push(FieldError::required(&path.child("policyName"), "")),
        policy => errors.extend(subdomain(policy, &path.child("policyName"))),
    }
    if has(spec, &["paramRef"]) {
        errors.extend(validate_param_ref(at(spec, &["paramRef"]), &path.child("paramRef")));
    }
    let (matched, matched_path) = (at(spec, &["matchResources"]), path.child("matchResources"));
    errors.extend(match_resources::validate(matched, &matched_path));
    if mutating {
        errors.extend(match_resources::only_mutable(matched, &matched_path));
    } else {
        errors
            .extend(validate_actions(&texts(spec, &["validationActions"]), &path.child("validationActions")));
    }
    errors
}

fn validate_param_ref(reference: &Value, path: &Path) -> Vec<FieldError> {
    let both = "name and selector are mutually exclusive";
    let mut errors = Vec::new();
    let (name, selector) = (text(reference, &["name"]), at(reference, &["selector"]));
    if !name.is_empty() {
        errors.extend(path_segment(name, &path.child("name")));
        if !selector.is_null() {
            errors.push(FieldError::forbidden(&path.child("name"), both));
        }
    }
    if !selector.is_null() {
        errors.extend(validate_selector(selector, &path.child("selector")));
        if !name.is_empty() {
            errors.push(FieldError::forbidden(&path.child("selector"), both));
        }
    }
    if name.is_empty() && selector.is_null() {
        errors.push(FieldError::required(path, "one of name or selector must be specified"));
    }
    errors.extend(one_of(reference, "parameterNotFoundAction", &["Deny", "Allow"], path));
    errors
}

fn validate_actions(actions: &[&str], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.push(FieldError::not_supported(&path.index(index), action, ACTIONS));
        }
        if actions[..index].contains(action) {
            errors.push(FieldError::duplicate(&path.index(index), action));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(path, actions, detail));
    }
    if actions.is_empty() {
        errors.push(FieldError::required(path, "at least one validation action is required"));
    }
    errors
}

fn param_ref(obj: &Value) -> String {
    let reference = at(obj, &["spec", "paramRef"]);
    if reference.is_null() {
        return "<unset>".to_owned();
    }
    match (text(reference, &["namespace"]), text(reference, &["name"])) {
        (_, "") => crate::table::selector(at(reference, &["selector"])),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

macro_rules! binding {
    ($kind:ident, $facts:ident, $mutating:literal) => {
        impl Strategy for $kind {
            fn facts(&self) -> &Facts {
                &$facts
            }

            fn defaults(&self, obj: &mut Value) {
                drop_nulls(obj);
                match_resources::defaults(obj, &["spec", "matchResources"]);
            }

            fn validate(&self, obj: &Value) -> Vec<FieldError> {
                validate_all(&$facts, obj, $mutating)
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
                    json!(text(obj, &["spec", "policyName"])),
                    json!(param_ref(obj)),
                    age(obj, now),
                ]
            }
        }
    };
}

binding!(ValidatingAdmissionPolicyBinding, VALIDATING, false);
binding!(MutatingAdmissionPolicyBinding, MUTATING, true);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    fn base() -> Value {
        json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}})
    }

    #[test]
    fn defaults_and_table() {
        let table = Table::of(&ValidatingAdmissionPolicyBinding, base());
        table.defaults(&[
            (json!({}), json!({"spec.matchResources": null, "metadata.generation": 1})),
            (
                json!({"spec.matchResources": {"resourceRules": [
                    {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
                ]}}),
                json!({
                    "spec.matchResources.matchPolicy": "Equivalent",
                    "spec.matchResources.objectSelector": {},
                    "spec.matchResources.resourceRules[0].scope": "*"
                }),
            ),
        ]);
        table.columns(&["Name", "PolicyName", "ParamRef", "Age"]);
        table.rows(&[
            (json!({}), json!(["a", "p", "<unset>", "60m"])),
            (json!({"spec.paramRef": {"name": "x"}}), json!(["a", "p", "*/x", "60m"])),
            (json!({"spec.paramRef": {"name": "x", "namespace": "n"}}), json!(["a", "p", "n/x", "60m"])),
        ]);
        table.generation(&[(json!({"spec.validationActions": ["Warn"]}), true), (json!({}), false)]);
    }

    #[test]
    fn fields_are_checked() {
        let table = Table::of(&ValidatingAdmissionPolicyBinding, base());
        table.valid(&[(
            "parameters by label",
            json!({"spec.paramRef": {"selector": {"matchLabels": {"a": "b"}}, "parameterNotFoundAction": "Allow"}}),
        )]);
        table.invalid(&[
            ("no policy", json!({"spec.policyName": ""}), &["spec.policyName: Required value"]),
            (
                "parameters without anything",
                json!({"spec.paramRef": {}}),
                &[
                    "spec.paramRef: Required value: one of name or selector must be specified",
                    "spec.paramRef.parameterNotFoundAction: Required value",
                ],
            ),
            (
                "parameters by both",
                json!({"spec.paramRef": {"name": "a/b", "selector": {}, "parameterNotFoundAction": "Guess"}}),
                &[
                    "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
                    "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                    "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                    "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Guess\": supported values: \"Deny\", \"Allow\"",
                ],
            ),
            (
                "no actions",
                json!({"spec.validationActions": []}),
                &["spec.validationActions: Required value: at least one validation action is required"],
            ),
            (
                "actions",
                json!({"spec.validationActions": ["Deny", "Warn", "Deny", "Log"]}),
                &[
                    "spec.validationActions[2]: Duplicate value: \"Deny\"",
                    "spec.validationActions[3]: Unsupported value: \"Log\": supported values: \"Audit\", \"Deny\", \"Warn\"",
                    "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Deny\",\"Log\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
                ],
            ),
        ]);
    }

    #[test]
    fn mutating_bindings_have_no_actions() {
        let table = Table::of(&MutatingAdmissionPolicyBinding, json!({"spec": {"policyName": "p"}}));
        table.invalid(&[(
            "a deletion",
            json!({"spec.matchResources": {"resourceRules": [
                {"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
            ]}}),
            &["spec.matchResources.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\""],
        )]);
        table.updates(&[("another policy", json!({"spec.policyName": "q"}), &[])]);
    }
}
