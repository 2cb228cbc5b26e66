//! What is judged after the types are known, before anything runs: literal durations, timestamps, regular expressions and
//! formats that could only fail, and literals of lists and maps that mix types.

use std::collections::HashMap;

use crate::ast::{Expr, Kind};
use crate::error::CompileError;
use crate::library::{formatting, regex, standard};
use crate::parse::Places;
use crate::types::Type;
use crate::value::Value;

pub(super) struct Validator<'a> {
    pub(super) places: &'a Places,
    pub(super) types: &'a HashMap<u64, Type>,
    pub(super) errors: &'a mut Vec<CompileError>,
}

impl Validator<'_> {
    /// Visits an expression; `mixed` inside the arguments of `format`, whose lists may mix types.
    pub(super) fn visit(&mut self, expr: &Expr, mixed: bool) {
        stacker::maybe_grow(super::RED_ZONE, super::STACK_STEP, || self.walk(expr, mixed));
    }

    fn walk(&mut self, expr: &Expr, mixed: bool) {
        match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => self.visit(operand, mixed),
            Kind::Call { target, function, args } => {
                let mixed = mixed || function == "format";
                for part in target.iter().map(|target| &**target).chain(args) {
                    self.visit(part, mixed);
                }
                self.call(target.as_deref(), function, args);
            }
            Kind::List { items, optional } => {
                for item in items {
                    self.visit(item, mixed);
                }
                if !mixed {
                    self.alike(items.iter().zip(optional.iter().copied()));
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    self.visit(&entry.key, mixed);
                    self.visit(&entry.value, mixed);
                }
                if !mixed {
                    self.alike(entries.iter().map(|entry| (&entry.key, false)));
                    self.alike(entries.iter().map(|entry| (&entry.value, entry.optional)));
                }
            }
            Kind::Struct { fields, .. } => fields.iter().for_each(|field| self.visit(&field.value, mixed)),
            Kind::Fold(fold) => {
                for part in [&fold.range, &fold.init, &fold.cond, &fold.step, &fold.result] {
                    self.visit(part, mixed);
                }
            }
            Kind::OptMap { target, body, .. } => {
                self.visit(target, mixed);
                self.visit(body, mixed);
            }
        }
    }

    /// Reports the first part whose type is not that of the first.
    fn alike<'e>(&mut self, parts: impl Iterator<Item = (&'e Expr, bool)>) {
        let mut first: Option<Type> = None;
        for (part, optional) in parts {
            let ty = self.types.get(&part.id).cloned().unwrap_or(Type::Dyn);
            let ty = match ty {
                Type::Optional(inner) if optional => (*inner).clone(),
                other => other,
            };
            match &first {
                None => first = Some(ty),
                Some(wanted) if *wanted == ty => {}
                Some(wanted) => {
                    let message = format!("expected type '{wanted}' but found '{ty}'");
                    return self.report(part, message);
                }
            }
        }
    }

    fn call(&mut self, target: Option<&Expr>, function: &str, args: &[Expr]) {
        let literal = |at: usize| args.get(at).and_then(|arg| Some((arg, arg.as_string()?)));
        match (function, target) {
            ("duration", None) => {
                if let Some((arg, text)) = literal(0)
                    && standard::parse_duration(text).is_err()
                {
                    self.report(arg, "invalid duration argument".to_owned());
                }
            }
            ("timestamp", None) => {
                if let Some((arg, text)) = literal(0)
                    && standard::parse_timestamp(text).is_err()
                {
                    self.report(arg, "invalid timestamp argument".to_owned());
                }
            }
            ("matches", Some(_)) => {
                if let Some((arg, text)) = literal(0)
                    && regex::compile(text).is_err()
                {
                    self.report(arg, "invalid matches argument".to_owned());
                }
            }
            ("format", Some(target)) => self.format(target, args),
            _ => {}
        }
    }

    fn format(&mut self, target: &Expr, args: &[Expr]) {
        let (Some(text), [Expr { kind: Kind::List { items, .. }, .. }]) = (target.as_string(), args) else {
            return;
        };
        let pieces = match formatting::pieces(text, items.len()) {
            Ok(pieces) => pieces,
            Err(message) => return self.report(target, message),
        };
        let clauses: Vec<_> = pieces.into_iter().filter_map(formatting::Piece::clause).collect();
        for (clause, item) in clauses.iter().zip(items) {
            let ty = self.types.get(&item.id).unwrap_or(&Type::Dyn);
            if !clause.takes(ty) {
                let message = format!("error during formatting: {}", clause.refuse(&runtime_name(ty)));
                return self.report(item, message);
            }
        }
        if items.len() > clauses.len() {
            let (wanted, given) = (clauses.len(), items.len());
            let message =
                format!("too many arguments supplied to string.format (expected {wanted}, got {given})");
            self.report(target, message);
        }
    }

    fn report(&mut self, at: &Expr, message: String) {
        let (line, column) = self.places.of(at.id);
        self.errors.push(CompileError { line, column, message });
    }
}

/// The name that a type has at run time.
fn runtime_name(ty: &Type) -> String {
    match ty {
        Type::List(_) => "list".to_owned(),
        Type::Map(..) => "map".to_owned(),
        Type::Optional(_) => "optional_type".to_owned(),
        Type::Type(_) => "type".to_owned(),
        Type::Null => Value::Null.type_name().to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        other => other.to_string(),
    }
}
