//! What the kubelet's own server knows of pods. Enters: every worker's newest view. Leaves: copies, by name or UID.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::RwLock;

use super::observe::{Instance, Observed};
use crate::spec;

/// One pod as its worker last saw it.
#[derive(Clone, Debug)]
pub struct PodView {
    /// The pod with the status the agent worked out (it may not be written yet).
    pub pod: Arc<Pod>,
    /// What the runtime holds of it.
    pub observed: Arc<Observed>,
}

impl PodView {
    /// The id of the pod's ready sandbox.
    pub fn sandbox(&self) -> Option<&str> {
        self.observed.sandbox().map(|sandbox| sandbox.id.as_str())
    }

    /// The newest instance of a container.
    pub fn container(&self, name: &str) -> Option<&Instance> {
        self.observed.latest(name)
    }

    /// The instance before the newest.
    pub fn previous<'a>(&'a self, name: &'a str) -> Option<&'a Instance> {
        self.observed.instances(name).nth(1)
    }
}

/// All pods of the node; clones share one content.
#[derive(Clone, Debug, Default)]
pub struct PodRegistry {
    pods: Arc<RwLock<BTreeMap<String, PodView>>>,
}

impl PodRegistry {
    /// Every pod, in order of UID.
    pub fn all(&self) -> Vec<PodView> {
        self.pods.read().values().cloned().collect()
    }

    /// The pod of this UID.
    pub fn by_uid(&self, uid: &str) -> Option<PodView> {
        self.pods.read().get(uid).cloned()
    }

    /// The pod of this name; where a namesake is still ending, the one that is not.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<PodView> {
        let pods = self.pods.read();
        let named = pods
            .values()
            .filter(|view| spec::namespace(&view.pod) == namespace && spec::name(&view.pod) == name);
        named.min_by_key(|view| view.pod.metadata.deletion_timestamp.is_some()).cloned()
    }

    pub(super) fn put(&self, pod: Arc<Pod>, observed: Arc<Observed>) {
        let uid = spec::uid(&pod).to_owned();
        self.pods.write().insert(uid, PodView { pod, observed });
    }

    pub(super) fn remove(&self, uid: &str) {
        self.pods.write().remove(uid);
    }
}
