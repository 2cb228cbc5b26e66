//! All caches of the server, found by group and resource; the read side of authorizers and admission.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde_json::Value;
use xebec_identity::ObjectReader;

use super::drafts::{Drafts, Left};
use super::object::Draft;
use super::progress::Progress;
use super::{Cache, Cut, Selection};

#[derive(Default)]
struct Known {
    by_resource: HashMap<&'static str, HashMap<&'static str, Arc<Cache>>>,
    by_prefix: HashMap<String, Arc<Cache>>,
    /// Caches that are being filled and will take the place of one that is known, or the first of their resource.
    coming: HashMap<String, Arc<Cache>>,
}

impl Known {
    fn insert(&mut self, cache: Arc<Cache>) -> Option<Arc<Cache>> {
        self.by_resource.entry(cache.group).or_default().insert(cache.plural, Arc::clone(&cache));
        self.by_prefix.insert(cache.prefix().to_owned(), cache)
    }

    fn remove(&mut self, group: &str, plural: &str) -> Option<Arc<Cache>> {
        let removed = self.by_resource.get_mut(group)?.remove(plural)?;
        self.by_prefix.remove(removed.prefix());
        Some(removed)
    }
}

/// Every stored resource's cache and how far they are.
pub struct Caches {
    // Changes only with custom resource definitions.
    known: RwLock<Known>,
    progress: Progress,
    drafts: Drafts,
}

impl Caches {
    /// Empty caches for these stored resources (group, plural).
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        let mut known = Known::default();
        for (group, plural) in resources {
            known.insert(Arc::new(Cache::new(group, plural)));
        }
        Self { known: RwLock::new(known), progress: Progress::default(), drafts: Drafts::default() }
    }

    /// Lets changes reach a cache that is not asked yet, because it is being filled.
    pub(super) fn announce(&self, cache: &Arc<Cache>) {
        self.known.write().coming.insert(cache.prefix().to_owned(), Arc::clone(cache));
    }

    /// Takes a filled cache in, or gives one up that could not be; the one it replaces.
    pub(super) fn settle(&self, cache: Arc<Cache>, filled: bool) -> Option<Arc<Cache>> {
        let mut known = self.known.write();
        known.coming.remove(cache.prefix());
        filled.then(|| known.insert(cache)).flatten()
    }

    /// Takes the cache of a resource that is no longer served out, and ends its watches.
    pub fn remove(&self, group: &str, plural: &str) {
        let removed = self.known.write().remove(group, plural);
        if let Some(cache) = removed {
            cache.close();
        }
    }

    /// The cache of one resource, if it is stored.
    #[must_use]
    pub fn of(&self, group: &str, plural: &str) -> Option<Arc<Cache>> {
        self.known.read().by_resource.get(group)?.get(plural).cloned()
    }

    /// All caches.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Cache>> {
        let known = self.known.read();
        known.by_prefix.values().chain(known.coming.values()).cloned().collect()
    }

    /// The caches a store key belongs to: the one that is asked, and the one that will be.
    pub(super) fn of_key(&self, key: &str) -> [Option<Arc<Cache>>; 2] {
        let mut slashes = key.match_indices('/').map(|(at, _)| at);
        let Some(prefix) = slashes.nth(3).and_then(|end| key.get(..=end)) else { return [None, None] };
        let known = self.known.read();
        [known.by_prefix.get(prefix).cloned(), known.coming.get(prefix).cloned()]
    }

    /// Leaves the draft of an object that is about to be stored; the result is held until the write has ended.
    #[must_use]
    pub fn leave(&self, draft: Draft) -> Left<'_> {
        self.drafts.leave(draft)
    }

    /// The draft that was left of these stored bytes, if the store hands out the very bytes it was given.
    pub(super) fn take(&self, stored: &bytes::Bytes) -> Option<Draft> {
        self.drafts.take(stored)
    }

    /// Everything up to this store revision is in the caches.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.progress.applied()
    }

    pub(super) fn advance(&self, revision: u64) {
        self.progress.advance(revision);
    }

    /// Waits until everything up to `revision` is applied; false when that took longer than `patience`.
    pub async fn reached(&self, revision: u64, patience: Duration) -> bool {
        self.progress.reached(revision, patience).await
    }
}

impl ObjectReader for Caches {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        Some(self.of(group, plural)?.get(namespace, name)?.value())
    }

    fn version(&self, group: &str, plural: &str) -> Option<u64> {
        Some(self.of(group, plural)?.revision())
    }

    fn pods_on_node(&self, node: &str) -> Vec<Arc<Value>> {
        let Some(cache) = self.of("", "pods") else { return Vec::new() };
        let fields = Some(xebec_api::selector::FieldSelector::equals("spec.nodeName", node));
        let selection = Selection { namespace: None, labels: None, fields };
        cache.list(&selection, Cut::default()).objects.iter().map(|object| object.value()).collect()
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let Some(cache) = self.of(group, plural) else { return Vec::new() };
        let selection = Selection::everything(namespace.map(str::to_owned));
        cache.list(&selection, Cut::default()).objects.iter().map(|object| object.value()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_caches_by_key() {
        let caches = Caches::new([("", "pods"), ("apps", "deployments")]);
        assert_eq!(caches.of_key("/registry/core/pods/ns/a")[0].as_ref().unwrap().plural, "pods");
        assert_eq!(
            caches.of_key("/registry/apps/deployments/ns/a")[0].as_ref().unwrap().plural,
            "deployments"
        );
        assert!(caches.of_key("/registry/apps/unknown/ns/a")[0].is_none());
        assert!(caches.of_key("/registry")[0].is_none());
    }
}
