//! The two served forms of a HorizontalPodAutoscaler.
//!
//! Enters: an autoscaler in either form. Leaves: the same in the other. Called by the registry, which stores v2.
//! What v1 cannot say is kept in upstream's annotations, so that a write through v1 does not lose it.
//! Authority: pkg/apis/autoscaling/v1/conversion.go.

use serde_json::{Value, json};

use super::old_metrics::{spec_from_v1, spec_to_v1, status_from_v1, status_to_v1};
use crate::shared::access::{at, entries, int, list, remove, set, text};
use crate::shared::meta;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// Everything that is written for the way back; a client's own are dropped.
const ROUND_TRIP: &[&str] = &[
    METRICS,
    CURRENT,
    BEHAVIOR,
    CONDITIONS,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

fn is_cpu(metric: &Value, key: &str) -> bool {
    text(metric, &["type"]) == "Resource"
        && text(metric, &["resource", "name"]) == "cpu"
        && int(metric, &["resource", key, "averageUtilization"]).is_some()
}

/// The v1 form as v2; a v2 object is returned as it is.
pub fn to_v2(obj: &Value) -> Value {
    if text(obj, &["apiVersion"]) != "autoscaling/v1" {
        return obj.clone();
    }
    let kept = |key: &str| meta::annotation(obj, key).and_then(|text| serde_json::from_str(text).ok());
    let mut out = obj.clone();
    set(&mut out, &["apiVersion"], json!("autoscaling/v2"));
    let mut metrics: Vec<Value> =
        list(&kept(METRICS).unwrap_or_default(), &[]).iter().map(spec_from_v1).collect();
    if let Some(percent) = int(obj, &["spec", "targetCPUUtilizationPercentage"]) {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        set(&mut out, &["spec", "metrics"], Value::Array(metrics));
    }
    if let Some(behavior) = kept(BEHAVIOR).filter(|behavior| entries(behavior, &[]).next().is_some()) {
        set(&mut out, &["spec", "behavior"], with_keys(&behavior, char::to_ascii_lowercase));
    }
    if let Some(percent) = int(obj, &["status", "currentCPUUtilizationPercentage"]) {
        let current = json!({"averageUtilization": percent});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": current}});
        set(&mut out, &["status", "currentMetrics"], json!([metric]));
    }
    // The annotation has the raw values besides the percentage.
    if let Some(Value::Array(metrics)) = kept(CURRENT) {
        let metrics = metrics.iter().map(status_from_v1).collect();
        set(&mut out, &["status", "currentMetrics"], Value::Array(metrics));
    }
    if let Some(conditions @ Value::Array(_)) = kept(CONDITIONS) {
        set(&mut out, &["status", "conditions"], conditions);
    }
    remove(&mut out, &["spec", "targetCPUUtilizationPercentage"]);
    remove(&mut out, &["status", "currentCPUUtilizationPercentage"]);
    drop_annotations(&mut out);
    out
}

/// The v2 form as v1; a v1 object is returned as it is.
pub fn to_v1(obj: &Value) -> Value {
    if text(obj, &["apiVersion"]) == "autoscaling/v1" {
        return obj.clone();
    }
    let mut out = obj.clone();
    set(&mut out, &["apiVersion"], json!("autoscaling/v1"));
    drop_annotations(&mut out);
    let mut keep = |key: &str, value: Value| {
        set(&mut out, &["metadata", "annotations", key], json!(value.to_string()));
    };
    let (cpu, others): (Vec<&Value>, Vec<&Value>) =
        list(obj, &["spec", "metrics"]).iter().partition(|metric| is_cpu(metric, "target"));
    if !others.is_empty() {
        keep(METRICS, others.into_iter().map(spec_to_v1).collect());
    }
    let current = list(obj, &["status", "currentMetrics"]);
    if !current.is_empty() {
        keep(CURRENT, current.iter().map(status_to_v1).collect());
    }
    let behavior = at(obj, &["spec", "behavior"]);
    if !behavior.is_null() {
        keep(BEHAVIOR, with_keys(behavior, char::to_ascii_uppercase));
    }
    let conditions = at(obj, &["status", "conditions"]);
    if !list(conditions, &[]).is_empty() {
        keep(CONDITIONS, conditions.clone());
    }
    if let Some(metric) = cpu.first() {
        let percent = at(metric, &["resource", "target", "averageUtilization"]).clone();
        set(&mut out, &["spec", "targetCPUUtilizationPercentage"], percent);
    }
    if let Some(metric) = current.iter().rfind(|metric| is_cpu(metric, "current")) {
        let percent = at(metric, &["resource", "current", "averageUtilization"]).clone();
        set(&mut out, &["status", "currentCPUUtilizationPercentage"], percent);
    }
    for path in
        [["spec", "metrics"], ["spec", "behavior"], ["status", "currentMetrics"], ["status", "conditions"]]
    {
        remove(&mut out, &path);
    }
    out
}

fn drop_annotations(obj: &mut Value) {
    for key in ROUND_TRIP {
        remove(obj, &["metadata", "annotations", key]);
    }
}

/// The same value with the first letter of every key changed: a `behavior` is kept under Go's own field names.
fn with_keys(value: &Value, first: fn(&char) -> char) -> Value {
    match value {
        Value::Object(map) => {
            let key = |key: &str| {
                let mut letters = key.chars();
                letters.next().map(|letter| first(&letter)).into_iter().chain(letters).collect::<String>()
            };
            map.iter().map(|(name, value)| (key(name), with_keys(value, first))).collect()
        }
        Value::Array(items) => items.iter().map(|item| with_keys(item, first)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_autoscaler() {
        let v1 = json!({"apiVersion": "autoscaling/v1", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}});
        let v2 = to_v2(&v1);
        assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        assert_eq!(to_v1(&v2), v1);
        let status = json!({"apiVersion": "autoscaling/v1", "metadata": {}, "status": {"currentCPUUtilizationPercentage": 20}});
        let current = &to_v2(&status)["status"]["currentMetrics"][0];
        assert_eq!(current["resource"]["current"], json!({"averageUtilization": 20}));
    }

    #[test]
    fn what_v1_cannot_say_is_kept_and_nothing_else_is_added() {
        let about = json!({"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"});
        let selector = json!({"matchLabels": {"a": "b"}});
        let metric = json!({"name": "q", "selector": selector});
        let value = json!({"type": "Value", "value": "1"});
        let average = json!({"type": "AverageValue", "averageValue": "2"});
        let percent = json!({"type": "Utilization", "averageUtilization": 70});
        let v2 = json!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"annotations": {"x": "y"}},
            "spec": {
                "metrics": [
                    {"type": "Object", "object": {"describedObject": about, "metric": metric, "target": value}},
                    {"type": "Object", "object": {"describedObject": about, "metric": metric, "target": average}},
                    {"type": "Pods", "pods": {"metric": metric, "target": average}},
                    {"type": "External", "external": {"metric": metric, "target": value}},
                    {"type": "External", "external": {"metric": metric, "target": average}},
                    {"type": "Resource", "resource": {"name": "memory", "target": percent}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": average}},
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}},
            },
            "status": {
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 3, "averageValue": "5m"}}},
                    {"type": "Object", "object": {"describedObject": about, "metric": metric, "current": {"value": "4"}}},
                ],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        });
        let v1 = to_v1(&v2);
        assert_eq!(v1["spec"], json!({}), "v1 has neither metrics nor behavior");
        assert_eq!(v1["status"], json!({"currentCPUUtilizationPercentage": 3}));
        let kept = |key: &str| -> Value {
            serde_json::from_str(meta::annotation(&v1, key).unwrap_or_default()).unwrap_or_default()
        };
        let first = json!({"target": about, "metricName": "q", "selector": selector, "targetValue": "1"});
        assert_eq!(kept(METRICS)[0]["object"], first);
        assert_eq!(kept(METRICS)[1]["object"]["targetValue"], "0", "v1 must have one");
        assert_eq!(kept(METRICS)[4]["external"]["targetAverageValue"], "2");
        assert_eq!(kept(CURRENT)[0]["resource"]["currentAverageValue"], "5m");
        assert_eq!(kept(BEHAVIOR)["ScaleUp"]["Policies"][0]["PeriodSeconds"], 15);
        assert_eq!(kept(CONDITIONS)[0]["type"], "AbleToScale");
        assert_eq!(to_v2(&v1), v2);
    }

    #[test]
    fn a_clients_own_round_trip_annotations_are_dropped() {
        let v2 = json!({"apiVersion": "autoscaling/v2", "metadata": {"annotations": {METRICS: "[]", CONDITIONS: "[]", "x": "y"}}});
        assert_eq!(to_v1(&v2)["metadata"]["annotations"], json!({"x": "y"}));
        let v1 = json!({"apiVersion": "autoscaling/v1", "metadata": {"annotations": {METRICS: "no JSON"}}});
        assert_eq!(to_v2(&v1), json!({"apiVersion": "autoscaling/v2", "metadata": {"annotations": {}}}));
    }
}
