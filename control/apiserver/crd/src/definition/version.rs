//! The parts of one version besides its schema: deprecation, subresources, columns, selectable fields.

use std::collections::BTreeSet;

use xebec_api::field::{FieldError, Path};

use super::{ColumnDefinition, MAX_SELECTABLE_FIELDS, Subresources, Version};
use crate::schema::{self, Schema};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// The errors of the deprecation warning.
pub(super) fn deprecation(version: &Version, path: &Path) -> Vec<FieldError> {
    let Some(warning) = &version.deprecation_warning else { return Vec::new() };
    let mut details = Vec::new();
    if !version.deprecated {
        details.push("can only be set for deprecated versions".to_owned());
    } else {
        if warning.len() > 256 {
            details.push("must be <= 256 characters long".to_owned());
        }
        if warning.is_empty() {
            details.push("must not be an empty string".to_owned());
        }
        if let Some((at, _)) =
            warning.char_indices().find(|(_, c)| c.is_control() || (c.is_whitespace() && *c != ' '))
        {
            details.push(format!(
                "must only contain printable UTF-8 characters; non-printable character found at index {at}"
            ));
        }
    }
    let path = path.child("deprecationWarning");
    details.into_iter().map(|detail| FieldError::invalid(&path, warning, detail)).collect()
}

/// The errors of subresources.
pub(super) fn subresources(subresources: Option<&Subresources>, path: &Path) -> Vec<FieldError> {
    let Some(scale) = subresources.and_then(|subresources| subresources.scale.as_ref()) else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    for (field, value, under) in [
        ("scale.specReplicasPath", &scale.spec_replicas, ".spec."),
        ("scale.statusReplicasPath", &scale.status_replicas, ".status."),
    ] {
        let path = path.child(field);
        if value.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if let Some(error) = simple_path(value, &path) {
            errors.push(error);
        } else if !value.starts_with(under) {
            let root = under.trim_end_matches('.');
            errors.push(FieldError::invalid(&path, value, format!("should be a json path under {root}")));
        }
    }
    if let Some(selector) = scale.selector.as_ref().filter(|selector| !selector.is_empty()) {
        let path = path.child("scale.labelSelectorPath");
        if let Some(error) = simple_path(selector, &path) {
            errors.push(error);
        } else if !selector.starts_with(".spec.") && !selector.starts_with(".status.") {
            let detail = "should be a json path under either .spec or .status";
            errors.push(FieldError::invalid(&path, selector, detail));
        }
    }
    errors
}

fn simple_path(value: &str, path: &Path) -> Option<FieldError> {
    let detail = if value.is_empty() {
        "must not be empty"
    } else if !value.starts_with('.') {
        "must be a simple json path starting with ."
    } else {
        return None;
    };
    Some(FieldError::invalid(path, value, detail))
}

/// The errors of one column.
pub(super) fn column(column: &ColumnDefinition, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if column.name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let one_of = format!("must be one of {}", COLUMN_TYPES.join(","));
    if column.kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), one_of));
    } else if !COLUMN_TYPES.contains(&column.kind.as_str()) {
        errors.push(FieldError::invalid(&path.child("type"), &column.kind, one_of));
    }
    if !column.format.is_empty() && !COLUMN_FORMATS.contains(&column.format.as_str()) {
        let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(&path.child("format"), &column.format, detail));
    }
    if column.path.is_empty() {
        errors.push(FieldError::required(&path.child("JSONPath"), ""));
    } else {
        errors.extend(simple_path(&column.path, &path.child("JSONPath")));
    }
    errors
}

/// The errors of selectable fields. `too_many_before`: the same too many were there before the update.
pub(super) fn selectable(
    fields: &[String],
    schema: &Schema,
    path: &Path,
    too_many_before: bool,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, field) in fields.iter().enumerate() {
        let path = path.index(at).child("jsonPath");
        if field.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let found = match schema::resolve(field, schema, false) {
            Ok(found) => found,
            Err(error) => {
                errors.push(FieldError::invalid(&path, field, format!("is an invalid path: {error}")));
                continue;
            }
        };
        if found.root == "metadata" {
            errors.push(FieldError::invalid(&path, field, "must not point to fields in metadata"));
        }
        if !["string", "boolean", "integer"].contains(&found.kind.as_str()) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&path, field, detail));
        }
        if !seen.insert(found.shown) {
            errors.push(FieldError::duplicate(&path, field));
        }
    }
    if seen.len() > MAX_SELECTABLE_FIELDS && !too_many_before {
        errors.push(FieldError::too_many(path, seen.len(), MAX_SELECTABLE_FIELDS));
    }
    errors
}
