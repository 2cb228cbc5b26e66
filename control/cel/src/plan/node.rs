//! The steps of plans.

use std::sync::Arc;

use crate::function::Function;
use crate::value::Value;

/// A step of a plan.
#[derive(Debug)]
pub(crate) enum Node {
    Const(Value<'static>),
    /// A variable of the environment.
    Var(Arc<str>),
    /// A variable of a macro, by its place on the stack of locals.
    Local(usize),
    /// One field of a variable declared with fields.
    LazyField(Arc<str>, Arc<str>),
    Select {
        operand: Box<Node>,
        field: Arc<str>,
    },
    Has {
        operand: Box<Node>,
        field: Arc<str>,
    },
    OptSelect {
        operand: Box<Node>,
        field: Arc<str>,
    },
    Index {
        operand: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If(Box<(Node, Node, Node)>),
    Equal {
        left: Box<Node>,
        right: Box<Node>,
        negate: bool,
    },
    NotStrictlyFalse(Box<Node>),
    /// `target.or(other)` and `target.orValue(other)`: the other is evaluated only if it is needed.
    OptOr {
        target: Box<Node>,
        other: Box<Node>,
        value: bool,
    },
    OptMap {
        target: Box<Node>,
        body: Box<Node>,
        flat: bool,
    },
    Call(Box<Call>),
    List {
        items: Vec<Node>,
        optional: Vec<bool>,
    },
    Map(Vec<(Node, Node, bool)>),
    Struct {
        name: Arc<str>,
        fields: Vec<(String, Node, bool)>,
    },
    Fold(Box<Fold>),
    /// A name for a value, and an expression that uses it.
    Bind(Box<(Node, Node)>),
}

/// A call of a function.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: Arc<Function>,
    pub(crate) member: bool,
    /// The overload, if the checker chose one alone.
    pub(crate) only: Option<&'static str>,
    pub(crate) args: Vec<Node>,
    /// The regular expression, compiled once if it is a literal.
    pub(crate) regex: Option<::regex::Regex>,
    /// Whether cel-go would do it while planning, or by a table made then: it costs nothing.
    pub(crate) free: bool,
}

/// A comprehension. The accumulator is the first of its locals, then come one or two variables.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) range: Node,
    pub(crate) init: Node,
    pub(crate) two: bool,
    pub(crate) cond: Node,
    pub(crate) step: Step,
    pub(crate) result: Node,
}

/// What a comprehension does for each item.
#[derive(Debug)]
pub(crate) enum Step {
    /// Computes the accumulator anew.
    Fold(Node),
    /// Adds to the list or map that the accumulator is; the filter says for which items. A macro's accumulator has no
    /// name that the expression could use, so it is filled in place.
    Collect { filter: Option<Node>, what: Collect },
}

/// What is added to the accumulator.
#[derive(Debug)]
pub(crate) enum Collect {
    /// An item of a list.
    Item(Node),
    /// A key and its value.
    Entry(Node, Node),
    /// All entries of a map.
    Entries(Node),
}

impl Node {
    pub(super) fn constant(&self) -> Option<Value<'static>> {
        match self {
            Node::Const(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// Whether it reads a variable, or a part of one: what cel-go calls an attribute, which costs are reckoned by.
    pub(crate) fn is_attribute(&self) -> bool {
        matches!(
            self,
            Node::Var(_)
                | Node::Local(_)
                | Node::LazyField(..)
                | Node::Select { .. }
                | Node::Has { .. }
                | Node::OptSelect { .. }
                | Node::Index { .. }
                | Node::If(_)
        )
    }
}
