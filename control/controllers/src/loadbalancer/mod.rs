//! Addresses for Services of type LoadBalancer, from LoadBalancerPools: for clusters on bare metal.
//!
//! Enters: pools, Services, namespaces' labels, nodes' addresses. Leaves: `status.loadBalancer.ingress` and a condition that
//! marks it as ours, Events, the pools' counts, and the definition of their kind ([`ensure`]). The agents (`agent/announce`) then answer for the addresses.
//!
//! One worker decides for all Services at once, so that no address is given twice; what it wrote holds before the watch
//! shows it. There is no finalizer (upstream's `service.kubernetes.io/load-balancer-cleanup` guards what a cloud would
//! keep and charge for): nothing outlives the Service here, an address is free when no Service has it. Without any pool
//! every Service is left to whoever else may serve it.

mod definition;
mod ensure;
pub(crate) mod plan;
pub mod pool;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::{Change, Failed, Queue, World, work};
pub use definition::NAME as DEFINITION;
use plan::{Known, Write};
use pool::{LoadBalancerPool, Pool, PoolStatus};

const COMPONENT: &str = "load-balancer-controller";

/// After somebody else wrote the object first.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// What was written and the watch has not shown yet: by UID, the versions written over and the Service as it is now.
type Pending = Mutex<HashMap<String, (Vec<Option<String>>, Arc<Service>)>>;

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    ensure::start(world, tasks, cancel);
    let queue = Arc::new(Queue::<()>::default());
    let adder = queue.clone();
    world.services.on_change(move |change| {
        if concerns(change) {
            adder.add(());
        }
    });
    let adder = queue.clone();
    world.pools.on_change(move |change| {
        if change.old().is_none_or(|old| old.spec != change.object().spec) {
            adder.add(());
        }
    });
    let adder = queue.clone();
    world.namespaces.on_change(move |change| {
        if change.old().is_some_and(|old| old.metadata.labels != change.object().metadata.labels) {
            adder.add(());
        }
    });
    let adder = queue.clone();
    world.nodes.on_change(move |change| {
        if change.old().is_none_or(|old| addresses(old) != addresses(change.object())) {
            adder.add(());
        }
    });
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = synced(&world) => {}
        }
        let pending = Arc::new(Pending::default());
        work("loadbalancer", queue, 1, cancel, move |()| {
            let (world, pending) = (world.clone(), pending.clone());
            async move { reconcile(&world, &pending).await }
        })
        .await;
    });
}

async fn synced(world: &World) {
    world.services.wait_synced().await;
    world.pools.wait_synced().await;
    world.namespaces.wait_synced().await;
    world.nodes.wait_synced().await;
}

/// Whether a Service is or was one that has, may have or hold an address.
fn concerns(change: &Change<Service>) -> bool {
    let involved = |service: &Service| {
        let spec = service.spec.as_ref();
        let balancer = spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
        balancer || plan::is_marked(service) || spec.is_some_and(|spec| spec.external_ips.is_some())
    };
    involved(change.object()) || change.old().is_some_and(|old| involved(old))
}

fn addresses(node: &Node) -> Vec<IpAddr> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.filter_map(|address| address.address.parse().ok()).collect()
}

async fn reconcile(world: &World, pending: &Pending) -> Result<Option<Duration>, Failed> {
    let objects = world.pools.list();
    let pools: Vec<Pool> = objects.iter().map(|object| Pool::new(object)).collect();
    let services = seen(world, pending);
    let mut namespaces = BTreeMap::new();
    for namespace in world.namespaces.list() {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        namespaces.insert(namespace.metadata.name.clone().unwrap_or_default(), labels);
    }
    let mut nodes = BTreeMap::new();
    for node in world.nodes.list() {
        let name = node.metadata.name.clone().unwrap_or_default();
        nodes.extend(addresses(&node).into_iter().map(|address| (address, name.clone())));
    }
    let now = world.clock.now();
    let known = Known { pools: &pools, services: &services, namespaces: &namespaces, nodes: &nodes, now };
    let decided = plan::plan(&known);
    let mut again = None;
    for write in decided.writes {
        if !written(world, pending, write).await? {
            again = Some(AFTER_CONFLICT);
        }
    }
    for (object, pool) in objects.iter().zip(&pools) {
        let used = decided.used.get(&pool.name).copied().unwrap_or_default();
        let status = status(object.status.as_ref(), pool, used, now);
        if object.status.as_ref() == Some(&status) {
            continue;
        }
        let updated = LoadBalancerPool { status: Some(status), ..(**object).clone() };
        match world.writer.replace_status(&updated).await {
            // The counts are made anew from the pool's newest version.
            Err(error) if error.is_conflict() => again = Some(AFTER_CONFLICT),
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(again)
}

/// The Services, those we wrote as we wrote them.
fn seen(world: &World, pending: &Pending) -> Vec<Arc<Service>> {
    let mut pending = pending.lock();
    let services = world.services.list();
    let mut still = HashMap::new();
    let newest = services.into_iter().map(|service| {
        let uid = service.metadata.uid.clone().unwrap_or_default();
        match pending.remove(&uid) {
            Some((over, ours)) if over.contains(&service.metadata.resource_version) => {
                still.insert(uid, (over, ours.clone()));
                ours
            }
            _ => service,
        }
    });
    let newest = newest.collect();
    *pending = still;
    newest
}

/// Writes a status and says so; false if somebody else was first.
async fn written(world: &World, pending: &Pending, write: Write) -> Result<bool, Failed> {
    let stored = match world.writer.replace_status(&write.service).await {
        Ok(stored) => stored,
        Err(error) if error.is_conflict() => return Ok(false),
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error),
    };
    let uid = stored.metadata.uid.clone().unwrap_or_default();
    let ours = Arc::new(stored.clone());
    let mut pending = pending.lock();
    let entry = pending.entry(uid).or_insert_with(|| (Vec::new(), ours.clone()));
    entry.0.push(write.service.metadata.resource_version.clone());
    entry.1 = ours;
    drop(pending);
    match write.note {
        Some(note) if note.warning => world.events.warning(COMPONENT, &stored, note.reason, note.message),
        Some(note) => world.events.normal(COMPONENT, &stored, note.reason, note.message),
        None => {}
    }
    Ok(true)
}

fn status(old: Option<&PoolStatus>, pool: &Pool, used: i64, now: jiff::Timestamp) -> PoolStatus {
    let (state, reason, message) = match pool.problems.as_slice() {
        [] => ("True", "Valid", String::new()),
        problems => ("False", "Invalid", problems.join("; ")),
    };
    let before =
        old.iter().flat_map(|old| &old.conditions).find(|one| one.type_ == "Ready" && one.status == state);
    let ready = Condition {
        type_: "Ready".to_owned(),
        status: state.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: None,
        last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
    };
    PoolStatus { total: pool.total(), used, conditions: vec![ready] }
}
