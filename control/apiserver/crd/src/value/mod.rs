//! Is this value what the schema says? With upstream's messages, down to their order.
//!
//! Enters: a value, its schema and, on an update, the value before. Leaves: field errors. Called by
//! [`crate::resource`] for objects and by [`crate::definition`] for defaults.
//!
//! Authority: k8s.io/kube-openapi, pkg/validation (messages, order, which alternative of an `anyOf` is reported) and
//! apiextensions-apiserver, pkg/apiserver/validation (field errors, ratcheting: KEP-4008).

mod check;
pub(crate) mod correlate;
mod formats;
mod lists;
mod numbers;
mod outcome;
mod place;
mod strings;

#[cfg(test)]
mod tests;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::schema::Schema;

pub use correlate::Correlated;
pub use formats::unrecognized_format;
pub use lists::list_errors;
pub use numbers::go_float;

/// More errors than anyone reads; what is beyond is counted, not listed.
pub const MAX_ERRORS: usize = 1000;

/// The errors of a value that was not there before. `path` is where the value stands, the root for a whole object.
pub fn errors(value: &Value, schema: &Schema, path: &Path) -> Vec<FieldError> {
    outcome::field_errors(check::value(value, schema, None), path)
}

/// The errors of a changed value: those in parts that have not changed are forgiven.
///
/// `was` pairs the value with the one before, by the structure of `schema`.
pub fn update_errors(
    value: &Value,
    schema: &Schema,
    was: Option<Correlated<'_>>,
    path: &Path,
) -> Vec<FieldError> {
    outcome::field_errors(check::value(value, schema, was), path)
}

/// Whether the value is what the schema says.
pub fn is_valid(value: &Value, schema: &Schema) -> bool {
    errors(value, schema, &Path::root()).is_empty()
}
