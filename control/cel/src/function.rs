//! Functions: their overloads, written as signatures, and the tables that the checker and the evaluator read.
//!
//! A library is a list of [`Def`]s such as `("string_to_quantity", "quantity(string): kubernetes.Quantity", run)`; a
//! receiver is written in front, `list(int)!isSorted(): bool`. Signatures are read once, when the library is first used.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{EvalError, EvalResult};
use crate::eval::Ctx;
use crate::types::Type;
use crate::value::Value;

/// What an overload does.
pub(crate) type Run = for<'a> fn(&mut Ctx, &[Value<'a>]) -> EvalResult<Value<'a>>;

/// One line of a library: the overload's id, its signature, what it does.
pub(crate) type Def = (&'static str, &'static str, Run);

/// One signature of a function.
#[derive(Clone, Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    /// Whether the first argument is written in front of the name.
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) run: Run,
}

/// A function with its overloads, in the order in which they are tried.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) overloads: Vec<Overload>,
}

/// The functions of an environment by name.
pub(crate) type Functions = HashMap<String, Arc<Function>>;

/// Reads the definitions into a table.
pub(crate) fn table(libraries: &[&[Def]]) -> Functions {
    let mut out: HashMap<String, Function> = HashMap::new();
    for (id, signature, run) in libraries.iter().copied().flatten() {
        let (name, overload) = read(id, signature, *run);
        let function = out.entry(name.clone()).or_insert_with(|| Function { name, overloads: Vec::new() });
        function.overloads.push(overload);
    }
    out.into_iter().map(|(name, function)| (name, Arc::new(function))).collect()
}

/// Reads `receiver!name(args): result`; names may have dots, so a mark of its own stands after a receiver.
fn read(id: &'static str, signature: &'static str, run: Run) -> (String, Overload) {
    let (head, result) = signature.rsplit_once(": ").unwrap_or((signature, "dyn"));
    let open = matching_open(head);
    let (path, args) = (&head[..open], &head[open + 1..head.len() - 1]);
    let mut args: Vec<Type> = split(args).into_iter().map(read_type).collect();
    // An operator (`!_`, `_!=_`) has no receiver in front of its mark.
    let mark =
        path.find('!').filter(|at| path[..*at].ends_with(|c: char| c == ')' || c.is_ascii_alphanumeric()));
    let (receiver, name) = match mark {
        Some(at) => (Some(&path[..at]), &path[at + 1..]),
        None => (None, path),
    };
    if let Some(receiver) = receiver {
        args.insert(0, read_type(receiver));
    }
    (name.to_owned(), Overload { id, member: receiver.is_some(), args, result: read_type(result), run })
}

/// The opening bracket of the last bracket pair.
fn matching_open(head: &str) -> usize {
    let mut depth = 0;
    for (at, c) in head.char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    0
}

fn split(args: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in args.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(args[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !args.trim().is_empty() {
        out.push(args[start..].trim());
    }
    out
}

fn read_type(text: &'static str) -> Type {
    let inner = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')'));
    if let Some(inner) = inner("list(") {
        return Type::list(read_type(inner));
    }
    if let Some(inner) = inner("optional(") {
        return Type::optional(read_type(inner));
    }
    if let Some(inner) = inner("type(") {
        return Type::Type(Some(Arc::new(read_type(inner))));
    }
    if let Some(inner) = inner("map(") {
        let parts = split(inner);
        return Type::map(read_type(parts[0]), read_type(parts[1]));
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Type(None),
        _ if text.len() == 1 => Type::Param(text.chars().next().unwrap_or('A')),
        opaque => Type::Opaque(opaque),
    }
}

impl Overload {
    /// Whether values of these types, as far as their own kind tells, may be its arguments.
    pub(crate) fn accepts(&self, args: &[Value<'_>]) -> bool {
        self.args.len() == args.len() && self.args.iter().zip(args).all(|(ty, value)| matches(ty, value))
    }
}

fn matches(ty: &Type, value: &Value<'_>) -> bool {
    match (ty, value) {
        (Type::Dyn | Type::Any | Type::Param(_) | Type::Var(_) | Type::Error, _) => true,
        (Type::Null, Value::Null)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::Type(_), Value::Type(_))
        | (Type::Optional(_), Value::Optional(_)) => true,
        (Type::Map(..), Value::Map(_)) => true,
        (Type::Object(object), Value::Object(value)) => object.name == *value.type_name,
        (Type::Object(_), Value::Map(_)) => true,
        (Type::Opaque(name), Value::Opaque(value)) => *name == value.type_name(),
        // A list of a known element type is told by its first item, as cel-go does to choose among list(int) and others.
        (Type::List(item), Value::List(list)) => match list.is_empty() {
            true => true,
            false => match list.get(0) {
                Ok(first) => matches(item, &first),
                Err(_) => true,
            },
        },
        _ => false,
    }
}

impl Function {
    /// Runs the overload that takes these arguments, among those of one call style. `only` is the overload that the
    /// checker chose, if it chose one alone.
    pub(crate) fn call<'a>(
        &self,
        ctx: &mut Ctx,
        member: bool,
        only: Option<&'static str>,
        args: &[Value<'a>],
    ) -> EvalResult<Value<'a>> {
        let fits = |overload: &&Overload| overload.member == member && overload.accepts(args);
        let chosen = match only {
            Some(id) => self.overloads.iter().find(|o| o.id == id && fits(o)),
            None => None,
        };
        match chosen.or_else(|| self.overloads.iter().find(fits)) {
            Some(overload) => (overload.run)(ctx, args),
            None => Err(EvalError::NoSuchOverload(describe(&self.name, args))),
        }
    }
}

/// `: name(type, type)`, what follows "no such overload" for a call that found none; nothing for operators.
fn describe(name: &str, args: &[Value<'_>]) -> String {
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return String::new();
    }
    let types: Vec<&str> = args.iter().map(Value::type_name).collect();
    format!(": {name}({})", types.join(", "))
}
