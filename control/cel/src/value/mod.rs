//! Values: what expressions read and produce.
//!
//! Enters: JSON by reference, with or without a schema. Leaves: a [`Value`], which borrows from that JSON and converts a
//! field only when it is read: evaluating on a large object copies nothing of it. Callers: the evaluator, the libraries,
//! and whoever supplies variables or reads results.

pub(crate) mod equal;
pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod map;
pub(crate) mod time;

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use xebec_api::quantity::Quantity;

pub use list::List;
pub use map::{Map, Object};
pub use time::Instant;

use crate::library::authz::{Decision, Stage};
use crate::library::format::NamedFormat;
use crate::library::net::Cidr;

/// A value. `'a` is the lifetime of the JSON it reads from.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A double.
    Double(f64),
    /// A string.
    String(Str<'a>),
    /// Octets.
    Bytes(Arc<[u8]>),
    /// An instant.
    Timestamp(Instant),
    /// A span of time, in nanoseconds.
    Duration(i64),
    /// A list.
    List(List<'a>),
    /// A map, or an object read from JSON.
    Map(Map<'a>),
    /// An object that an expression made: `Object{..}`, `JSONPatch{..}`.
    Object(Arc<Object<'a>>),
    /// A value that may be absent.
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name at run time.
    Type(Arc<str>),
    /// A value of one of Kubernetes' libraries.
    Opaque(Opaque),
}

/// The values of Kubernetes' libraries.
#[derive(Clone, Debug)]
pub enum Opaque {
    /// `quantity("1Gi")`.
    Quantity(Quantity),
    /// `url("https://..")`.
    Url(Arc<crate::library::url::ParsedUrl>),
    /// `ip("10.0.0.1")`.
    Ip(IpAddr),
    /// `cidr("10.0.0.0/8")`.
    Cidr(Cidr),
    /// `semver("1.2.3")`.
    Semver(Arc<semver::Version>),
    /// `format.dns1123Label()`.
    Format(&'static NamedFormat),
    /// The authorizer, or a check that is being built.
    Authorizer(Arc<Stage>),
    /// What a check answered.
    Decision(Arc<Decision>),
}

/// A string that is borrowed from the input or shared.
#[derive(Clone)]
pub enum Str<'a> {
    /// Part of the input.
    Borrowed(&'a str),
    /// Made by the expression.
    Shared(Arc<str>),
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Str::Borrowed(s) => s,
            Str::Shared(s) => s,
        }
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(s: &'a str) -> Self {
        Value::String(Str::Borrowed(s))
    }
}

impl From<String> for Value<'_> {
    fn from(s: String) -> Self {
        Value::String(Str::Shared(s.into()))
    }
}

impl From<bool> for Value<'_> {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<i64> for Value<'_> {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}

impl<'a> Value<'a> {
    /// A list of these values.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(List::Owned(Arc::new(items)))
    }

    /// The optional that holds `value`.
    pub fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Arc::new(value)))
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The name of its type at run time, as `type()` and messages show it.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Object(object) => &object.type_name,
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// The size that costs are reckoned with: characters, octets, items or entries; 1 for what has no size.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Value::String(s) => s.chars().count() as u64,
            Value::Bytes(b) => b.len() as u64,
            Value::List(list) => list.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Optional(Some(value)) => value.cost_size(),
            Value::Opaque(Opaque::Ip(ip)) => ip_octets(ip),
            Value::Opaque(Opaque::Cidr(cidr)) => u64::from(cidr.bits).div_ceil(8),
            _ => 1,
        }
    }

    /// Whether it is its type's zero, which `optional.ofNonZeroValue` takes for nothing.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Int(n) => *n == 0,
            Value::Uint(n) => *n == 0,
            Value::Double(n) => *n == 0.0,
            Value::String(s) => s.is_empty(),
            Value::Bytes(b) => b.is_empty(),
            Value::Duration(d) => *d == 0,
            Value::Timestamp(t) => t.is_zero(),
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
            Value::Object(object) => object.fields.is_empty(),
            Value::Optional(value) => value.is_none(),
            Value::Type(_) | Value::Opaque(_) => false,
        }
    }
}

fn ip_octets(ip: &IpAddr) -> u64 {
    if ip.is_ipv4() { 4 } else { 16 }
}

impl Opaque {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Opaque::Quantity(_) => "kubernetes.Quantity",
            Opaque::Url(_) => "kubernetes.URL",
            Opaque::Ip(_) => "net.IP",
            Opaque::Cidr(_) => "net.CIDR",
            Opaque::Semver(_) => "kubernetes.Semver",
            Opaque::Format(_) => "kubernetes.NamedFormat",
            Opaque::Authorizer(stage) => stage.type_name(),
            Opaque::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}
