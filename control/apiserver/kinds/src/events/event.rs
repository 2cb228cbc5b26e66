//! The strategies of Events in both groups.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::FieldError;

use super::convert::to_core;
use super::rules;
use crate::shared::access::{at, drop_nulls, has, int, text};
use crate::table::{Column, NAME, column, name, parse_time, since, wide};
use crate::{Facts, NameRule, Strategy, generic};

// As upstream, whose strategy checks no more of a core Event's name than that it can stand in a path.
static CORE: Facts = Facts::namespaced("", "Event", "events").with_name(NameRule::PathSegment);
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
    wide("Count", "string", "The number of times this event has occurred."),
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
        let mut errors = rules::validate(obj, "reportingComponent");
        errors.extend(generic::validate(&CORE, obj));
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
        let mut errors = rules::validate(&to_core(obj), "reportingController");
        errors.extend(generic::validate(&NEW, obj));
        errors.extend(rules::validate_new(&to_core(obj)));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = rules::validate(&to_core(obj), "reportingController");
        errors.extend(generic::validate_update(&NEW, obj, old));
        errors.extend(rules::validate_update(&to_core(obj), &to_core(old)));
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
    use super::super::convert::to_events;
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
}
