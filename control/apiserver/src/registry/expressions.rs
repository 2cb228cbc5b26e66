//! The CEL expressions of an object that is written: do they compile? Between the kind's own validation and admission.
//!
//! The kinds say which expressions there are and what each sees; `xebec-dynamic-admission` compiles those of webhooks and
//! policies. Pure.

use serde_json::Value;
use xebec_api::field::FieldError;
use xebec_dynamic_admission::{Role, Source, check};
use xebec_kinds::Strategy;
use xebec_kinds::expression::{self, Environment, Expression};

/// The errors of an object's expressions; `old` is the stored object of an update.
pub(super) fn errors(strategy: &dyn Strategy, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let sources: Vec<Source> = strategy.expressions(value, old).into_iter().filter_map(source).collect();
    check(&sources)
}

fn source(expression: Expression) -> Option<Source> {
    let Environment::Admission(admission) = expression.environment else { return None };
    Some(Source {
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
    })
}
