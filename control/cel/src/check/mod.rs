//! The type checker: gradual typing, as cel-go does it, with its messages.
//!
//! Enters: a syntax tree and an environment. Leaves: the tree with names of functions resolved, a type for every node, and
//! the overloads that each call may run; or the mistakes. Caller: [`crate::Env::compile`].

mod calls;
mod literals;
mod unify;
mod validate;

use std::collections::HashMap;

use crate::ast::{Expr, Fold, Kind};
use crate::env::Env;
use crate::error::{CompileError, CompileErrors};
use crate::parse::{Parsed, Places};
use crate::types::Type;
use crate::value::Value;

use unify::Bindings;

/// What checking found out.
pub(crate) struct Checked {
    pub(crate) root: Expr,
    pub(crate) types: HashMap<u64, Type>,
    pub(crate) overloads: HashMap<u64, Vec<&'static str>>,
    pub(crate) output: Type,
}

/// Checks an expression in an environment.
pub(crate) fn check(env: &Env, source: &str, parsed: Parsed) -> Result<Checked, CompileErrors> {
    let Parsed { mut root, places } = parsed;
    let mut checker = Checker {
        env,
        places: &places,
        errors: Vec::new(),
        types: HashMap::new(),
        overloads: HashMap::new(),
        bindings: Bindings::default(),
        scope: Vec::new(),
    };
    checker.expr(&mut root);
    let Checker { bindings, mut types, overloads, mut errors, .. } = checker;
    for ty in types.values_mut() {
        *ty = bindings.resolve(ty, true);
    }
    if errors.is_empty() {
        validate::Validator { places: &places, types: &types, errors: &mut errors }.visit(&root, false);
    }
    if !errors.is_empty() {
        return Err(CompileErrors::new(source, errors));
    }
    let output = types.get(&root.id).cloned().unwrap_or(Type::Dyn);
    Ok(Checked { root, types, overloads, output })
}

pub(super) struct Checker<'a> {
    env: &'a Env,
    places: &'a Places,
    errors: Vec<CompileError>,
    types: HashMap<u64, Type>,
    overloads: HashMap<u64, Vec<&'static str>>,
    bindings: Bindings,
    /// The variables of the macros around this node, innermost last.
    scope: Vec<(String, Type)>,
}

/// Stack that one step of the recursion may need, and what it gets when less is left.
pub(crate) const RED_ZONE: usize = 128 << 10;
/// See [`RED_ZONE`].
pub(crate) const STACK_STEP: usize = 2 << 20;

impl Checker<'_> {
    fn expr(&mut self, expr: &mut Expr) -> Type {
        let ty = stacker::maybe_grow(RED_ZONE, STACK_STEP, || self.kind(expr));
        self.types.insert(expr.id, ty.clone());
        ty
    }

    fn kind(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        match &mut expr.kind {
            Kind::Literal(value) => literal_type(value),
            Kind::Ident(name) => match self.name(name) {
                Some(ty) => ty,
                None => {
                    let name = name.clone();
                    self.undeclared(id, &name)
                }
            },
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List { items, optional } => self.list(items, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.object(id, name, fields),
            Kind::Fold(fold) => self.fold(fold),
            Kind::OptMap { target, var, body, flat } => self.opt_map(id, target, var, body, *flat),
        }
    }

    /// The type of a name: a variable of a macro, a variable, or a type by its name.
    fn name(&self, name: &str) -> Option<Type> {
        let name = name.strip_prefix('.').unwrap_or(name);
        let local = self.scope.iter().rev().find(|(local, _)| local == name).map(|(_, ty)| ty.clone());
        local
            .or_else(|| self.env.variable(name).map(|variable| variable.ty.clone()))
            .or_else(|| type_by_name(name).map(|ty| Type::Type(Some(ty.into()))))
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        // A variable may have a dotted name (`authorizer.requestResource`): the longest name wins, as in cel-go.
        if let Some(name) = expr.qualified_name()
            && let Some(variable) = self.env.variable(&name)
            && !name.split('.').next().is_some_and(|root| self.scope.iter().any(|(local, _)| local == root))
        {
            let ty = variable.ty.clone();
            expr.kind = Kind::Ident(name);
            return ty;
        }
        // `net.IP` is a type, unless `net` is a variable.
        if let Some(name) = expr.qualified_name()
            && type_by_name(&name).is_some()
            && name.split('.').next().is_some_and(|root| self.name(root).is_none())
        {
            let ty = self.name(&name).unwrap_or(Type::Dyn);
            expr.kind = Kind::Ident(name);
            return ty;
        }
        let id = expr.id;
        let Kind::Select { operand, field, test } = &mut expr.kind else { return Type::Error };
        let (field, test) = (field.clone(), *test);
        let ty = self.field_of(id, operand, &field, false);
        if test { Type::Bool } else { ty }
    }

    /// The type of a field of an operand. An optional operand, or `.?`, makes it optional.
    fn field_of(&mut self, id: u64, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let operand = self.expr(operand);
        let operand = self.bindings.resolve(&operand, false);
        let (target, was_optional) = match &operand {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let ty = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.field(field) {
                Some(ty) => ty,
                None => {
                    self.error(id, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Var(_) | Type::Param(_) => {
                self.bindings.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Any | Type::Error => Type::Dyn,
            other => {
                self.error(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if was_optional || optional { Type::optional(ty) } else { ty }
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.expr(&mut fold.range);
        let accu = self.expr(&mut fold.init);
        let range = self.bindings.resolve(&range, false);
        let depth = self.scope.len();
        self.scope.push((fold.accu.clone(), accu.clone()));
        let two = fold.var2.is_some();
        let (var, var2) = match &range {
            Type::List(item) if two => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Var(_) | Type::Param(_) => {
                self.bindings.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.error(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.scope.push((fold.var.clone(), var));
        if let Some(name) = &fold.var2 {
            self.scope.push((name.clone(), var2));
        }
        let cond = self.expr(&mut fold.cond);
        self.expect(fold.cond.id, &Type::Bool, &cond);
        let step = self.expr(&mut fold.step);
        self.expect(fold.step.id, &accu, &step);
        self.scope.truncate(depth + 1);
        let result = self.expr(&mut fold.result);
        self.scope.truncate(depth);
        self.bindings.resolve(&result, false)
    }

    fn opt_map(&mut self, id: u64, target: &mut Expr, var: &str, body: &mut Expr, flat: bool) -> Type {
        let target_type = self.expr(target);
        let target_type = self.bindings.resolve(&target_type, false);
        let inner = self.bindings.fresh();
        if !self.bindings.assign(&target_type, &Type::optional(inner.clone())) {
            let shown = self.bindings.resolve(&target_type, true);
            self.error(id, format!("found no matching overload for 'hasValue' applied to '{shown}.()'"));
            return Type::Error;
        }
        self.scope.push((var.to_owned(), self.bindings.resolve(&inner, false)));
        let body_type = self.expr(body);
        self.scope.pop();
        if !flat {
            return Type::optional(self.bindings.resolve(&body_type, false));
        }
        let result = self.bindings.fresh();
        if !self.bindings.assign(&body_type, &Type::optional(result.clone())) {
            let shown = self.bindings.resolve(&body_type, true);
            let message = format!(
                "found no matching overload for '_?_:_' applied to '(bool, {shown}, optional_type(dyn))'"
            );
            self.error(id, message);
            return Type::Error;
        }
        self.bindings.resolve(&Type::optional(result), false)
    }

    /// Reports a type that does not agree with what is expected.
    fn expect(&mut self, id: u64, expected: &Type, found: &Type) {
        if !self.bindings.assign(expected, found) {
            let (expected, found) =
                (self.bindings.resolve(expected, false), self.bindings.resolve(found, false));
            self.error(id, format!("expected type '{expected}' but found '{found}'"));
        }
    }

    fn undeclared(&mut self, id: u64, name: &str) -> Type {
        self.error(id, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn error(&mut self, id: u64, message: String) {
        let (line, column) = self.places.of(id);
        self.errors.push(CompileError { line, column, message });
    }
}

fn literal_type(value: &Value<'_>) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        _ => Type::Dyn,
    }
}

/// The types that expressions can name.
pub(crate) fn type_by_name(name: &str) -> Option<Type> {
    let dynamic = || Type::Dyn;
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "type" => Type::Type(None),
        "list" => Type::list(dynamic()),
        "map" => Type::map(dynamic(), dynamic()),
        "optional_type" => Type::optional(dynamic()),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        _ => Type::Opaque(crate::library::TYPES.iter().find(|known| **known == name)?),
    })
}
