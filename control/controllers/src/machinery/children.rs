//! From a child's change to its owner's key, and the creation and deletion of pods in batches with expectations.
//!
//! Enters: changes of pods (or ReplicaSets). Leaves: owner keys in a queue, fulfilled [`Expectations`]; pods created and
//! deleted with upstream's Events. Called by every controller that owns pods.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use xebec_api::selector::LabelSelector;

use super::cache::{Cache, Cached, Change, Key};
use super::expect::Expectations;
use super::index::controller_uid;
use super::queue::Queue;
use super::world::World;
use super::write::{Failed, Written};

/// No more than so many creations or deletions at once, as upstream.
pub const BURST: usize = 500;

/// Which owners an orphan may belong to.
fn owners_of_orphan<O: Cached>(
    owners: &Cache<O>,
    selector: fn(&O) -> LabelSelector,
    child: &impl ResourceExt,
) -> Vec<Key> {
    let namespace = child.meta().namespace.clone().unwrap_or_default();
    let candidates = owners.namespace(&namespace);
    candidates.iter().filter(|o| selector(o).matches(child.labels())).map(|o| Key::of(&**o)).collect()
}

fn owner_key<C: ResourceExt>(child: &C, kind: &str) -> Option<Key> {
    let owner = child.owner_references().iter().find(|o| o.controller == Some(true))?;
    let namespace = child.meta().namespace.as_deref().unwrap_or_default();
    (owner.kind == kind).then(|| Key::new(namespace, &owner.name))
}

/// Adds an owner's key to the queue whenever one of its children changes, and fulfils its expectations.
pub fn follow<C: Cached, O: Cached>(
    children: &Arc<Cache<C>>,
    owners: &Arc<Cache<O>>,
    selector: fn(&O) -> LabelSelector,
    queue: &Arc<Queue<Key>>,
    expectations: &Arc<Expectations>,
) {
    let (owners, queue, expectations) = (owners.clone(), queue.clone(), expectations.clone());
    let kind = O::kind(&()).into_owned();
    children.on_change(move |change| {
        let child = &**change.object();
        if let Some(owner) = controller_uid(child) {
            let uid = child.meta().uid.as_deref().unwrap_or_default();
            let going = child.meta().deletion_timestamp.is_some();
            match change {
                Change::Added(_) => expectations.created(owner, 1),
                Change::Deleted(_) => expectations.deleted(owner, uid),
                Change::Updated(..) => {}
            }
            if going {
                expectations.deleted(owner, uid);
            }
        }
        let before = change.old().and_then(|old| owner_key(&**old, &kind));
        let after = owner_key(child, &kind);
        if before != after
            && let Some(key) = before
        {
            queue.add(key);
        }
        match after {
            Some(key) => queue.add(key),
            None if controller_uid(child).is_none() => {
                let relabelled = change
                    .old()
                    .is_none_or(|old| old.labels() != child.labels() || controller_uid(&**old).is_some());
                if relabelled && !matches!(change, Change::Deleted(_)) {
                    owners_of_orphan(&owners, selector, child).into_iter().for_each(|key| queue.add(key));
                }
            }
            None => {}
        }
    });
}

/// Adds an owner's key whenever the owner itself changes; a deleted one's expectations are forgotten.
pub fn follow_owner<O: Cached>(
    owners: &Arc<Cache<O>>,
    queue: &Arc<Queue<Key>>,
    expectations: &Arc<Expectations>,
) {
    let (queue, expectations) = (queue.clone(), expectations.clone());
    owners.on_change(move |change| {
        if let Change::Deleted(gone) = change {
            expectations.forget(gone.meta().uid.as_deref().unwrap_or_default());
        }
        queue.add(Key::of(&**change.object()));
    });
}

/// Creates pods in batches of 1, 2, 4, ..., and stops at the first batch with a failure.
///
/// The expectation of each must have been raised; those that will not be created are lowered here. A namespace that is
/// going away is no failure: nothing more can be created in it.
pub async fn create_pods<O: Written>(
    world: &World,
    component: &'static str,
    owner: &O,
    pods: Vec<Pod>,
    expectations: &Expectations,
) -> Result<usize, Failed> {
    let uid = owner.meta().uid.clone().unwrap_or_default();
    let mut waiting = pods.into_iter();
    let mut batch = 1;
    let mut created = 0;
    loop {
        let now: Vec<Pod> = waiting.by_ref().take(batch).collect();
        if now.is_empty() {
            return Ok(created);
        }
        let outcomes = join_all(now.iter().map(|pod| world.writer.create(pod))).await;
        let mut failure = None;
        for outcome in outcomes {
            match outcome {
                Ok(pod) => {
                    created += 1;
                    let message = format!("Created pod: {}", pod.name_any());
                    world.events.normal(component, owner, "SuccessfulCreate", message);
                }
                Err(error) => {
                    expectations.created(&uid, 1);
                    if !error.namespace_terminating() {
                        let message = format!("Error creating: {}", error.reason_text());
                        world.events.warning(component, owner, "FailedCreate", message);
                    }
                    failure = Some(error);
                }
            }
        }
        if let Some(error) = failure {
            expectations.created(&uid, waiting.count());
            return if error.namespace_terminating() { Ok(created) } else { Err(error) };
        }
        batch *= 2;
    }
}

/// Deletes pods at once; the expectation of each must have been raised, a failed one's is lowered here.
pub async fn delete_pods<O: Written>(
    world: &World,
    component: &'static str,
    owner: &O,
    pods: &[Arc<Pod>],
    expectations: &Expectations,
) -> Result<(), Failed> {
    let owner_uid = owner.meta().uid.clone().unwrap_or_default();
    let outcomes = join_all(pods.iter().map(|pod| world.writer.delete_object(&**pod))).await;
    let mut failure = None;
    for (pod, outcome) in pods.iter().zip(outcomes) {
        match outcome {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.name_any());
                world.events.normal(component, owner, "SuccessfulDelete", message);
            }
            Err(error) => {
                expectations.deleted(&owner_uid, pod.metadata.uid.as_deref().unwrap_or_default());
                if !error.is_not_found() && !error.is_conflict() {
                    let message = format!("Error deleting: {}", error.reason_text());
                    world.events.warning(component, owner, "FailedDelete", message);
                    failure = Some(error);
                }
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// The UIDs of pods, for expectations.
pub fn uids(pods: &[Arc<Pod>]) -> Vec<String> {
    pods.iter().filter_map(|p| p.metadata.uid.clone()).collect()
}
