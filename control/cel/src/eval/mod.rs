//! Evaluation: a plan, variables and a budget in; a value or an error out.
//!
//! Callers: [`crate::Program::eval`]; the libraries use [`Ctx`].

mod attribute;
mod construct;
mod fold;
mod run;

use crate::error::{EvalError, EvalResult};
use crate::value::Value;
use crate::value::equal::Work;

pub(crate) use construct::insert;
pub(crate) use run::Evaluator;

/// Steps that one evaluation may take inside functions; see [`Work`].
const WORK: u64 = 50_000_000;

/// What is left to spend, in units of cost, shared by as many evaluations as it is handed to.
#[derive(Clone, Debug)]
pub struct Budget {
    remaining: u64,
    per_call: u64,
}

impl Budget {
    /// A budget of `total`, of which each evaluation may spend [`crate::PER_CALL_LIMIT`].
    pub fn new(total: u64) -> Budget {
        Budget { remaining: total, per_call: crate::PER_CALL_LIMIT }
    }

    /// A budget with another limit for each evaluation.
    pub fn with_call_limit(total: u64, per_call: u64) -> Budget {
        Budget { remaining: total, per_call }
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The most that the next evaluation may spend.
    pub(crate) fn limit(&self) -> u64 {
        self.per_call.min(self.remaining)
    }

    /// Takes what an evaluation spent. An evaluation that would have spent more than there is leaves nothing.
    pub(crate) fn settle(&mut self, cost: u64) {
        self.remaining = self.remaining.saturating_sub(cost);
    }

    /// The error of an evaluation that reached its limit: its own, or that of all together.
    pub(crate) fn exceeded(&self) -> EvalError {
        if self.per_call <= self.remaining { EvalError::CostLimit } else { EvalError::BudgetExhausted }
    }
}

/// What supplies the variables of an evaluation; `'a` is the lifetime of the data that it hands out.
pub trait Resolver<'a> {
    /// The value of a declared variable, or `None` if it has none.
    fn resolve(&self, name: &str) -> Option<EvalResult<Value<'a>>>;

    /// The value of one field of a variable declared with fields ([`crate::Env::declare_fields`]); asked for each time
    /// that it is read, so a resolver that computes it keeps the result. What it computes is charged to `budget`.
    fn field(&self, name: &str, field: &str, budget: &mut Budget) -> Option<EvalResult<Value<'a>>> {
        let _ = (name, field, budget);
        None
    }
}

/// Variables with values that are at hand.
#[derive(Clone, Debug, Default)]
pub struct Bindings<'a>(Vec<(String, Value<'a>)>);

impl<'a> Bindings<'a> {
    /// No variables.
    pub fn new() -> Self {
        Bindings(Vec::new())
    }

    /// Adds a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value<'a>) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }
}

impl<'a> Resolver<'a> for Bindings<'a> {
    fn resolve(&self, name: &str) -> Option<EvalResult<Value<'a>>> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| Ok(value.clone()))
    }
}

/// What an evaluation has spent and may spend.
#[derive(Debug)]
pub(crate) struct Ctx {
    cost: u64,
    limit: u64,
    pub(crate) work: Work,
    /// The regular expression of the call being made, if it was compiled with the program.
    pub(crate) regex: Option<regex::Regex>,
}

impl Ctx {
    pub(crate) fn new(limit: u64) -> Ctx {
        Ctx { cost: 0, limit, work: Work::new(WORK), regex: None }
    }

    /// Adds to the cost. Errors: the limit is exceeded.
    pub(crate) fn charge(&mut self, cost: u64) -> EvalResult<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    /// Takes back what the next step will charge but upstream does not.
    pub(crate) fn refund(&mut self, cost: u64) {
        self.cost = self.cost.saturating_sub(cost);
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }
}
