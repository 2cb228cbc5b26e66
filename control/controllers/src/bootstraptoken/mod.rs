//! Bootstrap tokens: expired ones are removed, valid ones sign the ConfigMap cluster-info.
//!
//! Enters: the token Secrets of kube-system and `kube-public/cluster-info`. Leaves: deletions, and the ConfigMap's keys
//! `jws-kubeconfig-<id>`, by which a joining node that knows a token trusts the kubeconfig in it.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::{Failed, Key, Queue, World, work};
use plan::Fate;

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Task {
    /// Look at a token's Secret, by its name.
    Token(String),
    /// Sign cluster-info.
    Sign,
}

/// Wires the controllers.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Task>::default());
    let adder = queue.clone();
    world.bootstrap_tokens.on_change(move |change| {
        adder.add(Task::Token(Key::of(&**change.object()).name));
        adder.add(Task::Sign);
    });
    let adder = queue.clone();
    world.cluster_infos.on_change(move |change| {
        if Key::of(&**change.object()) == plan::cluster_info() {
            adder.add(Task::Sign);
        }
    });
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.bootstrap_tokens.wait_synced().await;
        world.cluster_infos.wait_synced().await;
        work("bootstrap-token", queue, 1, cancel, move |task| {
            let world = world.clone();
            async move {
                match task {
                    Task::Token(name) => clean(&world, &name).await,
                    Task::Sign => sign(&world).await,
                }
            }
        })
        .await;
    });
}

async fn clean(world: &World, name: &str) -> Result<Option<Duration>, Failed> {
    let Some(secret) = world.bootstrap_tokens.get(&Key::new(plan::NAMESPACE, name)) else { return Ok(None) };
    match plan::fate(&secret, world.clock.now()) {
        Fate::Keep => Ok(None),
        Fate::KeepFor(rest) => Ok(Some(rest)),
        Fate::Remove => match world.writer.delete_object(&*secret).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(None),
        },
    }
}

async fn sign(world: &World) -> Result<Option<Duration>, Failed> {
    let Some(info) = world.cluster_infos.get(&plan::cluster_info()) else { return Ok(None) };
    let tokens = world.bootstrap_tokens.list();
    if let Some(signed) = plan::signed(&info, &tokens, world.clock.now()) {
        world.writer.replace(&signed).await?;
    }
    Ok(None)
}
