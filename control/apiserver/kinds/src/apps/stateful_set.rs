//! StatefulSets.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::workload::{
    is_zero, never_ends, selects_template, template_defaults, validate_required_selector, validate_status,
};
use crate::pod::template;
use crate::shared::access::{
    at, default_text, default_to, drop_nulls, has, int, keep, list, list_mut, remove, set, text,
};
use crate::shared::formats::label;
use crate::shared::quantities::canonical_list;
use crate::shared::rules::{at_most_all, int_or_percent, not_negative, one_of_given};
use crate::storage::claim;
use crate::table::{AGE, CONTAINERS, IMAGES, NAME, age, column, containers_and_images, name};
use crate::{Column, Context, Facts, Generation, NameRule, Strategy, generic};

fn initial_status() -> Value {
    json!({"replicas": 0, "availableReplicas": 0})
}

static FACTS: Facts = Facts::namespaced("apps", "StatefulSet", "statefulsets")
    .with_initial_status(initial_status)
    .with_generation(Generation::Spec)
    .with_name(NameRule::Label);
const COLUMNS: &[Column] =
    &[NAME, column("Ready", "string", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES];
const ALLOWED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

const CHANGEABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const ROLLING: [&str; 3] = ["spec", "updateStrategy", "rollingUpdate"];
/// Off by default in 1.36 (KEP-961), and dropped from sets that do not have it yet.
const MAX_UNAVAILABLE: [&str; 4] = ["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];

/// The strategy of StatefulSets.
pub struct StatefulSet;

impl Strategy for StatefulSet {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
        default_text(obj, &["spec", "podManagementPolicy"], "OrderedReady");
        if text(obj, &["spec", "updateStrategy", "type"]).is_empty() {
            set(obj, &["spec", "updateStrategy", "type"], json!("RollingUpdate"));
            default_to(obj, &ROLLING, json!({}));
        }
        if text(obj, &["spec", "updateStrategy", "type"]) == "RollingUpdate" && has(obj, &ROLLING) {
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
            canonical_list(claim, &["spec", "resources", "limits"]);
        }
        template_defaults(obj);
    }

    fn prepare_for_create(&self, _ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        remove(obj, &MAX_UNAVAILABLE);
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        if !has(old, &MAX_UNAVAILABLE) {
            remove(obj, &MAX_UNAVAILABLE);
        }
        generic::prepare_for_update(&FACTS, obj, old);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        errors.extend(validate_spec(at(obj, &["spec"]), Tolerated::default()));
        errors
    }

    /// What is fixed may be wrong since before it was checked; so may the pods' own rules.
    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        let mut tolerated = Tolerated { fixed: true, pods: false };
        tolerated.pods = !validate_spec(at(old, &["spec"]), tolerated).is_empty();
        errors.extend(validate_spec(at(obj, &["spec"]), tolerated));
        let mut masked = at(obj, &["spec"]).clone();
        for key in CHANGEABLE {
            keep(&mut masked, at(old, &["spec"]), &[key]);
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
        let mut warnings = template::workload_warnings(obj, true);
        warnings.extend(own_warnings(obj));
        warnings
    }

    fn update_warnings(&self, obj: &Value, old: &Value) -> Vec<String> {
        let mut warnings = template::workload_update_warnings(obj, old);
        warnings.extend(own_warnings(obj));
        warnings
    }
}

/// The warnings of the templates of claims and of the number of revisions.
fn own_warnings(obj: &Value) -> Vec<String> {
    let path = Path::new("spec");
    let claims = list(obj, &["spec", "volumeClaimTemplates"]).iter().enumerate();
    let mut warnings: Vec<String> = claims
        .flat_map(|(index, claim)| {
            let path = path.child("volumeClaimTemplates").index(index).child("spec");
            claim::spec_warnings(at(claim, &["spec"]), &path)
        })
        .collect();
    if int(obj, &["spec", "revisionHistoryLimit"]).is_some_and(|limit| limit < 0) {
        let path = path.child("revisionHistoryLimit");
        warnings.push(format!(
            "{path}: a negative value retains all historical revisions; a value >= 0 is recommended"
        ));
    }
    warnings
}

/// Errors that are not looked for.
#[derive(Clone, Copy, Default)]
struct Tolerated {
    /// Those of fields that cannot change: the service's name, the templates of claims.
    fixed: bool,
    /// Those of the template's pods.
    pods: bool,
}

fn validate_spec(spec: &Value, tolerated: Tolerated) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = Vec::new();
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
    let claims = list(spec, &["volumeClaimTemplates"]).iter().enumerate();
    for (index, claim) in claims.filter(|_| !tolerated.fixed) {
        let path = path.child("volumeClaimTemplates").index(index).child("spec");
        errors.extend(claim::validate_spec(at(claim, &["spec"]), &path));
    }
    for key in ["replicas", "minReadySeconds"] {
        errors.extend(not_negative(spec, key, &path));
    }
    errors.extend(not_negative(at(spec, &["ordinals"]), "start", &path.child("ordinals")));
    let service = text(spec, &["serviceName"]);
    if !tolerated.fixed && !service.is_empty() {
        errors.extend(label(service, &path.child("serviceName")));
    }
    let selector = at(spec, &["selector"]);
    let (found, readable) = validate_required_selector(selector, &path.child("selector"), "statefulset", "");
    errors.extend(found);
    let (template, template_path) = (at(spec, &["template"]), path.child("template"));
    if readable {
        errors.extend(selects_template(selector, template, &template_path));
        if !tolerated.pods {
            errors.extend(template::validate(&as_in_pods(spec), &template_path));
        }
        errors.extend(template::validate_metadata(template, &template_path));
    }
    errors.extend(never_ends(template, &template_path, "StatefulSet"));
    errors
}

/// The template as its pods will have it: with a volume for every claim, and names that the set gives them.
fn as_in_pods(spec: &Value) -> Value {
    let mut template = at(spec, &["template"]).clone();
    for key in ["hostname", "subdomain"] {
        remove(&mut template, &["spec", key]);
    }
    let names: Vec<&str> = list(spec, &["volumeClaimTemplates"])
        .iter()
        .map(|claim| text(claim, &["metadata", "name"]))
        .collect();
    if !names.is_empty() {
        let claim = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
        let own = list(&template, &["spec", "volumes"]).iter();
        let others = own.filter(|volume| !names.contains(&text(volume, &["name"]))).cloned();
        let volumes = names.iter().map(claim).chain(others).collect();
        set(&mut template, &["spec", "volumes"], Value::Array(volumes));
    }
    template
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
        _ => vec![FieldError::invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")],
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
