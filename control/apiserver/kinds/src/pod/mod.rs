//! Pods and pod templates.
//!
//! Enters: a Pod, or the template of a workload. Leaves: defaults and errors, part by part.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

pub mod annotations;
pub mod containers;
pub mod defaults;
pub mod env;
pub mod match_keys;
pub mod mounts;
pub mod pod_resources;
pub mod policies;
pub mod print;
pub mod probes;
mod profiles;
pub mod projected;
pub mod qos;
pub mod resize;
pub mod resources;
pub mod scheduling;
pub mod security;
pub mod spec;
pub mod status;
pub mod template;
mod tightening;
pub mod update;
pub mod volume_sources;
pub mod volumes;
pub mod warnings;
pub mod windows;

use crate::shared::access::{at, at_mut, default_text, int, set, text};
use crate::shared::rules::whole_object;
use crate::shared::{access, meta};
use crate::{Column, Context, Facts, Generation, Strategy, generic};

static FACTS: Facts = Facts::namespaced("", "Pod", "pods").with_status().with_generation(Generation::Spec);

/// The strategy of pods.
pub struct Pod;

impl Strategy for Pod {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        access::drop_nulls(obj);
        if let Some(spec) = at_mut(obj, &["spec"]) {
            defaults::pod_spec(spec);
        }
        defaults::pod(obj);
    }

    fn prepare_for_create(&self, ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        profiles::fields_from_annotations(obj);
        if let Some(spec) = at_mut(obj, &["spec"]) {
            defaults::mirror_service_account(spec);
        }
        match_keys::merge(obj);
        let class = qos::class(at(obj, &["spec"]));
        set(obj, &["status"], json!({"phase": "Pending", "qosClass": class}));
        if !access::list(obj, &["spec", "schedulingGates"]).is_empty() {
            let condition = json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates", "lastProbeTime": null,
                "lastTransitionTime": xebec_api::time::format_rfc3339_seconds(ctx.now)});
            set(obj, &["status", "conditions"], json!([condition]));
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = validate_whole(obj);
        let path = Path::new("spec");
        errors.extend(profiles::validate_match(obj, &path));
        if !access::list(obj, &["spec", "ephemeralContainers"]).is_empty() {
            errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
        }
        let gated = !access::list(obj, &["spec", "schedulingGates"]).is_empty();
        if gated && !text(obj, &["spec", "nodeName"]).is_empty() {
            let detail = "cannot be set until all schedulingGates have been cleared";
            errors.push(FieldError::forbidden(&path.child("nodeName"), detail));
        }
        errors
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        if let Some(spec) = at_mut(obj, &["spec"]) {
            defaults::mirror_service_account(spec);
        }
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(validate_whole(obj));
        errors.extend(update::validate(obj, old));
        errors
    }

    fn prepare_for_subresource_update(&self, sub: &str, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        match sub {
            "resize" => resize::only_resources(obj, old),
            "ephemeralcontainers" => update::only_ephemeral_containers(obj, old),
            _ => return,
        }
        generic::prepare_for_update(&FACTS, obj, old);
    }

    fn validate_subresource_update(&self, sub: &str, obj: &Value, old: &Value) -> Vec<FieldError> {
        let whole = || {
            let mut errors = generic::validate_update(&FACTS, obj, old);
            errors.extend(validate_whole(obj));
            errors
        };
        match sub {
            "resize" => resize::validate(obj, old, whole()),
            "ephemeralcontainers" if meta::annotation(old, annotations::MIRROR).is_some() => {
                let detail = "static pods do not support ephemeral containers";
                vec![FieldError::forbidden(&whole_object(), detail)]
            }
            "ephemeralcontainers" => {
                let mut errors = whole();
                errors.extend(update::validate_ephemeral(obj, old));
                errors
            }
            _ => Vec::new(),
        }
    }

    fn prepare_for_status_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        // Old kubelets spoil references to owners, and with them garbage collection.
        access::keep(obj, old, &["metadata", "ownerReferences"]);
        let class = qos::of_pod(old).to_owned();
        default_text(obj, &["status", "qosClass"], &class);
        status::keep_observed_generations(obj, old);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&FACTS, obj, old);
        errors.extend(status::validate(obj, old));
        errors
    }

    fn selectable_field_names(&self) -> &[&str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }

    fn selectable_fields(&self, obj: &Value) -> Vec<(String, String)> {
        let mut fields = generic::selectable_fields(self.selectable_field_names(), obj);
        for (name, value) in &mut fields {
            if name == "spec.hostNetwork" && value.is_empty() {
                *value = "false".to_owned();
            }
        }
        fields
    }

    fn columns(&self) -> &[Column] {
        print::COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        print::row(obj, now)
    }

    fn graceful_deletion_seconds(&self, obj: &Value, requested: Option<i64>) -> Option<i64> {
        let own = int(obj, &["spec", "terminationGracePeriodSeconds"]);
        let mut seconds = requested.or(own).unwrap_or(30);
        if text(obj, &["spec", "nodeName"]).is_empty() {
            seconds = 0;
        }
        if matches!(text(obj, &["status", "phase"]), "Failed" | "Succeeded") {
            seconds = 0;
        }
        Some(if seconds < 0 { 1 } else { seconds })
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut warnings: Vec<String> = warnings::of_name(obj, "the Pod's hostname").into_iter().collect();
        warnings.extend(warnings::of(obj, &Path::root()));
        warnings
    }

    /// Upstream warns of new pods only: hardly anybody updates one by hand.
    fn update_warnings(&self, _obj: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
    }
}

/// The rules of a whole pod, new or updated.
fn validate_whole(obj: &Value) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    errors.extend(annotations::validate(obj, &Path::new("metadata").child("annotations")));
    errors.extend(spec::validate(spec, Some(meta::name(obj)), &path));
    errors.extend(projected::tokens_without_account(spec, &path));
    errors.extend(containers::validate_only_for_pods(spec, &path));
    errors
}

#[cfg(test)]
mod tables;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, update};

    fn simple() -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}})
    }

    #[test]
    fn a_new_pod_is_pending_and_has_a_class() {
        let (pod, errors) = create(&Pod, simple());
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
        assert_eq!(pod["metadata"]["generation"], 1);
    }

    #[test]
    fn an_update_keeps_the_status_and_counts_generations() {
        let (mut old, _) = create(&Pod, simple());
        old["status"]["phase"] = json!("Running");
        let mut new = old.clone();
        new["status"]["phase"] = json!("Failed");
        let (same, errors) = update(&Pod, new.clone(), &old);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            (&same["status"]["phase"], &same["metadata"]["generation"]),
            (&json!("Running"), &json!(1))
        );
        new["spec"]["containers"][0]["image"] = json!("c");
        let (changed, errors) = update(&Pod, new, &old);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(changed["metadata"]["generation"], 2);
    }

    #[test]
    fn grace_follows_the_pod() {
        let (mut pod, _) = create(&Pod, simple());
        assert_eq!(Pod.graceful_deletion_seconds(&pod, None), Some(0), "not scheduled");
        pod["spec"]["nodeName"] = json!("n");
        assert_eq!(Pod.graceful_deletion_seconds(&pod, None), Some(30));
        assert_eq!(Pod.graceful_deletion_seconds(&pod, Some(5)), Some(5));
        assert_eq!(Pod.graceful_deletion_seconds(&pod, Some(-1)), Some(1));
        pod["status"]["phase"] = json!("Succeeded");
        assert_eq!(Pod.graceful_deletion_seconds(&pod, None), Some(0));
    }

    #[test]
    fn fields_can_be_selected() {
        let (pod, _) = create(&Pod, simple());
        let fields: std::collections::BTreeMap<_, _> = Pod.selectable_fields(&pod).into_iter().collect();
        assert_eq!(fields["spec.hostNetwork"], "false");
        assert_eq!(fields["status.phase"], "Pending");
        assert_eq!(fields["spec.nodeName"], "");
    }
}
