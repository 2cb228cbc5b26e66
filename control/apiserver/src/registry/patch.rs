//! PATCH: the three patch types, on the served version of the object. Pure but for the registry call at the end.

use serde_json::Value;
use xebec_api::meta;
use xebec_api::patch::{self, PatchError};
use xebec_api::status::{ApiError, Reason};

use super::{Registry, Sub, Target, UpdateOptions, WriteContext, Written, from_storage, to_storage};

/// A decoded patch.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 6902 operations.
    Json(Value),
    /// RFC 7386 document.
    Merge(Value),
    /// Strategic merge document.
    Strategic(Value),
}

impl Patch {
    /// The patched object; its own apiVersion and kind name the schema for strategic merge.
    pub fn apply(&self, original: &Value) -> Result<Value, ApiError> {
        match self {
            Self::Json(operations) => patch::json_patch(original, operations).map_err(refused),
            Self::Merge(document) => {
                let mut new = original.clone();
                patch::merge_patch(&mut new, document);
                Ok(new)
            }
            Self::Strategic(document) => {
                let (api_version, kind) = (meta::api_version(original), meta::kind(original));
                patch::strategic_merge_for(api_version, kind, original, document).map_err(refused)
            }
        }
    }
}

fn refused(error: PatchError) -> ApiError {
    match error {
        PatchError::Test(_) | PatchError::Apply(_) => ApiError::new(422, Reason::Invalid, error.to_string()),
        PatchError::TooManyOperations(_) => ApiError::request_entity_too_large(error.to_string()),
        PatchError::CopiesTooLarge => ApiError::new(422, Reason::Invalid, error.to_string()),
        PatchError::UnknownType(_) => ApiError::unsupported_media_type(error.to_string()),
        _ => ApiError::bad_request(error.to_string()),
    }
}

impl Registry {
    /// Patches the object; `check` sees the result in the served version before it is written.
    pub async fn patch(
        &self,
        context: &WriteContext,
        target: &Target,
        sub: Sub,
        patch: &Patch,
        check: &(dyn Fn(&mut Value) -> Result<(), ApiError> + Send + Sync),
    ) -> Result<Written, ApiError> {
        let editor = |old: &Value| {
            let original = from_storage(target.served, target.stored, old.clone());
            let mut new = patch.apply(&original)?;
            check(&mut new)?;
            Ok(to_storage(target.served, target.stored, new))
        };
        self.update(context, target, sub, UpdateOptions::default(), &editor).await
    }
}
