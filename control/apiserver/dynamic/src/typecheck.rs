//! Type checking of ValidatingAdmissionPolicies: their expressions against the schemas of the kinds they name, for
//! `status.typeChecking`. Never changes what a policy does. Pure.
//!
//! Authority: pkg/admission/plugin/policy/validating/typechecking.go and the controller
//! pkg/controller/validatingadmissionpolicystatus.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xebec_api::field::Path;
use xebec_api::meta;
use xebec_cel::{Decl, Type};

use crate::cel::{Composition, Returns};
use crate::matching::{Rule, named_expressions};
use crate::{Kind, Resource, Types};

/// Most kinds one rule is checked against.
const MAX_KINDS: usize = 10;

/// The status a policy is to have: with the warnings of its expressions and the generation they are about; none when it
/// has been checked since it changed last.
#[must_use]
pub fn plan(policy: &Value, types: &dyn Types) -> Option<Value> {
    let observed = policy["status"]["observedGeneration"].as_i64().unwrap_or(0);
    let generation = meta::generation(policy);
    if observed >= generation {
        return None;
    }
    let mut status = if policy["status"].is_object() { policy["status"].clone() } else { json!({}) };
    let warnings = warnings(policy, types);
    status["typeChecking"] =
        if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    status["observedGeneration"] = json!(generation);
    Some(status)
}

/// The warnings, as `{fieldRef, warning}`.
fn warnings(policy: &Value, types: &dyn Types) -> Vec<Value> {
    let spec = &policy["spec"];
    let variables = named_expressions(&spec["variables"]);
    let params = spec["paramKind"].is_object().then(|| {
        let text = |field: &str| spec["paramKind"][field].as_str().unwrap_or_default();
        type_of(&Kind::from_api_version(text("apiVersion"), text("kind")), types).unwrap_or(Type::Dyn)
    });
    let checked: Vec<(Kind, Composition)> = kinds(&spec["matchConstraints"]["resourceRules"], types)
        .into_iter()
        .filter_map(|kind| {
            let object = type_of(&kind, types)?;
            Some((kind, Composition::typed(&variables, object, params.clone())))
        })
        .collect();
    let check = |source: &str| -> Option<String> {
        let found: Vec<String> = checked
            .iter()
            .filter_map(|(kind, composition)| {
                let expression = composition.compile(source, Returns::Any, true);
                let why = expression.error()?;
                Some(format!("{kind}: {}\n", why.strip_prefix("compilation failed: ").unwrap_or(why)))
            })
            .collect();
        (!found.is_empty()).then(|| found.join("\n"))
    };
    let mut warnings = Vec::new();
    let validations = spec["validations"].as_array().into_iter().flatten();
    for (index, validation) in validations.enumerate() {
        let path = Path::new("spec").child("validations").index(index);
        for field in ["expression", "messageExpression"] {
            let Some(source) = validation[field].as_str().filter(|source| !source.is_empty()) else {
                continue;
            };
            if let Some(warning) = check(source) {
                warnings.push(json!({"fieldRef": path.child(field).as_str(), "warning": warning}));
            }
        }
    }
    warnings
}

fn type_of(kind: &Kind, types: &dyn Types) -> Option<Type> {
    let schema = types.schema(kind)?;
    Decl::from_schema(&schema, &kind.kind, true).map(|decl| decl.type_of())
}

/// The kinds the rules name, sorted; rules with wildcards name none.
fn kinds(rules: &Value, types: &dyn Types) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    for rule in Rule::list(rules) {
        let (groups, versions, resources) = rule.names_of();
        let wild = |items: &[String]| items.iter().any(|item| item.contains('*'));
        if wild(groups) || wild(versions) {
            continue;
        }
        let mut named = BTreeSet::new();
        for group in groups {
            for version in versions {
                let plain = resources.iter().filter(|(name, sub)| !name.contains('*') && sub.is_empty());
                named.extend(plain.map(|(name, _)| Resource::new(group, version, name)));
            }
        }
        let found = named.iter().filter_map(|resource| types.kind_for(resource, ""));
        kinds.extend(found.take(MAX_KINDS));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestTypes;

    fn policy(rules: Value, validations: Value) -> Value {
        json!({"metadata": {"name": "p", "generation": 2}, "spec": {
            "matchConstraints": {"resourceRules": rules}, "validations": validations,
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
        }})
    }

    fn rule(groups: &[&str], resources: &[&str]) -> Value {
        json!([{"apiGroups": groups, "apiVersions": ["v1"], "operations": ["*"], "resources": resources}])
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_told() {
        let validations = json!([
            {"expression": "object.spec.replicas > 1"},
            {"expression": "object.spec.replicaz > 1", "messageExpression": "object.spec.replicas"},
            {"expression": "variables.n == 'a'", "messageExpression": "object.nothing"},
        ]);
        let status = plan(&policy(rule(&["apps"], &["deployments"]), validations), &TestTypes).unwrap();
        assert_eq!(status["observedGeneration"], 2);
        let warnings = status["typeChecking"]["expressionWarnings"].as_array().unwrap();
        let fields: Vec<&str> = warnings.iter().map(|w| w["fieldRef"].as_str().unwrap()).collect();
        assert_eq!(
            fields,
            [
                "spec.validations[1].expression",
                "spec.validations[2].expression",
                "spec.validations[2].messageExpression"
            ]
        );
        let text = warnings[0]["warning"].as_str().unwrap();
        assert!(
            text.starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replicaz'"),
            "{text}"
        );
    }

    #[test]
    fn wildcards_subresources_and_unknown_kinds_are_not_checked() {
        let bad = json!([{"expression": "object.nothing.at.all"}]);
        for rules in [
            rule(&["*"], &["deployments"]),
            rule(&["apps"], &["*", "deployments/scale"]),
            rule(&[""], &["pods"]),
        ] {
            let status = plan(&policy(rules, bad.clone()), &TestTypes).unwrap();
            assert_eq!(status["typeChecking"], json!({}));
        }
    }

    #[test]
    fn only_new_generations_are_checked() {
        let mut policy = policy(rule(&["apps"], &["deployments"]), json!([{"expression": "true"}]));
        policy["status"] = json!({"observedGeneration": 2});
        assert_eq!(plan(&policy, &TestTypes), None);
        policy["status"] = json!({"observedGeneration": 1, "conditions": []});
        assert_eq!(plan(&policy, &TestTypes).unwrap()["conditions"], json!([]));
    }
}
