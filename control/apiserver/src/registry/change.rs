//! What a write is made of and what comes out of it.

use std::sync::Arc;

use serde_json::Value;
use xebec_api::status::ApiError;

use crate::watch::Object;

/// Computes the wanted object from the present one (both in the stored version); called again after a lost race.
pub type Editor<'a> = dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync + 'a;

/// The result of a write.
pub struct Written {
    /// The object in its stored version, `resourceVersion` included.
    pub value: Value,
    /// The same as it can be read now; none when nothing was written or somebody wrote again meanwhile.
    pub stored: Option<Arc<Object>>,
    /// Whether it did not exist before.
    pub created: bool,
    /// Whether the write removed it (the last finalizer went).
    pub deleted: bool,
}

impl Written {
    /// What was not stored: `value` as it would be, or is already.
    pub(super) fn unstored(value: Value) -> Self {
        Self { value, stored: None, created: false, deleted: false }
    }
}
