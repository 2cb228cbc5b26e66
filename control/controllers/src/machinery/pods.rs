//! What a pod's state means to the controllers above it. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::time::{plus, until};

/// The phase, empty when not set.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Whether the pod has run to its end.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod is being deleted.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod counts towards a controller's replicas.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

/// The condition of a type.
pub fn condition<'a>(pod: &'a Pod, condition: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == condition)
}

/// Whether the Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// Since when the Ready condition has its status.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")?.last_transition_time.as_ref().map(|t| t.0)
}

/// Whether a pod has been ready for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It has.
    Now,
    /// It will have, if it stays ready so much longer.
    In(Duration),
    /// It is not ready.
    No,
}

/// Whether a pod has been ready for `min_ready_seconds`.
pub fn availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::No;
    }
    if min_ready_seconds <= 0 {
        return Availability::Now;
    }
    let Some(since) = ready_since(pod) else { return Availability::No };
    let wait = until(plus(since, Duration::from_secs(u64::from(min_ready_seconds.unsigned_abs()))), now);
    if wait.is_zero() { Availability::Now } else { Availability::In(wait) }
}

/// The highest restart count of a pod's containers.
pub fn max_restarts(pod: &Pod) -> i32 {
    let Some(status) = &pod.status else { return 0 };
    let containers = status.container_statuses.iter().flatten();
    let init = status.init_container_statuses.iter().flatten();
    containers.chain(init).map(|c| c.restart_count).max().unwrap_or_default()
}

/// A pod out of a template: labels, annotations and finalizers copied, a generated name, one controller.
///
/// The prefix is cut so that the generated name stays within a label's 63 characters, as upstream.
pub fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    owner_name: &str,
    owner: OwnerReference,
) -> Pod {
    let metadata = template.metadata.clone().unwrap_or_default();
    let prefix = format!("{owner_name}-");
    let usable = xebec_api::names::is_dns1123_label(prefix.trim_end_matches('-')).is_empty()
        || xebec_api::names::is_dns1123_subdomain(prefix.trim_end_matches('-')).is_empty();
    Pod {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            generate_name: Some(if usable { prefix } else { owner_name.to_owned() }),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn availability_waits_for_min_ready_seconds() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {}, "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .unwrap();
        let now: Timestamp = "2026-01-01T00:00:04Z".parse().unwrap();
        assert_eq!(availability(&pod, 0, now), Availability::Now);
        assert_eq!(availability(&pod, 4, now), Availability::Now);
        assert_eq!(availability(&pod, 10, now), Availability::In(Duration::from_secs(6)));
        assert_eq!(availability(&Pod::default(), 0, now), Availability::No);
    }
}
