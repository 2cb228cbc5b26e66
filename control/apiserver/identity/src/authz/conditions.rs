//! When a webhook is asked: CEL conditions over the review's spec.
//!
//! Enters: expressions, then a request's review. Leaves: whether all of them hold. One that is false means the webhook
//! is not asked; one that fails, while none is false, is the webhook's failure.

use serde_json::Value;
use xebec_api::field::Path;

use super::config::MatchCondition;
use crate::authn::config::ConfigError;
use crate::expression::{Compiled, Variable, Wanted, compile};

/// Compiled conditions.
pub(super) struct Conditions(Vec<(String, Compiled)>);

impl Conditions {
    /// Compiles; `at` is the field `matchConditions`.
    pub(super) fn new(conditions: &[MatchCondition], at: &Path) -> Result<Conditions, ConfigError> {
        let compiled = conditions.iter().enumerate().map(|(index, condition)| {
            let at = at.index(index).child("expression");
            Ok((
                condition.expression.clone(),
                compile(&condition.expression, Variable::Request, Wanted::Truth, &at)?,
            ))
        });
        Ok(Conditions(compiled.collect::<Result<_, ConfigError>>()?))
    }

    /// Whether the webhook is to be asked about this review.
    pub(super) fn hold(&self, spec: &Value) -> Result<bool, String> {
        let mut failures = Vec::new();
        for (expression, compiled) in &self.0 {
            match compiled.eval(spec) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return Ok(false),
                Ok(_) => failures.push(format!("{expression:?} is no boolean")),
                Err(reason) => failures.push(format!("{expression:?}: {reason}")),
            }
        }
        if failures.is_empty() { Ok(true) } else { Err(failures.join(", ")) }
    }
}
