//! Estimates: what an expression costs at the least and at the most, from its types and the sizes that schemas allow.

use std::collections::HashMap;

use super::functions::{Arg, CallEstimate};
use super::range::{CostEstimate, SizeEstimate};
use super::{LIST_COST, MAP_COST, STRUCT_COST, SizeHints, functions};
use crate::ast::{ACCUMULATOR, Expr, Fold, Kind};
use crate::check::{RED_ZONE, STACK_STEP};
use crate::types::Type;
use crate::value::Value;

/// The sizes of the keys (or items) and values of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntrySize {
    list: bool,
    key: SizeEstimate,
    value: SizeEstimate,
}

impl EntrySize {
    fn union(a: Option<EntrySize>, b: Option<EntrySize>) -> Option<EntrySize> {
        let (a, b) = (a?, b?);
        Some(EntrySize { list: a.list, key: a.key.union(b.key), value: a.value.union(b.value) })
    }
}

/// A variable of a macro.
struct Local {
    name: String,
    path: Vec<String>,
    size: Option<SizeEstimate>,
    entries: Option<EntrySize>,
}

pub(super) struct Coster<'a> {
    types: &'a HashMap<u64, Type>,
    overloads: &'a HashMap<u64, Vec<&'static str>>,
    pub(super) hints: &'a SizeHints,
    paths: HashMap<u64, Vec<String>>,
    sizes: HashMap<u64, SizeEstimate>,
    entries: HashMap<u64, EntrySize>,
    locals: Vec<Local>,
}

/// Estimates a checked expression.
pub(crate) fn estimate(
    root: &Expr,
    types: &HashMap<u64, Type>,
    overloads: &HashMap<u64, Vec<&'static str>>,
    hints: &SizeHints,
) -> CostEstimate {
    let (paths, sizes, entries) = (HashMap::new(), HashMap::new(), HashMap::new());
    Coster { types, overloads, hints, paths, sizes, entries, locals: Vec::new() }.cost(root)
}

const ONE: CostEstimate = CostEstimate::fixed(1);

impl Coster<'_> {
    pub(super) fn cost(&mut self, expr: &Expr) -> CostEstimate {
        stacker::maybe_grow(RED_ZONE, STACK_STEP, || self.kind(expr))
    }

    fn kind(&mut self, expr: &Expr) -> CostEstimate {
        match &expr.kind {
            Kind::Literal(_) => CostEstimate::default(),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                ONE
            }
            Kind::Select { operand, field, test } => {
                let cost = self.cost(operand);
                if *test {
                    return cost;
                }
                let mut path = self.path(operand);
                if !path.is_empty() {
                    path.push(field.clone());
                }
                self.paths.insert(expr.id, path);
                match self.ty(operand) {
                    Type::Map(..) | Type::Object(_) | Type::Var(_) => cost.add(ONE),
                    _ => cost,
                }
            }
            Kind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            Kind::List { items, .. } => {
                let mut sum = CostEstimate::fixed(LIST_COST);
                let mut size: Option<SizeEstimate> = None;
                for item in items {
                    sum = sum.add(self.cost(item));
                    let one = self.size_or_unknown(item);
                    size = Some(size.map_or(one, |size| size.union(one)));
                }
                let value = size.unwrap_or(SizeEstimate::fixed(0));
                self.entries.insert(expr.id, EntrySize { list: true, key: SizeEstimate::fixed(1), value });
                sum
            }
            Kind::Map(entries) => {
                let mut sum = CostEstimate::fixed(MAP_COST);
                let (mut keys, mut values): (Option<SizeEstimate>, Option<SizeEstimate>) = (None, None);
                for entry in entries {
                    sum = sum.add(self.cost(&entry.key)).add(self.cost(&entry.value));
                    let (key, value) = (self.size_or_unknown(&entry.key), self.size_or_unknown(&entry.value));
                    keys = Some(keys.map_or(key, |size| size.union(key)));
                    values = Some(values.map_or(value, |size| size.union(value)));
                }
                let empty = SizeEstimate::fixed(0);
                let (key, value) = (keys.unwrap_or(empty), values.unwrap_or(empty));
                self.entries.insert(expr.id, EntrySize { list: false, key, value });
                sum
            }
            Kind::Struct { fields, .. } => fields
                .iter()
                .fold(CostEstimate::fixed(STRUCT_COST), |sum, field| sum.add(self.cost(&field.value))),
            Kind::Fold(fold) if fold.is_bind() => {
                let sum = CostEstimate::fixed(LIST_COST).add(self.cost(&fold.init));
                self.push_value(&fold.accu, &fold.init);
                let sum = sum.add(self.cost(&fold.result));
                self.locals.pop();
                self.copy_sizes(expr.id, &fold.result);
                sum
            }
            Kind::Fold(fold) => self.fold(expr.id, fold),
            Kind::OptMap { target, var, body, flat } => {
                let target_cost = self.cost(target).add(ONE);
                let size = self.ty(target).is_scalar().then_some(SizeEstimate::fixed(1));
                self.locals.push(Local { name: var.clone(), path: Vec::new(), size, entries: None });
                let mut then = target_cost.add(CostEstimate::fixed(LIST_COST)).add(self.cost(body));
                self.locals.pop();
                if !flat {
                    then = then.add(ONE);
                }
                target_cost.add(then.union(ONE))
            }
        }
    }

    fn fold(&mut self, id: u64, fold: &Fold) -> CostEstimate {
        let mut sum = self.cost(&fold.range).add(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        let depth = self.locals.len();
        let entries = self.entry_size(&fold.range);
        let list =
            entries.map_or_else(|| matches!(self.ty(&fold.range), Type::List(_)), |entries| entries.list);
        let path = self.path(&fold.range);
        let keyed = |step: &str| {
            let mut path = path.clone();
            path.push(step.to_owned());
            path
        };
        let (key, value) = (entries.map(|entries| entries.key), entries.map(|entries| entries.value));
        let (keys, values) = if list { ("@indices", "@items") } else { ("@keys", "@values") };
        let mut push = |name: &String, path, size| {
            self.locals.push(Local { name: name.clone(), path, size, entries: None });
        };
        match &fold.var2 {
            Some(var2) => {
                push(&fold.var, keyed(keys), key);
                push(var2, keyed(values), value);
            }
            None if list => push(&fold.var, keyed("@items"), value),
            None => push(&fold.var, keyed("@keys"), key),
        }
        let each = self.cost(&fold.cond).add(self.cost(&fold.step));
        self.locals.truncate(depth);
        sum = sum.add(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        sum = sum.add(count.each(each));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(id, size);
                }
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.sizes.insert(id, count);
                if let Some(entries) = self.entry_size(&fold.step) {
                    self.entries.insert(id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> CostEstimate {
        if function == "dyn"
            && let [arg] = args
        {
            let cost = self.cost(arg);
            self.copy_sizes(expr.id, arg);
            return cost.add(ONE);
        }
        let arg_costs: Vec<CostEstimate> = args.iter().map(|arg| self.cost(arg)).collect();
        let arg_nodes: Vec<Arg<'_>> = args.iter().map(|arg| self.arg(arg)).collect();
        let overloads = self.overloads.get(&expr.id).cloned().unwrap_or_default();
        if overloads.is_empty() {
            return CostEstimate::default();
        }
        let target_cost = target.map_or(CostEstimate::default(), |target| self.cost(target));
        let target = target.map(|target| self.arg(target));
        let mut cost = CostEstimate { min: u64::MAX, max: 0 };
        let mut result: Option<SizeEstimate> = None;
        for overload in overloads {
            let estimate = self.overload(expr, function, overload, target.as_ref(), &arg_nodes, &arg_costs);
            cost = cost.union(estimate.cost);
            result = match (result, estimate.result) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            let step = match overload {
                "index_list" => Some("@items"),
                "index_map" => Some("@values"),
                _ => None,
            };
            if let (Some(step), Some(operand)) = (step, args.first()) {
                result = self.entry_size(operand).map(|entries| entries.value);
                let mut path = self.path(operand);
                if !path.is_empty() {
                    path.push(step.to_owned());
                }
                self.paths.insert(expr.id, path);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if let Some(result) = result {
            self.sizes.insert(expr.id, result);
        }
        target_cost.add(cost)
    }

    /// One overload, its arguments included.
    fn overload(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &'static str,
        target: Option<&Arg<'_>>,
        args: &[Arg<'_>],
        costs: &[CostEstimate],
    ) -> CallEstimate {
        let sum = costs.iter().fold(CostEstimate::default(), |sum, cost| sum.add(*cost));
        let special = functions::kubernetes(self.hints, function, overload, target, args);
        if let Some(estimate) = special {
            return CallEstimate { cost: estimate.cost.add(sum), result: estimate.result };
        }
        match (overload, args, costs) {
            ("logical_and" | "logical_or", _, [left, right]) => {
                return CallEstimate {
                    cost: CostEstimate { min: left.min, max: left.add(*right).max },
                    result: None,
                };
            }
            ("conditional", [_, then, or], [cond, then_cost, or_cost]) => {
                let size = then
                    .size
                    .unwrap_or(SizeEstimate::UNKNOWN)
                    .union(or.size.unwrap_or(SizeEstimate::UNKNOWN));
                let entries = EntrySize::union(self.entry_size(then.expr), self.entry_size(or.expr));
                self.entries.extend(entries.map(|entries| (expr.id, entries)));
                return CallEstimate { cost: cond.add(then_cost.union(*or_cost)), result: Some(size) };
            }
            ("add_list" | "add_string" | "add_bytes", [left, right], _) => {
                let entries = EntrySize::union(self.entry_size(left.expr), self.entry_size(right.expr));
                self.entries.extend(entries.map(|entries| (expr.id, entries)));
            }
            _ => {}
        }
        let estimate = functions::standard(overload, target, args);
        CallEstimate { cost: estimate.cost.add(sum), result: estimate.result }
    }

    fn arg<'e>(&mut self, expr: &'e Expr) -> Arg<'e> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|root| root == ACCUMULATOR) {
            path.clear();
        }
        Arg { expr, ty: self.ty(expr), path, size: self.size(expr) }
    }

    fn ty(&self, expr: &Expr) -> Type {
        self.types.get(&expr.id).cloned().unwrap_or(Type::Dyn)
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> SizeEstimate {
        self.size(expr).unwrap_or(SizeEstimate::UNKNOWN)
    }

    /// The size of an expression's value: known, written, from a schema, or by its type.
    fn size(&mut self, expr: &Expr) -> Option<SizeEstimate> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = written_size(expr) {
            return Some(SizeEstimate::fixed(size));
        }
        if let Some(size) = self.hints.size(&self.path(expr)) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if self.ty(expr).is_scalar() {
            return Some(SizeEstimate::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn entry_size(&self, expr: &Expr) -> Option<EntrySize> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }

    fn push_value(&mut self, name: &str, value: &Expr) {
        let (path, entries) = (self.path(value), self.entry_size(value));
        let size = self.size(value);
        self.locals.push(Local { name: name.to_owned(), path, size, entries });
    }

    fn copy_sizes(&mut self, id: u64, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(id, size);
        }
        if let Some(entries) = self.entry_size(from) {
            self.entries.insert(id, entries);
        }
    }
}

/// The size of what is written in the expression itself.
fn written_size(expr: &Expr) -> Option<u64> {
    match &expr.kind {
        Kind::Literal(value @ (Value::String(_) | Value::Bytes(_))) => Some(value.cost_size()),
        Kind::Literal(_) => Some(1),
        Kind::List { items, .. } => Some(items.len() as u64),
        Kind::Map(entries) => Some(entries.len() as u64),
        _ => None,
    }
}
