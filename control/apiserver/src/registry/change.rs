//! What a write is made of and what comes out of it.

use serde_json::Value;
use xebec_api::status::ApiError;

/// Computes the wanted object from the present one (both in the stored version); called again after a lost race.
pub type Editor<'a> = dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync + 'a;

/// The result of a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object in its stored version, `resourceVersion` included.
    pub value: Value,
    /// Whether it did not exist before.
    pub created: bool,
    /// Whether the write removed it (the last finalizer went).
    pub deleted: bool,
}
