//! A Deployment's conditions and status (upstream's progress.go and sync.go). Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};

use super::sets::{self, Member};
use crate::machinery::time::{plus, seconds, until};

/// A condition with both of its times now.
pub fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(seconds(now)),
        last_transition_time: Some(seconds(now)),
    }
}

/// The condition of a type.
pub fn get<'a>(conditions: &'a [DeploymentCondition], kind: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|c| c.type_ == kind)
}

fn remove(conditions: &mut Vec<DeploymentCondition>, kind: &str) {
    conditions.retain(|c| c.type_ != kind);
}

/// Sets a condition; one with the same status and reason stays as it is, the same status keeps its transition time.
pub fn set(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition) {
    if let Some(current) = get(conditions, &new.type_) {
        if current.status == new.status && current.reason == new.reason {
            return;
        }
        if current.status == new.status {
            new.last_transition_time = current.last_transition_time.clone();
        }
    }
    remove(conditions, &new.type_);
    conditions.push(new);
}

/// The progress deadline; none when it is upstream's "no deadline".
pub fn deadline(deployment: &Deployment) -> Option<Duration> {
    let seconds = deployment.spec.as_ref().and_then(|s| s.progress_deadline_seconds)?;
    (seconds != i32::MAX).then(|| Duration::from_secs(u64::from(seconds.unsigned_abs())))
}

/// Notes pausing and resuming in Progressing, so that a paused Deployment does not time out.
pub fn pausing(deployment: &Deployment, conditions: &mut Vec<DeploymentCondition>, now: Timestamp) {
    if deadline(deployment).is_none() {
        return;
    }
    let current = get(conditions, "Progressing").and_then(|c| c.reason.as_deref());
    if current == Some("ProgressDeadlineExceeded") {
        return;
    }
    let noted = current == Some("DeploymentPaused");
    let paused = sets::paused(deployment);
    let new = |reason, text: &str| condition("Progressing", "Unknown", reason, text.to_owned(), now);
    if paused && !noted {
        set(conditions, new("DeploymentPaused", "Deployment is paused"));
    } else if !paused && noted {
        set(conditions, new("DeploymentResumed", "Deployment is resumed"));
    }
}

/// The counts and the Available condition that follow from the ReplicaSets.
pub fn counts(
    deployment: &Deployment,
    all: &[Member],
    new: Option<&Member>,
    mut conditions: Vec<DeploymentCondition>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |of: fn(&Member) -> i32| all.iter().map(of).sum::<i32>();
    let wanted = sum(Member::replicas);
    let available = sum(Member::available);
    let enough = available >= sets::replicas(deployment) - sets::max_unavailable(deployment);
    let text = if enough {
        "Deployment has minimum availability."
    } else {
        "Deployment does not have minimum availability."
    };
    let (status, reason) =
        if enough { ("True", "MinimumReplicasAvailable") } else { ("False", "MinimumReplicasUnavailable") };
    set(&mut conditions, condition("Available", status, reason, text.to_owned(), now));
    let count = |n: i32| Some(n).filter(|n| *n != 0);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: count(sum(Member::actual)),
        updated_replicas: count(new.map(Member::actual).unwrap_or_default()),
        ready_replicas: count(sum(Member::ready)),
        available_replicas: count(available),
        unavailable_replicas: count((wanted - available).max(0)),
        terminating_replicas: Some(sum(Member::terminating)),
        collision_count: deployment.status.as_ref().and_then(|s| s.collision_count),
        conditions: Some(conditions),
    }
}

fn n(count: Option<i32>) -> i32 {
    count.unwrap_or_default()
}

/// Whether everything wanted is there, updated and available.
pub fn complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let replicas = sets::replicas(deployment);
    n(status.updated_replicas) == replicas
        && n(status.replicas) == replicas
        && n(status.available_replicas) == replicas
        && status.observed_generation >= deployment.metadata.generation
}

fn progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let outdated = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

/// When the deadline passes, counted from the last progress; none while complete or without a condition.
fn due(deployment: &Deployment, conditions: &[DeploymentCondition]) -> Option<Timestamp> {
    let current = get(conditions, "Progressing")?;
    if matches!(current.reason.as_deref(), Some("NewReplicaSetAvailable" | "ProgressDeadlineExceeded")) {
        return None;
    }
    let from = current.last_update_time.as_ref()?.0;
    Some(plus(from, deadline(deployment)?))
}

fn timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    get(conditions, "Progressing").is_some_and(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"))
        || due(deployment, conditions).is_some_and(|due| due < now)
}

/// Brings Progressing and ReplicaFailure up to date; answers when the deadline must be looked at again.
pub fn rollout(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    all: &[Member],
    new: Option<&Member>,
    now: Timestamp,
) -> Option<Duration> {
    let old = deployment.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.take().unwrap_or_default();
    status.conditions = Some(conditions.clone());
    let current = get(&conditions, "Progressing").cloned();
    let settled = n(status.replicas) == n(status.updated_replicas)
        && current.as_ref().is_some_and(|c| c.reason.as_deref() == Some("NewReplicaSetAvailable"));
    let subject = new.map_or_else(
        || format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
        |set| format!("ReplicaSet \"{}\"", set.name()),
    );
    if deadline(deployment).is_some() && !settled {
        let build = |status, reason, text: &str| {
            condition("Progressing", status, reason, format!("{subject} {text}"), now)
        };
        if complete(deployment, status) {
            set(&mut conditions, build("True", "NewReplicaSetAvailable", "has successfully progressed."));
        } else if progressing(&old, status) {
            let mut new = build("True", "ReplicaSetUpdated", "is progressing.");
            if let Some(current) = current.filter(|c| c.status == "True") {
                new.last_transition_time = current.last_transition_time;
            }
            remove(&mut conditions, "Progressing");
            conditions.push(new);
        } else if timed_out(deployment, status, now) {
            set(&mut conditions, build("False", "ProgressDeadlineExceeded", "has timed out progressing."));
        }
    }
    let failures = new.into_iter().chain(all.iter()).find_map(Member::failure);
    match failures {
        Some(failure) => set(
            &mut conditions,
            DeploymentCondition {
                type_: failure.type_,
                status: failure.status,
                reason: failure.reason,
                message: failure.message,
                last_transition_time: failure.last_transition_time.clone(),
                last_update_time: failure.last_transition_time,
            },
        ),
        None => remove(&mut conditions, "ReplicaFailure"),
    }
    let again = due(deployment, &conditions)
        .filter(|_| !sets::paused(deployment))
        .map(|due| until(due, now) + Duration::from_secs(1));
    status.conditions = Some(conditions);
    again
}
