//! The resources a policy or a binding matches.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::{MATCH_POLICIES, rule};
use crate::shared::access::{at, at_mut, default_to, has, list, texts};
use crate::shared::labels::validate_selector;
use crate::shared::rules::one_of_given;

/// Defaults the matched resources at a path, when there are any.
pub fn defaults(obj: &mut Value, path: &[&str]) {
    let Some(matched) = at_mut(obj, path).filter(|matched| matched.is_object()) else { return };
    default_to(matched, &["matchPolicy"], json!("Equivalent"));
    default_to(matched, &["namespaceSelector"], json!({}));
    default_to(matched, &["objectSelector"], json!({}));
    rule::defaults(matched, "resourceRules");
    rule::defaults(matched, "excludeResourceRules");
}

/// Every error of matched resources; missing ones have none.
pub fn validate(matched: &Value, path: &Path) -> Vec<FieldError> {
    if matched.is_null() {
        return Vec::new();
    }
    let mut errors = if has(matched, &["matchPolicy"]) {
        one_of_given(matched, "matchPolicy", MATCH_POLICIES, path)
    } else {
        vec![FieldError::required(&path.child("matchPolicy"), "")]
    };
    for key in ["namespaceSelector", "objectSelector"] {
        match at(matched, &[key]) {
            Value::Null => errors.push(FieldError::required(&path.child(key), "")),
            selector => errors.extend(validate_selector(selector, &path.child(key))),
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for (index, found) in list(matched, &[key]).iter().enumerate() {
            errors.extend(rule::validate_named(found, &path.child(key).index(index)));
        }
    }
    errors
}

const MUTABLE: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];

/// The errors of operations that cannot be mutated. Upstream's path carries no index.
pub fn only_mutable(matched: &Value, path: &Path) -> Vec<FieldError> {
    let path = path.child("resourceRules").child("operations");
    let operations = list(matched, &["resourceRules"]).iter().flat_map(|rule| texts(rule, &["operations"]));
    operations
        .filter(|operation| !MUTABLE.contains(operation))
        .map(|operation| FieldError::not_supported(&path, operation, MUTABLE))
        .collect()
}
