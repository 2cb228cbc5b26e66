//! Field paths and validation errors, with upstream's texts.
//!
//! Enters: where in an object something is wrong, and what. Leaves: [`FieldError`]s, which
//! [`crate::status::ApiError::invalid`] turns into a 422. Called by every strategy's validation.
//! Authority: k8s.io/apimachinery/pkg/util/validation/field.

use crate::gotext;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// A path into an object, printed as upstream prints it: `spec.containers[0].env[name]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(String);

impl Path {
    /// A path that starts at the named top-level field.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The empty path: the object itself. Its first child has no leading dot.
    pub fn root() -> Self {
        Self::default()
    }

    /// The field `name` below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The element at `index` of the list this path names.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry under `key` of the map this path names.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field; the names match the `reason` of a Status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A value that refers to something that is not there.
    NotFound,
    /// A value that must be given.
    Required,
    /// A value that must be unique.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value outside an enumeration.
    NotSupported,
    /// A value that is well formed, but not allowed here.
    Forbidden,
    /// A value that is too long (the value itself is left out of the message).
    TooLong,
    /// Too many items.
    TooMany,
    /// A failure that is not the user's.
    Internal,
    /// A value of the wrong type.
    TypeInvalid,
}

impl ErrorKind {
    /// The machine-readable reason: `FieldValueInvalid` and so on.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// The field's path as text; `<nil>` for the object itself.
    pub field: String,
    /// The offending value; `None` leaves it out of the message.
    pub value: Option<Value>,
    /// What would be right; may be empty.
    pub detail: String,
}

impl FieldError {
    fn make(kind: ErrorKind, path: &Path, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, detail: detail.into() }
    }

    /// `path: Required value: detail`.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(ErrorKind::Required, path, None, detail)
    }

    /// `path: Invalid value: <value>: detail`.
    pub fn invalid(path: &Path, value: impl Serialize, detail: impl Into<String>) -> Self {
        Self::make(ErrorKind::Invalid, path, Some(to_value(value)), detail)
    }

    /// `path: Invalid value: <value>: detail`, for a value of the wrong JSON type.
    pub fn type_invalid(path: &Path, value: impl Serialize, detail: impl Into<String>) -> Self {
        Self::make(ErrorKind::TypeInvalid, path, Some(to_value(value)), detail)
    }

    /// `path: Unsupported value: <value>: supported values: "a", "b"`. Upstream lists the values sorted.
    pub fn not_supported(path: &Path, value: impl Serialize, allowed: &[&str]) -> Self {
        let quoted: Vec<String> = allowed.iter().map(|a| gotext::quote(a)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::make(ErrorKind::NotSupported, path, Some(to_value(value)), detail)
    }

    /// `path: Duplicate value: <value>`.
    pub fn duplicate(path: &Path, value: impl Serialize) -> Self {
        Self::make(ErrorKind::Duplicate, path, Some(to_value(value)), "")
    }

    /// `path: Not found: <value>`.
    pub fn not_found(path: &Path, value: impl Serialize) -> Self {
        Self::make(ErrorKind::NotFound, path, Some(to_value(value)), "")
    }

    /// `path: Forbidden: detail`.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(ErrorKind::Forbidden, path, None, detail)
    }

    /// `path: Too long: may not be more than <max> bytes`.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::make(ErrorKind::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// `path: Too many: <actual>: must have at most <max> items`.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::make(
            ErrorKind::TooMany,
            path,
            Some(to_value(actual)),
            format!("must have at most {max} {unit}"),
        )
    }

    /// `path: Internal error: detail`.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::make(ErrorKind::Internal, path, None, detail)
    }

    /// The message without the field's path: what a Status cause carries.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        let shows_value = !matches!(
            self.kind,
            ErrorKind::Required | ErrorKind::Forbidden | ErrorKind::TooLong | ErrorKind::Internal
        );
        if let (true, Some(value)) = (shows_value, &self.value) {
            text.push_str(": ");
            text.push_str(&match value {
                Value::String(s) => gotext::quote(s),
                other => gotext::json(other),
            });
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

fn to_value(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Turns the messages of [`crate::names`] into `Invalid value` errors on one field.
pub fn invalid_all(path: &Path, value: &str, messages: Vec<String>) -> Vec<FieldError> {
    messages.into_iter().map(|m| FieldError::invalid(path, value, m)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths() {
        let p = Path::new("spec").child("containers").index(0).child("resources").child("limits").key("cpu");
        assert_eq!(p.to_string(), "spec.containers[0].resources.limits[cpu]");
        assert_eq!(Path::root().child("kind").to_string(), "kind");
        assert_eq!(Path::root().to_string(), "<nil>");
    }

    #[test]
    fn messages() {
        let p = Path::new("spec").child("replicas");
        let e = FieldError::invalid(&p, -1, "must be greater than or equal to 0");
        assert_eq!(e.to_string(), "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
        let e = FieldError::required(&Path::new("spec").child("template"), "");
        assert_eq!(e.to_string(), "spec.template: Required value");
        let e = FieldError::not_supported(&p, "x", &["a", "b"]);
        assert_eq!(e.to_string(), r#"spec.replicas: Unsupported value: "x": supported values: "a", "b""#);
        let e = FieldError::duplicate(&p, "web");
        assert_eq!(e.to_string(), r#"spec.replicas: Duplicate value: "web""#);
        let e = FieldError::too_long(&p, 63);
        assert_eq!(e.to_string(), "spec.replicas: Too long: may not be more than 63 bytes");
        let e = FieldError::too_many(&p, 3, 1);
        assert_eq!(e.to_string(), "spec.replicas: Too many: 3: must have at most 1 item");
        let e = FieldError::invalid(&p, json!({"a": "<b>"}), "no");
        assert_eq!(e.to_string(), r#"spec.replicas: Invalid value: {"a":"\u003cb\u003e"}: no"#);
        let e = FieldError::forbidden(&p, "may not be updated");
        assert_eq!(e.to_string(), "spec.replicas: Forbidden: may not be updated");
        assert_eq!(ErrorKind::TypeInvalid.reason(), "FieldValueTypeInvalid");
    }
}
