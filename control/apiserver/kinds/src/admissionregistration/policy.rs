//! What ValidatingAdmissionPolicies and MutatingAdmissionPolicies share.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::{FAILURE_POLICIES, conditions, match_resources};
use crate::expression::{Admission, Environment, Expression, Role, is_identifier};
use crate::shared::access::{at, default_to, drop_nulls, has, list, text};
use crate::shared::rules::one_of_given;

/// Sets what both kinds of policy default.
pub fn defaults(obj: &mut Value) {
    drop_nulls(obj);
    default_to(obj, &["spec", "failurePolicy"], json!("Fail"));
    match_resources::defaults(obj, &["spec", "matchConstraints"]);
}

/// The errors of the parts that come before the rules themselves, in upstream's order.
pub fn validate_head(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = if has(spec, &["failurePolicy"]) {
        one_of_given(spec, "failurePolicy", FAILURE_POLICIES, path)
    } else {
        vec![FieldError::required(&path.child("failurePolicy"), "")]
    };
    if has(spec, &["paramKind"]) {
        errors.extend(validate_param_kind(at(spec, &["paramKind"]), &path.child("paramKind")));
    }
    let matched_path = path.child("matchConstraints");
    match at(spec, &["matchConstraints"]) {
        Value::Null => errors.push(FieldError::required(&matched_path, "")),
        matched => {
            errors.extend(match_resources::validate(matched, &matched_path));
            if list(matched, &["resourceRules"]).is_empty() {
                errors.push(FieldError::required(&matched_path.child("resourceRules"), ""));
            }
        }
    }
    errors
}

/// True when an update leaves all that match conditions depend on as it was.
pub fn same_conditions(new: &Value, old: &Value) -> bool {
    let part = |obj, key| at(obj, &["spec", key]);
    ["paramKind", "matchConditions"].iter().all(|key| part(new, key) == part(old, key))
}

fn validate_param_kind(kind: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let version_path = path.child("apiVersion");
    let api_version = text(kind, &["apiVersion"]);
    match api_version.matches('/').count() {
        _ if api_version.is_empty() => errors.push(FieldError::required(&version_path, "")),
        0 | 1 => {
            let (group, version) = match api_version {
                "/" => ("", ""),
                found => found.split_once('/').unwrap_or(("", found)),
            };
            if !group.is_empty() {
                errors.extend(joined(&version_path, group, names::is_dns1123_subdomain(group), ""));
            }
            if version.is_empty() {
                errors.push(FieldError::invalid(&version_path, api_version, "version must be specified"));
            } else {
                errors.extend(joined(&version_path, version, names::is_dns1035_label(version), ""));
            }
        }
        _ => {
            let detail = format!("unexpected GroupVersion string: {api_version}");
            errors.push(FieldError::invalid(&version_path, api_version, detail));
        }
    }
    let name = text(kind, &["kind"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("kind"), ""));
    } else {
        let intro = "may have mixed case, but should otherwise match: ";
        let problems = names::is_dns1035_label(&name.to_lowercase());
        errors.extend(joined(&path.child("kind"), name, problems, intro));
    }
    errors
}

fn joined(path: &Path, value: &str, problems: Vec<String>, intro: &str) -> Option<FieldError> {
    let detail = format!("{intro}{}", problems.join(","));
    (!problems.is_empty()).then(|| FieldError::invalid(path, value, detail))
}

/// The errors of the policy's variables.
pub fn validate_variables(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, variable) in list(spec, &["variables"]).iter().enumerate() {
        let path = path.child("variables").index(index);
        let name = text(variable, &["name"]);
        if name.trim().is_empty() {
            errors.push(FieldError::required(&path.child("name"), "name is not specified"));
        } else if !is_identifier(name) {
            let detail = "name is not a valid CEL identifier";
            errors.push(FieldError::invalid(&path.child("name"), name, detail));
        }
        if text(variable, &["expression"]).trim().is_empty() {
            errors.push(FieldError::required(&path.child("expression"), "expression is not specified"));
        }
    }
    errors
}

/// The surroundings of a policy's expression.
pub struct Scope<'a> {
    spec: &'a Value,
    old: Option<&'a Value>,
    /// The policy has parameters.
    pub params: bool,
}

impl<'a> Scope<'a> {
    /// The scope of a policy and, in an update, of the stored one.
    pub fn of(obj: &'a Value, old: Option<&'a Value>) -> Self {
        let spec = at(obj, &["spec"]);
        let old = old.map(|old| at(old, &["spec"]));
        Scope { spec, old, params: has(spec, &["paramKind"]) }
    }

    /// One expression of this policy, `None` when its text is blank.
    pub fn expression(
        &self,
        path: Path,
        text: &str,
        role: Role,
        authorizer: bool,
        known: &[&str],
    ) -> Option<Expression> {
        let variables = !list(self.spec, &["variables"]).is_empty();
        let environment =
            Environment::Admission(Admission { role, params: self.params, authorizer, variables });
        (!text.trim().is_empty()).then(|| Expression {
            path,
            text: text.to_owned(),
            shown: text.to_owned(),
            environment,
            stored: known.contains(&text),
        })
    }

    /// The texts of a field of the stored policy's list.
    pub fn known(&self, key: &str, field: &str) -> Vec<&'a str> {
        self.old.into_iter().flat_map(|old| list(old, &[key])).map(|item| text(item, &[field])).collect()
    }

    /// The expressions of match conditions (unless unchanged) and variables.
    pub fn head(&self, unchanged: bool, known_variables: &[&str]) -> Vec<Expression> {
        let path = Path::new("spec");
        let known: Vec<&str> = self.old.into_iter().flat_map(conditions::texts_of).collect();
        let mut found = match unchanged {
            true => Vec::new(),
            false => conditions::expressions(self.spec, self.params, &known, &path),
        };
        for (index, variable) in list(self.spec, &["variables"]).iter().enumerate() {
            let path = path.child("variables").index(index).child("expression");
            let role = Role::Variable(text(variable, &["name"]).to_owned());
            found.extend(self.expression(path, text(variable, &["expression"]), role, true, known_variables));
        }
        found
    }
}
