//! Which variables a plan reads.

use super::{Collect, Node, Step};
use crate::check::{RED_ZONE, STACK_STEP};

/// Collects the variables that a plan reads.
pub(crate) fn variables(node: &Node, out: &mut Vec<String>) {
    stacker::maybe_grow(RED_ZONE, STACK_STEP, || read_by(node, out));
}

fn read_by(node: &Node, out: &mut Vec<String>) {
    match node {
        Node::Const(_) | Node::Local(_) => {}
        Node::Var(name) => out.push(name.to_string()),
        Node::LazyField(name, field) => out.push(format!("{name}.{field}")),
        Node::Select { operand, .. }
        | Node::Has { operand, .. }
        | Node::OptSelect { operand, .. }
        | Node::NotStrictlyFalse(operand) => variables(operand, out),
        Node::Index { operand: a, index: b, .. }
        | Node::And(a, b)
        | Node::Or(a, b)
        | Node::Equal { left: a, right: b, .. }
        | Node::OptOr { target: a, other: b, .. }
        | Node::OptMap { target: a, body: b, .. } => {
            variables(a, out);
            variables(b, out);
        }
        Node::If(parts) => {
            for part in [&parts.0, &parts.1, &parts.2] {
                variables(part, out);
            }
        }
        Node::Bind(parts) => {
            variables(&parts.0, out);
            variables(&parts.1, out);
        }
        Node::Call(call) => call.args.iter().for_each(|arg| variables(arg, out)),
        Node::List { items, .. } => items.iter().for_each(|item| variables(item, out)),
        Node::Map(entries) => entries.iter().for_each(|(key, value, _)| {
            variables(key, out);
            variables(value, out);
        }),
        Node::Struct { fields, .. } => fields.iter().for_each(|(_, value, _)| variables(value, out)),
        Node::Fold(fold) => {
            for part in [&fold.range, &fold.init, &fold.cond, &fold.result] {
                variables(part, out);
            }
            match &fold.step {
                Step::Fold(step) => variables(step, out),
                Step::Collect { filter, what } => {
                    filter.iter().for_each(|filter| variables(filter, out));
                    match what {
                        Collect::Item(item) | Collect::Entries(item) => variables(item, out),
                        Collect::Entry(key, value) => {
                            variables(key, out);
                            variables(value, out);
                        }
                    }
                }
            }
        }
    }
}
