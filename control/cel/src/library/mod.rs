//! The functions: the language's own, the extensions that Kubernetes enables, and Kubernetes' libraries.
//!
//! Each file lists its overloads as [`crate::function::Def`]s; a `!` in a signature stands between the receiver and the
//! name. Overload ids are cel-go's and Kubernetes', because costs are told apart by them.

pub(crate) mod authz;
pub(crate) mod format;
pub(crate) mod formatting;
pub(crate) mod jsonpatch;
mod lists;
mod lists_ext;
pub(crate) mod net;
mod operators;
mod optional;
mod quantity;
pub(crate) mod regex;
mod semver;
mod sets;
pub(crate) mod standard;
mod strings;
mod time;
pub(crate) mod url;

use crate::error::{EvalError, EvalResult};
use crate::function::Def;
use crate::value::{List, Opaque, Value};

/// The libraries that every environment has.
pub(crate) const ALL: &[&[Def]] = &[
    operators::DEFS,
    standard::DEFS,
    time::DEFS,
    optional::DEFS,
    strings::DEFS,
    lists::DEFS,
    lists_ext::DEFS,
    sets::DEFS,
    regex::DEFS,
    url::DEFS,
    net::DEFS,
    quantity::DEFS,
    semver::DEFS,
    format::DEFS,
    authz::DEFS,
];

/// The types of the libraries, which expressions can name.
pub(crate) const TYPES: &[&str] = &[
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "net.IP",
    "net.CIDR",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

/// The arguments of an overload, read by type. The dispatch has matched them; a mismatch is an overload error all the same.
pub(crate) trait Args<'a> {
    fn value(&self, at: usize) -> EvalResult<&Value<'a>>;

    fn string<'s>(&'s self, at: usize) -> EvalResult<&'s str>
    where
        'a: 's,
    {
        match self.value(at)? {
            Value::String(s) => Ok(s),
            _ => Err(EvalError::no_overload()),
        }
    }

    fn int(&self, at: usize) -> EvalResult<i64> {
        match self.value(at)? {
            Value::Int(n) => Ok(*n),
            _ => Err(EvalError::no_overload()),
        }
    }

    fn list(&self, at: usize) -> EvalResult<&List<'a>> {
        match self.value(at)? {
            Value::List(list) => Ok(list),
            _ => Err(EvalError::no_overload()),
        }
    }

    fn opaque<'s>(&'s self, at: usize) -> EvalResult<&'s Opaque>
    where
        'a: 's,
    {
        match self.value(at)? {
            Value::Opaque(opaque) => Ok(opaque),
            _ => Err(EvalError::no_overload()),
        }
    }
}

impl<'a> Args<'a> for [Value<'a>] {
    fn value(&self, at: usize) -> EvalResult<&Value<'a>> {
        self.get(at).ok_or_else(EvalError::no_overload)
    }
}

/// The longest string that a function makes, in octets. Costs bound what is read, not what is made.
const MAX_STRING: usize = 16 << 20;

/// Refuses to make a string that is too long.
pub(crate) fn bounded(len: usize) -> EvalResult<()> {
    if len > MAX_STRING { Err(EvalError::CostLimit) } else { Ok(()) }
}
