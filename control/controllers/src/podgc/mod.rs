//! Pod garbage collection: surplus terminated pods, pods of vanished nodes, deleted pods that never had a node.
//!
//! Enters: pods and nodes, looked through every 20 seconds. Leaves: forced deletions, the pod failed first if it had
//! not ended (upstream's podgc; DisruptionTarget with reason DeletionByPodGC).

mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::{Failed, Key, World, pods};
use plan::{Missing, Why};

const PERIOD: Duration = Duration::from_secs(20);

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.pods.wait_synced().await;
        world.nodes.wait_synced().await;
        let mut missing = Missing::default();
        loop {
            round(&world, &mut missing).await;
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    });
}

async fn round(world: &World, missing: &mut Missing) {
    let absent = |name: &String| world.nodes.get(&Key::new("", name)).is_none();
    let suspects = missing.update(world.pods.nodes().into_iter().filter(absent).collect(), world.clock.now());
    let mut gone = HashSet::new();
    for name in suspects {
        // The server's own word, once per vanished node: the cache may lag behind a node that came back.
        if let Err(error) = world.writer.get::<Node>(&Key::new("", &name)).await
            && error.is_not_found()
        {
            gone.insert(name);
        }
    }
    for (pod, why) in plan::plan(&world.pods.list(), &gone, world.options.terminated_pod_threshold) {
        if let Err(error) = remove(world, &pod, why).await {
            tracing::warn!(pod = %Key::of(&*pod), ?why, %error, "pod not removed");
        }
    }
}

async fn remove(world: &World, pod: &Pod, why: Why) -> Result<(), Failed> {
    let key = Key::of(pod);
    if !pods::is_terminal(pod) {
        let mut status = json!({"phase": "Failed"});
        if why == Why::Orphaned {
            status["conditions"] = json!([{
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": crate::machinery::time::seconds(world.clock.now()),
            }]);
        }
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
        match world.writer.patch_status::<Pod>(&key, patch).await {
            Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    let uid = pod.uid().unwrap_or_default();
    match world.writer.delete::<Pod>(&key, &uid, PropagationPolicy::Background, Some(0)).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}
