//! The two served forms of a HorizontalPodAutoscaler.
//!
//! Enters: an autoscaler in either form. Leaves: the same in the other. Called by the registry, which stores v2.
//! Metrics v1 cannot say are kept in upstream's annotation, so that a write through v1 does not lose them.

use serde_json::{Value, json};

use crate::shared::access::{at, int, list, remove, set, text};
use crate::shared::meta;

const OTHER_METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";

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
    let mut out = obj.clone();
    set(&mut out, &["apiVersion"], json!("autoscaling/v2"));
    let mut metrics: Vec<Value> = meta::annotation(obj, OTHER_METRICS)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    if let Some(percent) = int(obj, &["spec", "targetCPUUtilizationPercentage"]) {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    remove(&mut out, &["spec", "targetCPUUtilizationPercentage"]);
    remove(&mut out, &["metadata", "annotations", OTHER_METRICS]);
    if !metrics.is_empty() {
        set(&mut out, &["spec", "metrics"], Value::Array(metrics));
    }
    if let Some(percent) = int(obj, &["status", "currentCPUUtilizationPercentage"]) {
        let current = json!({"averageUtilization": percent});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": current}});
        set(&mut out, &["status", "currentMetrics"], json!([metric]));
        remove(&mut out, &["status", "currentCPUUtilizationPercentage"]);
    }
    out
}

/// The v2 form as v1; a v1 object is returned as it is.
pub fn to_v1(obj: &Value) -> Value {
    if text(obj, &["apiVersion"]) == "autoscaling/v1" {
        return obj.clone();
    }
    let mut out = obj.clone();
    set(&mut out, &["apiVersion"], json!("autoscaling/v1"));
    let (cpu, others): (Vec<&Value>, Vec<&Value>) =
        list(obj, &["spec", "metrics"]).iter().partition(|metric| is_cpu(metric, "target"));
    remove(&mut out, &["spec", "metrics"]);
    if let Some(metric) = cpu.first() {
        let percent = at(metric, &["resource", "target", "averageUtilization"]).clone();
        set(&mut out, &["spec", "targetCPUUtilizationPercentage"], percent);
    }
    if !others.is_empty() {
        set(&mut out, &["metadata", "annotations", OTHER_METRICS], json!(json!(others).to_string()));
    }
    let current = list(obj, &["status", "currentMetrics"]).iter().find(|metric| is_cpu(metric, "current"));
    remove(&mut out, &["status", "currentMetrics"]);
    if let Some(metric) = current {
        let percent = at(metric, &["resource", "current", "averageUtilization"]).clone();
        set(&mut out, &["status", "currentCPUUtilizationPercentage"], percent);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_autoscaler() {
        let v1 = json!({"apiVersion": "autoscaling/v1", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
            "status": {"currentCPUUtilizationPercentage": 20}});
        let v2 = to_v2(&v1);
        assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        assert_eq!(to_v1(&v2), v1);
    }

    #[test]
    fn metrics_v1_cannot_say_are_kept() {
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
        let v2 = json!({"apiVersion": "autoscaling/v2", "metadata": {"annotations": {"x": "y"}}, "spec": {"metrics": [pods]}});
        assert_eq!(to_v2(&to_v1(&v2))["spec"], v2["spec"]);
    }
}
