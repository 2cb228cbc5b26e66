//! Programs: compiled expressions.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::ast::Expr;
use crate::cost::SizeHints;
use crate::cost::estimate;
use crate::cost::range::CostEstimate;
use crate::env::Env;
use crate::error::{EvalError, EvalResult};
use crate::eval::{Budget, Ctx, Evaluator, Resolver};
use crate::plan::{self, Node};
use crate::types::Type;
use crate::value::Value;

/// A compiled expression. Cloning shares it; it can be evaluated by many threads at once.
#[derive(Clone)]
pub struct Program(Arc<Inner>);

struct Inner {
    source: String,
    root: Expr,
    types: HashMap<u64, Type>,
    overloads: HashMap<u64, Vec<&'static str>>,
    output: Type,
    plan: Node,
}

impl Program {
    pub(crate) fn new(
        env: &Env,
        source: &str,
        root: Expr,
        types: HashMap<u64, Type>,
        overloads: HashMap<u64, Vec<&'static str>>,
        output: Type,
    ) -> Program {
        let plan = plan::plan(env, &overloads, &root);
        Program(Arc::new(Inner { source: source.to_owned(), root, types, overloads, output, plan }))
    }

    /// The text that it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The type of its result, as far as it is known.
    pub fn output_type(&self) -> &Type {
        &self.0.output
    }

    /// What evaluating it costs, at the least and at the most, given how large its variables can be. Compare with
    /// [`crate::ESTIMATED_COST_LIMIT`].
    pub fn cost_estimate(&self, hints: &SizeHints) -> CostEstimate {
        estimate::estimate(&self.0.root, &self.0.types, &self.0.overloads, hints)
    }

    /// The names of the environment's variables that it reads, and for those declared with fields, `name.field`.
    pub fn variables(&self) -> Vec<String> {
        let mut out = Vec::new();
        plan::variables(&self.0.plan, &mut out);
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Evaluates it. What it spends is taken from `budget`, also if it fails. Errors: what upstream reports; reaching a
    /// limit is [`EvalError::CostLimit`] or [`EvalError::BudgetExhausted`].
    pub fn eval<'a>(&self, resolver: &dyn Resolver<'a>, budget: &mut Budget) -> EvalResult<Value<'a>> {
        self.eval_counted(resolver, budget).0
    }

    /// [`Program::eval`] that also tells the cost.
    pub fn eval_counted<'a>(
        &self,
        resolver: &dyn Resolver<'a>,
        budget: &mut Budget,
    ) -> (EvalResult<Value<'a>>, u64) {
        let ctx = Ctx::new(budget.limit());
        let mut evaluator = Evaluator { resolver, budget: &mut *budget, ctx, locals: Vec::new() };
        let result = evaluator.node(&self.0.plan);
        let cost = evaluator.ctx.cost();
        let result = match result {
            Err(EvalError::CostLimit) => Err(budget.exceeded()),
            other => other,
        };
        budget.settle(cost);
        (result, cost)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("source", &self.0.source).field("output", &self.0.output).finish()
    }
}
