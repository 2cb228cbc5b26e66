//! Deployment: rolls a template out through ReplicaSets, one per template.
//!
//! Enters: Deployments, their ReplicaSets and (for Recreate) pods. Leaves: ReplicaSets created, scaled and pruned; the
//! revision annotation; the status. A ReplicaSet write with a stale resourceVersion is a conflict and is planned anew.

mod conditions;
mod plan;
mod sets;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xebec_api::selector::LabelSelector;

use crate::machinery::{Change, Expectations, Failed, Key, Queue, World, children, claim, work};
use sets::Member;

const COMPONENT: &str = "deployment-controller";

fn selector(deployment: &Deployment) -> LabelSelector {
    claim::selector(deployment.spec.as_ref().map(|s| &s.selector))
}

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Key>::default());
    let expectations = Arc::new(Expectations::default());
    children::follow_owner(&world.deployments, &queue, &expectations);
    children::follow(&world.replica_sets, &world.deployments, selector, &queue, &expectations);
    follow_last_pods(world, &queue);
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.deployments.wait_synced().await;
        world.replica_sets.wait_synced().await;
        world.pods.wait_synced().await;
        let workers = world.options.concurrency;
        work("deployment", queue, workers, cancel, move |key| {
            let world = world.clone();
            async move { reconcile(&world, &key).await }
        })
        .await;
    });
}

/// A Recreate rollout waits for the last old pod to end or go.
fn follow_last_pods(world: &Arc<World>, queue: &Arc<Queue<Key>>) {
    let (sets, deployments, queue) = (world.replica_sets.clone(), world.deployments.clone(), queue.clone());
    world.pods.on_change(move |change| {
        let pod = &**change.object();
        if !matches!(change, Change::Deleted(_)) && sets::still_running(pod) {
            return;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let owner = |refs: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference], kind: &str| {
            let found = refs.iter().find(|o| o.controller == Some(true) && o.kind == kind);
            found.map(|o| Key::new(namespace, &o.name))
        };
        let set = owner(pod.owner_references(), "ReplicaSet").and_then(|key| sets.get(&key));
        let Some(key) = set.and_then(|s| owner(s.owner_references(), "Deployment")) else { return };
        if deployments.get(&key).is_some_and(|d| sets::recreates(&d)) {
            queue.add(key);
        }
    });
}

async fn reconcile(world: &World, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(deployment) = world.deployments.get(key) else { return Ok(None) };
    let uid = deployment.uid().unwrap_or_default();
    let wanted = selector(&deployment);
    if wanted.is_empty() {
        let text = "This deployment is selecting all pods. A non-empty selector is required.";
        world.events.warning(COMPONENT, &*deployment, "SelectingAll", text);
        return Ok(None);
    }
    let claims = claim::claim(
        &deployment.metadata,
        &wanted,
        world.replica_sets.controlled_by(&uid),
        world.replica_sets.orphans(&key.namespace),
    );
    let owned = claim::settle(&world.writer, &*deployment, claims, None).await?;
    let pods: Vec<_> = owned.iter().map(|s| world.pods.controlled_by(&s.uid().unwrap_or_default())).collect();
    let plan = plan::plan(&deployment, &owned, &pods, world.clock.now());
    // Created and grown first, shrunk after, as a rollout prefers too many to too few.
    let (shrinking, growing): (Vec<&Member>, Vec<&Member>) =
        plan.members.iter().filter(|m| m.changed()).partition(|m| m.replicas() < m.replicas_before());
    for member in growing.into_iter().chain(shrinking) {
        if !write(world, &deployment, member).await? {
            return Ok(None);
        }
    }
    for set in &plan.delete {
        let key = Key::of(&**set);
        let uid = set.uid().unwrap_or_default();
        match world.writer.delete::<ReplicaSet>(&key, &uid, PropagationPolicy::Background, None).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
            _ => {}
        }
    }
    publish(world, &deployment, plan.revision, plan.status).await?;
    Ok(plan.again)
}

async fn publish(
    world: &World,
    deployment: &Deployment,
    revision: Option<String>,
    mut status: k8s_openapi::api::apps::v1::DeploymentStatus,
) -> Result<(), Failed> {
    let mut current = deployment.clone();
    if let Some(revision) = revision {
        let patch = json!({"metadata": {"uid": deployment.uid(), "annotations": {sets::REVISION: revision}}});
        current = world.writer.patch::<Deployment>(&Key::of(deployment), patch).await?;
    }
    // The annotation alone moves the generation too; what was decided holds for it if the spec is the same.
    if current.spec != deployment.spec {
        return Ok(());
    }
    status.observed_generation = current.metadata.generation;
    if current.status.as_ref() != Some(&status) {
        current.status = Some(status);
        world.writer.replace_status(&current).await?;
    }
    Ok(())
}

/// Writes one ReplicaSet; false when the round must be planned anew after what was found.
async fn write(world: &World, deployment: &Deployment, member: &Member) -> Result<bool, Failed> {
    let (from, to) = (member.replicas_before(), member.replicas());
    if member.before.is_none() {
        match world.writer.create(&member.set).await {
            Ok(_) => {}
            Err(error) if error.already_exists() => return collide(world, deployment, member).await,
            Err(error) if error.namespace_terminating() => return Ok(false),
            Err(error) => {
                refuse(world, deployment, member, &error).await?;
                return Err(error);
            }
        }
    } else {
        world.writer.replace(&member.set).await?;
    }
    if from != to {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {from} to {to}", member.name());
        world.events.normal(COMPONENT, deployment, "ScalingReplicaSet", message);
    }
    Ok(true)
}

/// The name is taken: by our own set that the cache has not shown yet, or by another one, which costs a collision.
async fn collide(world: &World, deployment: &Deployment, member: &Member) -> Result<bool, Failed> {
    let found = world.writer.get::<ReplicaSet>(&Key::of(&member.set)).await?;
    let ours = found.owner_references().iter().any(|o| Some(&o.uid) == deployment.metadata.uid.as_ref());
    if ours && sets::same_template(deployment, &found) {
        return Ok(false);
    }
    let mut counted = deployment.clone();
    let status = counted.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
    world.writer.replace_status(&counted).await?;
    Ok(false)
}

/// Says in the status that the new ReplicaSet could not be created.
async fn refuse(
    world: &World,
    deployment: &Deployment,
    member: &Member,
    error: &Failed,
) -> Result<(), Failed> {
    let text = format!("Failed to create new replica set \"{}\": {}", member.name(), error.reason_text());
    world.events.warning(COMPONENT, deployment, "ReplicaSetCreateError", text.clone());
    let mut refused = deployment.clone();
    let known = refused.status.get_or_insert_default().conditions.get_or_insert_default();
    let failed =
        conditions::condition("Progressing", "False", "ReplicaSetCreateError", text, world.clock.now());
    conditions::set(known, failed);
    if refused.status != deployment.status {
        world.writer.replace_status(&refused).await?;
    }
    Ok(())
}
