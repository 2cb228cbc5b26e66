//! What a check found, and how it becomes field errors.

use std::collections::HashSet;

use serde_json::Value;
use xebec_api::field::{ErrorKind, FieldError, Path};

use super::MAX_ERRORS;

/// One thing wrong with one place.
#[derive(Clone, Debug)]
pub struct Issue {
    /// The place, as kube-openapi names it; `None` for an error that names none.
    place: Option<String>,
    what: What,
    /// The whole message; equal messages are one error.
    message: String,
}

#[derive(Clone, Debug)]
enum What {
    Required,
    Unsupported { value: Value, allowed: Vec<Value> },
    TooLong { max: i64 },
    TooMany { actual: usize, max: i64 },
    Type { value: String },
    Invalid { value: Option<Value> },
}

impl Issue {
    fn new(place: String, what: What, message: String) -> Self {
        Self { place: Some(place), what, message }
    }

    /// A field that must be there; `place` is the object it is missing in.
    pub fn required(place: &str, name: &str) -> Self {
        let place = format!("{place}.{name}");
        let message = format!("{place} in body is required");
        Self::new(place, What::Required, message)
    }

    /// A value outside its `enum`.
    pub fn unsupported(place: String, value: &Value, allowed: &[Value]) -> Self {
        let shown: Vec<String> = allowed.iter().map(plain).collect();
        let message = format!("{place} in body should be one of [{}]", shown.join(" "));
        Self::new(place, What::Unsupported { value: value.clone(), allowed: allowed.to_vec() }, message)
    }

    /// A text above its `maxLength`.
    pub fn too_long(place: String, max: i64) -> Self {
        let message = format!("{place} in body should be at most {max} chars long");
        Self::new(place, What::TooLong { max }, message)
    }

    /// A list above its `maxItems` or an object above its `maxProperties`; `unit` is `items` or `properties`.
    pub fn too_many(place: String, actual: usize, max: i64, unit: &str) -> Self {
        let message = format!("{place} in body should have at most {max} {unit}");
        Self::new(place, What::TooMany { actual, max }, message)
    }

    /// A value of another type, or a text that has not the format; `found` is the type, or the text.
    pub fn wrong_type(place: String, expected: &str, found: &str) -> Self {
        let message =
            format!("{place} in body must be of type {expected}: {}", xebec_api::gotext::quote(found));
        Self::new(place, What::Type { value: found.to_owned() }, message)
    }

    /// Any other rule: `<place> in body <rule>`.
    pub fn invalid(place: String, value: Option<Value>, rule: &str) -> Self {
        let message = format!("{place} in body {rule}");
        Self::new(place, What::Invalid { value }, message)
    }

    /// A message that stands alone, about a place and a value.
    pub fn with_message(place: String, value: Value, message: String) -> Self {
        Self::new(place, What::Invalid { value: Some(value) }, message)
    }

    /// A message that names no place.
    pub fn plain(message: String) -> Self {
        Self { place: None, what: What::Invalid { value: None }, message }
    }

    fn into_field_error(self, base: &Path) -> FieldError {
        let path = match self.place.as_deref().unwrap_or_default() {
            "" | "." => base.clone(),
            name => base.child(name.strip_prefix('.').unwrap_or(name)),
        };
        match self.what {
            What::Required => FieldError::required(&path, ""),
            What::Unsupported { value, allowed } => {
                let allowed: Vec<String> = allowed.iter().map(enum_text).collect();
                let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                FieldError::not_supported(&path, value, &allowed)
            }
            What::TooLong { max } => FieldError::too_long(&path, usize::try_from(max).unwrap_or(0)),
            What::TooMany { actual, max } => {
                FieldError::too_many(&path, actual, usize::try_from(max).unwrap_or(0))
            }
            What::Type { value } => FieldError::type_invalid(&path, value, self.message),
            What::Invalid { value } => {
                FieldError::invalid(&path, value.unwrap_or_else(|| Value::from("")), self.message)
            }
        }
    }
}

/// A value as Go's `%v` shows it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

fn enum_text(value: &Value) -> String {
    value.as_str().map_or_else(|| xebec_api::gotext::json(value), str::to_owned)
}

/// Everything a check found, and how much of the value fitted.
#[derive(Debug, Default)]
pub struct Outcome {
    issues: Vec<Issue>,
    seen: HashSet<String>,
    /// How many checks were passed: of several alternatives that fail, the one with most is reported.
    pub matches: usize,
}

impl Outcome {
    /// An outcome of one check passed.
    pub fn passed() -> Self {
        Self { matches: 1, ..Self::default() }
    }

    /// An outcome of one issue and nothing passed.
    pub fn of(issue: Issue) -> Self {
        let mut outcome = Self::default();
        outcome.add(issue);
        outcome
    }

    /// Notes an issue, once.
    pub fn add(&mut self, issue: Issue) {
        if self.seen.insert(issue.message.clone()) {
            self.issues.push(issue);
        }
    }

    /// Takes over what another check found.
    pub fn merge(&mut self, other: Self) {
        self.matches += other.matches;
        other.issues.into_iter().for_each(|issue| self.add(issue));
    }

    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.issues.is_empty()
    }

    /// The same with everything forgiven.
    pub fn forgiven(self) -> Self {
        Self { matches: self.matches, ..Self::default() }
    }
}

/// The field errors of an outcome.
pub fn field_errors(outcome: Outcome, base: &Path) -> Vec<FieldError> {
    let found = outcome.issues.len();
    let mut errors: Vec<FieldError> =
        outcome.issues.into_iter().take(MAX_ERRORS).map(|issue| issue.into_field_error(base)).collect();
    if found > MAX_ERRORS {
        errors.push(FieldError {
            kind: ErrorKind::Invalid,
            field: base.to_string(),
            value: None,
            detail: format!("and {} errors more", found - MAX_ERRORS),
        });
    }
    errors
}
