//! Bringing a value into the shape of its schema: what decoding into a Go type does for built-in kinds.
//!
//! Enters: a value as the client or the store has it. Leaves: the value without unknown fields and nulls that mean
//! nothing, with metadata that is metadata, and with defaults; and the paths of what was dropped. Called by
//! [`crate::resource::CustomStrategy`].
//!
//! Authority: apiextensions-apiserver, pkg/apiserver/schema/{pruning,defaulting,objectmeta} and
//! unstructuredSchemaCoercer in customresource_handler.go.

mod defaults;
mod embedded;
mod metadata;
mod numbers;
mod prune;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::schema::Schema;

pub use defaults::{apply_defaults, drop_nulls, prune_defaults};
pub use embedded::embedded_errors;
pub(crate) use metadata::coerce;
pub use prune::prune;

/// What happens to metadata that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMetadata {
    /// The object is refused: it comes from a client.
    Refuse,
    /// The bad fields are dropped: it comes from the store, maybe from long ago.
    Drop,
}

/// Why a value cannot be an object of its kind; a 400 for a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Something is of the wrong type, in the words of Go's decoder.
    #[error("{0}")]
    Malformed(String),
    /// An embedded object's metadata is not metadata.
    #[error("{0}")]
    Embedded(String),
}

/// Brings an object into shape, without defaults: the paths of unknown fields, those of the metadata first, then
/// sorted. `schema` is `None` for a version without one, which has no known fields but metadata.
pub fn decode(
    value: &mut Value,
    schema: Option<&Schema>,
    bad: BadMetadata,
) -> Result<Vec<String>, ShapeError> {
    for field in ["kind", "apiVersion"] {
        if let Some(other) = value.get(field).filter(|value| !value.is_string()) {
            let message = format!(
                ".{field} accessor error: {other} is of the type {}, expected string",
                go_type(other)
            );
            return Err(ShapeError::Malformed(message));
        }
    }
    numbers::canonical(value);
    let mut unknown = metadata::of_object(value, bad)?;
    unknown.extend(prune(value, &Schema::as_resource(schema)));
    if let Some(schema) = schema {
        drop_nulls(value, schema);
        unknown.extend(coerce(value, schema, bad)?);
    }
    Ok(unknown)
}

/// The name of a value's type in Go's unstructured objects.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
