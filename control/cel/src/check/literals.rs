//! Literals of lists, maps and objects.

use super::Checker;
use super::unify::less_specific;
use crate::ast::{Entry, Expr, Field};
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn list(&mut self, items: &mut [Expr], optional: &[bool]) -> Type {
        let mut joined: Option<Type> = None;
        for (item, optional) in items.iter_mut().zip(optional) {
            let mut ty = self.expr(item);
            if *optional {
                ty = self.unwrap(item.id, ty);
            }
            joined = Some(self.join(joined, ty));
        }
        Type::list(joined.unwrap_or_else(|| self.bindings.fresh()))
    }

    pub(super) fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values): (Option<Type>, Option<Type>) = (None, None);
        for entry in entries {
            let key = self.expr(&mut entry.key);
            keys = Some(self.join(keys, key));
            let mut value = self.expr(&mut entry.value);
            if entry.optional {
                value = self.unwrap(entry.value.id, value);
            }
            values = Some(self.join(values, value));
        }
        let keys = keys.unwrap_or_else(|| self.bindings.fresh());
        Type::map(keys, values.unwrap_or_else(|| self.bindings.fresh()))
    }

    pub(super) fn object(&mut self, id: u64, name: &str, fields: &mut [Field]) -> Type {
        let Some(object) = self.env.object_type(name.strip_prefix('.').unwrap_or(name)) else {
            return self.undeclared(id, name);
        };
        for field in fields {
            let mut ty = self.expr(&mut field.value);
            let Some(wanted) = object.field(&field.name) else {
                self.error(field.id, format!("undefined field '{}'", field.name));
                continue;
            };
            if field.optional {
                ty = self.unwrap(field.value.id, ty);
            }
            if !self.bindings.assign(&wanted, &ty) {
                let found = self.bindings.resolve(&ty, false);
                let name = &field.name;
                let message =
                    format!("expected type of field '{name}' is '{wanted}' but provided type is '{found}'");
                self.error(field.id, message);
            }
        }
        Type::Object(object)
    }

    /// What an optional holds, for `?` in front of it in a literal.
    fn unwrap(&mut self, id: u64, ty: Type) -> Type {
        match self.bindings.resolve(&ty, false) {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn | Type::Any | Type::Error => ty,
            other => {
                self.error(id, format!("expected type 'optional_type({other})' but found '{other}'"));
                ty
            }
        }
    }

    /// The type of both, `dyn` if they differ; see [`super::validate`] for what Kubernetes makes of that.
    fn join(&mut self, before: Option<Type>, ty: Type) -> Type {
        let Some(before) = before else { return ty };
        if !self.bindings.assign(&before, &ty) {
            return Type::Dyn;
        }
        if less_specific(&before, &ty) { before } else { ty }
    }
}
