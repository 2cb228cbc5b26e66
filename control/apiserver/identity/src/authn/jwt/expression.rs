//! CEL expressions over claims and users.
//!
//! Enters: the expression's text and the name of its one variable. Leaves: something that turns a JSON value into
//! another. Compiled once, when the configuration is read.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::authn::config::ConfigError;

/// A compiled expression.
pub(super) struct Compiled {}

impl Compiled {
    /// The expression's value for this subject.
    pub(super) fn eval(&self, _subject: &Value) -> Result<Value, String> {
        Err("not compiled".to_owned())
    }
}

/// Compiles an expression over `variable`; `at` is its field.
pub(super) fn compile(expression: &str, _variable: &'static str, at: &Path) -> Result<Compiled, ConfigError> {
    let error =
        FieldError::invalid(at, expression, "expressions are not supported by this build; use a claim");
    Err(ConfigError::Fields(vec![error]))
}
