//! Node IPAM: `spec.podCIDR` and `spec.podCIDRs` of every node.
//!
//! Enters: nodes. Leaves: a patch per node that has none. One worker hands shares out, in memory before it writes, so
//! that no two nodes can get the same; what nodes already have is taken in before the first is handed out. The fields
//! can be set only once: a node of the time before the cluster had a second family keeps its one network.

mod plan;
mod range;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::{Change, Failed, Key, Queue, World, work};
pub use plan::Shares;
pub use settings::shares;

const FULL_AGAIN: Duration = Duration::from_secs(30);

fn of(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    all.filter_map(|text| text.parse().ok()).collect()
}

/// Wires the controller.
pub fn start(world: &Arc<World>, shares: Shares, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let shares = Arc::new(Mutex::new(shares));
    let queue = Arc::new(Queue::<Key>::default());
    let (adder, books) = (queue.clone(), shares.clone());
    world.nodes.on_change(move |change| {
        let node = change.object();
        let (name, networks) = (node.name_any(), of(node));
        match change {
            Change::Deleted(_) => books.lock().gone(&name, &networks),
            _ if networks.is_empty() => adder.add(Key::of(&**node)),
            _ => books.lock().seen(&name, &networks),
        }
    });
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.nodes.wait_synced().await;
        work("node-ipam", queue, 1, cancel, move |key| {
            let (world, shares) = (world.clone(), shares.clone());
            async move { reconcile(&world, &shares, &key).await }
        })
        .await;
    });
}

async fn reconcile(world: &World, shares: &Mutex<Shares>, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(node) = world.nodes.get(key) else { return Ok(None) };
    if !of(&node).is_empty() {
        return Ok(None);
    }
    let Some(networks) = shares.lock().promise(&key.name) else {
        world.events.warning("cidrAllocator", &*node, "CIDRNotAvailable", "Node has no CIDR available");
        return Ok(Some(FULL_AGAIN));
    };
    let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let patch = json!({
        "metadata": {"uid": node.uid(), "resourceVersion": node.resource_version()},
        "spec": {"podCIDR": texts.first(), "podCIDRs": texts},
    });
    match world.writer.patch::<Node>(key, patch).await {
        Ok(_) => Ok(None),
        Err(error) if error.is_not_found() => {
            shares.lock().withdraw(&key.name);
            Ok(None)
        }
        // The share stays promised: the write may have been carried out all the same, and the next try is for it.
        Err(error) => Err(error),
    }
}
