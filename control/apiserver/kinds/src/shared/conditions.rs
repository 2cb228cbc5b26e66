//! Conditions in the common form of apimachinery's meta/v1 Condition.
//!
//! Authority: apimachinery's apis/meta/v1/validation.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::access::{has, int, text};
use super::labels::validate_label_name;
use super::rules::one_of_given;

const REASON_MAX_BYTES: usize = 1024;
const MESSAGE_MAX_BYTES: usize = 32 * 1024;
const REASON_FORMAT: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
const REASON_MESSAGE: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";

/// Every error of a list of conditions.
pub fn validate(conditions: &[Value], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let kind = text(condition, &["type"]);
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        } else {
            seen.push(kind);
        }
        errors.extend(validate_one(condition, &path));
    }
    errors
}

fn validate_one(condition: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_label_name(text(condition, &["type"]), &path.child("type"));
    errors.extend(one_of_given(condition, "status", &["False", "True", "Unknown"], path));
    if let Some(generation) = int(condition, &["observedGeneration"]).filter(|value| *value < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&path.child("observedGeneration"), generation, detail));
    }
    if !has(condition, &["lastTransitionTime"]) {
        errors.push(FieldError::required(&path.child("lastTransitionTime"), "must be set"));
    }
    let reason = text(condition, &["reason"]);
    let reason_path = path.child("reason");
    if reason.is_empty() {
        errors.push(FieldError::required(&reason_path, "must be set"));
    } else {
        if !is_reason(reason) {
            let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
            let detail = names::regex_error(REASON_MESSAGE, REASON_FORMAT, &examples);
            errors.push(FieldError::invalid(&reason_path, reason, detail));
        }
        if reason.len() > REASON_MAX_BYTES {
            errors.push(FieldError::too_long(&reason_path, REASON_MAX_BYTES));
        }
    }
    if text(condition, &["message"]).len() > MESSAGE_MAX_BYTES {
        errors.push(FieldError::too_long(&path.child("message"), MESSAGE_MAX_BYTES));
    }
    errors
}

fn is_reason(reason: &str) -> bool {
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().copied().is_some_and(word)
        && bytes.iter().all(|byte| word(*byte) || matches!(byte, b',' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::messages;
    use serde_json::json;

    #[test]
    fn each_error_has_upstreams_words() {
        let good = json!({"type": "Ready", "status": "True", "reason": "A,B_c", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        assert!(validate(std::slice::from_ref(&good), &Path::new("c")).is_empty());
        assert_eq!(
            messages(&validate(&[good.clone(), good], &Path::new("c"))),
            ["c[1].type: Duplicate value: \"Ready\""]
        );
        let bad = json!({"type": "Ready", "status": "Yes", "observedGeneration": -1, "reason": "a-"});
        assert_eq!(
            messages(&validate(&[bad], &Path::new("c"))),
            [
                "c[0].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
                "c[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                "c[0].lastTransitionTime: Required value: must be set",
                "c[0].reason: Invalid value: \"a-\": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
            ]
        );
    }
}
