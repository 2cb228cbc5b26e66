//! The legacy Endpoints object of every Service that selects pods.
//!
//! Enters: Services and pods. Leaves: the Endpoints object of the Service's name, deleted with its Service.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::endpointslice::{follow_pods, members, pods_of};
use crate::machinery::{Change, Failed, Key, Queue, World, work};
use plan::Plan;

const MANAGED: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Key>::default());
    let adder = queue.clone();
    world.services.on_change(move |change| adder.add(Key::of(&**change.object())));
    let adder = queue.clone();
    world.endpoints.on_change(move |change| {
        if !matches!(change, Change::Updated(..)) {
            adder.add(Key::of(&**change.object()));
        }
    });
    follow_pods(world, &queue);
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.services.wait_synced().await;
        world.pods.wait_synced().await;
        world.endpoints.wait_synced().await;
        let workers = world.options.concurrency;
        work("endpoints", queue, workers, cancel, move |key| {
            let world = world.clone();
            async move { reconcile(&world, &key).await }
        })
        .await;
    });
}

async fn reconcile(world: &World, key: &Key) -> Result<Option<Duration>, Failed> {
    let existing = world.endpoints.get(key);
    let Some(service) = world.services.get(key) else {
        let ours = existing.filter(|e| {
            e.metadata
                .labels
                .as_ref()
                .and_then(|l| l.get(MANAGED.0))
                .is_some_and(|manager| manager == MANAGED.1)
        });
        return match ours {
            Some(left) => match world.writer.delete_object(&*left).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
                _ => Ok(None),
            },
            None => Ok(None),
        };
    };
    if !members::selects(&service) || service.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let pods = pods_of(&world.pods, &service);
    match plan::plan(&service, &pods, existing.as_deref(), world.clock.now()) {
        Plan::Keep => Ok(None),
        Plan::Create(object) => match world.writer.create(&object).await {
            Err(error) if !error.namespace_terminating() && !error.already_exists() => Err(error),
            _ => Ok(None),
        },
        Plan::Update(object) => match world.writer.replace(&object).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(None),
        },
    }
}
