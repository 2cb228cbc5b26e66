//! Calls: which function a name means, and which of its overloads take the arguments.

use std::sync::Arc;

use super::Checker;
use crate::ast::{Expr, Kind};
use crate::function::{Function, Overload};
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Call { target, function, args } = &mut expr.kind else { return Type::Error };
        if function == "_?._" {
            return self.optional_select(id, args);
        }
        let mut arg_types: Vec<Type> = args.iter_mut().map(|arg| self.expr(arg)).collect();
        let Some(receiver) = target else {
            let name = function.strip_prefix('.').unwrap_or(function).to_owned();
            let Some(found) = self.env.functions.get(&name).cloned() else {
                return self.undeclared(id, &name);
            };
            *function = name;
            return self.overload(id, &found, false, args, &arg_types);
        };
        // `optional.of(1)` is a function with a dot in its name; `x.of(1)` would be a call on `x`.
        if let Some(prefix) = receiver.qualified_name() {
            let name = format!("{prefix}.{function}");
            let name = name.strip_prefix('.').unwrap_or(&name).to_owned();
            if let Some(found) = self.env.functions.get(&name).cloned() {
                *function = name;
                *target = None;
                return self.overload(id, &found, false, args, &arg_types);
            }
        }
        let receiver_type = self.expr(receiver);
        arg_types.insert(0, receiver_type);
        let name = function.clone();
        match self.env.functions.get(&name).cloned() {
            Some(found) => self.overload(id, &found, true, args, &arg_types),
            None => self.undeclared(id, &name),
        }
    }

    /// `operand.?field`.
    fn optional_select(&mut self, id: u64, args: &mut [Expr]) -> Type {
        let [operand, field] = args else {
            self.error(
                id,
                format!(
                    "unsupported optional field selection: incorrect signature. argument count: {}",
                    args.len()
                ),
            );
            return Type::Error;
        };
        let Some(name) = field.as_string().cloned() else {
            let field = field.id;
            self.error(field, "unsupported optional field selection".to_owned());
            return Type::Error;
        };
        self.types.insert(field.id, Type::String);
        let ty = self.field_of(id, operand, &name, true);
        self.overloads.insert(id, vec!["select_optional_field"]);
        self.bindings.resolve(&ty, false)
    }

    fn overload(
        &mut self,
        id: u64,
        function: &Function,
        member: bool,
        args: &[Expr],
        types: &[Type],
    ) -> Type {
        if matches!(function.name.as_str(), "_&&_" | "_||_") {
            return self.logic(id, function, args, types);
        }
        let mut result: Option<Type> = None;
        let mut fitting = Vec::new();
        for overload in function.overloads.iter().filter(|overload| overload.member == member) {
            let (parameters, ty) = self.instantiate(overload);
            let given: Vec<&Type> = types.iter().collect();
            let wanted: Vec<&Type> = parameters.iter().collect();
            if !self.bindings.assign_all(&given, &wanted) {
                continue;
            }
            fitting.push(overload.id);
            let ty = self.bindings.resolve(&ty, false);
            result = Some(match result {
                None => ty,
                Some(first) if first.is_dyn() || first == ty => first,
                Some(_) => Type::Dyn,
            });
        }
        match result {
            Some(ty) => {
                self.overloads.insert(id, fitting);
                ty
            }
            None => {
                self.no_overload(id, &function.name, types, member);
                Type::Error
            }
        }
    }

    fn logic(&mut self, id: u64, function: &Function, args: &[Expr], types: &[Type]) -> Type {
        let mut wrong = false;
        for (arg, ty) in args.iter().zip(types) {
            if !self.bindings.assign(ty, &Type::Bool) {
                let shown = self.bindings.resolve(ty, false);
                self.error(arg.id, format!("expected type 'bool' but found '{shown}'"));
                wrong = true;
            }
        }
        if wrong {
            return Type::Error;
        }
        self.overloads.insert(id, function.overloads.iter().map(|overload| overload.id).collect());
        Type::Bool
    }

    /// The parameters and the result of an overload, with variables of their own for its type parameters.
    fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let mut names: Vec<(char, Type)> = Vec::new();
        let args = overload.args.iter().map(|arg| self.replace(arg, &mut names)).collect();
        let result = self.replace(&overload.result, &mut names);
        (args, result)
    }

    fn replace(&mut self, ty: &Type, names: &mut Vec<(char, Type)>) -> Type {
        match ty {
            Type::Param(name) => match names.iter().find(|(known, _)| known == name) {
                Some((_, variable)) => variable.clone(),
                None => {
                    let variable = self.bindings.fresh();
                    names.push((*name, variable.clone()));
                    variable
                }
            },
            Type::List(t) => Type::List(Arc::new(self.replace(t, names))),
            Type::Optional(t) => Type::Optional(Arc::new(self.replace(t, names))),
            Type::Type(Some(t)) => Type::Type(Some(Arc::new(self.replace(t, names)))),
            Type::Map(k, v) => {
                let key = self.replace(k, names);
                Type::map(key, self.replace(v, names))
            }
            other => other.clone(),
        }
    }

    fn no_overload(&mut self, id: u64, name: &str, types: &[Type], member: bool) {
        let shown: Vec<String> = types.iter().map(|ty| self.bindings.resolve(ty, true).to_string()).collect();
        let (receiver, args) = match (member, shown.split_first()) {
            (true, Some((receiver, args))) => (format!("{receiver}."), args),
            _ => (String::new(), &shown[..]),
        };
        let signature = format!("{receiver}({})", args.join(", "));
        self.error(id, format!("found no matching overload for '{name}' applied to '{signature}'"));
    }
}
