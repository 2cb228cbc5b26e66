//! HorizontalPodAutoscalers (the v2 form, which is the one stored).

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::rules::{
    GroupRule, api_version_problem, default_behavior, source_of, validate_behavior, validate_metric,
    validate_reference,
};
use crate::shared::access::{at, at_mut, default_to, drop_nulls, has, int, list, list_mut, set, text};
use crate::shared::quantities::canonical;
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
        if list(obj, &["spec", "metrics"]).is_empty() {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
            set(obj, &["spec", "metrics"], json!([metric]));
        }
        if let Some(spec) = at_mut(obj, &["spec"]) {
            default_behavior(spec);
        }
        canonical_amounts(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_spec(at(obj, &["spec"]), None));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(validate_spec(at(obj, &["spec"]), Some(at(old, &["spec"]))));
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

/// Puts the amounts of metrics and tolerances in canonical form.
fn canonical_amounts(obj: &mut Value) {
    for (metrics, part) in [(["spec", "metrics"], "target"), (["status", "currentMetrics"], "current")] {
        for metric in list_mut(obj, &metrics) {
            let source = source_of(text(metric, &["type"]));
            for key in ["value", "averageValue"] {
                at_mut(metric, &[&source, part, key]).map(canonical);
            }
        }
    }
    for key in ["scaleUp", "scaleDown"] {
        at_mut(obj, &["spec", "behavior", key, "tolerance"]).map(canonical);
    }
}

/// What was accepted before these rules may stay: zero replicas, and references whose version says nothing.
fn validate_spec(spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = Vec::new();
    let least = i64::from(old.is_none_or(|old| int(old, &["minReplicas"]) != Some(0)));
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
    let target = at(spec, &["scaleTargetRef"]);
    errors.extend(validate_reference(target, target_group(target, old), &path.child("scaleTargetRef")));
    let (metrics, metrics_path) = (list(spec, &["metrics"]), path.child("metrics"));
    let group = object_group(old);
    for (index, metric) in metrics.iter().enumerate() {
        errors.extend(validate_metric(metric, group, &metrics_path.index(index)));
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

/// The group is needed to find what to scale, but for the one scalable kind of the core group.
fn target_group(target: &Value, old: Option<&Value>) -> GroupRule {
    let same =
        |old: &Value| ["apiVersion", "kind"].iter().all(|key| text(old, &[key]) == text(target, &[key]));
    if old.is_some_and(|old| same(at(old, &["scaleTargetRef"]))) {
        GroupRule::Any
    } else if text(target, &["kind"]) == "ReplicationController" {
        GroupRule::WellFormed
    } else {
        GroupRule::Required
    }
}

fn object_group(old: Option<&Value>) -> GroupRule {
    let metrics = old.map_or(&[][..], |old| list(old, &["metrics"]));
    let objects = metrics.iter().filter(|metric| text(metric, &["type"]) == "Object");
    let mut versions = objects.map(|metric| text(metric, &["object", "describedObject", "apiVersion"]));
    let bad = |version| api_version_problem(version, GroupRule::WellFormed).is_some();
    if versions.any(bad) { GroupRule::Any } else { GroupRule::WellFormed }
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
    let of_resource = matches!(kind, "Resource" | "ContainerResource");
    let average = has(metric, &[&source, "target", "averageValue"]);
    let (key, percent) = match kind {
        "Resource" | "ContainerResource" if !average => ("averageUtilization", "%"),
        "Object" | "External" if !average => ("value", ""),
        "Resource" | "ContainerResource" | "Object" | "External" | "Pods" => ("averageValue", ""),
        _ => return "<unknown type>".to_owned(),
    };
    let show = |value: &Value, missing: &str| match value {
        Value::Null => missing.to_owned(),
        Value::String(text) => text.clone(),
        number => format!("{number}{percent}"),
    };
    let now = current.map_or(&Value::Null, |status| at(status, &[&source, "current", key]));
    let wanted = show(at(metric, &[&source, "target", key]), "<auto>");
    let pair = format!("{}/{wanted}", show(now, "<unknown>"));
    match kind {
        _ if of_resource => format!("{}: {pair}", text(metric, &[&source, "name"])),
        "Object" | "External" if average => format!("{pair} (avg)"),
        _ => pair,
    }
}
