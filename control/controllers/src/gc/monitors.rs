//! Where the graph's knowledge comes from.
//!
//! Enters: changes of the shared reflectors, and metadata watches of everything else that can be listed, watched and
//! deleted. Leaves: the graph kept current and its work queued. A resource that vanishes from discovery loses its watch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::graph::{Graph, Identity, Node, Work};
use crate::machinery::cache::Cached;
use crate::machinery::fetch::{self, Discovered};
use crate::machinery::{Cache, Census, Change, Queue, World};

const REDISCOVER: Duration = Duration::from_secs(30);
const REDISCOVER_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// The graph and what the workers need around it.
pub struct Shared {
    graph: Mutex<Graph>,
    queue: Arc<Queue<Work>>,
    kinds: RwLock<HashMap<(String, String), Discovered>>,
    tapped: RwLock<HashSet<(String, String)>>,
    waiting: watch::Sender<Option<HashSet<String>>>,
    census: Arc<Census>,
}

impl Shared {
    /// An empty graph whose work goes into `queue`; what it sees is counted in `census`.
    pub fn new(queue: Arc<Queue<Work>>, census: Arc<Census>) -> Self {
        Self {
            census,
            graph: Mutex::default(),
            queue,
            kinds: RwLock::default(),
            tapped: RwLock::default(),
            waiting: watch::Sender::new(None),
        }
    }

    fn add(&self, work: Vec<Work>) {
        work.into_iter().for_each(|item| self.queue.add(item));
    }

    /// Takes in metadata.
    pub fn observe(&self, identity: Identity, meta: &ObjectMeta) {
        let uid = meta.uid.as_deref().unwrap_or_default();
        let mut graph = self.graph.lock();
        let known = uid.is_empty() || graph.get(uid).is_some_and(|node| !node.assumed);
        if !known {
            self.census.arrived(&identity.group, &identity.kind, &identity.namespace);
        }
        let work = graph.observe(identity, meta);
        drop(graph);
        self.add(work);
    }

    /// Takes in a deletion.
    pub fn forget(&self, uid: &str) {
        let mut graph = self.graph.lock();
        let gone = graph.get(uid).filter(|node| !node.assumed).map(|node| node.identity.clone());
        let work = graph.forget(uid);
        drop(graph);
        self.add(work);
        if let Some(gone) = gone {
            self.census.left(&gone.group, &gone.kind, &gone.namespace);
        }
    }

    /// Queues a look at an object.
    pub fn consider(&self, uid: &str) {
        self.queue.add(Work::Consider(uid.to_owned()));
    }

    /// What the graph knows of an object.
    pub fn node(&self, uid: &str) -> Option<Node> {
        self.graph.lock().get(uid).cloned()
    }

    /// See [`Graph::dependents`].
    pub fn dependents(&self, uid: &str) -> Vec<(String, Identity)> {
        self.graph.lock().dependents(uid)
    }

    /// See [`Graph::blocking`].
    pub fn blocking(&self, uid: &str) -> Vec<String> {
        self.graph.lock().blocking(uid)
    }

    /// The resource of a kind, if discovery has named it.
    pub fn resource(&self, identity: &Identity) -> Option<Discovered> {
        self.kinds.read().get(&(identity.group.clone(), identity.kind.clone())).cloned()
    }

    /// Waits until everything the first discovery named has been listed once.
    pub async fn wait_synced(&self) {
        let _ = self.waiting.subscribe().wait_for(|w| w.as_ref().is_some_and(HashSet::is_empty)).await;
    }

    fn synced(&self, resource: &str) {
        self.waiting.send_if_modified(|w| w.as_mut().is_some_and(|set| set.remove(resource)));
    }
}

fn tap_one<K: Cached>(cache: &Arc<Cache<K>>, shared: &Arc<Shared>) {
    let (group, kind) = (K::group(&()).into_owned(), K::kind(&()).into_owned());
    shared.tapped.write().insert((group.clone(), kind.clone()));
    let shared = shared.clone();
    cache.on_change(move |change| {
        let meta = change.object().meta();
        if let Change::Deleted(_) = change {
            return shared.forget(meta.uid.as_deref().unwrap_or_default());
        }
        if let Some(old) = change.old()
            && old.meta().owner_references == meta.owner_references
            && old.meta().finalizers == meta.finalizers
            && old.meta().deletion_timestamp == meta.deletion_timestamp
        {
            return;
        }
        let identity = Identity {
            group: group.clone(),
            kind: kind.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        };
        shared.observe(identity, meta);
    });
}

/// Takes what the shared reflectors know (all whole kinds; not the filtered ones).
pub fn tap(world: &World, shared: &Arc<Shared>) {
    tap_one(&world.namespaces, shared);
    tap_one(&world.service_accounts, shared);
    tap_one(&world.pods, shared);
    tap_one(&world.nodes, shared);
    tap_one(&world.services, shared);
    tap_one(&world.endpoints, shared);
    tap_one(&world.slices, shared);
    tap_one(&world.replica_sets, shared);
    tap_one(&world.deployments, shared);
    tap_one(&world.stateful_sets, shared);
    tap_one(&world.daemon_sets, shared);
    tap_one(&world.revisions, shared);
    tap_one(&world.claims, shared);
    tap_one(&world.jobs, shared);
    tap_one(&world.cron_jobs, shared);
    tap_one(&world.budgets, shared);
    tap_one(&world.quotas, shared);
}

async fn tapped_synced(world: &World) {
    world.namespaces.wait_synced().await;
    world.service_accounts.wait_synced().await;
    world.pods.wait_synced().await;
    world.nodes.wait_synced().await;
    world.services.wait_synced().await;
    world.endpoints.wait_synced().await;
    world.slices.wait_synced().await;
    world.replica_sets.wait_synced().await;
    world.deployments.wait_synced().await;
    world.stateful_sets.wait_synced().await;
    world.daemon_sets.wait_synced().await;
    world.revisions.wait_synced().await;
    world.claims.wait_synced().await;
    world.jobs.wait_synced().await;
    world.cron_jobs.wait_synced().await;
    world.budgets.wait_synced().await;
    world.quotas.wait_synced().await;
}

/// Events are never collected: they have a lifetime of their own.
fn collectable(resource: &Discovered) -> bool {
    resource.kind != "Event" && resource.can(&["list", "watch", "delete"])
}

/// Keeps a metadata watch running for every collectable resource without a shared reflector.
pub async fn discover(world: Arc<World>, shared: Arc<Shared>, cancel: CancellationToken) {
    let mut running: HashMap<String, CancellationToken> = HashMap::new();
    loop {
        let found = fetch::resources(&world.writer).await;
        let pause = if found.is_ok() { REDISCOVER } else { REDISCOVER_AFTER_FAILURE };
        match found {
            Err(error) => tracing::warn!(%error, "discovery failed, retrying"),
            Ok(found) => {
                adopt_discovery(&world, &shared, &cancel, &mut running, found);
                if shared.waiting.borrow().as_ref().is_some_and(|w| w.contains("")) {
                    let (world, shared) = (world.clone(), shared.clone());
                    tokio::spawn(async move {
                        tapped_synced(&world).await;
                        shared.synced("");
                    });
                }
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn adopt_discovery(
    world: &Arc<World>,
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
    running: &mut HashMap<String, CancellationToken>,
    found: Vec<Discovered>,
) {
    let own: Vec<Discovered> = found
        .iter()
        .filter(|r| collectable(r) && !shared.tapped.read().contains(&(r.group.clone(), r.kind.clone())))
        .cloned()
        .collect();
    shared.census.adopt(found.iter().filter(|r| collectable(r)));
    *shared.kinds.write() =
        found.into_iter().filter(collectable).map(|r| ((r.group.clone(), r.kind.clone()), r)).collect();
    let paths: HashSet<String> = own.iter().map(|r| r.path("")).collect();
    shared.waiting.send_if_modified(|waiting| {
        let first = waiting.is_none();
        if first {
            *waiting = Some(paths.iter().cloned().chain([String::new()]).collect());
        }
        first
    });
    running.retain(|path, stop| {
        let stays = paths.contains(path);
        if !stays {
            stop.cancel();
            shared.synced(path);
        }
        stays
    });
    for resource in own {
        let path = resource.path("");
        running.entry(path).or_insert_with(|| {
            let stop = cancel.child_token();
            tokio::spawn(monitor(world.clone(), shared.clone(), resource, stop.clone()));
            stop
        });
    }
}

async fn monitor(world: Arc<World>, shared: Arc<Shared>, resource: Discovered, stop: CancellationToken) {
    let gvk = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
    let api_resource = ApiResource::from_gvk_with_plural(&gvk, &resource.plural);
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(world.writer.client().clone(), &api_resource);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut known: HashSet<String> = HashSet::new();
    let mut seen: HashSet<String> = HashSet::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => break,
            event = events.next() => event,
        };
        let identity = |meta: &ObjectMeta| Identity {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        };
        match event {
            None => break,
            Some(Err(error)) => {
                tracing::debug!(resource = %resource.plural, %error, "watch interrupted, retrying")
            }
            Some(Ok(watcher::Event::Init)) => seen.clear(),
            Some(Ok(watcher::Event::InitApply(object))) => {
                seen.insert(object.uid().unwrap_or_default());
                known.insert(object.uid().unwrap_or_default());
                shared.observe(identity(&object.metadata), &object.metadata);
            }
            Some(Ok(watcher::Event::InitDone)) => {
                known.iter().filter(|uid| !seen.contains(*uid)).for_each(|uid| shared.forget(uid));
                known = std::mem::take(&mut seen);
                shared.synced(&resource.path(""));
            }
            Some(Ok(watcher::Event::Apply(object))) => {
                known.insert(object.uid().unwrap_or_default());
                shared.observe(identity(&object.metadata), &object.metadata);
            }
            Some(Ok(watcher::Event::Delete(object))) => {
                let uid = object.uid().unwrap_or_default();
                known.remove(&uid);
                shared.forget(&uid);
            }
        }
    }
    // The resource itself is gone, and its objects with it.
    known.iter().for_each(|uid| shared.forget(uid));
}
