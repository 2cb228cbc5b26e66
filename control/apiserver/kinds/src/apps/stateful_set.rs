//! StatefulSets.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::workload::{is_zero, validate_counts, validate_selector_and_template, validate_status};
use crate::pod::template;
use crate::shared::access::{
    at, default_text, default_to, drop_nulls, has, int, list_mut, remove, set, text,
};
use crate::shared::quantities::canonical_list;
use crate::shared::rules::{at_most_all, int_or_percent, invalid_each, not_negative, one_of_given};
use crate::table::{AGE, NAME, age, column, containers_and_images, name, wide};
use crate::{Column, Facts, Generation, Strategy, generic};

fn initial_status() -> Value {
    json!({"replicas": 0, "availableReplicas": 0})
}

static FACTS: Facts = Facts::namespaced("apps", "StatefulSet", "statefulsets")
    .with_initial_status(initial_status)
    .with_generation(Generation::Spec);
const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "Number of the pod with ready state"),
    AGE,
    wide("Containers", "string", "Names of each container in the template."),
    wide("Images", "string", "Images referenced by each container in the template."),
];
const ALLOWED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

/// The strategy of StatefulSets.
pub struct StatefulSet;

impl Strategy for StatefulSet {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["spec", "podManagementPolicy"], "OrderedReady");
        default_text(obj, &["spec", "updateStrategy", "type"], "RollingUpdate");
        if text(obj, &["spec", "updateStrategy", "type"]) == "RollingUpdate" {
            default_to(obj, &["spec", "updateStrategy", "rollingUpdate", "partition"], 0);
        }
        for key in ["whenDeleted", "whenScaled"] {
            default_text(obj, &["spec", "persistentVolumeClaimRetentionPolicy", key], "Retain");
        }
        default_to(obj, &["spec", "replicas"], 1);
        default_to(obj, &["spec", "revisionHistoryLimit"], 10);
        for claim in list_mut(obj, &["spec", "volumeClaimTemplates"]) {
            default_text(claim, &["spec", "volumeMode"], "Filesystem");
            default_text(claim, &["status", "phase"], "Pending");
            default_text(claim, &["apiVersion"], "v1");
            default_text(claim, &["kind"], "PersistentVolumeClaim");
            canonical_list(claim, &["spec", "resources", "requests"]);
        }
        template::defaults(obj, &["spec", "template"]);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = validate_whole(obj);
        let service = text(obj, &["spec", "serviceName"]);
        if !service.is_empty() {
            let path = Path::new("spec").child("serviceName");
            errors.extend(invalid_each(&path, service, names::is_dns1035_label(service)));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_whole(obj);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        let mut masked = at(obj, &["spec"]).clone();
        for key in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            match at(old, &["spec", key]) {
                Value::Null => remove(&mut masked, &[key]),
                value => set(&mut masked, &[key], value.clone()),
            }
        }
        if masked != *at(old, &["spec"]) {
            errors.push(FieldError::forbidden(&Path::new("spec"), ALLOWED));
        }
        errors
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let counts = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ];
        let over = "cannot be greater than status.replicas";
        let bounds = [
            ("readyReplicas", "replicas", over),
            ("currentReplicas", "replicas", over),
            ("updatedReplicas", "replicas", over),
            ("availableReplicas", "replicas", over),
            ("availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas"),
        ];
        let mut errors = validate_status(obj, old, &counts, &bounds);
        errors.extend(generic::validate_update(&FACTS, obj, old));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let (names, images) = containers_and_images(at(obj, &["spec", "template", "spec"]));
        let ready = int(obj, &["status", "readyReplicas"]).unwrap_or(0);
        let desired = int(obj, &["spec", "replicas"]).unwrap_or(0);
        vec![name(obj), json!(format!("{ready}/{desired}")), age(obj, now), json!(names), json!(images)]
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        template::warnings(at(obj, &["spec", "template"]), "spec.template.spec")
    }
}

fn validate_whole(obj: &Value) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    match text(spec, &["podManagementPolicy"]) {
        "OrderedReady" | "Parallel" => {}
        "" => errors.push(FieldError::required(&path.child("podManagementPolicy"), "")),
        other => {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid(&path.child("podManagementPolicy"), other, detail));
        }
    }
    errors.extend(validate_strategy(at(spec, &["updateStrategy"]), &path.child("updateStrategy")));
    let policy_path = path.child("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        let policy = at(spec, &["persistentVolumeClaimRetentionPolicy"]);
        errors.extend(one_of_given(policy, key, &["Retain", "Delete"], &policy_path));
    }
    errors.extend(validate_counts(spec, &path));
    if has(spec, &["ordinals", "start"]) {
        errors.extend(not_negative(at(spec, &["ordinals"]), "start", &path.child("ordinals")));
    }
    errors.extend(validate_selector_and_template(spec, &path, "statefulset"));
    errors
}

fn validate_strategy(strategy: &Value, path: &Path) -> Vec<FieldError> {
    let rolling_path = path.child("rollingUpdate");
    match text(strategy, &["type"]) {
        "" => vec![FieldError::required(path, "")],
        "OnDelete" if has(strategy, &["rollingUpdate"]) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            vec![FieldError::invalid(&rolling_path, at(strategy, &["rollingUpdate"]), detail)]
        }
        "OnDelete" => Vec::new(),
        "RollingUpdate" => {
            let rolling = at(strategy, &["rollingUpdate"]);
            let mut errors = not_negative(rolling, "partition", &rolling_path);
            let (unavailable, path) =
                (at(rolling, &["maxUnavailable"]), rolling_path.child("maxUnavailable"));
            if !unavailable.is_null() {
                errors.extend(int_or_percent(unavailable, &path));
                if is_zero(unavailable) {
                    errors.push(FieldError::invalid(&path, unavailable, "cannot be 0"));
                }
                errors.extend(at_most_all(unavailable, &path));
            }
            errors
        }
        other => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            vec![FieldError::invalid(path, serde_json::json!({"type": other}), detail)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, update};

    #[test]
    fn most_of_the_spec_is_fixed() {
        let (old, errors) = create(
            &StatefulSet,
            json!({"spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(old["spec"]["podManagementPolicy"], "OrderedReady");
        assert_eq!(
            old["spec"]["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        );
        let mut new = old.clone();
        new["spec"]["replicas"] = json!(3);
        assert_eq!(update(&StatefulSet, new.clone(), &old).1, Vec::<String>::new());
        new["spec"]["serviceName"] = json!("t");
        assert_eq!(update(&StatefulSet, new, &old).1, [format!("spec: Forbidden: {ALLOWED}")]);
    }
}
