//! The indexes of a kind's objects: by key, controller's UID, namespace (those without a controller) and node. Pure.
//!
//! Enters: objects as [`super::cache`] sees them come and go. Leaves: shared objects, looked up.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kube::ResourceExt;

use super::cache::{Cached, Key};

/// The newest state of each object, and the ways to look it up.
pub(super) struct Indexes<K> {
    objects: BTreeMap<Key, Arc<K>>,
    controlled: HashMap<String, BTreeSet<Key>>,
    orphans: HashMap<String, BTreeSet<Key>>,
    nodes: HashMap<String, BTreeSet<Key>>,
}

impl<K> Default for Indexes<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            controlled: HashMap::new(),
            orphans: HashMap::new(),
            nodes: HashMap::new(),
        }
    }
}

/// The UID of the owner with `controller: true`.
pub fn controller_uid<K: ResourceExt>(object: &K) -> Option<&str> {
    object.owner_references().iter().find(|o| o.controller == Some(true)).map(|o| o.uid.as_str())
}

fn unindex(index: &mut HashMap<String, BTreeSet<Key>>, at: &str, key: &Key) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

impl<K: Cached> Indexes<K> {
    /// Records an object's newest state; returns the one before.
    pub(super) fn put(&mut self, key: &Key, object: Arc<K>) -> Option<Arc<K>> {
        let old = self.take(key);
        match controller_uid(&*object) {
            Some(uid) => self.controlled.entry(uid.to_owned()).or_default().insert(key.clone()),
            None => self.orphans.entry(key.namespace.clone()).or_default().insert(key.clone()),
        };
        if let Some(node) = object.node() {
            self.nodes.entry(node.to_owned()).or_default().insert(key.clone());
        }
        self.objects.insert(key.clone(), object);
        old
    }

    /// Forgets an object; returns its last state.
    pub(super) fn take(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        match controller_uid(&*old) {
            Some(uid) => unindex(&mut self.controlled, uid, key),
            None => unindex(&mut self.orphans, &key.namespace, key),
        }
        if let Some(node) = old.node() {
            unindex(&mut self.nodes, node, key);
        }
        Some(old)
    }

    fn all(&self, keys: Option<&BTreeSet<Key>>) -> Vec<Arc<K>> {
        keys.into_iter().flatten().filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    /// Everything, in key order.
    pub(super) fn list(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    pub(super) fn namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = self.objects.range(Key::new(namespace, "")..);
        from.take_while(|(key, _)| key.namespace == namespace).map(|(_, object)| object.clone()).collect()
    }

    pub(super) fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.all(self.controlled.get(uid))
    }

    pub(super) fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        self.all(self.orphans.get(namespace))
    }

    pub(super) fn on_node(&self, node: &str) -> Vec<Arc<K>> {
        self.all(self.nodes.get(node))
    }

    /// The names of all nodes that have an object.
    pub(super) fn nodes(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// The keys that are not among these.
    pub(super) fn beyond(&self, seen: &HashSet<Key>) -> Vec<Key> {
        self.objects.keys().filter(|key| !seen.contains(*key)).cloned().collect()
    }
}
