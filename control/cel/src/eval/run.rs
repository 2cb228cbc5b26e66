//! The evaluator: walks a plan. Each kind of step has a function of its own, so that frames stay small.

use super::{Budget, Ctx, Resolver};
use crate::check::{RED_ZONE, STACK_STEP};
use crate::cost::runtime;
use crate::error::{EvalError, EvalResult};
use crate::plan::{Call, Node};
use crate::value::Value;
use crate::value::equal::equal;

/// One evaluation.
pub(crate) struct Evaluator<'e, 'a> {
    pub(crate) resolver: &'e dyn Resolver<'a>,
    pub(crate) budget: &'e mut Budget,
    pub(crate) ctx: Ctx,
    /// The variables of the macros being evaluated; an accumulator can be an error that a later item makes good.
    pub(crate) locals: Vec<EvalResult<Value<'a>>>,
}

impl<'a> Evaluator<'_, 'a> {
    /// Evaluates a step.
    pub(crate) fn node(&mut self, node: &Node) -> EvalResult<Value<'a>> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Local(slot) => self.local(*slot),
            _ => stacker::maybe_grow(RED_ZONE, STACK_STEP, || self.step(node)),
        }
    }

    fn step(&mut self, node: &Node) -> EvalResult<Value<'a>> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Local(slot) => self.local(*slot),
            Node::Var(name) => self.variable(name),
            Node::LazyField(name, field) => self.lazy_field(name, field),
            Node::Select { operand, field } => self.select(operand, field),
            Node::Has { operand, field } => self.has(operand, field),
            Node::OptSelect { operand, field } => self.optional_select(operand, field),
            Node::Index { operand, index, optional } => self.index(operand, index, *optional),
            Node::And(left, right) => self.logic(left, right, false),
            Node::Or(left, right) => self.logic(left, right, true),
            Node::If(parts) => self.conditional(&parts.0, &parts.1, &parts.2),
            Node::Equal { left, right, negate } => self.equality(left, right, *negate),
            Node::NotStrictlyFalse(operand) => self.not_strictly_false(operand),
            Node::OptOr { target, other, value } => self.optional_or(target, other, *value),
            Node::OptMap { target, body, flat } => self.optional_map(target, body, *flat),
            Node::Call(call) => self.call(call),
            Node::List { items, optional } => self.list(items, optional),
            Node::Map(entries) => self.map(entries),
            Node::Struct { name, fields } => self.object(name, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(parts) => self.bind(&parts.0, &parts.1),
        }
    }

    fn local(&mut self, slot: usize) -> EvalResult<Value<'a>> {
        self.ctx.charge(1)?;
        self.locals.get(slot).cloned().unwrap_or_else(|| Err(EvalError::other("no such local")))
    }

    fn variable(&mut self, name: &str) -> EvalResult<Value<'a>> {
        self.ctx.charge(1)?;
        match self.resolver.resolve(name) {
            Some(value) => value,
            None => Err(EvalError::NoSuchAttribute(name.to_owned())),
        }
    }

    fn lazy_field(&mut self, name: &str, field: &str) -> EvalResult<Value<'a>> {
        self.ctx.charge(2)?;
        match self.resolver.field(name, field, self.budget) {
            Some(value) => value,
            None => Err(EvalError::NoSuchAttribute(format!("{name}.{field}"))),
        }
    }

    /// `&&` (decided by false) and `||` (decided by true): either side decides, whatever the other is.
    fn logic(&mut self, left: &Node, right: &Node, decides: bool) -> EvalResult<Value<'a>> {
        let left = boolean(self.node(left));
        if left == Ok(decides) {
            return Ok(Value::Bool(decides));
        }
        let left = unless_fatal(left)?;
        let right = boolean(self.node(right));
        if right == Ok(decides) {
            return Ok(Value::Bool(decides));
        }
        let right = unless_fatal(right)?;
        left?;
        right?;
        Ok(Value::Bool(!decides))
    }

    fn conditional(&mut self, cond: &Node, then: &Node, or: &Node) -> EvalResult<Value<'a>> {
        let branch = if boolean(self.node(cond))? { then } else { or };
        if branch.is_attribute() && !matches!(branch, Node::If(_) | Node::Has { .. }) {
            // cel-go reckons the fields of a branch, but not the variable that it starts from.
            self.ctx.refund(1);
        }
        self.node(branch)
    }

    fn equality(&mut self, left: &Node, right: &Node, negate: bool) -> EvalResult<Value<'a>> {
        let left = self.node(left)?;
        let right = self.node(right)?;
        self.ctx.charge(runtime::equality(&left, &right))?;
        Ok(Value::Bool(equal(&mut self.ctx.work, &left, &right)? != negate))
    }

    fn not_strictly_false(&mut self, operand: &Node) -> EvalResult<Value<'a>> {
        let value = unless_fatal(boolean(self.node(operand)))?;
        self.ctx.charge(1)?;
        Ok(Value::Bool(value != Ok(false)))
    }

    fn optional_or(&mut self, target: &Node, other: &Node, value: bool) -> EvalResult<Value<'a>> {
        match self.node(target)? {
            Value::Optional(Some(inner)) if value => Ok((*inner).clone()),
            Value::Optional(Some(inner)) => Ok(Value::Optional(Some(inner))),
            Value::Optional(None) => self.node(other),
            _ => Err(EvalError::no_overload()),
        }
    }

    /// `optMap`. cel-go writes the target twice; what it costs is reckoned twice, but it is evaluated once.
    fn optional_map(&mut self, target: &Node, body: &Node, flat: bool) -> EvalResult<Value<'a>> {
        let before = self.ctx.cost();
        let target = self.node(target)?;
        let spent = self.ctx.cost() - before;
        self.ctx.charge(1)?;
        match target {
            Value::Optional(Some(inner)) => {
                self.ctx.charge(spent + 1)?;
                self.locals.push(Ok((*inner).clone()));
                let result = self.node(body);
                self.locals.pop();
                let result = result?;
                if flat {
                    return Ok(result);
                }
                self.ctx.charge(1)?;
                Ok(Value::some(result))
            }
            Value::Optional(None) => {
                self.ctx.charge(1)?;
                Ok(Value::Optional(None))
            }
            other => Err(EvalError::NoSuchOverload(format!(": hasValue({})", other.type_name()))),
        }
    }

    fn call(&mut self, call: &Call) -> EvalResult<Value<'a>> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.node(arg)?);
        }
        if !call.free {
            let cost = runtime::call(&call.function.name, call.only, &args);
            self.ctx.charge(cost)?;
        }
        self.ctx.regex.clone_from(&call.regex);
        call.function.call(&mut self.ctx, call.member, call.only, &args)
    }
}

/// A boolean, or the error that it is none.
pub(super) fn boolean(value: EvalResult<Value<'_>>) -> EvalResult<bool> {
    match value? {
        Value::Bool(b) => Ok(b),
        _ => Err(EvalError::no_overload()),
    }
}

/// The result as it is, except that an error which no operator may absorb stops the evaluation.
pub(super) fn unless_fatal<T>(result: EvalResult<T>) -> EvalResult<EvalResult<T>> {
    match result {
        Err(error @ (EvalError::CostLimit | EvalError::BudgetExhausted)) => Err(error),
        other => Ok(other),
    }
}
