//! A ValidatingAdmissionPolicy's expressions, compiled, and what they say of a request. No I/O.
//!
//! Authority: pkg/admission/plugin/policy/validating/validator.go.

use serde_json::Value;
use xebec_api::status::Reason;

use super::decision::{Annotation, Decided, Decision};
use crate::cel::{BUDGET, Budget, Composition, Conditions, Expression, Input, Returns, Stop, Verdict};
use crate::matching::named_expressions;

/// Longest message a `messageExpression` may give, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;

/// One entry of `spec.validations`.
struct Validation {
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: Option<Reason>,
}

/// One entry of `spec.auditAnnotations`.
struct AuditAnnotation {
    key: String,
    value: Expression,
}

/// The compiled policy.
pub(crate) struct Validator {
    composition: Composition,
    conditions: Option<Conditions>,
    validations: Vec<Validation>,
    annotations: Vec<AuditAnnotation>,
}

impl Validator {
    /// Compiles a policy; what does not compile is reported when it is evaluated.
    pub(crate) fn compile(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let composition =
            Composition::new(&named_expressions(&spec["variables"]), spec["paramKind"].is_object(), false);
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let conditions = named_expressions(&spec["matchConditions"]);
        Self {
            conditions: (!conditions.is_empty()).then(|| Conditions::new(&conditions, &composition)),
            validations: list(&spec["validations"])
                .iter()
                .map(|validation| Validation {
                    expression: composition.compile(
                        &text(&validation["expression"]).unwrap_or_default(),
                        Returns::Bool,
                        true,
                    ),
                    message: text(&validation["message"]).unwrap_or_default(),
                    message_expression: text(&validation["messageExpression"])
                        .map(|source| composition.compile(&source, Returns::String, false)),
                    reason: text(&validation["reason"]).map(|reason| Reason::parse(&reason)),
                })
                .collect(),
            annotations: list(&spec["auditAnnotations"])
                .iter()
                .map(|annotation| AuditAnnotation {
                    key: text(&annotation["key"]).unwrap_or_default(),
                    value: composition.compile(
                        &text(&annotation["valueExpression"]).unwrap_or_default(),
                        Returns::StringOrNull,
                        true,
                    ),
                })
                .collect(),
            composition,
        }
    }

    /// Evaluates the policy on a request.
    pub(crate) fn validate(&self, input: &Input<'_>, ignores_failure: bool) -> Decided {
        if let Some(conditions) = &self.conditions {
            match conditions.evaluate(input, ignores_failure).verdict {
                Verdict::Matches => {}
                Verdict::Excluded => return Decided::default(),
                Verdict::Failed(why) => return Decided::failed(why, ignores_failure),
            }
        }
        let mut budget = Budget::new(BUDGET);
        let session = self.composition.session(input);
        let mut results = Vec::with_capacity(self.validations.len());
        for validation in &self.validations {
            match session.evaluate(&validation.expression, &mut budget) {
                Ok(result) => results.push(Ok(result.as_bool() == Some(true))),
                Err(Stop::Expression(why)) => results.push(Err(why)),
                Err(Stop::Budget(why)) => return Decided::failed(why, ignores_failure),
            }
        }
        let messages = self.messages(input, &mut budget);
        let decisions =
            self.validations.iter().zip(results).enumerate().map(|(index, (validation, result))| {
                match (result, &messages) {
                    (Err(why), _) => Decision::error(why, ignores_failure),
                    (Ok(_), Err(why)) => {
                        Decision::error(format!("failed messageExpression: {why}"), ignores_failure)
                    }
                    (Ok(true), _) => Decision::admit(),
                    (Ok(false), Ok(messages)) => Decision {
                        reason: Some(validation.reason.unwrap_or(Reason::Invalid)),
                        ..Decision::deny(validation.text(messages.get(index).and_then(Option::as_deref)))
                    },
                }
            });
        let decisions = decisions.collect();
        match self.annotations(input, ignores_failure) {
            Ok(annotations) => Decided { decisions, annotations },
            Err(why) => Decided::failed(why, ignores_failure),
        }
    }

    /// The messages of the message expressions, with what the validations left of the budget; none where there is no
    /// expression or it gave nothing fit to print. The error: the budget ran out.
    fn messages(&self, input: &Input<'_>, budget: &mut Budget) -> Result<Vec<Option<String>>, String> {
        let session = self.composition.session(input);
        let mut messages = Vec::with_capacity(self.validations.len());
        for validation in &self.validations {
            let Some(expression) = &validation.message_expression else {
                messages.push(None);
                continue;
            };
            match session.evaluate(expression, budget) {
                Ok(value) => messages.push(value.as_str().and_then(printable)),
                Err(Stop::Expression(why)) => {
                    tracing::debug!(error = why, "a messageExpression failed");
                    messages.push(None);
                }
                Err(Stop::Budget(why)) => return Err(why),
            }
        }
        Ok(messages)
    }

    fn annotations(&self, input: &Input<'_>, ignores_failure: bool) -> Result<Vec<Annotation>, String> {
        let mut budget = Budget::new(BUDGET);
        let session = self.composition.session(input);
        let mut annotations = Vec::new();
        for annotation in &self.annotations {
            match session.evaluate(&annotation.value, &mut budget) {
                Ok(value) => {
                    let text = value.as_str().map(str::trim).filter(|text| !text.is_empty());
                    annotations.extend(text.map(|text| Annotation::Publish {
                        key: annotation.key.clone(),
                        value: text.to_owned(),
                    }));
                }
                Err(Stop::Expression(_)) if ignores_failure => {}
                Err(Stop::Expression(why)) => annotations.push(Annotation::Failed(why)),
                Err(Stop::Budget(why)) => return Err(why),
            }
        }
        Ok(annotations)
    }
}

impl Validation {
    /// The message of a failure: from the message expression, else the fixed one, else the expression itself.
    fn text(&self, computed: Option<&str>) -> String {
        let fixed = self.message.trim();
        match computed {
            Some(message) => message.to_owned(),
            None if !fixed.is_empty() => fixed.to_owned(),
            None => format!("failed expression: {}", self.expression.source().trim()),
        }
    }
}

/// A computed message, unless it is empty, too long or has several lines.
fn printable(message: &str) -> Option<String> {
    let message = message.trim();
    (!message.is_empty() && message.len() <= MAX_MESSAGE && !message.contains('\n'))
        .then(|| message.to_owned())
}
