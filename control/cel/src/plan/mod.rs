//! Plans: what the evaluator walks. Names are resolved to slots, functions to their overloads, constants to values.

mod node;
mod reads;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::ast::{self, Expr, Kind};
use crate::check::{RED_ZONE, STACK_STEP, type_by_name};
use crate::env::Env;
use crate::eval::insert;
use crate::library::standard::type_value;
use crate::parse::MAP_INSERT;
use crate::value::{List, Map, Value};

pub(crate) use node::{Call, Collect, Fold, Node, Step};
pub(crate) use reads::variables;

/// Conversions, which cel-go does while planning if what they convert is constant.
const CONVERSIONS: [&str; 9] =
    ["bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint", "type"];

/// Plans a checked expression.
pub(crate) fn plan(env: &Env, overloads: &HashMap<u64, Vec<&'static str>>, root: &Expr) -> Node {
    Planner { env, overloads, locals: Vec::new() }.node(root)
}

struct Planner<'a> {
    env: &'a Env,
    overloads: &'a HashMap<u64, Vec<&'static str>>,
    locals: Vec<String>,
}

impl Planner<'_> {
    fn node(&mut self, expr: &Expr) -> Node {
        stacker::maybe_grow(RED_ZONE, STACK_STEP, || self.kind(expr))
    }

    fn boxed(&mut self, expr: &Expr) -> Box<Node> {
        Box::new(self.node(expr))
    }

    fn kind(&mut self, expr: &Expr) -> Node {
        match &expr.kind {
            Kind::Literal(value) => Node::Const(value.clone()),
            Kind::Ident(name) => self.name(name),
            Kind::Select { operand, field, test } => {
                let field: Arc<str> = field.as_str().into();
                if let Kind::Ident(name) = &operand.kind
                    && !self.locals.contains(name)
                    && self.env.variable(name).is_some_and(|variable| variable.lazy)
                {
                    // The checker knows the fields: a declared one is there.
                    return if *test {
                        Node::Const(Value::Bool(true))
                    } else {
                        Node::LazyField(name.as_str().into(), field)
                    };
                }
                let operand = self.boxed(operand);
                if *test { Node::Has { operand, field } } else { Node::Select { operand, field } }
            }
            Kind::Call { target, function, args } => self.call(expr.id, target.as_deref(), function, args),
            Kind::List { items, optional } => {
                let items: Vec<Node> = items.iter().map(|item| self.node(item)).collect();
                let constants: Option<Vec<_>> = items.iter().map(Node::constant).collect();
                match constants {
                    // A list of constants is made once.
                    Some(constants) if !optional.contains(&true) => Node::Const(Value::list(constants)),
                    _ => Node::List { items, optional: optional.clone() },
                }
            }
            Kind::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|entry| (self.node(&entry.key), self.node(&entry.value), entry.optional))
                    .collect();
                constant_map(&entries).unwrap_or(Node::Map(entries))
            }
            Kind::Struct { name, fields } => Node::Struct {
                name: name.strip_prefix('.').unwrap_or(name).into(),
                fields: fields
                    .iter()
                    .map(|field| (field.name.clone(), self.node(&field.value), field.optional))
                    .collect(),
            },
            Kind::Fold(fold) => self.fold(fold),
            Kind::OptMap { target, var, body, flat } => {
                let target = self.boxed(target);
                self.locals.push(var.clone());
                let body = self.boxed(body);
                self.locals.pop();
                Node::OptMap { target, body, flat: *flat }
            }
        }
    }

    fn name(&self, name: &str) -> Node {
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some(slot) = self.locals.iter().rposition(|local| local == name) {
            return Node::Local(slot);
        }
        match (self.env.variable(name), type_by_name(name)) {
            (None, Some(ty)) => Node::Const(type_value(&ty)),
            _ => Node::Var(name.into()),
        }
    }

    fn call(&mut self, id: u64, target: Option<&Expr>, function: &str, args: &[Expr]) -> Node {
        let mut nodes: Vec<Node> = target.into_iter().chain(args).map(|arg| self.node(arg)).collect();
        let only = match self.overloads.get(&id).map(Vec::as_slice) {
            Some([one]) => Some(*one),
            _ => None,
        };
        match (function, nodes.len()) {
            ("_?:_", _) | ("_?_:_", 3) => {
                let (or, then) = (nodes.pop(), nodes.pop());
                if let (Some(cond), Some(then), Some(or)) = (nodes.pop(), then, or) {
                    return Node::If(Box::new((cond, then, or)));
                }
            }
            ("@not_strictly_false", 1) => {
                if let Some(node) = nodes.pop() {
                    return Node::NotStrictlyFalse(Box::new(node));
                }
            }
            (_, 2) => {
                let field = args.last().and_then(Expr::as_string).map(|text| Arc::<str>::from(&**text));
                if let (Some(right), Some(left)) = (nodes.pop(), nodes.pop()) {
                    match binary(function, target.is_some(), left, right, field) {
                        Ok(node) => return node,
                        Err(operands) => nodes.extend([operands.0, operands.1]),
                    }
                }
            }
            _ => {}
        }
        let regex = match (function, nodes.get(1)) {
            ("matches" | "find" | "findAll", Some(Node::Const(Value::String(text)))) => {
                crate::library::regex::compile(text).ok()
            }
            _ => None,
        };
        let constant = |at: usize| matches!(nodes.get(at), Some(Node::Const(_)));
        let free = match nodes.len() {
            1 => target.is_none() && CONVERSIONS.contains(&function) && constant(0),
            2 => {
                function == "@in"
                    && matches!(nodes.get(1), Some(Node::Const(Value::List(list))) if of_scalars(list))
            }
            _ => false,
        };
        let Some(function) = self.env.functions.get(function).cloned() else {
            // The checker knows every function; an unknown one cannot come here.
            return Node::Var(function.into());
        };
        Node::Call(Box::new(Call { function, member: target.is_some(), only, args: nodes, regex, free }))
    }

    fn step(&mut self, step: &Expr) -> Step {
        let (filter, add) = match &step.kind {
            Kind::Call { target: None, function, args } if function == "_?_:_" => match &args[..] {
                [filter, add, or] if is_accumulator(or) => (Some(filter), add),
                _ => (None, step),
            },
            _ => (None, step),
        };
        let Kind::Call { function, args, .. } = &add.kind else { return Step::Fold(self.node(step)) };
        let what = match (function.as_str(), &args[..]) {
            ("_+_", [accu, Expr { kind: Kind::List { items, .. }, .. }])
                if is_accumulator(accu) && items.len() == 1 =>
            {
                Collect::Item(self.node(&items[0]))
            }
            (MAP_INSERT, [accu, key, value]) if is_accumulator(accu) => {
                Collect::Entry(self.node(key), self.node(value))
            }
            (MAP_INSERT, [accu, entries]) if is_accumulator(accu) => Collect::Entries(self.node(entries)),
            _ => return Step::Fold(self.node(step)),
        };
        Step::Collect { filter: filter.map(|filter| self.node(filter)), what }
    }

    fn fold(&mut self, fold: &ast::Fold) -> Node {
        let init = self.node(&fold.init);
        if fold.is_bind() {
            self.locals.push(fold.accu.clone());
            let result = self.node(&fold.result);
            self.locals.pop();
            return Node::Bind(Box::new((init, result)));
        }
        let range = self.node(&fold.range);
        let depth = self.locals.len();
        self.locals.push(fold.accu.clone());
        self.locals.push(fold.var.clone());
        self.locals.extend(fold.var2.clone());
        let (cond, step) = (self.node(&fold.cond), self.step(&fold.step));
        self.locals.truncate(depth + 1);
        let result = self.node(&fold.result);
        self.locals.truncate(depth);
        Node::Fold(Box::new(Fold { range, init, two: fold.var2.is_some(), cond, step, result }))
    }
}

/// A map of constants, made once; `None` if an entry is no constant, or a key is repeated.
fn constant_map(entries: &[(Node, Node, bool)]) -> Option<Node> {
    let mut out = IndexMap::new();
    for (key, value, optional) in entries {
        let fresh = insert(&mut out, key.constant()?, value.constant()?).ok()?;
        if *optional || !fresh {
            return None;
        }
    }
    Some(Node::Const(Value::Map(Map::Owned(Arc::new(out)))))
}

/// Whether cel-go looks an item up in such a constant list by a table.
fn of_scalars(list: &List<'_>) -> bool {
    let scalar = |item: &Value<'_>| {
        matches!(
            item,
            Value::Bool(_)
                | Value::Int(_)
                | Value::Uint(_)
                | Value::Double(_)
                | Value::String(_)
                | Value::Null
        )
    };
    list.iter().all(|item| item.is_ok_and(|item| scalar(&item)))
}

/// Whether an expression is the accumulator of a macro.
fn is_accumulator(expr: &Expr) -> bool {
    matches!(&expr.kind, Kind::Ident(name) if name == ast::ACCUMULATOR)
}

/// Operators of two operands that the evaluator knows itself; the operands come back if it is none of them.
fn binary(
    function: &str,
    member: bool,
    left: Node,
    right: Node,
    field: Option<Arc<str>>,
) -> Result<Node, Box<(Node, Node)>> {
    Ok(match (function, member) {
        ("_&&_", _) => Node::And(Box::new(left), Box::new(right)),
        ("_||_", _) => Node::Or(Box::new(left), Box::new(right)),
        ("_==_", _) => Node::Equal { left: Box::new(left), right: Box::new(right), negate: false },
        ("_!=_", _) => Node::Equal { left: Box::new(left), right: Box::new(right), negate: true },
        ("_[_]", _) => Node::Index { operand: Box::new(left), index: Box::new(right), optional: false },
        ("_[?_]", _) => Node::Index { operand: Box::new(left), index: Box::new(right), optional: true },
        ("_?._", _) => match field {
            Some(field) => Node::OptSelect { operand: Box::new(left), field },
            None => return Err(Box::new((left, right))),
        },
        ("or", true) => Node::OptOr { target: Box::new(left), other: Box::new(right), value: false },
        ("orValue", true) => Node::OptOr { target: Box::new(left), other: Box::new(right), value: true },
        _ => return Err(Box::new((left, right))),
    })
}
