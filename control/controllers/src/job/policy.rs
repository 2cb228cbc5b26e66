//! podFailurePolicy: what a pod's failure means to its Job. Pure (KEP-3329).

use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::Pod;

/// What a failed pod does to its Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Counts against the back-off limit.
    Count,
    /// Does not count.
    Ignore,
    /// Fails the Job, with this message.
    FailJob(String),
}

fn exit_code(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<(String, i32)> {
    let wanted = rule.on_exit_codes.as_ref()?;
    let status = pod.status.as_ref()?;
    let all =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    all.filter(|c| wanted.container_name.as_ref().is_none_or(|name| *name == c.name)).find_map(|container| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let listed = wanted.values.contains(&code);
        let hit = code != 0 && (if wanted.operator == "NotIn" { !listed } else { listed });
        hit.then(|| (container.name.clone(), code))
    })
}

fn condition(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let has = pod.status.as_ref()?.conditions.as_ref()?;
    rule.on_pod_conditions.iter().flatten().find_map(|pattern| {
        let status = pattern.status.as_deref().unwrap_or("True");
        has.iter().find(|c| c.type_ == pattern.type_ && c.status == status).map(|c| c.type_.clone())
    })
}

/// Applies the first rule that fits; without one a failure counts.
pub fn effect(job: &Job, pod: &Pod) -> Effect {
    let rules = job.spec.as_ref().and_then(|s| s.pod_failure_policy.as_ref()).map(|p| p.rules.as_slice());
    let name = format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
        let cause = if let Some((container, code)) = exit_code(rule, pod) {
            format!("Container {container} for pod {name} failed with exit code {code}")
        } else if let Some(kind) = condition(rule, pod) {
            format!("Pod {name} has condition {kind}")
        } else {
            continue;
        };
        return match rule.action.as_str() {
            "Ignore" => Effect::Ignore,
            "FailJob" => Effect::FailJob(format!("{cause} matching FailJob rule at index {index}")),
            _ => Effect::Count,
        };
    }
    Effect::Count
}
