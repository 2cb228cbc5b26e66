//! The resource.k8s.io group: devices, the classes and claims that ask for them, and who has them (KEP-4381).
//!
//! Fields of gates that are off by default in 1.36 (list attributes, node allocatable mappings) are dropped as
//! upstream drops them.

pub mod admin;
mod capacity;
pub mod claim;
mod device;
pub mod device_class;
mod formats;
mod request;
pub mod rights;
mod rules;
pub mod slice;
mod status;
pub mod template;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

pub(crate) const GROUP: &str = "resource.k8s.io";

/// Checks each item of a list that holds at most `max`; a longer one has that error alone.
fn each(
    items: &[Value],
    max: usize,
    path: &Path,
    mut check: impl FnMut(&Value, &Path) -> Vec<FieldError>,
) -> Vec<FieldError> {
    if items.len() > max {
        return vec![FieldError::too_many(path, items.len(), max)];
    }
    items.iter().enumerate().flat_map(|(index, item)| check(item, &path.index(index))).collect()
}

/// The same for a list whose items' keys must differ.
fn each_unique(
    items: &[Value],
    max: usize,
    path: &Path,
    key: impl Fn(&Value) -> String,
    check: impl FnMut(&Value, &Path) -> Vec<FieldError>,
) -> Vec<FieldError> {
    let mut errors = each(items, max, path, check);
    if items.len() > max {
        return errors;
    }
    let keys: Vec<String> = items.iter().map(key).collect();
    for (index, key) in keys.iter().enumerate().filter(|(index, key)| keys[..*index].contains(key)) {
        errors.push(FieldError::duplicate(&path.index(index), key));
    }
    errors
}

/// The text of an item that is one.
fn own_text(item: &Value) -> String {
    item.as_str().unwrap_or_default().to_owned()
}

/// The `name` of an item.
fn own_name(item: &Value) -> String {
    crate::shared::access::text(item, &["name"]).to_owned()
}
