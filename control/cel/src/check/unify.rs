//! Agreement of types, and the variables that it binds.

use crate::types::Type;

/// The types that variables stand for so far.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    bound: Vec<Option<Type>>,
    /// What was overwritten, so that a failed attempt leaves nothing behind.
    trail: Vec<(usize, Option<Type>)>,
}

/// Whether a type can stand for a variable, and whether the variable already stood for one.
struct Substitution {
    valid: bool,
    had: bool,
}

impl Bindings {
    /// A variable that stands for no type yet.
    pub(super) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Var(self.bound.len() as u32 - 1)
    }

    /// Whether the types agree, binding variables so that they do. Binds nothing if they do not.
    pub(super) fn assign(&mut self, a: &Type, b: &Type) -> bool {
        self.assign_all(&[a], &[b])
    }

    /// Whether all pairs of types agree.
    pub(super) fn assign_all(&mut self, a: &[&Type], b: &[&Type]) -> bool {
        self.trail.clear();
        if a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.agree(a, b)) {
            return true;
        }
        while let Some((at, before)) = self.trail.pop() {
            self.bound[at] = before;
        }
        false
    }

    /// The type with variables replaced by what they stand for; those that stand for nothing become `dyn` if `finish`.
    pub(super) fn resolve(&self, ty: &Type, finish: bool) -> Type {
        match ty {
            Type::Var(at) => match self.find(*at) {
                Some(bound) => self.resolve(bound, finish),
                None if finish => Type::Dyn,
                None => ty.clone(),
            },
            other => other.map_parameters(&mut |parameter| self.resolve(parameter, finish)),
        }
    }

    fn find(&self, at: u32) -> Option<&Type> {
        self.bound.get(at as usize)?.as_ref()
    }

    fn bind(&mut self, at: u32, ty: Type) {
        let before = self.bound[at as usize].replace(ty);
        self.trail.push((at as usize, before));
    }

    fn agree(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Var(at) = b {
            let substitution = self.substitute(a, *at);
            if substitution.valid || substitution.had {
                return substitution.valid;
            }
        }
        if let Type::Var(at) = a {
            return self.substitute(b, *at).valid;
        }
        match (a, b) {
            (Type::Dyn | Type::Any | Type::Error, _) | (_, Type::Dyn | Type::Any | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(x), Type::List(y)) | (Type::Optional(x), Type::Optional(y)) => self.agree(x, y),
            (Type::Map(k, v), Type::Map(l, w)) => self.agree(k, l) && self.agree(v, w),
            // Object types of libraries are declared by name alone.
            (Type::Object(object), Type::Opaque(name)) | (Type::Opaque(name), Type::Object(object)) => {
                object.name == *name
            }
            _ => a == b,
        }
    }

    fn substitute(&mut self, ty: &Type, at: u32) -> Substitution {
        if *ty == Type::Var(at) {
            return Substitution { valid: true, had: true };
        }
        if let Some(bound) = self.find(at).cloned() {
            if bound == *ty {
                return Substitution { valid: true, had: true };
            }
            if !self.agree(ty, &bound) {
                return Substitution { valid: false, had: true };
            }
            let general = if less_specific(ty, &bound) { ty.clone() } else { bound };
            if !self.mentions(&general, at) {
                self.bind(at, general);
            }
            return Substitution { valid: true, had: true };
        }
        if self.mentions(ty, at) {
            return Substitution { valid: false, had: false };
        }
        self.bind(at, ty.clone());
        Substitution { valid: true, had: false }
    }

    /// Whether a variable occurs in a type.
    fn mentions(&self, ty: &Type, at: u32) -> bool {
        match ty {
            Type::Var(other) if *other == at => true,
            Type::Var(other) => self.find(*other).is_some_and(|bound| self.mentions(bound, at)),
            other => other.parameters().into_iter().any(|parameter| self.mentions(parameter, at)),
        }
    }
}

/// The types that null may stand for.
fn nullable(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Null | Type::Opaque(_) | Type::Optional(_) | Type::Object(_) | Type::Duration | Type::Timestamp
    )
}

/// Whether the first type covers the second.
pub(super) fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Any | Type::Var(_), _) => true,
        (_, Type::Dyn | Type::Any | Type::Var(_)) => false,
        (Type::Type(_), Type::Type(_)) => true,
        (Type::List(x), Type::List(y)) | (Type::Optional(x), Type::Optional(y)) => less_specific(x, y),
        (Type::Map(k, v), Type::Map(l, w)) => less_specific(k, l) && less_specific(v, w),
        _ => a == b,
    }
}
