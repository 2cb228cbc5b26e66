//! Tables of Events in both groups.

use serde_json::{Value, json};

use super::event::{CoreEvent, NewEvent};
use crate::Strategy;
use crate::testing::Table;

const STRAY: &str = "does not match event.namespace";

fn about() -> Value {
    json!({"kind": "Pod", "name": "p", "namespace": "ns"})
}

#[test]
fn core_events() {
    let table = Table::of(
        &CoreEvent,
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e_x"}, "involvedObject": about(), "reason": "R"}),
    );
    let timed = json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c", "reportingInstance": "i", "action": "a"});
    table.valid(&[
        ("timed", timed.clone()),
        ("about a node", json!({"metadata.namespace": "default", "involvedObject": {"kind": "Node"}})),
    ]);
    let with = |more: Value| {
        let mut patch = timed.clone();
        patch.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        patch
    };
    table.invalid(&[
        (
            "elsewhere",
            json!({"involvedObject.namespace": "other"}),
            &[&format!("involvedObject.namespace: Invalid value: \"other\": {STRAY}")],
        ),
        (
            "about a node, elsewhere",
            json!({"involvedObject.namespace": ""}),
            &[&format!("involvedObject.namespace: Invalid value: \"\": {STRAY}")],
        ),
        (
            "timed, elsewhere",
            with(json!({"involvedObject.namespace": ""})),
            &[&format!("involvedObject.namespace: Invalid value: \"\": {STRAY}")],
        ),
        (
            "timed, by nobody",
            json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reason": null}),
            &[
                "reportingComponent: Required value",
                "reportingComponent: Invalid value: \"\": name part must be non-empty",
                "reportingComponent: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "reportingInstance: Required value",
                "action: Required value",
                "reason: Required value",
            ],
        ),
        (
            "timed, too long",
            with(json!({"reportingInstance": "x".repeat(129), "action": "x".repeat(129), "reason": "x".repeat(129), "message": "x".repeat(1025)})),
            &[
                "reportingInstance: Invalid value: \"\": can have at most 128 characters",
                "action: Invalid value: \"\": can have at most 128 characters",
                "reason: Invalid value: \"\": can have at most 128 characters",
                "message: Invalid value: \"\": can have at most 1024 characters",
            ],
        ),
    ]);
    table.updates(&[("anything", json!({"reason": "S", "count": 2, "type": "Odd"}), &[])]);
    assert!(CoreEvent.create_on_update() && NewEvent.create_on_update());
}

#[test]
fn new_events() {
    let table = Table::of(
        &NewEvent,
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": about(), "reason": "R", "type": "Normal",
            "eventTime": "2026-01-01T00:00:00.000001Z", "reportingController": "c", "reportingInstance": "i", "action": "a"}),
    );
    let series = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"});
    table.valid(&[("a series", json!({"series": series}))]);
    table.invalid(&[
        (
            "no time, no type",
            json!({"eventTime": null, "type": "Odd"}),
            &["eventTime: Required value", "type: Invalid value: \"\": has invalid value: Odd"],
        ),
        (
            "old fields",
            json!({"deprecatedFirstTimestamp": "2026-01-01T00:00:00Z", "deprecatedLastTimestamp": "2026-01-01T00:00:00Z",
                "deprecatedCount": 1, "deprecatedSource": {"host": "h"}}),
            &[
                "firstTimestamp: Invalid value: \"\": needs to be unset",
                "lastTimestamp: Invalid value: \"\": needs to be unset",
                "count: Invalid value: \"\": needs to be unset",
                "source: Invalid value: \"\": needs to be unset",
            ],
        ),
        (
            "a series of one",
            json!({"series": {"count": 1}}),
            &["series.count: Invalid value: \"\": should be at least 2", "series.lastObservedTime: Required value"],
        ),
        (
            "nobody's",
            json!({"reportingController": "-"}),
            &["reportingController: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"],
        ),
        (
            "its name",
            json!({"metadata.name": "a_b"}),
            &["metadata.name: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"],
        ),
    ]);
    let fixed = |path: &str, value: &str| format!("{path}: Invalid value: \"{value}\": field is immutable");
    table.updates(&[
        ("a series", json!({"series": series}), &[]),
        ("a series of none", json!({"series": {"lastObservedTime": "x"}}), &["series.count: Invalid value: \"\": should be at least 2"]),
        ("less than a microsecond", json!({"eventTime": "2026-01-01T00:00:00.000001500Z"}), &[]),
        (
            "another time",
            json!({"eventTime": "2026-01-01T00:00:00.000002Z"}),
            &[&fixed("eventTime", "2026-01-01T00:00:00.000002Z")],
        ),
        (
            "everything",
            json!({"reason": "S", "note": "n", "type": "Odd", "action": "b", "reportingController": "d", "reportingInstance": "j", "deprecatedCount": 3}),
            &[
                &fixed("reason", "S"),
                &fixed("message", "n"),
                "count: Invalid value: 3: field is immutable",
                &fixed("reason", "S"),
                &fixed("type", "Odd"),
                &fixed("action", "b"),
                &fixed("reportingController", "d"),
                &fixed("reportingInstance", "j"),
            ],
        ),
        (
            "about another",
            json!({"regarding.name": "q", "related": {"kind": "Pod"}}),
            &[
                "involvedObject: Invalid value: {\"kind\":\"Pod\",\"name\":\"q\",\"namespace\":\"ns\"}: field is immutable",
                "related: Invalid value: {\"kind\":\"Pod\"}: field is immutable",
            ],
        ),
    ]);
}
