//! The flowcontrol.apiserver.k8s.io group: how requests share the API server.

pub mod flow_schema;
pub mod mandatory;
pub mod priority_level;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{list, text};

pub(crate) const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// The errors of the conditions of either kind.
fn validate_conditions(obj: &Value) -> Vec<FieldError> {
    let conditions = list(obj, &["status", "conditions"]);
    let mut errors = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = Path::new("status").child("conditions").index(index).child("type");
        let kind = text(condition, &["type"]);
        if conditions[..index].iter().any(|earlier| text(earlier, &["type"]) == kind) {
            errors.push(FieldError::duplicate(&path, kind));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(&path, "must not be empty"));
        }
    }
    errors
}
