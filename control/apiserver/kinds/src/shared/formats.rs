//! The formats of names that several kinds refer to others by, as field rules.
//!
//! Authority: pkg/apis/core/validation, apimachinery's util/validation.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::access::{entries, text};
use super::meta;
use super::rules::invalid_each;
use crate::NameRule;

/// The errors of a CSI or DRA driver's name: at most 63 bytes, a DNS subdomain in any case.
pub fn driver_name(name: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    errors.extend(invalid_each(path, name, names::is_dns1123_subdomain(&name.to_lowercase())));
    errors
}

/// The errors of a name that must be usable as a path segment; empty has none.
pub fn path_segment(name: &str, path: &Path) -> Vec<FieldError> {
    invalid_each(path, name, meta::name_messages(NameRule::PathSegment, name))
}

/// The errors of a required name that must be usable as a path segment.
pub fn required_path_segment(value: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    match text(value, &[key]) {
        "" => vec![FieldError::required(&path.child(key), "")],
        name => path_segment(name, &path.child(key)),
    }
}

/// The errors of an RFC 1123 subdomain, empty included.
pub fn subdomain(name: &str, path: &Path) -> Vec<FieldError> {
    invalid_each(path, name, names::is_dns1123_subdomain(name))
}

/// The errors of an RFC 1123 label, empty included.
pub fn label(name: &str, path: &Path) -> Vec<FieldError> {
    invalid_each(path, name, names::is_dns1123_label(name))
}

/// The errors of a required `[prefix/]name`.
pub fn qualified_name(name: &str, path: &Path) -> Vec<FieldError> {
    invalid_each(path, name, names::is_qualified_name(name))
}

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_MAX_BYTES: usize = 256 * 1024;

/// The errors of a class's parameters (StorageClass, VolumeAttributesClass).
pub fn parameters(value: &Value, may_be_empty: bool, path: &Path) -> Vec<FieldError> {
    let count = entries(value, &[]).count();
    if count > PARAMETERS_MAX {
        return vec![FieldError::too_long(path, PARAMETERS_MAX)];
    }
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in entries(value, &[]) {
        if key.is_empty() {
            errors.push(FieldError::invalid(path, key, "field can not be empty."));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > PARAMETERS_MAX_BYTES {
        errors.push(FieldError::too_long(path, PARAMETERS_MAX_BYTES));
    }
    if !may_be_empty && count == 0 {
        errors.push(FieldError::required(path, "must contain at least one key/value pair"));
    }
    errors
}
