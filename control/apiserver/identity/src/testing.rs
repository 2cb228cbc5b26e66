//! A reader over a list of objects, for this crate's tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde_json::Value;

use crate::{ObjectReader, text};

/// Objects kept in memory, found by their `apiVersion`, lower-case plural of their kind, namespace and name.
#[derive(Default)]
pub(crate) struct MemoryReader {
    objects: RwLock<Vec<Arc<Value>>>,
    /// Counts changes; told to the caller only if `versioned`.
    changes: AtomicU64,
    versioned: bool,
}

impl MemoryReader {
    pub(crate) fn with(objects: Vec<Value>) -> Arc<MemoryReader> {
        let objects = RwLock::new(objects.into_iter().map(Arc::new).collect());
        Arc::new(MemoryReader { objects, ..MemoryReader::default() })
    }

    /// A reader that tells its version, as the API server's caches do.
    pub(crate) fn versioned(objects: Vec<Value>) -> Arc<MemoryReader> {
        let objects = RwLock::new(objects.into_iter().map(Arc::new).collect());
        Arc::new(MemoryReader { objects, versioned: true, ..MemoryReader::default() })
    }

    pub(crate) fn add(&self, object: Value) {
        self.objects.write().push(Arc::new(object));
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn remove(&self, kind: &str, name: &str) {
        self.objects.write().retain(|o| !(text(o, "/kind") == kind && text(o, "/metadata/name") == name));
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

fn is(object: &Value, group: &str, plural: &str) -> bool {
    let api_version = text(object, "/apiVersion");
    let own_group = api_version.split_once('/').map_or("", |(g, _)| g);
    let kind = text(object, "/kind").to_ascii_lowercase();
    own_group == group && format!("{kind}s") == plural
}

impl ObjectReader for MemoryReader {
    fn version(&self, _group: &str, _plural: &str) -> Option<u64> {
        self.versioned.then(|| self.changes.load(Ordering::SeqCst))
    }

    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects
            .read()
            .iter()
            .find(|o| {
                text(o, "/metadata/name") == name
                    && text(o, "/metadata/namespace") == namespace
                    && is(o, group, plural)
            })
            .cloned()
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.objects
            .read()
            .iter()
            .filter(|o| is(o, group, plural))
            .filter(|o| namespace.is_none_or(|n| text(o, "/metadata/namespace") == n))
            .cloned()
            .collect()
    }
}

/// The outcome of a future that must not wait: certificates and the cluster's own tokens never yield.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the fast path waited"),
    }
}
