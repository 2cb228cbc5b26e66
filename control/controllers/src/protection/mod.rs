//! Storage in use stays: persistent volume claims, persistent volumes, volume attributes classes.
//!
//! Enters: the three kinds and pods. Leaves: protection finalizers, put on where they are missing and taken off once an
//! object is being deleted and nothing uses it any more. A claim's pods are read from the server itself before its
//! finalizer goes. Authority: pkg/controller/volume/{pvcprotection,pvprotection,vacprotection} upstream.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machinery::cache::Cached;
use crate::machinery::write::Written;
use crate::machinery::{Cache, Change, Failed, Key, Queue, World, pods, work};
use plan::Step;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const CLASS: &str = "kubernetes.io/vac-protection";

/// Wires the three controllers.
pub fn start(world: &Arc<World>, tasks: &mut JoinSet<()>, cancel: &CancellationToken) {
    let (claims, volumes, classes) =
        (queue_of(&world.claims), queue_of(&world.volumes), queue_of(&world.attributes_classes));
    let adder = claims.clone();
    world.pods.on_change(move |change| {
        // Only a pod that goes, ends, or is not on a node can let a claim go.
        let pod = change.object();
        let deleted = matches!(change, Change::Deleted(_));
        let on_node =
            pod.spec.as_ref().is_some_and(|s| s.node_name.as_deref().is_some_and(|n| !n.is_empty()));
        if deleted || pods::is_terminal(pod) || !on_node {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            plan::claims_of(pod).iter().for_each(|name| adder.add(Key::new(&namespace, name)));
        }
    });
    let adder = classes.clone();
    world.claims.on_change(move |change| {
        let states = change.old().into_iter().chain([change.object()]);
        states.flat_map(|claim| plan::classes_of_claim(claim)).for_each(|name| adder.add(Key::new("", name)));
    });
    let adder = classes.clone();
    world.volumes.on_change(move |change| {
        let states = change.old().into_iter().chain([change.object()]);
        states
            .filter_map(|volume| plan::class_of_volume(volume))
            .for_each(|name| adder.add(Key::new("", name)));
    });
    run(
        world,
        tasks,
        cancel,
        ("pvc-protection", claims),
        |world, key| async move { claim(&world, &key).await },
    );
    run(
        world,
        tasks,
        cancel,
        ("pv-protection", volumes),
        |world, key| async move { volume(&world, &key).await },
    );
    run(
        world,
        tasks,
        cancel,
        ("vac-protection", classes),
        |world, key| async move { class(&world, &key).await },
    );
}

fn queue_of<K: Cached>(cache: &Arc<Cache<K>>) -> Arc<Queue<Key>> {
    let queue = Arc::new(Queue::<Key>::default());
    let adder = queue.clone();
    cache.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            adder.add(Key::of(&**change.object()));
        }
    });
    queue
}

fn run<F>(
    world: &Arc<World>,
    tasks: &mut JoinSet<()>,
    cancel: &CancellationToken,
    (name, queue): (&'static str, Arc<Queue<Key>>),
    reconcile: impl Fn(Arc<World>, Key) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Result<Option<Duration>, Failed>> + Send + 'static,
{
    let (world, cancel) = (world.clone(), cancel.clone());
    tasks.spawn(async move {
        world.pods.wait_synced().await;
        world.claims.wait_synced().await;
        world.volumes.wait_synced().await;
        work(name, queue, 1, cancel, move |key| reconcile(world.clone(), key)).await;
    });
}

async fn claim(world: &World, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(claim) = world.claims.get(key) else { return Ok(None) };
    let cached = || world.pods.namespace(&key.namespace).iter().any(|pod| plan::uses(pod, &claim));
    let step = plan::step(&*claim, CLAIM, cached);
    if step == Step::Remove {
        // The cache may not show a pod that was just put on a node.
        let api = Api::<Pod>::namespaced(world.writer.client().clone(), &key.namespace);
        let live = api.list(&ListParams::default()).await.map_err(|source| Failed {
            operation: "list",
            kind: "Pod".to_owned(),
            key: key.namespace.clone(),
            source: Box::new(source),
        })?;
        if live.items.iter().any(|pod| plan::uses(pod, &claim)) {
            return Ok(None);
        }
    }
    apply(world, &*claim, CLAIM, step).await
}

async fn volume(world: &World, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(volume) = world.volumes.get(key) else { return Ok(None) };
    let step = plan::step::<PersistentVolume>(&volume, VOLUME, || plan::is_bound(&volume));
    apply(world, &*volume, VOLUME, step).await
}

async fn class(world: &World, key: &Key) -> Result<Option<Duration>, Failed> {
    let Some(class) = world.attributes_classes.get(key) else { return Ok(None) };
    let named =
        |claim: &Arc<PersistentVolumeClaim>| plan::classes_of_claim(claim).contains(&key.name.as_str());
    let had = |volume: &Arc<PersistentVolume>| plan::class_of_volume(volume) == Some(key.name.as_str());
    let used = || world.claims.list().iter().any(named) || world.volumes.list().iter().any(had);
    let step = plan::step::<VolumeAttributesClass>(&class, CLASS, used);
    apply(world, &*class, CLASS, step).await
}

/// Writes the finalizers, if nobody has written the object since it was read.
async fn apply<K: Written>(
    world: &World,
    object: &K,
    finalizer: &str,
    step: Step,
) -> Result<Option<Duration>, Failed> {
    // Lists of finalizers merge, so that one is taken off by a directive.
    let field = match step {
        Step::Keep => return Ok(None),
        Step::Add => "finalizers",
        Step::Remove => "$deleteFromPrimitiveList/finalizers",
    };
    let metadata =
        json!({"uid": object.uid(), "resourceVersion": object.resource_version(), field: [finalizer]});
    match world.writer.patch::<K>(&Key::of(object), json!({"metadata": metadata})).await {
        Ok(_) => Ok(None),
        // A newer state is on its way and brings the key back.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}
