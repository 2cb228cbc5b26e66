//! EndpointSlices of the Services that select pods.
//!
//! Enters: Services, pods, nodes (zones, readiness and CPU) and the slices there are. Leaves: slices created, updated
//! and deleted, as few as will do, and Events of topology hints. A Service whose slices the cache has not shown yet
//! waits (expectations by the Service's UID).

mod hints;
pub mod members;
mod plan;
mod slices;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::ResourceExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xebec_api::selector::LabelSelector;

use crate::machinery::{Cache, Change, Expectations, Failed, Key, Queue, World, children, expect, work};

use hints::ledger::{Ledger, Notice};
use hints::nodes::{self, Weight};

const COMPONENT: &str = "endpoint-slice-controller";

/// Adds the Services a changed pod is or was behind.
pub fn follow_pods(world: &World, queue: &Arc<Queue<Key>>) {
    let (services, queue) = (world.services.clone(), queue.clone());
    world.pods.on_change(move |change| {
        let new = change.object();
        if change.old().is_some_and(|old| !members::differs(old, new)) {
            return;
        }
        let namespace = new.metadata.namespace.as_deref().unwrap_or_default();
        for service in services.namespace(namespace) {
            let before = change.old().is_some_and(|old| members::matches(&service, old.labels()));
            if before || members::matches(&service, new.labels()) {
                queue.add(Key::of(&*service));
            }
        }
    });
}

/// The pods behind a Service.
pub fn pods_of(pods: &Cache<Pod>, service: &Service) -> Vec<Arc<Pod>> {
    let mut all = pods.namespace(service.metadata.namespace.as_deref().unwrap_or_default());
    all.retain(|pod| members::matches(service, pod.labels()));
    all
}

fn no_orphans(_: &Service) -> LabelSelector {
    LabelSelector::nothing()
}

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Key>::default());
    let expectations = Arc::new(Expectations::default());
    let ledger = Arc::new(Ledger::default());
    children::follow_owner(&world.services, &queue, &expectations);
    children::follow(&world.slices, &world.services, no_orphans, &queue, &expectations);
    follow_pods(world, &queue);
    follow_zones(world, &queue);
    let reweigh = follow_weights(world);
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.services.wait_synced().await;
        world.pods.wait_synced().await;
        world.nodes.wait_synced().await;
        world.slices.wait_synced().await;
        ledger.set_shares(nodes::shares(&world.nodes.list()));
        let workers = world.options.concurrency;
        let services = queue.clone();
        let (nodes, weighed) = (world.nodes.clone(), ledger.clone());
        let shares = work("endpointslice zones", reweigh, 1, cancel.clone(), move |()| {
            let stale = weighed.set_shares(nodes::shares(&nodes.list()));
            stale.into_iter().for_each(|key| services.add(key));
            std::future::ready(Ok(None))
        });
        let slices = work("endpointslice", queue, workers, cancel, move |key| {
            let (world, expectations, ledger) = (world.clone(), expectations.clone(), ledger.clone());
            async move { reconcile(&world, &expectations, &ledger, &key).await }
        });
        tokio::join!(shares, slices);
    });
}

/// A queue that has something in it when the zones' shares of CPU may have changed; heartbeats of nodes leave it empty.
fn follow_weights(world: &World) -> Arc<Queue<()>> {
    let queue = Arc::new(Queue::<()>::default());
    let adder = queue.clone();
    world.nodes.on_change(move |change| {
        // A node that came or went: as against one that weighs nothing.
        let before = change.old().map_or(Weight::Nothing, |old| nodes::weight(old));
        if nodes::weight(change.object()) != before {
            adder.add(());
        }
    });
    queue
}

fn follow_zones(world: &Arc<World>, queue: &Arc<Queue<Key>>) {
    let zone = |node: &Node| nodes::zone(node).cloned();
    let (services, pods, queue) = (world.services.clone(), world.pods.clone(), queue.clone());
    world.nodes.on_change(move |change| {
        if change.old().is_some_and(|old| zone(old) == zone(change.object()))
            || matches!(change, Change::Deleted(_))
        {
            return;
        }
        for pod in pods.on_node(&change.object().name_any()) {
            for service in services.namespace(pod.metadata.namespace.as_deref().unwrap_or_default()) {
                if members::matches(&service, pod.labels()) {
                    queue.add(Key::of(&*service));
                }
            }
        }
    });
}

async fn reconcile(
    world: &World,
    expectations: &Expectations,
    ledger: &Ledger,
    key: &Key,
) -> Result<Option<Duration>, Failed> {
    let wanted =
        |service: &Arc<Service>| members::selects(service) && service.metadata.deletion_timestamp.is_none();
    let Some(service) = world.services.get(key).filter(wanted) else {
        ledger.forget(key);
        return Ok(None);
    };
    let uid = service.uid().unwrap_or_default();
    if !expectations.satisfied(&uid) {
        return Ok(Some(expect::EXPIRY));
    }
    let mut existing = world.slices.controlled_by(&uid);
    existing.retain(|s| plan::is_ours(s) && s.metadata.deletion_timestamp.is_none());
    let shares = ledger.shares();
    let topology = plan::Topology {
        zone: |node: &str| nodes::zone(&*world.nodes.get(&Key::new("", node))?).cloned(),
        shares: (*shares).as_ref(),
    };
    let pods = pods_of(&world.pods, &service);
    let plan = plan::plan(&service, &pods, &existing, &topology, world.clock.now());
    let settled = ledger.settle(key, &shares, &plan.outcomes, plan.writes());
    let deletions = plan.delete.iter().filter_map(|s| s.metadata.uid.clone());
    if !plan.create.is_empty() || !plan.delete.is_empty() {
        expectations.expect(&uid, plan.create.len(), deletions);
    }
    let mut failed = None;
    for slice in &plan.create {
        if let Err(error) = world.writer.create(slice).await {
            expectations.created(&uid, 1);
            if !error.namespace_terminating() {
                failed = Some(error);
            }
        }
    }
    for slice in &plan.update {
        match world.writer.replace(slice).await {
            Err(error) if !error.is_not_found() => failed = Some(error),
            _ => {}
        }
    }
    for slice in &plan.delete {
        if let Err(error) = world.writer.delete_object(&**slice).await {
            expectations.deleted(&uid, slice.metadata.uid.as_deref().unwrap_or_default());
            if !error.is_not_found() && !error.is_conflict() {
                failed = Some(error);
            }
        }
    }
    for notice in settled.notices {
        match notice {
            Notice::Enabled(text) => {
                world.events.normal(COMPONENT, &*service, "TopologyAwareHintsEnabled", text);
            }
            Notice::Disabled(text) => {
                world.events.warning(COMPONENT, &*service, "TopologyAwareHintsDisabled", text);
            }
        }
    }
    let Some(error) = failed else { return Ok(settled.again.then_some(Duration::ZERO)) };
    if !error.is_conflict() {
        let text = format!("Error updating Endpoint Slices for Service {key}: {}", error.reason_text());
        world.events.warning(COMPONENT, &*service, "FailedToUpdateEndpointSlices", text);
    }
    Err(error)
}
