//! The kind LoadBalancerPool is there as long as the controller runs: its definition is made, renewed and, when somebody
//! deletes it, made again (empty: the pools went with it, and so do the addresses they gave).
//!
//! Enters: the definition's reflector. Leaves: the applied definition, and the pools' reflector, which starts when the kind
//! is served for the first time.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::watcher;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::COMPONENT;
use super::definition::{NAME, Step, step};
use crate::machinery::{Failed, Key, Queue, World, work};

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<()>::default());
    let adder = queue.clone();
    world.pool_definitions.on_change(move |_| adder.add(()));
    let served = Arc::new(Notify::new());

    let (follower, is_served, stop) = (world.clone(), served.clone(), cancel.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => return,
            () = is_served.notified() => {}
        }
        let client = follower.writer.client().clone();
        follower.pools.clone().follow(client, watcher::Config::default(), stop).await;
    });

    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = world.pool_definitions.wait_synced() => {}
        }
        queue.add(());
        work("loadbalancer-definition", queue, 1, cancel, move |()| {
            let (world, served) = (world.clone(), served.clone());
            async move { reconcile(&world, &served).await }
        })
        .await;
    });
}

async fn reconcile(world: &World, served: &Notify) -> Result<Option<std::time::Duration>, Failed> {
    let key = Key::new("", NAME);
    match step(world.pool_definitions.get(&key).as_deref()) {
        Step::Apply(wanted) => {
            world.writer.apply::<CustomResourceDefinition>(COMPONENT, &key, &wanted).await?;
            tracing::info!(definition = NAME, "applied");
        }
        Step::Wait => {}
        // One permit: the reflector waits once.
        Step::Done => served.notify_one(),
    }
    Ok(None)
}
