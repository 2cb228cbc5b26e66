//! A reader over a list of objects, for this crate's tests.

use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use crate::{ObjectReader, text};

/// Objects kept in memory, found by their `apiVersion`, lower-case plural of their kind, namespace and name.
#[derive(Default)]
pub(crate) struct MemoryReader {
    objects: RwLock<Vec<Arc<Value>>>,
}

impl MemoryReader {
    pub(crate) fn with(objects: Vec<Value>) -> Arc<MemoryReader> {
        Arc::new(MemoryReader { objects: RwLock::new(objects.into_iter().map(Arc::new).collect()) })
    }

    pub(crate) fn add(&self, object: Value) {
        self.objects.write().push(Arc::new(object));
    }

    pub(crate) fn remove(&self, kind: &str, name: &str) {
        self.objects.write().retain(|o| !(text(o, "/kind") == kind && text(o, "/metadata/name") == name));
    }
}

fn is(object: &Value, group: &str, plural: &str) -> bool {
    let api_version = text(object, "/apiVersion");
    let own_group = api_version.split_once('/').map_or("", |(g, _)| g);
    let kind = text(object, "/kind").to_ascii_lowercase();
    own_group == group && format!("{kind}s") == plural
}

impl ObjectReader for MemoryReader {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects
            .read()
            .iter()
            .find(|o| {
                is(o, group, plural)
                    && text(o, "/metadata/name") == name
                    && text(o, "/metadata/namespace") == namespace
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
