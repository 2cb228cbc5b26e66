//! One stored object as readers see it: bytes ready to send, and the parsed metadata that selection needs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
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

/// An object about to be stored, with everything its [`Object`] needs but the revision that the store gives it.
///
/// Made where the object is still at hand as a value, so that nobody parses and encodes it again when its change comes
/// back from the store.
pub struct Draft {
    object: Object,
    /// Where in the bytes `resourceVersion` belongs: object keys are in order.
    gap: usize,
    comma: Comma,
}

/// Where the comma stands that parts `resourceVersion` from its neighbour.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comma {
    Before,
    After,
    None,
}

impl Draft {
    /// Prepares `value`, which has no `resourceVersion`; none when it has no metadata.
    #[must_use]
    pub fn new(value: &Value, strategy: Option<&dyn Strategy>) -> Option<Self> {
        let mut bytes = Vec::with_capacity(1024);
        let mut place = None;
        put_object(&mut bytes, value.as_object()?, |bytes, key, value| match value {
            Value::Object(metadata) if key == "metadata" => {
                let mut before = None;
                put_object(bytes, metadata, |bytes, key, value| {
                    if before.is_none() && key > "resourceVersion" {
                        // In front of the key and its colon, which are there already.
                        before = Some(bytes.len() - key.len() - 3);
                    }
                    put(bytes, value)
                })?;
                let at_end = if metadata.is_empty() { Comma::None } else { Comma::Before };
                place = Some(before.map_or((bytes.len() - 1, at_end), |at| (at, Comma::After)));
                Some(())
            }
            value => put(bytes, value),
        })?;
        let (gap, comma) = place?;
        Some(Self { object: Object::of(value, Bytes::from(bytes), 0, strategy), gap, comma })
    }

    /// What is stored.
    #[must_use]
    pub fn stored(&self) -> &Bytes {
        &self.object.bytes
    }

    /// The object at the revision it was stored at.
    #[must_use]
    pub fn at(self, revision: u64) -> Object {
        let stored = &self.object.bytes;
        let (before, after) = (self.comma == Comma::Before, self.comma == Comma::After);
        let number = revision.to_string();
        let mut bytes = BytesMut::with_capacity(stored.len() + number.len() + 21);
        bytes.put_slice(&stored[..self.gap]);
        bytes.put_slice(if before { b",\"resourceVersion\":\"" } else { b"\"resourceVersion\":\"" });
        bytes.put_slice(number.as_bytes());
        bytes.put_slice(if after { b"\"," } else { b"\"" });
        bytes.put_slice(&stored[self.gap..]);
        Object { revision, bytes: bytes.freeze(), ..self.object }
    }
}

fn put(bytes: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) -> Option<()> {
    serde_json::to_writer(bytes, value).ok()
}

/// Encodes `map`; `value` encodes the values, after key and colon.
fn put_object(
    bytes: &mut Vec<u8>,
    map: &Map<String, Value>,
    mut value: impl FnMut(&mut Vec<u8>, &str, &Value) -> Option<()>,
) -> Option<()> {
    bytes.push(b'{');
    for (at, (key, one)) in map.iter().enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        put(bytes, key)?;
        bytes.push(b':');
        value(bytes, key, one)?;
    }
    bytes.push(b'}');
    Some(())
}

impl Object {
    /// Builds the shared form of `value` at `revision`; `strategy` names the selectable fields beyond the metadata.
    #[must_use]
    pub fn new(mut value: Value, revision: u64, strategy: Option<&dyn Strategy>) -> Self {
        if let Some(strategy) = strategy {
            strategy.decoded(&mut value);
        }
        set_resource_version(&mut value, revision);
        let bytes = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        Self::of(&value, bytes, revision, strategy)
    }

    fn of(value: &Value, bytes: Bytes, revision: u64, strategy: Option<&dyn Strategy>) -> Self {
        let namespace = meta::namespace(value).to_owned();
        let name = meta::name(value).to_owned();
        let mut fields = strategy.map(|s| s.selectable_fields(value)).unwrap_or_default();
        fields.push(("metadata.name".to_owned(), name.clone()));
        fields.push(("metadata.namespace".to_owned(), namespace.clone()));
        let labels = meta::labels(value);
        Self { namespace, name, revision, bytes, labels, fields, value: OnceLock::new() }
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

    #[test]
    fn a_draft_becomes_what_parsing_would_make() {
        for metadata in [
            json!({}),
            json!({"name": "a"}),
            json!({"uid": "u"}),
            json!({"annotations": {"zeta": "\"z\""}, "name": "a", "namespace": "n", "labels": {"x": "y"}, "uid": "u"}),
            json!({"name": "a", "ownerReferences": [{"uid": "o"}]}),
        ] {
            let value = json!({"apiVersion": "v1", "kind": "X", "metadata": metadata, "spec": {"metadata": {"uid": 1}}});
            let draft = Draft::new(&value, None).unwrap();
            assert_eq!(draft.stored()[..], serde_json::to_vec(&value).unwrap());
            let (drafted, parsed) = (draft.at(1234), Object::new(value, 1234, None));
            assert_eq!(drafted.bytes, parsed.bytes);
            assert_eq!((drafted.key(), &drafted.labels), (parsed.key(), &parsed.labels));
            assert_eq!((drafted.revision, &drafted.fields), (1234, &parsed.fields));
        }
        assert!(Draft::new(&json!({"kind": "X"}), None).is_none());
    }
}
