//! Node IPAM: `spec.podCIDR` and `spec.podCIDRs` of every node.
//!
//! Enters: nodes. Leaves: a patch per node that has none. One worker hands ranges out, in memory before it writes, so
//! that no two nodes can get the same; what nodes already have is taken in before the first is handed out.

pub mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::{Change, Failed, Key, Queue, World, work};
use crate::{ControllersError, Options};
use plan::{Network, Ranges};

const FULL_AGAIN: Duration = Duration::from_secs(30);

/// Reads the ranges out of the options.
pub fn ranges(options: &Options) -> Result<Ranges, ControllersError> {
    let wrong = |option, value: &str, problem: &str| ControllersError::Option {
        option,
        value: value.to_owned(),
        problem: problem.to_owned(),
    };
    let cidr = "must be a network such as 10.244.0.0/16, its host bits zero";
    let cluster = Network::parse(&options.cluster_cidr)
        .ok_or_else(|| wrong("cluster-cidr", &options.cluster_cidr, cidr))?;
    let service = Network::parse(&options.service_cidr)
        .ok_or_else(|| wrong("service-cluster-ip-range", &options.service_cidr, cidr))?;
    Ranges::new(cluster, options.node_cidr_mask_size, Some(service)).ok_or_else(|| {
        let mask = options.node_cidr_mask_size.to_string();
        wrong("node-cidr-mask-size", &mask, "must be at least the cluster's prefix, at most 16 more")
    })
}

fn of(node: &Node) -> Vec<Network> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    all.filter_map(|text| Network::parse(text)).collect()
}

/// Wires the controller.
pub fn start(world: &Arc<World>, ranges: Ranges, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let ranges = Arc::new(Mutex::new(ranges));
    let queue = Arc::new(Queue::<Key>::default());
    let (adder, books) = (queue.clone(), ranges.clone());
    world.nodes.on_change(move |change| {
        let networks = of(change.object());
        match change {
            Change::Deleted(_) => networks.iter().for_each(|n| books.lock().release(n)),
            _ if networks.is_empty() => adder.add(Key::of(&**change.object())),
            _ => networks.iter().for_each(|n| books.lock().occupy(n)),
        }
    });
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.nodes.wait_synced().await;
        work("node-ipam", queue, 1, cancel, move |key| {
            let (world, ranges) = (world.clone(), ranges.clone());
            async move { reconcile(&world, &ranges, &key).await }
        })
        .await;
    });
}

async fn reconcile(world: &World, ranges: &Mutex<Ranges>, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(node) = world.nodes.get(key) else { return Ok(None) };
    if !of(&node).is_empty() {
        return Ok(None);
    }
    let Some(network) = ranges.lock().allocate() else {
        world.events.warning("cidrAllocator", &*node, "CIDRNotAvailable", "Node has no CIDR available");
        return Ok(Some(FULL_AGAIN));
    };
    let text = network.to_string();
    let patch = json!({
        "metadata": {"uid": node.uid(), "resourceVersion": node.resource_version()},
        "spec": {"podCIDR": text, "podCIDRs": [text]},
    });
    match world.writer.patch::<Node>(key, patch).await {
        Ok(_) => Ok(None),
        Err(error) => {
            ranges.lock().release(&network);
            if error.is_not_found() { Ok(None) } else { Err(error) }
        }
    }
}
