//! A kind's reflector: the objects a watch has told us of, with the indexes that controllers look things up by.
//!
//! Enters: `kube::runtime::watcher` events. Leaves: shared objects by key, namespace, controller UID and node, and a
//! [`Change`] to every handler. While a lost watch is re-established the cache keeps serving what it last knew.

use std::collections::HashSet;
use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::index::Indexes;

/// Namespace and name; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// A key from its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of an object.
    pub fn of<K: ResourceExt>(object: &K) -> Self {
        Self {
            namespace: object.meta().namespace.clone().unwrap_or_default(),
            name: object.meta().name.clone().unwrap_or_default(),
        }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What a kind must be able to do to be cached: every k8s-openapi kind can.
pub trait Cached:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
    /// The node an object is bound to, for the node index.
    fn node(&self) -> Option<&str> {
        None
    }
}

macro_rules! cached {
    ($($kind:ty),* $(,)?) => { $(impl Cached for $kind {})* };
}
cached!(
    k8s_openapi::api::core::v1::Namespace,
    k8s_openapi::api::core::v1::ServiceAccount,
    k8s_openapi::api::core::v1::ConfigMap,
    k8s_openapi::api::core::v1::Service,
    k8s_openapi::api::core::v1::Endpoints,
    k8s_openapi::api::core::v1::Node,
    k8s_openapi::api::core::v1::PersistentVolumeClaim,
    k8s_openapi::api::core::v1::PersistentVolume,
    k8s_openapi::api::storage::v1::VolumeAttributesClass,
    k8s_openapi::api::resource::v1::ResourceClaim,
    k8s_openapi::api::core::v1::ResourceQuota,
    k8s_openapi::api::apps::v1::ReplicaSet,
    k8s_openapi::api::apps::v1::Deployment,
    k8s_openapi::api::apps::v1::StatefulSet,
    k8s_openapi::api::apps::v1::DaemonSet,
    k8s_openapi::api::apps::v1::ControllerRevision,
    k8s_openapi::api::batch::v1::Job,
    k8s_openapi::api::batch::v1::CronJob,
    k8s_openapi::api::discovery::v1::EndpointSlice,
    k8s_openapi::api::coordination::v1::Lease,
    k8s_openapi::api::policy::v1::PodDisruptionBudget,
    k8s_openapi::api::certificates::v1::CertificateSigningRequest,
    k8s_openapi::api::rbac::v1::ClusterRole,
    k8s_openapi::api::core::v1::Secret,
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    crate::loadbalancer::pool::LoadBalancerPool,
);

impl Cached for Pod {
    fn node(&self) -> Option<&str> {
        self.spec.as_ref()?.node_name.as_deref().filter(|n| !n.is_empty())
    }
}

/// One difference between two states of the cache.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// An object that was not there.
    Added(Arc<K>),
    /// An object with the same UID as before.
    Updated(Arc<K>, Arc<K>),
    /// The last known state of an object that is gone.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The object as it is now, or was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) => object,
            Self::Updated(_, new) => new,
        }
    }

    /// The object as it was before, when it is an update.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Updated(old, _) => Some(old),
            _ => None,
        }
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// The shared, indexed objects of one kind.
pub struct Cache<K> {
    indexes: RwLock<Indexes<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

impl<K: Cached> Default for Cache<K> {
    fn default() -> Self {
        Self {
            indexes: RwLock::default(),
            handlers: RwLock::new(Vec::new()),
            synced: watch::Sender::new(false),
        }
    }
}

impl<K: Cached> Cache<K> {
    /// Registers what to call for each change, from the reflector's task: it must be quick.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.handlers.write().push(Box::new(handler));
    }

    /// The object under a key.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.indexes.read().get(key)
    }

    /// Everything, in key order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.indexes.read().list()
    }

    /// Everything in a namespace, by name.
    pub fn namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.indexes.read().namespace(namespace)
    }

    /// The objects whose controller has this UID.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.indexes.read().controlled_by(uid)
    }

    /// The objects of a namespace that have no controller.
    pub fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        self.indexes.read().orphans(namespace)
    }

    /// The objects bound to a node.
    pub fn on_node(&self, node: &str) -> Vec<Arc<K>> {
        self.indexes.read().on_node(node)
    }

    /// The names of all nodes that have an object.
    pub fn nodes(&self) -> Vec<String> {
        self.indexes.read().nodes()
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the first list is in.
    pub async fn wait_synced(&self) {
        // The sender lives in self, so waiting can only end by the value.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    fn tell(&self, change: &Change<K>) {
        for handler in self.handlers.read().iter() {
            handler(change);
        }
    }

    /// Records an object's newest state and tells the handlers.
    pub fn apply(&self, object: K) {
        let key = Key::of(&object);
        let object = Arc::new(object);
        let old = self.indexes.write().put(&key, object.clone());
        match old {
            None => self.tell(&Change::Added(object)),
            Some(old) if old.meta().resource_version == object.meta().resource_version => {}
            Some(old) if old.meta().uid == object.meta().uid => self.tell(&Change::Updated(old, object)),
            Some(old) => {
                self.tell(&Change::Deleted(old));
                self.tell(&Change::Added(object));
            }
        }
    }

    /// Forgets an object and tells the handlers.
    pub fn remove(&self, key: &Key) {
        let old = self.indexes.write().take(key);
        if let Some(old) = old {
            self.tell(&Change::Deleted(old));
        }
    }

    fn retain(&self, seen: &HashSet<Key>) {
        let gone = self.indexes.read().beyond(seen);
        gone.iter().for_each(|key| self.remove(key));
    }

    /// Follows the kind until cancelled; a lost watch is re-established with kube's back-off.
    pub async fn follow(self: Arc<Self>, client: Client, config: watcher::Config, cancel: CancellationToken) {
        let mut events = std::pin::pin!(watcher::<K>(Api::all(client), config).default_backoff());
        let mut seen = HashSet::new();
        loop {
            let event = tokio::select! {
                () = cancel.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                None => return,
                Some(Err(error)) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted, retrying");
                }
                Some(Ok(watcher::Event::Init)) => seen.clear(),
                Some(Ok(watcher::Event::InitApply(object))) => {
                    seen.insert(Key::of(&object));
                    self.apply(object);
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    self.retain(&seen);
                    seen = HashSet::new();
                    self.synced.send_replace(true);
                }
                Some(Ok(watcher::Event::Apply(object))) => self.apply(object),
                Some(Ok(watcher::Event::Delete(object))) => self.remove(&Key::of(&object)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use serde_json::json;

    fn pod(name: &str, uid: &str, version: &str, owner: Option<&str>, node: &str) -> Pod {
        let owners = owner.map(
            |uid| json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}]),
        );
        serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": name, "uid": uid, "resourceVersion": version, "ownerReferences": owners},
            "spec": {"containers": [], "nodeName": node},
        }))
        .unwrap()
    }

    #[test]
    fn indexes_follow_the_object() {
        let cache = Cache::<Pod>::default();
        cache.apply(pod("a", "1", "1", None, ""));
        assert_eq!(
            (cache.orphans("d").len(), cache.controlled_by("rs").len(), cache.on_node("n").len()),
            (1, 0, 0)
        );
        cache.apply(pod("a", "1", "2", Some("rs"), "n"));
        assert_eq!(
            (cache.orphans("d").len(), cache.controlled_by("rs").len(), cache.on_node("n").len()),
            (0, 1, 1)
        );
        cache.remove(&Key::new("d", "a"));
        assert_eq!(
            (cache.orphans("d").len(), cache.controlled_by("rs").len(), cache.on_node("n").len()),
            (0, 0, 0)
        );
        assert!(cache.list().is_empty() && cache.nodes().is_empty());
    }

    #[test]
    fn another_uid_under_a_name_is_a_deletion_and_an_addition() {
        let cache = Cache::<Pod>::default();
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = log.clone();
        cache.on_change(move |change| {
            let what = match change {
                Change::Added(_) => "added",
                Change::Updated(..) => "updated",
                Change::Deleted(_) => "deleted",
            };
            sink.lock().push(format!("{what} {}", change.object().uid().unwrap_or_default()));
        });
        cache.apply(pod("a", "1", "1", None, ""));
        cache.apply(pod("a", "1", "1", None, ""));
        cache.apply(pod("a", "2", "5", None, ""));
        cache.retain(&HashSet::new());
        assert_eq!(*log.lock(), ["added 1", "deleted 1", "added 2", "deleted 2"]);
    }

    #[test]
    fn a_namespace_is_its_own_range() {
        let cache = Cache::<Pod>::default();
        for (namespace, name) in [("a", "x"), ("ab", "x"), ("b", "x"), ("a", "y")] {
            let mut object = pod(name, "1", "1", None, "");
            object.metadata.namespace = Some(namespace.to_owned());
            cache.apply(object);
        }
        assert_eq!(cache.namespace("a").len(), 2);
        assert_eq!(cache.namespace("ab").len(), 1);
    }
}
