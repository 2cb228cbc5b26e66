//! The scale of a custom resource: an autoscaling/v1 Scale at the paths the definition names.
//!
//! Authority: apiextensions-apiserver, pkg/registry/customresource/{etcd,validator}.go.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_kinds::shared::access;

use crate::definition::Scale;

/// Why there is no Scale.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScaleError {
    /// The object does not say how many replicas it wants: a 500 on GET.
    #[error("the spec replicas field {0:?} does not exist")]
    NoReplicas(String),
    /// A Scale is written that does not say it either: a 400.
    #[error("the spec replicas field {0:?} cannot be empty")]
    Empty(String),
    /// A field is of another type: a 500.
    #[error("{0}")]
    WrongType(String),
    /// A negative or too large number: a 422 on the Scale.
    #[error("{0}")]
    Invalid(FieldError),
}

fn steps(path: &str) -> Vec<&str> {
    path.strip_prefix('.').unwrap_or(path).split('.').collect()
}

/// The value at a path of fields, as Go's unstructured helpers read it; an object on the way of another type is an
/// error in their words.
fn nested<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let steps = steps(path);
    let mut here = object;
    for (at, step) in steps.iter().enumerate() {
        let Some(map) = here.as_object() else {
            if here.is_null() {
                return Ok(None);
            }
            let shown = steps[..at].join(".");
            let kind = crate::shape::go_type(here);
            return Err(format!(
                ".{shown} accessor error: {} is of the type {kind}, expected map[string]interface{{}}",
                xebec_api::gotext::json(here)
            ));
        };
        match map.get(*step) {
            Some(next) => here = next,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}

fn wrong(path: &str, value: &Value, expected: &str) -> String {
    let kind = crate::shape::go_type(value);
    let shown = value.as_str().map_or_else(|| xebec_api::gotext::json(value), str::to_owned);
    format!("{path} accessor error: {shown} is of the type {kind}, expected {expected}")
}

fn nested_int(object: &Value, path: &str) -> Result<Option<i64>, String> {
    match nested(object, path)? {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(path, value, "int64")),
    }
}

fn nested_text<'a>(object: &'a Value, path: &str) -> Result<Option<&'a str>, String> {
    match nested(object, path)? {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(path, value, "string")),
    }
}

/// The Scale of an object; `required`: an object without replicas has none.
pub(super) fn read(object: &Value, scale: &Scale, required: bool) -> Result<Value, ScaleError> {
    let replicas = nested_int(object, &scale.spec_replicas).map_err(ScaleError::WrongType)?;
    if replicas.is_none() && required {
        return Err(ScaleError::NoReplicas(scale.spec_replicas.clone()));
    }
    let current = nested_int(object, &scale.status_replicas).map_err(ScaleError::WrongType)?;
    let selector = match scale.selector.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => nested_text(object, path).map_err(ScaleError::WrongType)?,
        None => None,
    };
    let mut found = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
        "spec": {"replicas": replicas.unwrap_or(0)}, "status": {"replicas": current.unwrap_or(0)},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            found["metadata"][field] = value.clone();
        }
    }
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        found["status"]["selector"] = json!(selector);
    }
    Ok(found)
}

/// The object with the replicas of a Scale somebody wrote. Its resourceVersion, if the Scale names one, is the
/// object's precondition.
pub(super) fn write(object: &Value, scale: &Scale, wanted: &Value) -> Result<Value, ScaleError> {
    let replicas = access::at(wanted, &["spec", "replicas"]);
    let had = nested_int(object, &scale.spec_replicas).map_err(ScaleError::WrongType)?.is_some();
    let count = match replicas {
        // What is missing reads as 0, but for a Scale that was made of an object without replicas.
        Value::Null if !had => return Err(ScaleError::Empty(scale.spec_replicas.clone())),
        Value::Null => 0,
        other => other.as_i64().unwrap_or(-1),
    };
    if !(0..=i64::from(i32::MAX)).contains(&count) {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(ScaleError::Invalid(error));
    }
    let mut changed = object.clone();
    access::set(&mut changed, &steps(&scale.spec_replicas), json!(count));
    let version = access::text(wanted, &["metadata", "resourceVersion"]);
    if !version.is_empty() {
        access::set(&mut changed, &["metadata", "resourceVersion"], json!(version));
    }
    Ok(changed)
}

/// The errors of the wanted replicas in an object.
pub(super) fn spec_errors(object: &Value, scale: Option<&Scale>) -> Vec<FieldError> {
    scale.map(|scale| count_errors(object, &scale.spec_replicas)).unwrap_or_default()
}

/// The errors of the current replicas and the selector in an object.
pub(super) fn status_errors(object: &Value, scale: Option<&Scale>) -> Vec<FieldError> {
    let Some(scale) = scale else { return Vec::new() };
    let mut errors = count_errors(object, &scale.status_replicas);
    if let Some(path) = &scale.selector
        && let Err(error) = nested_text(object, path)
    {
        errors.push(FieldError::invalid(&Path::new(path), "", error));
    }
    errors
}

fn count_errors(object: &Value, path: &str) -> Vec<FieldError> {
    let invalid = |count: i64, detail: String| vec![FieldError::invalid(&Path::new(path), count, detail)];
    match nested_int(object, path) {
        Err(error) => invalid(0, error),
        Ok(Some(count)) if count < 0 => invalid(count, "should be a non-negative integer".to_owned()),
        Ok(Some(count)) if count > i64::from(i32::MAX) => {
            invalid(count, format!("should be less than or equal to {}", i32::MAX))
        }
        Ok(_) => Vec::new(),
    }
}
