//! MutatingAdmissionPolicies.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::policy::{self, Scope};
use super::validating_policy::param_kind;
use super::{GROUP, REINVOCATION_POLICIES, conditions, match_resources};
use crate::expression::Role;
use crate::shared::access::{at, has, list, text};
use crate::shared::rules::one_of;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Expression, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::cluster(GROUP, "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
    .with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Mutations",
        "integer",
        "Mutation indicates the number of mutations rules defined in this configuration",
    ),
    column(
        "ParamKind",
        "string",
        "ParamKind specifies the kind of resources used to parameterize this policy",
    ),
    AGE,
];
/// The ways to mutate, with the field each is given in.
const PATCH_TYPES: [(&str, &str, Role); 2] = [
    ("ApplyConfiguration", "applyConfiguration", Role::ApplyConfiguration),
    ("JSONPatch", "jsonPatch", Role::JsonPatch),
];

/// The strategy of MutatingAdmissionPolicies.
pub struct MutatingAdmissionPolicy;

fn validate_all(obj: &Value, with_conditions: bool) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    errors.extend(policy::validate_head(spec, &path));
    let matched = at(spec, &["matchConstraints"]);
    errors.extend(match_resources::only_mutable(matched, &path.child("matchConstraints")));
    if with_conditions {
        errors.extend(conditions::validate(spec, &path));
    }
    errors.extend(policy::validate_variables(spec, &path));
    let mutations = list(spec, &["mutations"]);
    if mutations.is_empty() {
        let detail = "mutations must contain at least one item";
        errors.push(FieldError::required(&path.child("mutations"), detail));
    }
    for (index, mutation) in mutations.iter().enumerate() {
        errors.extend(validate_mutation(mutation, &path.child("mutations").index(index)));
    }
    errors.extend(one_of(spec, "reinvocationPolicy", REINVOCATION_POLICIES, &path));
    errors
}

fn validate_mutation(mutation: &Value, path: &Path) -> Vec<FieldError> {
    let names = PATCH_TYPES.map(|(name, _, _)| name);
    let mut errors = one_of(mutation, "patchType", &names, path);
    if !errors.is_empty() {
        return errors;
    }
    let wanted = text(mutation, &["patchType"]);
    for (name, key, _) in PATCH_TYPES {
        let (given, path) = (has(mutation, &[key]), path.child(key));
        match (name == wanted, given) {
            (true, false) => {
                let detail = format!("must be specified when patchType is {wanted}");
                errors.push(FieldError::required(&path, detail));
            }
            (true, true) if text(mutation, &[key, "expression"]).trim().is_empty() => {
                errors.push(FieldError::required(&path.child("expression"), ""));
            }
            (false, true) => {
                let detail = format!("must not be specified when patchType is {wanted}");
                errors.push(FieldError::invalid(&path, format!("{{{key}}}"), detail));
            }
            _ => {}
        }
    }
    errors
}

impl Strategy for MutatingAdmissionPolicy {
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

    fn expressions(&self, obj: &Value, old: Option<&Value>) -> Vec<Expression> {
        let scope = Scope::of(obj, old);
        let unchanged = old.is_some_and(|old| policy::same_conditions(obj, old));
        let mut found = scope.head(unchanged, &scope.known("variables", "expression"));
        for (index, mutation) in list(obj, &["spec", "mutations"]).iter().enumerate() {
            let path = Path::new("spec").child("mutations").index(index);
            for (_, key, role) in PATCH_TYPES {
                let known: Vec<&str> = old
                    .into_iter()
                    .flat_map(|old| list(old, &["spec", "mutations"]))
                    .map(|mutation| text(mutation, &[key, "expression"]))
                    .collect();
                let path = path.child(key).child("expression");
                let expression = text(mutation, &[key, "expression"]).trim();
                found.extend(scope.expression(path, expression, role, true, &known));
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
        vec![name(obj), json!(list(obj, &["spec", "mutations"]).len()), json!(param_kind(obj)), age(obj, now)]
    }
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
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}],
            "reinvocationPolicy": "Never"
        }})
    }

    #[test]
    fn defaults_and_table() {
        let table = Table::of(&MutatingAdmissionPolicy, base());
        table.defaults(&[(
            json!({}),
            json!({
                "spec.failurePolicy": "Fail",
                "spec.matchConstraints.matchPolicy": "Equivalent",
                "spec.matchConstraints.resourceRules[0].scope": "*",
                "metadata.generation": 1
            }),
        )]);
        table.columns(&["Name", "Mutations", "ParamKind", "Age"]);
        table.rows(&[(json!({}), json!(["a", 1, "<unset>", "60m"]))]);
        table.generation(&[(json!({"spec.reinvocationPolicy": "IfNeeded"}), true), (json!({}), false)]);
        table.updates(&[("a new patch", json!({"spec.mutations[0].jsonPatch.expression": "[1]"}), &[])]);
    }

    #[test]
    fn mutations_are_checked() {
        let table = Table::of(&MutatingAdmissionPolicy, base());
        table.valid(&[(
            "apply",
            json!({"spec.mutations[0]": {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}}),
        )]);
        table.invalid(&[
            (
                "a deletion",
                json!({"spec.matchConstraints.resourceRules[0].operations": ["DELETE"]}),
                &["spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\""],
            ),
            (
                "no mutations",
                json!({"spec.mutations": []}),
                &["spec.mutations: Required value: mutations must contain at least one item"],
            ),
            ("no type", json!({"spec.mutations[0].patchType": null}), &["spec.mutations[0].patchType: Required value"]),
            (
                "an unknown type",
                json!({"spec.mutations[0].patchType": "Magic"}),
                &["spec.mutations[0].patchType: Unsupported value: \"Magic\": supported values: \"ApplyConfiguration\", \"JSONPatch\""],
            ),
            (
                "the other one",
                json!({"spec.mutations[0]": {"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}}}),
                &[
                    "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
                    "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                ],
            ),
            (
                "no expression",
                json!({"spec.mutations[0].jsonPatch.expression": " "}),
                &["spec.mutations[0].jsonPatch.expression: Required value"],
            ),
            ("no policy", json!({"spec.reinvocationPolicy": null}), &["spec.reinvocationPolicy: Required value"]),
            (
                "an unknown policy",
                json!({"spec.reinvocationPolicy": "Often"}),
                &["spec.reinvocationPolicy: Unsupported value: \"Often\": supported values: \"IfNeeded\", \"Never\""],
            ),
        ]);
    }

    #[test]
    fn expressions_say_what_they_mutate_by() {
        let obj = patched(&base(), &json!({"spec.variables": [{"name": "v", "expression": "1"}]}));
        let found = MutatingAdmissionPolicy.expressions(&obj, Some(&obj));
        let shown: Vec<(&str, bool)> = found.iter().map(|e| (e.path.as_str(), e.stored)).collect();
        assert_eq!(
            shown,
            [("spec.variables[0].expression", true), ("spec.mutations[0].jsonPatch.expression", true)]
        );
    }
}
