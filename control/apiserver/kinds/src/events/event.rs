//! The strategies of Events in both groups.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::convert::{to_core, to_events};
use crate::shared::access::{at, drop_nulls, has, int, text};
use crate::shared::rules::{immutable, invalid_each};
use crate::table::{Column, NAME, column, name, parse_time, since, wide};
use crate::{Facts, Strategy, generic};

static CORE: Facts = Facts::namespaced("", "Event", "events");
static NEW: Facts = Facts::namespaced("events.k8s.io", "Event", "events");
const NAME_WIDE: Column = Column { priority: 1, ..NAME };
const COLUMNS: &[Column] = &[
    column("Last Seen", "string", "The time at which the most recent occurrence of this event was recorded."),
    column("Type", "string", "Type of this event (Normal, Warning), new types could be added in the future"),
    column("Reason", "string", "The reason for the transition into the object's current status."),
    column("Object", "string", "The object that this event is about."),
    wide("Subobject", "string", "The part of the object that this event is about."),
    wide("Source", "string", "The component reporting this event."),
    column("Message", "string", "A human-readable description of the status of this operation."),
    wide("First Seen", "string", "The time at which the event was first recorded."),
    wide("Count", "integer", "The number of times this event has occurred."),
    NAME_WIDE,
];
const CORE_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const NEW_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// The strategy of Events in the core group.
pub struct CoreEvent;
/// The strategy of Events in events.k8s.io.
pub struct NewEvent;

impl Strategy for CoreEvent {
    fn facts(&self) -> &Facts {
        &CORE
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&CORE, obj);
        errors.extend(validate_namespace(obj));
        if has(obj, &["eventTime"]) {
            errors.extend(validate_reported(&to_events(obj), "reportingComponent", &["reason", "action"]));
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn selectable_field_names(&self) -> &[&str] {
        CORE_FIELDS
    }

    fn selectable_fields(&self, obj: &Value) -> Vec<(String, String)> {
        let mut fields = generic::selectable_fields(CORE_FIELDS, obj);
        for (key, value) in &mut fields {
            if key == "source" {
                let component = text(obj, &["source", "component"]);
                let reporting = text(obj, &["reportingComponent"]);
                *value = if component.is_empty() { reporting } else { component }.to_owned();
            }
        }
        fields
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        row(obj, now)
    }
}

impl Strategy for NewEvent {
    fn facts(&self) -> &Facts {
        &NEW
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&NEW, obj);
        errors.extend(validate_namespace(&to_core(obj)));
        if !has(obj, &["eventTime"]) && !has(obj, &["deprecatedFirstTimestamp"]) {
            errors.push(FieldError::required(&Path::new("eventTime"), ""));
        }
        if has(obj, &["eventTime"]) {
            errors.extend(validate_reported(obj, "reportingController", &["reason", "action"]));
        }
        let kind = text(obj, &["type"]);
        if !matches!(kind, "Normal" | "Warning") {
            errors.push(FieldError::invalid(&Path::new("type"), "", "has invalid value: ".to_owned() + kind));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&NEW, obj, old));
        for key in [
            "regarding",
            "reason",
            "reportingController",
            "reportingInstance",
            "action",
            "type",
            "note",
            "eventTime",
        ] {
            errors.extend(immutable(at(obj, &[key]), at(old, &[key]), &Path::new(key)));
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn selectable_field_names(&self) -> &[&str] {
        NEW_FIELDS
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        row(&to_core(obj), now)
    }
}

/// An Event lies in the namespace of what it is about; those about cluster-scoped objects in `default`.
fn validate_namespace(obj: &Value) -> Vec<FieldError> {
    let (namespace, about) =
        (text(obj, &["metadata", "namespace"]), text(obj, &["involvedObject", "namespace"]));
    let path = Path::new("involvedObject").child("namespace");
    if about.is_empty() {
        if matches!(namespace, "" | "default" | "kube-system") {
            return Vec::new();
        }
    } else if about == namespace {
        return Vec::new();
    }
    vec![FieldError::invalid(&path, about, "does not match event.namespace")]
}

/// What an Event with an `eventTime` must say, in the events.k8s.io form.
fn validate_reported(event: &Value, controller_name: &str, needed: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let controller = text(event, &["reportingController"]);
    let path = Path::new(controller_name);
    if controller.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    errors.extend(invalid_each(&path, controller, names::is_qualified_name(controller)));
    let instance = text(event, &["reportingInstance"]);
    match instance.len() {
        0 => errors.push(FieldError::required(&Path::new("reportingInstance"), "")),
        length if length > 128 => {
            let detail = "can have at most 128 characters";
            errors.push(FieldError::invalid(&Path::new("reportingInstance"), "", detail));
        }
        _ => {}
    }
    for key in needed {
        match text(event, &[key]).len() {
            0 => errors.push(FieldError::required(&Path::new(key), "")),
            length if length > 128 => {
                errors.push(FieldError::invalid(&Path::new(key), "", "can have at most 128 characters"));
            }
            _ => {}
        }
    }
    if text(event, &["note"]).len() > 1024 {
        errors.push(FieldError::invalid(&Path::new("message"), "", "can have at most 1024 characters"));
    }
    errors
}

fn row(event: &Value, now: Timestamp) -> Vec<Value> {
    let time = |path: &[&str]| parse_time(at(event, path)).map(|_| since(at(event, path), now));
    let unknown = || "<unknown>".to_owned();
    let first = time(&["firstTimestamp"]).or_else(|| time(&["eventTime"])).unwrap_or_else(unknown);
    let mut last = time(&["lastTimestamp"]).unwrap_or_else(|| first.clone());
    let mut count = int(event, &["count"]).unwrap_or(0);
    if has(event, &["series"]) {
        last = time(&["series", "lastObservedTime"]).unwrap_or_else(unknown);
        count = int(event, &["series", "count"]).unwrap_or(0);
    } else if count == 0 {
        count = 1;
    }
    let kind = text(event, &["involvedObject", "kind"]).to_lowercase();
    let object = match text(event, &["involvedObject", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        json!(last),
        json!(text(event, &["type"])),
        json!(text(event, &["reason"])),
        json!(object),
        json!(text(event, &["involvedObject", "fieldPath"])),
        json!(source(event)),
        json!(text(event, &["message"]).trim()),
        json!(first),
        json!(count),
        name(event),
    ]
}

fn source(event: &Value) -> String {
    let (component, host) = match text(event, &["source", "component"]) {
        "" => (text(event, &["reportingComponent"]), text(event, &["reportingInstance"])),
        component => (component, text(event, &["source", "host"])),
    };
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    fn event() -> Value {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "ns"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "ns", "fieldPath": "spec.containers{a}"},
            "reason": "Started", "message": "Started container\n", "type": "Normal", "count": 3,
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:30Z"})
    }

    #[test]
    fn rows_are_upstreams() {
        let (event, errors) = create(&CoreEvent, event());
        assert_eq!(errors, Vec::<String>::new());
        let want = [
            json!("30s"),
            json!("Normal"),
            json!("Started"),
            json!("pod/p"),
            json!("spec.containers{a}"),
            json!("kubelet, n1"),
            json!("Started container"),
            json!("60m"),
            json!(3),
            json!("e"),
        ];
        assert_eq!(CoreEvent.row(&event, now()), want);
        assert_eq!(NewEvent.row(&to_events(&event), now()), want);
    }

    #[test]
    fn fields_can_be_selected() {
        let fields: std::collections::BTreeMap<_, _> =
            CoreEvent.selectable_fields(&event()).into_iter().collect();
        assert_eq!(fields["source"], "kubelet");
        assert_eq!(fields["involvedObject.name"], "p");
    }

    #[test]
    fn an_event_lies_beside_its_object() {
        let mut stray = event();
        stray["involvedObject"]["namespace"] = json!("other");
        assert_eq!(
            create(&CoreEvent, stray).1,
            ["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"]
        );
        let new = json!({"metadata": {"name": "e", "namespace": "ns"}, "regarding": {"namespace": "ns"}, "type": "Odd"});
        assert_eq!(
            create(&NewEvent, new).1,
            ["eventTime: Required value", "type: Invalid value: \"\": has invalid value: Odd"]
        );
    }
}
