//! The CEL expressions of an object that is written: do they compile? Between the kind's own validation and admission.
//!
//! The kinds say which expressions there are and what each sees; `xebec-dynamic-admission` compiles those of webhooks,
//! policies and device selectors. Pure.

use serde_json::Value;
use xebec_api::field::FieldError;
use xebec_dynamic_admission::{Role, Source, check, check_selector};
use xebec_kinds::Strategy;
use xebec_kinds::expression::{self, Admission, Environment, Expression};

/// The errors of an object's expressions; `old` is the stored object of an update.
pub(super) fn errors(strategy: &dyn Strategy, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut sources = Vec::new();
    for expression in strategy.expressions(value, old) {
        match &expression.environment {
            Environment::Device => errors.extend(check_selector(&expression.path, &expression.text)),
            Environment::Admission(admission) => {
                let admission = admission.clone();
                sources.push(source(expression, admission));
            }
        }
    }
    errors.extend(check(&sources));
    errors
}

fn source(expression: Expression, admission: Admission) -> Source {
    Source {
        path: expression.path,
        text: expression.text,
        shown: expression.shown,
        role: match admission.role {
            expression::Role::MatchCondition => Role::MatchCondition,
            expression::Role::Variable(name) => Role::Variable(name),
            expression::Role::Validation => Role::Validation,
            expression::Role::Message => Role::Message,
            expression::Role::AuditAnnotation => Role::AuditAnnotation,
            expression::Role::ApplyConfiguration => Role::ApplyConfiguration,
            expression::Role::JsonPatch => Role::JsonPatch,
        },
        params: admission.params,
        authorizer: admission.authorizer,
        variables: admission.variables,
    }
}
