//! Helpers of the tests.

use serde_json::{Value, json};
use xebec_api::field::FieldError;

use crate::{Context, Strategy};

/// The texts of the errors.
pub fn messages(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// The time tests run at: 2026-01-01T01:00:00Z.
pub fn now() -> jiff::Timestamp {
    "2026-01-01T01:00:00Z".parse().expect("a fixed time")
}

/// Defaults, prepares and validates a new object as the registry does.
pub fn create(strategy: &dyn Strategy, mut obj: Value) -> (Value, Vec<String>) {
    if obj.get("metadata").is_none() {
        obj["metadata"] = json!({"name": "a"});
    }
    if strategy.facts().namespaced && obj["metadata"].get("namespace").is_none() {
        obj["metadata"]["namespace"] = json!("ns");
    }
    obj["metadata"]["uid"] = json!("u-1");
    obj["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    strategy.defaults(&mut obj);
    strategy.prepare_for_create(&Context::new("me", "ns", now()), &mut obj);
    let errors = messages(&strategy.validate(&obj));
    (obj, errors)
}

/// Defaults, prepares and validates an update as the registry does.
pub fn update(strategy: &dyn Strategy, mut obj: Value, old: &Value) -> (Value, Vec<String>) {
    strategy.defaults(&mut obj);
    strategy.prepare_for_update(&Context::new("me", "ns", now()), &mut obj, old);
    let errors = messages(&strategy.validate_update(&obj, old));
    (obj, errors)
}

/// Runs a whole create on an object of any shape.
pub fn try_create(strategy: &dyn Strategy, mut obj: Value) -> (Value, Vec<String>) {
    strategy.defaults(&mut obj);
    strategy.prepare_for_create(&Context::new("me", "ns", now()), &mut obj);
    let errors = messages(&strategy.validate(&obj));
    strategy.selectable_fields(&obj);
    strategy.warnings(&obj);
    (obj, errors)
}
