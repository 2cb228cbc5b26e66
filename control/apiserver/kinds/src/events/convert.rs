//! The two forms of an Event.
//!
//! Enters: an Event in either form. Leaves: the same in the other. Called by the registry, which stores the core
//! form.

use serde_json::{Value, json};

use crate::shared::access::{at, remove, set};

/// Field names that differ: core/v1, events.k8s.io/v1.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(
    event: &Value,
    api_version: &str,
    pairs: impl Iterator<Item = (&'static str, &'static str)>,
) -> Value {
    let mut out = event.clone();
    for (from, to) in pairs {
        let value = at(event, &[from]).clone();
        remove(&mut out, &[from]);
        if !value.is_null() {
            set(&mut out, &[to], value);
        }
    }
    set(&mut out, &["apiVersion"], json!(api_version));
    set(&mut out, &["kind"], json!("Event"));
    out
}

/// The events.k8s.io/v1 form as core/v1; a core/v1 Event is returned as it is.
pub fn to_core(event: &Value) -> Value {
    if at(event, &["apiVersion"]) == "v1" {
        return event.clone();
    }
    rename(event, "v1", RENAMED.iter().map(|(core, new)| (*new, *core)))
}

/// The core/v1 form as events.k8s.io/v1; one in that form is returned as it is.
pub fn to_events(event: &Value) -> Value {
    if at(event, &["apiVersion"]) == "events.k8s.io/v1" {
        return event.clone();
    }
    rename(event, "events.k8s.io/v1", RENAMED.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_event() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"kind": "Pod"}, "message": "m",
            "reason": "r", "count": 2, "reportingComponent": "c", "source": {"component": "k"}});
        let new = to_events(&core);
        assert_eq!(new["regarding"]["kind"], "Pod");
        assert_eq!(new["deprecatedCount"], 2);
        assert_eq!(new["reportingController"], "c");
        assert_eq!(new.get("involvedObject"), None);
        assert_eq!(to_core(&new), core);
    }
}
