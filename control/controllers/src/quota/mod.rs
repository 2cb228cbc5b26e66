//! ResourceQuota: `status.hard` follows `spec.hard`, `status.used` what is there.
//!
//! Enters: quotas, pods, services and claims, and how many objects of everything else there are. Leaves: quota statuses.
//! Admission adds to `status.used` before it writes; this controller takes off what has gone, and counts anew when a
//! quota is new or changes, and every five minutes (upstream's `--resource-quota-sync-period`).

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::cache::Cached;
use crate::machinery::{Cache, Change, Failed, Key, Queue, World, pods, work};
use plan::Holdings;

const RESYNC: Duration = Duration::from_secs(300);

/// A count may have missed a write that was admitted but not yet seen; after a change it is looked at once more.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// After somebody else wrote the quota first.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// Wires the controller.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::<Key>::default());
    let adder = queue.clone();
    world.quotas.on_change(move |change| {
        let changed = match change {
            Change::Added(_) => true,
            Change::Updated(old, new) => {
                old.spec != new.spec
                    || hard(new.spec.as_ref()) != new.status.as_ref().and_then(|s| s.hard.as_ref())
            }
            Change::Deleted(_) => false,
        };
        if changed {
            adder.add(Key::of(&**change.object()));
        }
    });
    follow(world, &queue, &world.pods, ("", "pods"), pod_gave_back);
    follow(world, &queue, &world.services, ("", "services"), service_gave_back);
    follow(world, &queue, &world.claims, ("", "persistentvolumeclaims"), claim_gave_back);
    follow(world, &queue, &world.resource_claims, ("resource.k8s.io", "resourceclaims"), |_, _| false);
    let (weak, adder) = (Arc::downgrade(world), queue.clone());
    world.census.on_left(move |group, plural, namespace| {
        if let Some(world) = weak.upgrade() {
            enqueue(&world, &adder, group, plural, namespace);
        }
    });
    tasks.spawn(resync(world.clone(), queue.clone(), cancel.clone()));
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.quotas.wait_synced().await;
        world.pods.wait_synced().await;
        world.services.wait_synced().await;
        world.claims.wait_synced().await;
        tokio::select! {
            () = world.census.wait_complete() => {}
            () = cancel.cancelled() => return,
        }
        let workers = world.options.concurrency;
        work("resourcequota", queue, workers, cancel, move |key| {
            let world = world.clone();
            async move { reconcile(&world, &key).await }
        })
        .await;
    });
}

type Amounts = std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

fn hard(spec: Option<&k8s_openapi::api::core::v1::ResourceQuotaSpec>) -> Option<&Amounts> {
    spec.and_then(|spec| spec.hard.as_ref())
}

/// A pod that ended, or asks for something else than before.
fn pod_gave_back(old: &Pod, new: &Pod) -> bool {
    let resources = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        let of = |list: Option<&Vec<k8s_openapi::api::core::v1::Container>>| {
            list.into_iter().flatten().map(|c| c.resources.clone()).collect::<Vec<_>>()
        };
        let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
        let held: Vec<_> = status.into_iter().flatten().map(|s| s.resources.clone()).collect();
        (of(spec.map(|s| &s.containers)), of(spec.and_then(|s| s.init_containers.as_ref())), held)
    };
    (!pods::is_terminal(old) && pods::is_terminal(new)) || resources(old) != resources(new)
}

fn service_gave_back(old: &Service, new: &Service) -> bool {
    let ports = |service: &Service| {
        let spec = service.spec.as_ref();
        let count = spec.and_then(|s| s.ports.as_ref()).map_or(0, Vec::len);
        (spec.and_then(|s| s.type_.clone()), count)
    };
    ports(old) != ports(new)
}

fn claim_gave_back(old: &PersistentVolumeClaim, new: &PersistentVolumeClaim) -> bool {
    let amounts = |claim: &PersistentVolumeClaim| {
        let wanted =
            claim.spec.as_ref().map(|s| (s.resources.clone(), s.volume_attributes_class_name.clone()));
        let status = claim.status.as_ref();
        let held = status.map(|s| {
            let target = s.modify_volume_status.as_ref();
            (
                s.allocated_resources.clone(),
                s.current_volume_attributes_class_name.clone(),
                target.and_then(|m| m.target_volume_attributes_class_name.clone()),
            )
        });
        (wanted, held)
    };
    amounts(old) != amounts(new)
}

/// Counts anew when an object of the resource leaves, or when an update gives something back.
fn follow<K: Cached>(
    world: &Arc<World>,
    queue: &Arc<Queue<Key>>,
    cache: &Arc<Cache<K>>,
    (group, plural): (&'static str, &'static str),
    gave_back: impl Fn(&K, &K) -> bool + Send + Sync + 'static,
) {
    let (weak, queue) = (Arc::downgrade(world), queue.clone());
    cache.on_change(move |change| {
        let matters = match change {
            Change::Added(_) => false,
            Change::Updated(old, new) => gave_back(old, new),
            Change::Deleted(_) => true,
        };
        if matters && let Some(world) = weak.upgrade() {
            let namespace = change.object().meta().namespace.clone().unwrap_or_default();
            enqueue(&world, &queue, group, plural, &namespace);
        }
    });
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

fn enqueue(world: &World, queue: &Queue<Key>, group: &str, plural: &str, namespace: &str) {
    for quota in world.quotas.namespace(namespace) {
        if plan::counts(&value(&*quota), group, plural) {
            queue.add(Key::of(&*quota));
        }
    }
}

async fn resync(world: Arc<World>, queue: Arc<Queue<Key>>, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RESYNC) => {}
        }
        world.quotas.list().iter().for_each(|quota| queue.add(Key::of(&**quota)));
    }
}

/// What the caches know of one namespace.
struct Known<'a> {
    world: &'a World,
    namespace: &'a str,
}

impl Known<'_> {
    fn of<K: Cached + Serialize>(&self, cache: &Cache<K>) -> Option<Vec<Value>> {
        cache
            .is_synced()
            .then(|| cache.namespace(self.namespace).iter().map(|object| value(&**object)).collect())
    }
}

impl Holdings for Known<'_> {
    fn objects(&self, group: &str, plural: &str) -> Option<Vec<Value>> {
        match (group, plural) {
            ("", "pods") => self.of(&self.world.pods),
            ("", "services") => self.of(&self.world.services),
            ("", "persistentvolumeclaims") => self.of(&self.world.claims),
            ("resource.k8s.io", "resourceclaims") => self.of(&self.world.resource_claims),
            _ => None,
        }
    }

    fn count(&self, group: &str, plural: &str) -> Option<u64> {
        self.world.census.count(group, plural, self.namespace)
    }
}

async fn reconcile(world: &World, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(quota) = world.quotas.get(key) else { return Ok(None) };
    let known = Known { world, namespace: &key.namespace };
    let Some(status) = plan::status(&value(&*quota), &known, world.clock.now()) else { return Ok(None) };
    let mut updated: ResourceQuota = (*quota).clone();
    updated.status = serde_json::from_value(status).ok();
    match world.writer.replace_status(&updated).await {
        Ok(_) => Ok(Some(LOOK_AGAIN)),
        Err(error) if error.is_conflict() => Ok(Some(AFTER_CONFLICT)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
