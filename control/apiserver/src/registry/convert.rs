//! The two resources that are served in more versions than they are stored in. Pure.
//!
//! Events: `events.k8s.io/v1` and core `v1` are one set of objects, stored as core. Autoscalers: v1 is stored as v2.

use serde_json::{Map, Value, json};
use xebec_api::resource::Resource;

/// Field names of the two event versions: (core, events.k8s.io).
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// An object of the served version in the stored version.
#[must_use]
pub fn to_storage(served: &Resource, stored: &Resource, value: Value) -> Value {
    convert(served, stored, value, true)
}

/// A stored object in the served version.
#[must_use]
pub fn from_storage(served: &Resource, stored: &Resource, value: Value) -> Value {
    convert(served, stored, value, false)
}

fn convert(served: &Resource, stored: &Resource, mut value: Value, inwards: bool) -> Value {
    if served.group == stored.group && served.version == stored.version {
        return value;
    }
    let Some(object) = value.as_object_mut() else { return value };
    match served.plural {
        "events" => event(object, inwards),
        "horizontalpodautoscalers" if inwards => autoscaler_to_v2(object),
        "horizontalpodautoscalers" => autoscaler_to_v1(object),
        _ => {}
    }
    let version = if inwards { stored.api_version() } else { served.api_version() };
    object.insert("apiVersion".to_owned(), Value::String(version));
    value
}

fn event(object: &mut Map<String, Value>, inwards: bool) {
    for (core, events) in EVENT_FIELDS {
        let (from, to) = if inwards { (events, core) } else { (core, events) };
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
}

fn autoscaler_to_v2(object: &mut Map<String, Value>) {
    let target = object.get_mut("spec").and_then(Value::as_object_mut).and_then(|spec| {
        let target = spec.remove("targetCPUUtilizationPercentage")?;
        spec.insert(
            "metrics".to_owned(),
            json!([cpu_metric("target", &json!({"type": "Utilization", "averageUtilization": target}))]),
        );
        Some(())
    });
    let _ = target;
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
        && let Some(current) = status.remove("currentCPUUtilizationPercentage")
    {
        status.insert(
            "currentMetrics".to_owned(),
            json!([cpu_metric("current", &json!({"averageUtilization": current}))]),
        );
    }
}

fn cpu_metric(field: &str, value: &Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", field: value}})
}

fn autoscaler_to_v1(object: &mut Map<String, Value>) {
    let cpu = |metrics: &Value, field: &str| {
        let metrics = metrics.as_array().into_iter().flatten();
        let mut cpu = metrics.filter(|m| m["type"] == "Resource" && m["resource"]["name"] == "cpu");
        cpu.find_map(|m| m["resource"][field]["averageUtilization"].as_i64())
    };
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        && let Some(metrics) = spec.remove("metrics")
        && let Some(target) = cpu(&metrics, "target")
    {
        spec.insert("targetCPUUtilizationPercentage".to_owned(), json!(target));
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
        && let Some(metrics) = status.remove("currentMetrics")
        && let Some(current) = cpu(&metrics, "current")
    {
        status.insert("currentCPUUtilizationPercentage".to_owned(), json!(current));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_api::resource::lookup;

    #[test]
    fn events_go_both_ways() {
        let (served, stored) =
            (lookup("events.k8s.io", "v1", "events").unwrap(), lookup("", "v1", "events").unwrap());
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n", "regarding": {"name": "p"},
            "reportingController": "c", "deprecatedCount": 2});
        let core = to_storage(served, stored, event.clone());
        assert_eq!(core["apiVersion"], "v1");
        assert_eq!(
            (&core["message"], &core["involvedObject"]["name"], &core["count"]),
            (&json!("n"), &json!("p"), &json!(2))
        );
        assert_eq!(from_storage(served, stored, core), event);
    }

    #[test]
    fn autoscalers_go_both_ways() {
        let served = lookup("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let stored = lookup("autoscaling", "v2", "horizontalpodautoscalers").unwrap();
        let v1 = json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}});
        let v2 = to_storage(served, stored, v1.clone());
        assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(from_storage(served, stored, v2), v1);
    }
}
