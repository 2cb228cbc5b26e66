//! One stored object as readers see it: bytes ready to send, and the parsed metadata that selection needs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;
use xebec_api::meta;
use xebec_kinds::Strategy;

/// An object at one revision, immutable and shared.
pub struct Object {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name, unique in its namespace.
    pub name: String,
    /// Store revision of this version; the object's `resourceVersion` in decimal.
    pub revision: u64,
    /// The object's JSON, `metadata.resourceVersion` included.
    pub bytes: Bytes,
    /// The object's labels.
    pub labels: BTreeMap<String, String>,
    /// Selectable fields, `metadata.name` and `metadata.namespace` included.
    pub fields: Vec<(String, String)>,
    value: OnceLock<Arc<Value>>,
}

impl Object {
    /// Builds the shared form of `value` at `revision`; `strategy` names the selectable fields beyond the metadata.
    #[must_use]
    pub fn new(mut value: Value, revision: u64, strategy: Option<&dyn Strategy>) -> Self {
        if let Some(strategy) = strategy {
            strategy.decoded(&mut value);
        }
        set_resource_version(&mut value, revision);
        let namespace = meta::namespace(&value).to_owned();
        let name = meta::name(&value).to_owned();
        let mut fields = strategy.map(|s| s.selectable_fields(&value)).unwrap_or_default();
        fields.push(("metadata.name".to_owned(), name.clone()));
        fields.push(("metadata.namespace".to_owned(), namespace.clone()));
        let bytes = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        Self {
            namespace,
            name,
            revision,
            bytes,
            labels: meta::labels(&value),
            fields,
            value: OnceLock::new(),
        }
    }

    /// The parsed object; parsed on the first call and kept from then on.
    #[must_use]
    pub fn value(&self) -> Arc<Value> {
        Arc::clone(self.value.get_or_init(|| Arc::new(self.parse())))
    }

    /// Parses the object's bytes afresh, for callers that change the result.
    #[must_use]
    pub fn parse(&self) -> Value {
        match self.value.get() {
            Some(value) => Value::clone(value),
            None => serde_json::from_slice(&self.bytes).unwrap_or(Value::Null),
        }
    }

    /// Its key among the objects of its resource: `namespace/name`, or the name alone.
    #[must_use]
    pub fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    /// The value of selectable field `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// Sets `metadata.resourceVersion`.
pub fn set_resource_version(value: &mut Value, revision: u64) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn carries_its_revision_and_fields() {
        let value =
            json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b", "labels": {"x": "y"}}});
        let object = Object::new(value, 42, None);
        assert_eq!(object.field("metadata.name"), Some("a"));
        assert_eq!(object.field("spec.nodeName"), None);
        assert_eq!(object.labels.get("x").map(String::as_str), Some("y"));
        assert_eq!(object.value()["metadata"]["resourceVersion"], "42");
        assert_eq!(object.parse(), *object.value());
    }
}
