//! Deployments.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::workload::{
    selector_is_immutable, template_defaults, validate_rolling, validate_selector_and_template,
    validate_status,
};
use crate::pod::template;
use crate::shared::access::{at, default_text, default_to, drop_nulls, has, int, keep, text};
use crate::shared::rules::{NOT_NEGATIVE, not_negative};
use crate::table::{AGE, CONTAINERS, IMAGES, NAME, age, column, containers_and_images, name, selector, wide};
use crate::{Column, Context, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::namespaced("apps", "Deployment", "deployments")
    .with_status()
    .with_generation(Generation::SpecAndAnnotations);
const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "Number of the pod with ready state"),
    column(
        "Up-to-date",
        "string",
        "Total number of non-terminating pods that have the desired template spec.",
    ),
    column("Available", "string", "Total number of available non-terminating pods."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "string", "Label selector for pods."),
];

/// The strategy of Deployments.
pub struct Deployment;

impl Strategy for Deployment {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_to(obj, &["spec", "replicas"], 1);
        default_text(obj, &["spec", "strategy", "type"], "RollingUpdate");
        if text(obj, &["spec", "strategy", "type"]) == "RollingUpdate" {
            default_to(obj, &["spec", "strategy", "rollingUpdate", "maxUnavailable"], "25%");
            default_to(obj, &["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
        }
        default_to(obj, &["spec", "revisionHistoryLimit"], 10);
        default_to(obj, &["spec", "progressDeadlineSeconds"], 600);
        template_defaults(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        errors.extend(not_negative(spec, "replicas", &path));
        errors.extend(validate_selector_and_template(spec, &path));
        errors.extend(validate_strategy(at(spec, &["strategy"]), &path.child("strategy")));
        for key in ["minReadySeconds", "revisionHistoryLimit"] {
            errors.extend(not_negative(spec, key, &path));
        }
        if let Some(seconds) = int(spec, &["progressDeadlineSeconds"]) {
            let path = path.child("progressDeadlineSeconds");
            if seconds < 0 {
                errors.push(FieldError::invalid(&path, seconds, NOT_NEGATIVE));
            }
            if seconds <= int(spec, &["minReadySeconds"]).unwrap_or(0) {
                errors.push(FieldError::invalid(&path, seconds, "must be greater than minReadySeconds"));
            }
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(self.validate(obj));
        errors.extend(selector_is_immutable(obj, old));
        errors
    }

    /// A status write changes no label either.
    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        keep(obj, old, &["metadata", "labels"]);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let counts = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        let bounds = [
            ("updatedReplicas", "replicas", "cannot be greater than status.replicas"),
            ("readyReplicas", "replicas", "cannot be greater than status.replicas"),
            ("availableReplicas", "replicas", "cannot be greater than status.replicas"),
            ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
        ];
        errors.extend(validate_status(obj, old, &counts, &bounds));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let status = |key: &str| int(obj, &["status", key]).unwrap_or(0);
        let (names, images) = containers_and_images(at(obj, &["spec", "template", "spec"]));
        let desired = int(obj, &["spec", "replicas"]).unwrap_or(0);
        vec![
            name(obj),
            json!(format!("{}/{desired}", status("readyReplicas"))),
            json!(status("updatedReplicas")),
            json!(status("availableReplicas")),
            age(obj, now),
            json!(names),
            json!(images),
            json!(selector(at(obj, &["spec", "selector"]))),
        ]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        template::workload_warnings(obj, true)
    }

    fn update_warnings(&self, obj: &Value, old: &Value) -> Vec<String> {
        template::workload_update_warnings(obj, old)
    }
}

fn validate_strategy(strategy: &Value, path: &Path) -> Vec<FieldError> {
    let rolling = at(strategy, &["rollingUpdate"]);
    let rolling_path = path.child("rollingUpdate");
    match text(strategy, &["type"]) {
        "Recreate" if has(strategy, &["rollingUpdate"]) => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            vec![FieldError::forbidden(&rolling_path, detail)]
        }
        "Recreate" => Vec::new(),
        "RollingUpdate" if rolling.is_null() => {
            let detail = "this should be defaulted and never be nil";
            vec![FieldError::required(&rolling_path, detail)]
        }
        "RollingUpdate" => validate_rolling(rolling, &rolling_path, "may not be 0 when `maxSurge` is 0"),
        // Upstream files this under the whole strategy, and shows the whole.
        _ => vec![FieldError::not_supported(path, strategy, &["Recreate", "RollingUpdate"])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now, update};

    fn deployment() -> Value {
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[test]
    fn defaults_are_upstreams() {
        let (obj, errors) = create(&Deployment, deployment());
        assert_eq!(errors, Vec::<String>::new());
        let spec = &obj["spec"];
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!(
            (&spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]),
            (&json!(10), &json!(600))
        );
        assert_eq!(
            Deployment.row(&obj, now())[..5],
            [json!("a"), json!("0/1"), json!(0), json!(0), json!("60m")]
        );
    }

    #[test]
    fn each_error_has_upstreams_words() {
        let with = |key: &str, value: Value| {
            let mut obj = deployment();
            obj["spec"][key] = value;
            create(&Deployment, obj).1
        };
        let cases = [
            ("replicas", json!(-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
            (
                "strategy",
                json!({"type": "Slow"}),
                "spec.strategy: Unsupported value: {\"type\":\"Slow\"}: supported values: \"Recreate\", \"RollingUpdate\"",
            ),
            (
                "strategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ),
            (
                "strategy",
                json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                "progressDeadlineSeconds",
                json!(0),
                "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds",
            ),
        ];
        for (key, value, want) in cases {
            assert_eq!(with(key, value), [want]);
        }
    }

    #[test]
    fn generation_follows_spec_and_annotations_but_not_status() {
        let (old, _) = create(&Deployment, deployment());
        let change = |path: &[&str], value: Value| {
            let mut new = old.clone();
            crate::shared::access::set(&mut new, path, value);
            update(&Deployment, new, &old).0["metadata"]["generation"].clone()
        };
        assert_eq!(change(&["status", "replicas"], json!(3)), 1);
        assert_eq!(change(&["metadata", "labels", "x"], json!("y")), 1);
        assert_eq!(change(&["metadata", "annotations", "x"], json!("y")), 2);
        assert_eq!(change(&["spec", "replicas"], json!(3)), 2);
    }

    #[test]
    fn a_status_write_keeps_the_spec() {
        let (old, _) = create(&Deployment, deployment());
        let mut new = old.clone();
        new["spec"]["replicas"] = json!(9);
        new["status"] = json!({"replicas": 1, "readyReplicas": 2});
        Deployment.prepare_for_status_update(&crate::Context::new("u", "ns", now()), &mut new, &old);
        assert_eq!(new["spec"], old["spec"]);
        let errors = crate::testing::messages(&Deployment.validate_status_update(&new, &old));
        assert_eq!(
            errors,
            ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]
        );
    }
}
