//! Match conditions: all must hold; one that is false excludes the request whatever the others do.
//!
//! Authority: pkg/admission/plugin/webhook/matchconditions/matcher.go.

use xebec_api::gotext::aggregate;
use xebec_cel::{Budget, MATCH_CONDITIONS_BUDGET};

use super::{Composition, Expression, Input, Returns, Stop};

/// What the conditions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All hold.
    Matches,
    /// One does not, or none is false, some failed, and failures are ignored.
    Excluded,
    /// None is false and some failed.
    Failed(String),
}

/// The verdict and how many conditions failed to evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) errors: usize,
}

/// Compiled match conditions.
#[derive(Debug)]
pub(crate) struct Conditions {
    composition: Composition,
    expressions: Vec<Expression>,
}

impl Conditions {
    /// The conditions (name, expression) of a policy, which may use its variables.
    pub(crate) fn new(conditions: &[(String, String)], composition: &Composition) -> Self {
        let compile = |(_, source): &(String, String)| composition.compile(source, Returns::Bool, true);
        Self { composition: composition.clone(), expressions: conditions.iter().map(compile).collect() }
    }

    /// The conditions of a webhook.
    pub(crate) fn for_webhook(conditions: &[(String, String)]) -> Self {
        Self::new(conditions, &Composition::new(&[], false, false))
    }

    /// Evaluates them in order, up to the first that is false.
    pub(crate) fn evaluate(&self, input: &Input<'_>, ignores_failure: bool) -> Outcome {
        let session = self.composition.session(input);
        let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
        let mut errors = Vec::new();
        let mut excluded = false;
        for expression in &self.expressions {
            match session.evaluate(expression, &mut budget) {
                Ok(value) => excluded |= value.as_bool() == Some(false),
                Err(Stop::Expression(why)) => errors.push(why),
                Err(Stop::Budget(why)) => {
                    let verdict = if ignores_failure { Verdict::Excluded } else { Verdict::Failed(why) };
                    return Outcome { verdict, errors: errors.len() };
                }
            }
        }
        let count = errors.len();
        let verdict = match (excluded, errors.is_empty()) {
            (true, _) => Verdict::Excluded,
            (false, true) => Verdict::Matches,
            (false, false) if ignores_failure => Verdict::Excluded,
            (false, false) => Verdict::Failed(aggregate(errors)),
        };
        Outcome { verdict, errors: count }
    }
}
