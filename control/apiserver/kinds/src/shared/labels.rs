//! Labels and label selectors.
//!
//! Authority: apimachinery's apis/meta/v1/validation.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::access::{at, list, text, texts};

/// Every error of a map of labels.
pub fn validate_labels(labels: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        errors.extend(validate_label_name(key, path));
        let value = value.as_str().unwrap_or_default();
        for message in names::is_label_value(value) {
            errors.push(FieldError::invalid(path, value, message));
        }
    }
    errors
}

/// Every error of a label's key.
pub fn validate_label_name(key: &str, path: &Path) -> Vec<FieldError> {
    names::is_qualified_name(key).into_iter().map(|message| FieldError::invalid(path, key, message)).collect()
}

/// Every error of a `{matchLabels, matchExpressions}` selector; a missing selector has none.
pub fn validate_selector(selector: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_labels(at(selector, &["matchLabels"]), &path.child("matchLabels"));
    for (index, requirement) in list(selector, &["matchExpressions"]).iter().enumerate() {
        errors.extend(validate_requirement(requirement, &path.child("matchExpressions").index(index)));
    }
    errors
}

/// Every error of one expression of a selector.
pub fn validate_requirement(requirement: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let values = texts(requirement, &["values"]);
    match text(requirement, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&path.child("values"), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid(&path.child("operator"), other, detail));
        }
    }
    errors.extend(validate_label_name(text(requirement, &["key"]), &path.child("key")));
    for (index, value) in values.iter().enumerate() {
        for message in names::is_label_value(value) {
            errors.push(FieldError::invalid(&path.child("values").index(index), value, message));
        }
    }
    errors
}

/// True when a label selector object has neither labels nor expressions.
pub fn is_empty_selector(selector: &Value) -> bool {
    at(selector, &["matchLabels"]).as_object().is_none_or(|labels| labels.is_empty())
        && list(selector, &["matchExpressions"]).is_empty()
}

/// True when the selector selects the labels; a malformed selector selects nothing.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let exact = at(selector, &["matchLabels"]).as_object().into_iter().flatten();
    let mut exact = exact.map(|(key, value)| label(key) == value.as_str());
    let expressions = list(selector, &["matchExpressions"]).iter().all(|requirement| {
        let found = label(text(requirement, &["key"]));
        let values = texts(requirement, &["values"]);
        match text(requirement, &["operator"]) {
            "In" => found.is_some_and(|value| values.contains(&value)),
            "NotIn" => found.is_none_or(|value| !values.contains(&value)),
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            _ => false,
        }
    });
    exact.all(|ok| ok) && expressions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    #[test]
    fn operators_and_values_must_agree() {
        let cases = [
            (
                json!({"key": "a", "operator": "In"}),
                "s.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ),
            (
                json!({"key": "a", "operator": "Exists", "values": ["x"]}),
                "s.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            (
                json!({"key": "a", "operator": "Near"}),
                "s.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
            ),
        ];
        for (requirement, want) in cases {
            let selector = json!({"matchExpressions": [requirement]});
            assert_eq!(messages(&validate_selector(&selector, &Path::new("s"))), [want]);
        }
    }

    #[test]
    fn selection_follows_the_operators() {
        let labels = json!({"a": "1"});
        assert!(selects(&json!({}), &labels));
        assert!(selects(&json!({"matchLabels": {"a": "1"}}), &labels));
        assert!(!selects(&json!({"matchLabels": {"a": "2"}}), &labels));
        let not_in = json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["x"]}]});
        assert!(selects(&not_in, &labels));
    }
}
