//! HorizontalPodAutoscalers (the v2 form, which is the one stored).

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::rules::{default_behavior, source_of, validate_behavior, validate_metric, validate_reference};
use crate::shared::access::{at, at_mut, default_to, drop_nulls, int, list, set, text};
use crate::shared::rules::not_negative;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, Strategy, generic};

fn initial_status() -> Value {
    json!({"currentMetrics": null, "desiredReplicas": 0})
}

static FACTS: Facts = Facts::namespaced("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
    .with_initial_status(initial_status);
const COLUMNS: &[Column] = &[
    NAME,
    column("Reference", "string", "The target resource to scale."),
    column("Targets", "string", "The metrics and the values they should have."),
    column("MinPods", "string", "The lower limit of replicas."),
    column("MaxPods", "string", "The upper limit of replicas."),
    column("Replicas", "string", "The current number of replicas."),
    AGE,
];

/// The strategy of HorizontalPodAutoscalers.
pub struct HorizontalPodAutoscaler;

impl Strategy for HorizontalPodAutoscaler {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "minReplicas"], 1);
        let old_form = text(obj, &["apiVersion"]) == "autoscaling/v1";
        if !old_form && list(obj, &["spec", "metrics"]).is_empty() {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
            set(obj, &["spec", "metrics"], json!([metric]));
        }
        if let Some(spec) = at_mut(obj, &["spec"]) {
            default_behavior(spec);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_spec(at(obj, &["spec"]), 1));
        errors
    }

    /// An autoscaler that was allowed to scale to zero may still do so.
    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let least = i64::from(int(old, &["spec", "minReplicas"]) != Some(0));
        errors.extend(validate_spec(at(obj, &["spec"]), least));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        for key in ["currentReplicas", "desiredReplicas"] {
            errors.extend(not_negative(at(obj, &["status"]), key, &Path::new("status")));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let reference = format!(
            "{}/{}",
            text(obj, &["spec", "scaleTargetRef", "kind"]),
            text(obj, &["spec", "scaleTargetRef", "name"])
        );
        let min = int(obj, &["spec", "minReplicas"]).map_or("<unset>".to_owned(), |min| min.to_string());
        vec![
            name(obj),
            json!(reference),
            json!(targets(obj)),
            json!(min),
            json!(int(obj, &["spec", "maxReplicas"]).unwrap_or(0)),
            json!(int(obj, &["status", "currentReplicas"]).unwrap_or(0)),
            age(obj, now),
        ]
    }
}

fn validate_spec(spec: &Value, least: i64) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = Vec::new();
    let (min, max) = (int(spec, &["minReplicas"]).unwrap_or(1), int(spec, &["maxReplicas"]).unwrap_or(0));
    if min < least {
        let detail = format!("must be greater than or equal to {least}");
        errors.push(FieldError::invalid(&path.child("minReplicas"), min, detail));
    }
    if max < 1 {
        errors.push(FieldError::invalid(&path.child("maxReplicas"), max, "must be greater than 0"));
    }
    if max < min {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&path.child("maxReplicas"), max, detail));
    }
    errors.extend(validate_reference(at(spec, &["scaleTargetRef"]), &path.child("scaleTargetRef")));
    let (metrics, metrics_path) = (list(spec, &["metrics"]), path.child("metrics"));
    for (index, metric) in metrics.iter().enumerate() {
        errors.extend(validate_metric(metric, &metrics_path.index(index)));
    }
    let from_outside = |metric: &Value| matches!(text(metric, &["type"]), "Object" | "External");
    if min == 0 && !metrics.iter().any(from_outside) {
        let detail =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(&metrics_path, detail));
    }
    errors.extend(validate_behavior(at(spec, &["behavior"]), &path.child("behavior")));
    errors
}

/// The first two metrics as `cpu: 10%/80%`, and how many more there are.
fn targets(obj: &Value) -> String {
    let metrics = list(obj, &["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let current = list(obj, &["status", "currentMetrics"]);
    let shown: Vec<String> =
        metrics.iter().take(2).enumerate().map(|(index, m)| target(m, current.get(index))).collect();
    match metrics.len() {
        count if count > 2 => format!("{} + {} more...", shown.join(", "), count - 2),
        _ => shown.join(", "),
    }
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let kind = text(metric, &["type"]);
    let source = source_of(kind);
    let (key, percent) = match text(metric, &[&source, "target", "type"]) {
        "Utilization" => ("averageUtilization", "%"),
        "Value" => ("value", ""),
        _ => ("averageValue", ""),
    };
    let show = |value: &Value| match value {
        Value::Null => "<unknown>".to_owned(),
        Value::String(text) => text.clone(),
        number => format!("{number}{percent}"),
    };
    let now = current.map_or(&Value::Null, |status| at(status, &[&source, "current", key]));
    let pair = format!("{}/{}", show(now), show(at(metric, &[&source, "target", key])));
    let pair = if key == "averageValue" && source != "resource" { format!("{pair} (avg)") } else { pair };
    match source.as_str() {
        "resource" | "containerResource" => format!("{}: {pair}", text(metric, &[&source, "name"])),
        _ => pair,
    }
}
