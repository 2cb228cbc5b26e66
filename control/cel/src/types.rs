//! The types of the language: what the checker reasons with and what its messages print.
//!
//! Enters: declarations of variables and fields. Leaves: a [`Type`], printed as cel-go prints it (`map(string, int)`).
//! Callers: every module of this crate; outside it, whoever declares variables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type. Authority: the language definition, "Values" and "Gradual type checking".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// What a failed check leaves behind, so that one mistake is reported once. Agrees with every type.
    Error,
    /// Known only at run time. Agrees with every type.
    Dyn,
    /// Known only at run time too, and told apart from [`Type::Dyn`] by its name alone: what devices' attributes are
    /// declared as (`google.protobuf.Any`). No macro goes over it.
    Any,
    /// The type of `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// An unsigned 64-bit integer.
    Uint,
    /// An IEEE 754 double.
    Double,
    /// A sequence of Unicode code points.
    String,
    /// A sequence of octets.
    Bytes,
    /// An instant, in nanoseconds, years 1 to 9999.
    Timestamp,
    /// A signed span of time, in nanoseconds.
    Duration,
    /// The type of types; with a parameter where it is known which.
    Type(Option<Arc<Type>>),
    /// A list of one element type.
    List(Arc<Type>),
    /// A map of one key and one value type.
    Map(Arc<Type>, Arc<Type>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// An object with named fields; equal by name.
    Object(Arc<ObjectType>),
    /// A type of a library, by its name, such as `net.IP` or `kubernetes.URL`.
    Opaque(&'static str),
    /// A type variable of a signature (`A` of `list(A)`).
    Param(char),
    /// A type variable of the checker, bound while it runs.
    Var(u32),
}

/// An object type: a name, and a type for each field (names escaped as [`crate::escape`] does).
#[derive(Clone, Debug)]
pub struct ObjectType {
    /// The full name; two object types of one name are the same type.
    pub name: String,
    /// The fields.
    pub fields: Fields,
}

/// The fields of an object type.
#[derive(Clone, Debug)]
pub enum Fields {
    /// Exactly these.
    Known(BTreeMap<String, Type>),
    /// Any name, each of type `dyn`: the objects of a mutation, whose schema is not known when it is compiled.
    Any,
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ObjectType {}

impl ObjectType {
    /// The type of a field, if the object has it.
    pub fn field(&self, name: &str) -> Option<Type> {
        match &self.fields {
            Fields::Known(fields) => fields.get(name).cloned(),
            Fields::Any => Some(Type::Dyn),
        }
    }
}

impl Type {
    /// A list of `element`s.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    /// A map from `key` to `value`.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    /// An optional `value`.
    pub fn optional(value: Type) -> Type {
        Type::Optional(Arc::new(value))
    }

    /// An object type with exactly these fields.
    pub fn object(name: impl Into<String>, fields: impl IntoIterator<Item = (String, Type)>) -> Type {
        let fields = Fields::Known(fields.into_iter().collect());
        Type::Object(Arc::new(ObjectType { name: name.into(), fields }))
    }

    /// The type that a schema's values have; `dyn` where upstream exposes none. See [`crate::Decl::from_schema`], which
    /// also says how large the values can be and makes values of that type.
    pub fn from_schema(schema: &serde_json::Value) -> Type {
        crate::decl::Decl::from_schema(schema, "selfType", false).map_or(Type::Dyn, |decl| decl.type_of())
    }

    /// Whether anything may stand here as far as the checker is concerned.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Any)
    }

    /// The parameters, for substitution and unification.
    pub(crate) fn parameters(&self) -> Vec<&Type> {
        match self {
            Type::List(t) | Type::Optional(t) => vec![t],
            Type::Type(Some(t)) => vec![t],
            Type::Map(k, v) => vec![k, v],
            _ => Vec::new(),
        }
    }

    /// The same type with each parameter replaced by `f` of it.
    pub(crate) fn map_parameters(&self, f: &mut dyn FnMut(&Type) -> Type) -> Type {
        match self {
            Type::List(t) => Type::list(f(t)),
            Type::Optional(t) => Type::optional(f(t)),
            Type::Type(Some(t)) => Type::Type(Some(Arc::new(f(t)))),
            Type::Map(k, v) => {
                let key = f(k);
                Type::map(key, f(v))
            }
            other => other.clone(),
        }
    }

    /// Whether a value of it has one size, whatever it is; sizes of others are estimated.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
            Type::Optional(t) => t.is_scalar(),
            _ => false,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Error => f.write_str("!error!"),
            Type::Dyn => f.write_str("dyn"),
            Type::Any => f.write_str("any"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Type(None) => f.write_str("type"),
            Type::Type(Some(t)) => write!(f, "type({t})"),
            Type::List(t) => write!(f, "list({t})"),
            Type::Map(k, v) => write!(f, "map({k}, {v})"),
            Type::Optional(t) => write!(f, "optional_type({t})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Opaque(name) => f.write_str(name),
            Type::Param(name) => write!(f, "{name}"),
            Type::Var(n) => write!(f, "_var{n}"),
        }
    }
}
