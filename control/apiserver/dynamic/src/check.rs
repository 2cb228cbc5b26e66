//! Expressions as they are written: do they compile? Pure.
//!
//! Enters: the expressions of a webhook configuration or policy that is being created or updated, with their fields.
//! Leaves: a field error for each that upstream would refuse. Called by the registry between the kind's own validation
//! and validating admission.
//! Authority: pkg/apis/admissionregistration/validation (validateValidationExpression and its siblings).

use xebec_api::field::{FieldError, Path};

use crate::cel::{Composition, Returns};

/// What an expression is for; decides what it must return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A match condition: bool.
    MatchCondition,
    /// A variable of this name: anything; the expressions after it see `variables.<name>`.
    Variable(String),
    /// A validation: bool.
    Validation,
    /// The message of a failed validation: string.
    Message,
    /// The value of an audit annotation: string or null.
    AuditAnnotation,
    /// A mutation by apply configuration: `Object`.
    ApplyConfiguration,
    /// A mutation by JSON patch: a list of `JSONPatch`.
    JsonPatch,
}

impl Role {
    fn returns(&self) -> Returns {
        match self {
            Self::Variable(_) => Returns::Any,
            Self::MatchCondition | Self::Validation => Returns::Bool,
            Self::Message => Returns::String,
            Self::AuditAnnotation => Returns::StringOrNull,
            Self::ApplyConfiguration => Returns::Apply,
            Self::JsonPatch => Returns::Patches,
        }
    }
}

/// One expression of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The field errors are reported on.
    pub path: Path,
    /// The text.
    pub text: String,
    /// The value shown in an error.
    pub shown: String,
    /// What it is for.
    pub role: Role,
    /// Whether `params` is declared.
    pub params: bool,
    /// Whether `authorizer` is declared.
    pub authorizer: bool,
    /// Whether the policy's variables are.
    pub variables: bool,
}

/// The errors of an object's expressions, in order. The expressions stand in the order of their object, each variable
/// before those that may use it.
#[must_use]
pub fn check(expressions: &[Source]) -> Vec<FieldError> {
    let mutation = expressions.iter().any(|e| matches!(e.role, Role::ApplyConfiguration | Role::JsonPatch));
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut errors = Vec::new();
    for source in expressions {
        let visible = if source.variables { variables.as_slice() } else { &[] };
        let composition = Composition::new(visible, source.params, mutation);
        let compiled = composition.compile(&source.text, source.role.returns(), source.authorizer);
        if let Some(why) = compiled.error() {
            errors.push(FieldError::invalid(&source.path, &source.shown, why));
        }
        if let Role::Variable(name) = &source.role {
            variables.push((name.clone(), source.text.clone()));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(role: Role, text: &str) -> Source {
        let authorizer = role != Role::Message;
        let path = Path::new("spec");
        Source {
            path,
            text: text.to_owned(),
            shown: text.to_owned(),
            role,
            params: false,
            authorizer,
            variables: true,
        }
    }

    #[test]
    fn what_compiles() {
        let good = [
            source(Role::MatchCondition, "request.userInfo.username != 'system:admin'"),
            source(Role::Variable("big".into()), "object.spec.replicas > 5"),
            source(Role::Validation, "variables.big || authorizer.requestResource.check('scale').allowed()"),
            source(Role::Message, "'too big: ' + string(object.spec.replicas)"),
            source(Role::AuditAnnotation, "'n'"),
            source(Role::ApplyConfiguration, "Object{spec: Object.spec{replicas: 3}}"),
            source(Role::JsonPatch, "[JSONPatch{op: 'add', path: '/metadata/labels/a', value: 'b'}]"),
        ];
        assert_eq!(check(&good), []);
    }

    #[test]
    fn what_does_not() {
        let cases = [
            (source(Role::Validation, "object.spec.replicas >"), "compilation failed: ERROR: <input>:1:"),
            (source(Role::Validation, "object.spec.replicas"), "must evaluate to bool but got dyn"),
            (source(Role::Validation, "'text'"), "must evaluate to bool but got string"),
            (source(Role::Validation, "params.x == 1"), "undeclared reference to 'params'"),
            (source(Role::Validation, "variables.missing"), "undefined field 'missing'"),
            (source(Role::Validation, "request.uid == ''"), "undefined field 'uid'"),
            (
                source(Role::Message, "authorizer.path('/').check('get').reason()"),
                "undeclared reference to 'authorizer'",
            ),
            (source(Role::Message, "1"), "must evaluate to string but got int"),
            (source(Role::AuditAnnotation, "1"), "must evaluate to one of [string null_type] but got int"),
            (
                source(Role::ApplyConfiguration, "[JSONPatch{}]"),
                "must evaluate to Object but got list(JSONPatch)",
            ),
            (source(Role::JsonPatch, "Object{}"), "must evaluate to list(JSONPatch) but got Object"),
        ];
        for (source, expected) in cases {
            let errors = check(std::slice::from_ref(&source));
            assert_eq!(errors.len(), 1, "{source:?}");
            assert!(errors[0].detail.contains(expected), "{}: {}", source.text, errors[0].detail);
        }
    }

    #[test]
    fn a_broken_variable_does_not_break_its_readers() {
        let expressions =
            [source(Role::Variable("v".into()), "nonsense"), source(Role::Validation, "variables.v == 1")];
        assert_eq!(check(&expressions).len(), 1);
    }
}
