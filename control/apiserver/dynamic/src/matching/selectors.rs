//! Namespace and object selectors.

use serde_json::Value;
use xebec_api::selector::LabelSelector;
use xebec_api::status::ApiError;
use xebec_identity::ObjectReader;

use crate::{Attributes, Operation};

/// Whether the request's namespace is selected. Cluster-scoped objects always are, but for Namespaces, which are
/// selected by their own labels: the new ones on create and update, the stored ones on delete.
pub(super) fn namespace(
    selector: &Result<LabelSelector, String>,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<bool, ApiError> {
    if attributes.namespace.is_empty() && attributes.resource.resource != "namespaces" {
        return Ok(true);
    }
    let selector = selector.as_ref().map_err(ApiError::internal)?;
    if selector.is_empty() {
        return Ok(true);
    }
    let of_object = attributes.resource.resource == "namespaces"
        && attributes.subresource.is_empty()
        && matches!(attributes.operation, Operation::Create | Operation::Update);
    if of_object {
        return Ok(selector.matches_object(object.unwrap_or(&Value::Null)));
    }
    let name = &attributes.namespace;
    match reader.get("", "namespaces", "", name) {
        Some(namespace) => Ok(selector.matches_object(&namespace)),
        None => Err(ApiError::not_found("", "namespaces", name)),
    }
}

/// Whether the old or the new object is selected.
pub(super) fn object(
    selector: &Result<LabelSelector, String>,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> Result<bool, ApiError> {
    let selector = selector.as_ref().map_err(ApiError::internal)?;
    if selector.is_empty() {
        return Ok(true);
    }
    // What has no metadata (the options of a CONNECT, a review) has no labels either, and is not selected.
    let selected = |object: &Value| object["metadata"].is_object() && selector.matches_object(object);
    Ok(object.is_some_and(selected) || attributes.old_object.is_some_and(selected))
}
