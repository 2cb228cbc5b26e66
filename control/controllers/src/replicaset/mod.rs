//! ReplicaSet: as many active pods as wanted.
//!
//! Enters: ReplicaSets and pods. Leaves: pods created and deleted, adopted and released; the ReplicaSet's status.

pub mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xebec_api::selector::LabelSelector;

use crate::machinery::index::controller_uid;
use crate::machinery::{Expectations, Failed, Key, Queue, World, children, claim, expect, pods, work};
use plan::{Failure, Scale};

const COMPONENT: &str = "replicaset-controller";

fn selector(set: &ReplicaSet) -> LabelSelector {
    claim::selector(set.spec.as_ref().map(|s| &s.selector))
}

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Key>::default());
    let expectations = Arc::new(Expectations::default());
    children::follow_owner(&world.replica_sets, &queue, &expectations);
    children::follow(&world.pods, &world.replica_sets, selector, &queue, &expectations);
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.replica_sets.wait_synced().await;
        world.pods.wait_synced().await;
        let workers = world.options.concurrency;
        work("replicaset", queue, workers, cancel, move |key| {
            let (world, expectations) = (world.clone(), expectations.clone());
            async move { reconcile(&world, &expectations, &key).await }
        })
        .await;
    });
}

async fn reconcile(
    world: &World,
    expectations: &Expectations,
    key: &Key,
) -> Result<Option<Duration>, Failed> {
    let Some(set) = world.replica_sets.get(key) else { return Ok(None) };
    let uid = set.uid().unwrap_or_default();
    let trusted = expectations.satisfied(&uid);
    let claims = claim::claim(
        &set.metadata,
        &selector(&set),
        world.pods.controlled_by(&uid),
        world.pods.orphans(&key.namespace),
    );
    let owned = claim::settle(&world.writer, &*set, claims, None).await?;
    let mut failed = None;
    let mut failure = None;
    if trusted
        && set.metadata.deletion_timestamp.is_none()
        && let Err((reason, error)) = manage(world, expectations, &set, &owned).await
    {
        failure = Some(Failure { reason, message: error.reason_text() });
        failed = Some(error);
    }
    let (status, mut again) = plan::status(&set, &owned, failure.as_ref(), world.clock.now());
    if !set.status.as_ref().is_some_and(|old| plan::same(old, &status)) {
        let mut updated = (*set).clone();
        updated.status = Some(status);
        match world.writer.replace_status(&updated).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    if !trusted {
        again = Some(again.map_or(expect::EXPIRY, |a| a.min(expect::EXPIRY)));
    }
    failed.map_or(Ok(again), Err)
}

async fn manage(
    world: &World,
    expectations: &Expectations,
    set: &ReplicaSet,
    owned: &[Arc<Pod>],
) -> Result<(), (&'static str, Failed)> {
    let uid = set.uid().unwrap_or_default();
    let active: Vec<_> = owned.iter().filter(|p| pods::is_active(p)).cloned().collect();
    let desired = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    match plan::scale(desired, &active, &related(world, set), world.clock.now()) {
        Scale::Keep => Ok(()),
        Scale::Create(count) => {
            let template = set.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
            let namespace = set.namespace().unwrap_or_default();
            let owner = claim::controller_reference(set);
            let pod = pods::from_template(&template, &namespace, &set.name_any(), owner);
            expectations.expect(&uid, count, []);
            let created = children::create_pods(world, COMPONENT, set, vec![pod; count], expectations).await;
            created.map(drop).map_err(|e| ("FailedCreate", e))
        }
        Scale::Delete(gone) => {
            expectations.expect(&uid, 0, children::uids(&gone));
            let deleted = children::delete_pods(world, COMPONENT, set, &gone, expectations).await;
            deleted.map_err(|e| ("FailedDelete", e))
        }
    }
}

/// The pods of all ReplicaSets with the same controller (a Deployment's), to see which nodes are crowded.
fn related(world: &World, set: &ReplicaSet) -> Vec<Arc<Pod>> {
    let siblings = match controller_uid(set) {
        Some(owner) => world.replica_sets.controlled_by(owner),
        None => world.replica_sets.get(&Key::of(set)).into_iter().collect(),
    };
    siblings.iter().flat_map(|s| world.pods.controlled_by(&s.uid().unwrap_or_default())).collect()
}
