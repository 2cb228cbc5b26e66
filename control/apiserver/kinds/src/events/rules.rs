//! What an Event must say. Every function takes it in its core form, whose field names upstream shows for both groups.
//!
//! Authority: pkg/apis/core/validation/events.go.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, has, int, text};
use crate::shared::formats::{qualified_name, subdomain};
use crate::shared::rules::{immutable, required};
use crate::table::parse_time;

const TEXT_MAX_BYTES: usize = 128;
const MESSAGE_MAX_BYTES: usize = 1024;
/// What an event of events.k8s.io may not change, in the order it is checked (upstream looks at the reason twice).
const FIXED: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

/// The errors every Event can have; `controller` is what the request's group calls `reportingComponent`.
pub fn validate(event: &Value, controller: &str) -> Vec<FieldError> {
    let namespace = text(event, &["metadata", "namespace"]);
    let about = text(event, &["involvedObject", "namespace"]);
    let timed = has(event, &["eventTime"]);
    // An Event about a cluster-scoped object lies in `default`.
    let beside = match (about.is_empty(), timed) {
        (true, true) => matches!(namespace, "default" | "kube-system"),
        (true, false) => matches!(namespace, "" | "default"),
        (false, true) => true,
        (false, false) => about == namespace,
    };
    let mut errors = Vec::new();
    if !beside {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(FieldError::invalid(&path, about, "does not match event.namespace"));
    }
    if timed {
        let (reporter, path) = (text(event, &["reportingComponent"]), Path::new(controller));
        if reporter.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        errors.extend(qualified_name(reporter, &path));
        for key in ["reportingInstance", "action", "reason"] {
            errors.extend(required(event, key, &Path::root()));
            errors.extend(at_most(event, key, TEXT_MAX_BYTES));
        }
        errors.extend(at_most(event, "message", MESSAGE_MAX_BYTES));
    }
    errors.extend(subdomain(namespace, &Path::new("namespace")));
    errors
}

fn at_most(event: &Value, key: &str, max: usize) -> Option<FieldError> {
    let detail = format!("can have at most {max} characters");
    (text(event, &[key]).len() > max).then(|| FieldError::invalid(&Path::new(key), "", detail))
}

/// What a new Event of events.k8s.io must say besides.
pub fn validate_new(event: &Value) -> Vec<FieldError> {
    let mut errors = validate_series(event);
    if !has(event, &["eventTime"]) {
        errors.push(FieldError::required(&Path::new("eventTime"), ""));
    }
    let kind = text(event, &["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let source = ["component", "host"].iter().any(|key| !text(event, &["source", key]).is_empty());
    let old_fields = [
        ("firstTimestamp", has(event, &["firstTimestamp"])),
        ("lastTimestamp", has(event, &["lastTimestamp"])),
        ("count", int(event, &["count"]).unwrap_or(0) != 0),
        ("source", source),
    ];
    for (key, _) in old_fields.iter().filter(|(_, given)| *given) {
        errors.push(FieldError::invalid(&Path::new(key), "", "needs to be unset"));
    }
    errors
}

fn validate_series(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !has(event, &["series"]) {
        return errors;
    }
    let path = Path::new("series");
    if int(event, &["series", "count"]).unwrap_or(0) < 2 {
        errors.push(FieldError::invalid(&path.child("count"), "", "should be at least 2"));
    }
    if !has(event, &["series", "lastObservedTime"]) {
        errors.push(FieldError::required(&path.child("lastObservedTime"), ""));
    }
    errors
}

/// What an update of an Event of events.k8s.io may not change: all but its series.
pub fn validate_update(event: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if at(event, &["series"]) != at(old, &["series"]) {
        errors.extend(validate_series(event));
    }
    // Clients cut times to microseconds.
    let time = |event| parse_time(at(event, &["eventTime"])).map(|time| time.as_microsecond());
    let same_time = time(event) == time(old);
    for key in FIXED.iter().filter(|key| !(same_time && **key == "eventTime")) {
        let shown = if *key == "reportingComponent" { "reportingController" } else { key };
        errors.extend(immutable(at(event, &[key]), at(old, &[key]), &Path::new(shown)));
    }
    errors
}
