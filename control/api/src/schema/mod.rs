//! Decoding checks: unknown fields, duplicates, wrong types; and pruning, as decoding into Go's types does.
//!
//! Enters: request bodies and the kind they claim. Leaves: [`Finding`]s with upstream's texts, or a cleaned object.
//! Called by the server before defaults and validation (`fieldValidation=Strict|Warn|Ignore`).
//! Kinds outside the table (custom resources) yield no findings and are left as they are.

mod check;
mod parse;
mod prune;

pub(crate) use check::decode_base64;
pub use check::{check, check_message};
pub use parse::{ParseError, parse_json, parse_json_strict, parse_yaml};
pub use prune::prune_unknown;

use crate::gotext::quote;
use serde_json::Value;
use std::fmt;

/// How deep an accepted object may nest; below what any JSON reader refuses, lists and watch frames around it included.
pub const MAX_DEPTH: usize = 100;

/// Something strict decoding objects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A field the type does not have; dropped unless validation is strict.
    Unknown {
        /// `spec.containers[0].foo`
        path: String,
    },
    /// A field given twice; the last one counts unless validation is strict.
    Duplicate {
        /// `metadata.labels.app`
        path: String,
    },
    /// A value of the wrong type: always refused.
    WrongType {
        /// `Container.spec.containers.ports`: the Go structure and the field path without indices.
        path: String,
        /// The Go type that was expected.
        expected: String,
        /// What was there: `string`, `number 1.5`, `object`.
        got: String,
    },
    /// A value of the right type that cannot be read (a quantity, a time, base64): always refused.
    Malformed {
        /// The field's path.
        path: String,
        /// What the reader said.
        message: String,
    },
}

impl Finding {
    /// Whether the object is refused even when validation is not strict.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::WrongType { .. } | Self::Malformed { .. })
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        match self {
            Self::Unknown { path }
            | Self::Duplicate { path }
            | Self::WrongType { path, .. }
            | Self::Malformed { path, .. } => path,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { path } => write!(f, "unknown field {}", quote(path)),
            Self::Duplicate { path } => write!(f, "duplicate field {}", quote(path)),
            Self::WrongType { path, expected, got } if path.is_empty() => {
                write!(f, "json: cannot unmarshal {got} into Go value of type {expected}")
            }
            Self::WrongType { path, expected, got } => {
                write!(f, "json: cannot unmarshal {got} into Go struct field {path} of type {expected}")
            }
            Self::Malformed { message, .. } => f.write_str(message),
        }
    }
}

/// `strict decoding error: unknown field "a", duplicate field "b"`, from what is not fatal; `None` if there is none.
pub fn strict_error(findings: &[Finding]) -> Option<String> {
    let texts: Vec<String> = findings.iter().filter(|f| !f.is_fatal()).map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| format!("strict decoding error: {}", texts.join(", ")))
}

/// The message of the 400 for a body that cannot be decoded, in upstream's words.
///
/// `Deployment in version "v1" cannot be handled as a Deployment: <reason>`
pub fn cannot_be_handled(kind: &str, version: &str, reason: impl fmt::Display) -> String {
    format!("{kind} in version {} cannot be handled as a {kind}: {reason}", quote(version))
}

/// Whether a value nests no deeper than [`MAX_DEPTH`]. Patches and protobuf can build what no JSON reader would accept.
pub fn is_shallow(value: &Value) -> bool {
    fn within(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(list) => left > 0 && list.iter().all(|v| within(v, left - 1)),
            Value::Object(map) => left > 0 && map.values().all(|v| within(v, left - 1)),
            _ => true,
        }
    }
    within(value, MAX_DEPTH)
}
