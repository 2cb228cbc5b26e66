//! The syntax tree that the checker, the estimator and the planner read: the parser's, with literals as values.

use std::sync::Arc;

use crate::value::{Str, Value};

/// An expression; `id` tells its place in the source and its type.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
}

/// The kinds of expression.
#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Value<'static>),
    Ident(String),
    Select {
        operand: Box<Expr>,
        field: String,
        test: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        function: String,
        args: Vec<Expr>,
    },
    List {
        items: Vec<Expr>,
        optional: Vec<bool>,
    },
    Map(Vec<Entry>),
    Struct {
        name: String,
        fields: Vec<Field>,
    },
    Fold(Box<Fold>),
    /// `target.optMap(var, body)`; cel-go writes the target twice, which makes chains of them grow without bound.
    OptMap {
        target: Box<Expr>,
        var: String,
        body: Box<Expr>,
        flat: bool,
    },
}

/// An entry of a map literal.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A field of an object literal.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A comprehension: what the macros over lists and maps become.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) range: Expr,
    pub(crate) var: String,
    pub(crate) var2: Option<String>,
    pub(crate) accu: String,
    pub(crate) init: Expr,
    pub(crate) cond: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

impl Fold {
    /// Whether it only names a value: it iterates over nothing and never goes on.
    pub(crate) fn is_bind(&self) -> bool {
        matches!(&self.range.kind, Kind::List { items, .. } if items.is_empty())
            && matches!(self.cond.kind, Kind::Literal(Value::Bool(false)))
            && self.accu != ACCUMULATOR
    }
}

/// The accumulator of macros; no identifier of an expression can be spelt so.
pub(crate) const ACCUMULATOR: &str = "@result";

impl Expr {
    /// A literal string.
    pub(crate) fn as_string(&self) -> Option<&Str<'static>> {
        match &self.kind {
            Kind::Literal(Value::String(s)) => Some(s),
            _ => None,
        }
    }

    /// `a.b.c`, if it is a name with fields and nothing else.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }
}

/// A string literal.
pub(crate) fn string(text: &str) -> Value<'static> {
    Value::String(Str::Shared(Arc::from(text)))
}
