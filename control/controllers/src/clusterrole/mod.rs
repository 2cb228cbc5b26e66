//! ClusterRole aggregation: the rules of a role with an `aggregationRule` are those of the roles its selectors choose.
//!
//! Enters: ClusterRoles. Leaves: updates of aggregated roles' rules.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::{Failed, Key, Queue, World, work};

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<String>::default());
    let (adder, roles) = (queue.clone(), world.cluster_roles.clone());
    // A change of any role, or of its labels, may concern every aggregated one.
    world.cluster_roles.on_change(move |_| {
        for role in roles.list().iter().filter(|role| role.aggregation_rule.is_some()) {
            adder.add(Key::of(&**role).name);
        }
    });
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.cluster_roles.wait_synced().await;
        for role in world.cluster_roles.list().iter().filter(|role| role.aggregation_rule.is_some()) {
            queue.add(Key::of(&**role).name);
        }
        let workers = world.options.concurrency;
        work("clusterrole-aggregation", queue, workers, cancel, move |name| {
            let world = world.clone();
            async move { reconcile(&world, &name).await }
        })
        .await;
    });
}

async fn reconcile(world: &World, name: &str) -> Result<Option<Duration>, Failed> {
    let Some(role) = world.cluster_roles.get(&Key::new("", name)) else { return Ok(None) };
    let Some(wanted) = plan::aggregated(&role, &world.cluster_roles.list()) else { return Ok(None) };
    match world.writer.replace(&wanted).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(None),
    }
}
