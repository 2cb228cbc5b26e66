//! DaemonSets.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::workload::{
    is_zero, never_ends, not_empty, selector_is_immutable, selects_template, template_defaults,
    validate_status,
};
use crate::pod::template;
use crate::shared::access::{at, default_text, default_to, drop_nulls, has, int, set, text};
use crate::shared::labels::validate_selector;
use crate::shared::meta;
use crate::shared::rules::{at_most_all, int_or_percent, not_negative};
use crate::table::{
    AGE, CONTAINERS, IMAGES, NAME, age, column, containers_and_images, labels, name, selector, wide,
};
use crate::{Column, Context, Facts, Generation, Strategy, generic};

fn initial_status() -> Value {
    json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
}

static FACTS: Facts = Facts::namespaced("apps", "DaemonSet", "daemonsets")
    .with_initial_status(initial_status)
    .with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column("Desired", "integer", "The number of nodes that should be running the daemon pod."),
    column("Current", "integer", "The number of nodes that run at least 1 daemon pod and are supposed to."),
    column("Ready", "integer", "The number of nodes whose daemon pod is ready."),
    column("Up-to-date", "integer", "The number of nodes that run the updated daemon pod."),
    column("Available", "integer", "The number of nodes whose daemon pod is available."),
    column("Node Selector", "string", "The labels a node must have."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "string", "A label query over pods that are managed by the daemon set."),
];

/// The strategy of DaemonSets.
pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["spec", "updateStrategy", "type"], "RollingUpdate");
        if text(obj, &["spec", "updateStrategy", "type"]) == "RollingUpdate" {
            default_to(obj, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"], 1);
            default_to(obj, &["spec", "updateStrategy", "rollingUpdate", "maxSurge"], 0);
        }
        default_to(obj, &["spec", "revisionHistoryLimit"], 10);
        template_defaults(obj);
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        let first = template_generation(obj).max(1);
        set(obj, &TEMPLATE_GENERATION, json!(first.to_string()));
    }

    /// The template has a generation of its own, which no client counts.
    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        let changed = at(obj, &["spec", "template"]) != at(old, &["spec", "template"]);
        let generation = template_generation(old) + i64::from(changed);
        set(obj, &TEMPLATE_GENERATION, json!(generation.to_string()));
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        errors.extend(validate_pods(spec, &path));
        errors.extend(not_negative(spec, "minReadySeconds", &path));
        errors.extend(validate_strategy(at(spec, &["updateStrategy"]), &path.child("updateStrategy")));
        errors.extend(not_negative(spec, "revisionHistoryLimit", &path));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors.extend(selector_is_immutable(obj, old));
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        errors.extend(validate_status(obj, old, &counts, &[]));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let status = |key: &str| json!(int(obj, &["status", key]).unwrap_or(0));
        let spec = at(obj, &["spec", "template", "spec"]);
        let (names, images) = containers_and_images(spec);
        vec![
            name(obj),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            json!(labels(at(spec, &["nodeSelector"]))),
            age(obj, now),
            json!(names),
            json!(images),
            json!(selector(at(obj, &["spec", "selector"]))),
        ]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        template::workload_warnings(obj, false)
    }

    fn update_warnings(&self, obj: &Value, old: &Value) -> Vec<String> {
        if at(obj, &TEMPLATE_GENERATION) == at(old, &TEMPLATE_GENERATION) {
            return Vec::new();
        }
        template::workload_warnings(obj, false)
    }
}

/// Where v1 shows what older versions had in the spec.
const TEMPLATE_GENERATION: [&str; 3] =
    ["metadata", "annotations", "deprecated.daemonset.template.generation"];

fn template_generation(obj: &Value) -> i64 {
    meta::annotation(obj, TEMPLATE_GENERATION[2]).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Every error of `selector` and `template`. A missing selector is only found to select no pod.
fn validate_pods(spec: &Value, path: &Path) -> Vec<FieldError> {
    let (selector, selector_path) = (at(spec, &["selector"]), path.child("selector"));
    let (template, template_path) = (at(spec, &["template"]), path.child("template"));
    let mut errors = validate_selector(selector, &selector_path);
    if errors.is_empty() {
        errors.extend(selects_template(selector, template, &template_path));
    }
    errors.extend(not_empty(selector, &selector_path, "daemonset"));
    errors.extend(template::validate(template, &template_path));
    errors.extend(never_ends(template, &template_path, "DaemonSet"));
    errors
}

fn validate_strategy(strategy: &Value, path: &Path) -> Vec<FieldError> {
    match text(strategy, &["type"]) {
        "OnDelete" => Vec::new(),
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            if !has(strategy, &["rollingUpdate"]) {
                return vec![FieldError::required(&path, "")];
            }
            let rolling = at(strategy, &["rollingUpdate"]);
            let mut errors = Vec::new();
            for rule in [int_or_percent, at_most_all] {
                for key in ["maxUnavailable", "maxSurge"] {
                    errors.extend(rule(at(rolling, &[key]), &path.child(key)));
                }
            }
            let (unavailable, surge) =
                (is_zero(at(rolling, &["maxUnavailable"])), is_zero(at(rolling, &["maxSurge"])));
            if unavailable && surge {
                let detail = "cannot be 0 when maxSurge is 0";
                errors.push(FieldError::required(&path.child("maxUnavailable"), detail));
            } else if !unavailable && !surge {
                let detail = "may not be set when maxUnavailable is non-zero";
                errors.push(FieldError::invalid(&path.child("maxSurge"), at(rolling, &["maxSurge"]), detail));
            }
            errors
        }
        // Upstream files this under the whole strategy, and shows the whole.
        _ => vec![FieldError::not_supported(path, strategy, &["RollingUpdate", "OnDelete"])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn a_set_is_defaulted_and_shown() {
        let (set, errors) = create(
            &DaemonSet,
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"nodeSelector": {"x": "y"}, "containers": [{"name": "c", "image": "i"}]}}}}),
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            set["spec"]["updateStrategy"]["rollingUpdate"],
            json!({"maxUnavailable": 1, "maxSurge": 0})
        );
        assert_eq!(DaemonSet.row(&set, now())[6..8], [json!("x=y"), json!("60m")]);
    }
}
