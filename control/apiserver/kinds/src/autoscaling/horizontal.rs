//! HorizontalPodAutoscalers (the v2 form, which is the one stored).

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, default_to, drop_nulls, has, int, list, set, text};
use crate::shared::rules::{not_negative, required};
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
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        let (min, max) = (int(spec, &["minReplicas"]).unwrap_or(1), int(spec, &["maxReplicas"]).unwrap_or(0));
        if min < 1 {
            let detail = "must be greater than or equal to 1";
            errors.push(FieldError::invalid(&path.child("minReplicas"), min, detail));
        }
        if max < 1 {
            errors.push(FieldError::invalid(&path.child("maxReplicas"), max, "must be greater than 0"));
        }
        if max < min {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.push(FieldError::invalid(&path.child("maxReplicas"), max, detail));
        }
        let target = at(spec, &["scaleTargetRef"]);
        let target_path = path.child("scaleTargetRef");
        errors.extend(required(target, "kind", &target_path));
        errors.extend(required(target, "name", &target_path));
        for (index, metric) in list(spec, &["metrics"]).iter().enumerate() {
            let path = path.child("metrics").index(index);
            let kinds = ["ContainerResource", "External", "Object", "Pods", "Resource"];
            let kind = text(metric, &["type"]);
            if kind.is_empty() {
                errors.push(FieldError::required(&path.child("type"), "must specify a metric source type"));
            } else if !kinds.contains(&kind) {
                errors.push(FieldError::not_supported(&path.child("type"), kind, &kinds));
            } else {
                let source = format!("{}{}", kind[..1].to_lowercase(), &kind[1..]);
                if !has(metric, &[&source]) {
                    let detail = "must populate information for the given metric source";
                    errors.push(FieldError::required(&path.child(&source), detail));
                }
            }
        }
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
    let source = kind.chars().next().map_or(String::new(), |c| c.to_lowercase().to_string() + &kind[1..]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn an_autoscaler_is_defaulted_checked_and_shown() {
        let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
        let (obj, errors) =
            create(&HorizontalPodAutoscaler, json!({"spec": {"maxReplicas": 3, "scaleTargetRef": target}}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            HorizontalPodAutoscaler.row(&obj, now())[1..6],
            [json!("Deployment/d"), json!("cpu: <unknown>/80%"), json!("1"), json!(3), json!(0)]
        );
        let wrong = json!({"spec": {"minReplicas": 5, "maxReplicas": 3, "scaleTargetRef": target}});
        assert_eq!(
            create(&HorizontalPodAutoscaler, wrong).1,
            ["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"]
        );
    }
}
