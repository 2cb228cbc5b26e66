//! Node lifecycle: notices silent nodes, taints them, and evicts the pods that do not tolerate it.
//!
//! Enters: nodes, their Leases, their pods. Leaves: Ready=Unknown, the not-ready, unreachable and pressure taints, pods
//! marked not ready, and evictions after tolerationSeconds. A heartbeat is any change of the Lease's renewTime or of the
//! Ready condition's heartbeat, timed by this process's own clock, so that clocks need not agree.

pub mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::time::{since, until};
use crate::machinery::{Change, Failed, Key, Queue, World, pods, work};
use plan::Eviction;

const COMPONENT: &str = "node-controller";

/// When each node was last heard of, by UID.
#[derive(Debug, Default)]
pub struct Heartbeats {
    seen: HashMap<String, (String, Timestamp)>,
}

impl Heartbeats {
    /// Notes what a node's heartbeat looks like now, and answers when it last changed.
    pub fn last(&mut self, uid: &str, mark: &str, now: Timestamp) -> Timestamp {
        match self.seen.get(uid) {
            Some((known, at)) if known == mark => *at,
            _ => {
                self.seen.insert(uid.to_owned(), (mark.to_owned(), now));
                now
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        self.seen.remove(uid);
    }
}

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let nodes = Arc::new(Queue::<Key>::default());
    let evictions = Arc::new(Queue::<Key>::default());
    let beats = Arc::new(Mutex::new(Heartbeats::default()));
    let (adder, books, evict, pods) = (nodes.clone(), beats.clone(), evictions.clone(), world.pods.clone());
    world.nodes.on_change(move |change| {
        let node = change.object();
        if let Change::Deleted(_) = change {
            return books.lock().forget(node.metadata.uid.as_deref().unwrap_or_default());
        }
        adder.add(Key::of(&**node));
        let of = |n: &Node| n.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
        if change.old().is_none_or(|old| of(old) != of(node)) {
            pods.on_node(&node.name_any()).iter().for_each(|pod| evict.add(Key::of(&**pod)));
        }
    });
    let evict = evictions.clone();
    world.pods.on_change(move |change| {
        let node_of = |p: &Pod| p.spec.as_ref().and_then(|s| s.node_name.clone());
        let pod = &**change.object();
        let bound = node_of(pod).is_some() && change.old().is_none_or(|old| node_of(old).is_none());
        if bound && !matches!(change, Change::Deleted(_)) {
            evict.add(Key::of(pod));
        }
    });
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.nodes.wait_synced().await;
        world.node_leases.wait_synced().await;
        world.pods.wait_synced().await;
        let (one, two) = (world.clone(), world.clone());
        let workers = world.options.concurrency;
        let monitor = work("node-lifecycle", nodes, workers, cancel.clone(), move |key| {
            let (world, beats) = (one.clone(), beats.clone());
            async move { reconcile(&world, &beats, &key).await }
        });
        let evict = work("taint-eviction", evictions, workers, cancel, move |key| {
            let world = two.clone();
            async move { leave(&world, &key).await }
        });
        tokio::join!(monitor, evict);
    });
}

/// What a node's heartbeat looks like: it changes with every one.
fn mark(world: &World, node: &Node) -> String {
    let lease = world.node_leases.get(&Key::new("kube-node-lease", &node.name_any()));
    let renewed = lease.and_then(|l| l.spec.as_ref()?.renew_time.as_ref().map(|t| t.0.to_string()));
    let beat =
        plan::condition(node, "Ready").and_then(|c| c.last_heartbeat_time.as_ref().map(|t| t.0.to_string()));
    format!("{} {}", renewed.unwrap_or_default(), beat.unwrap_or_default())
}

async fn reconcile(world: &World, beats: &Mutex<Heartbeats>, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(cached) = world.nodes.get(key) else { return Ok(None) };
    let now = world.clock.now();
    let mark = mark(world, &cached);
    let last = beats.lock().last(&cached.uid().unwrap_or_default(), &mark, now);
    let silent = since(now, last) > world.options.node_monitor_grace_period;
    let mut node = (*cached).clone();
    if silent && let Some(conditions) = plan::silenced(&node, now) {
        let was_ready = plan::ready(&node) == "True";
        node.status.get_or_insert_default().conditions = Some(conditions);
        node = world.writer.replace_status(&node).await?;
        if was_ready {
            tracing::warn!(node = %key.name, "node stopped sending heartbeats");
            let text = format!("Node {} status is now: NodeNotReady", key.name);
            world.events.normal(COMPONENT, &node, "NodeNotReady", text);
        }
    }
    if let Some(taints) = plan::taints(&node, now) {
        let patch = json!({
            "metadata": {"uid": node.uid(), "resourceVersion": node.resource_version()},
            // The list has no merge key: it is replaced as a whole.
            "spec": {"taints": taints},
        });
        match world.writer.patch::<Node>(key, patch).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    if plan::ready(&node) != "True" {
        mark_pods(world, &node, now).await?;
    }
    Ok(Some(world.options.node_monitor_period))
}

async fn mark_pods(world: &World, node: &Node, now: Timestamp) -> Result<(), Failed> {
    for pod in world.pods.on_node(&node.name_any()) {
        let Some(condition) = plan::not_ready(&pod, now) else { continue };
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
        match world.writer.patch_status::<Pod>(&Key::of(&*pod), patch).await {
            Ok(_) => world.events.warning(COMPONENT, &*pod, "NodeNotReady", "Node is not ready"),
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn leave(world: &World, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(pod) = world.pods.get(key) else { return Ok(None) };
    let name = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
    let Some(node) = world.nodes.get(&Key::new("", &name)) else { return Ok(None) };
    if pods::is_terminating(&pod) || pods::is_terminal(&pod) {
        return Ok(None);
    }
    let now = world.clock.now();
    let Eviction::At(due) = plan::eviction(&node, &pod, now) else { return Ok(None) };
    let wait = until(due, now);
    if !wait.is_zero() {
        return Ok(Some(wait));
    }
    let text = format!("Marking for deletion Pod {key}");
    world.events.normal("taint-eviction-controller", &*pod, "TaintManagerEviction", text);
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": crate::machinery::time::seconds(now),
    });
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
    let outcome = match world.writer.patch_status::<Pod>(key, patch).await {
        Ok(_) => world.writer.delete_object(&*pod).await,
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(None),
    }
}
