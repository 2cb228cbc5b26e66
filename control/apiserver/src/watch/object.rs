//! One stored object as readers see it: bytes ready to send, and the parsed metadata that selection needs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
use xebec_api::meta;
use xebec_kinds::Strategy;

use super::scan::{Scan, scan};
use crate::resources::StrategyRef;

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
    fields: OnceLock<Vec<(String, String)>>,
    /// Whose selectable fields those are, where they are looked for only when somebody selects by one.
    rules: Option<&'static dyn Strategy>,
    value: OnceLock<Arc<Value>>,
}

/// Stored bytes that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// They are not JSON.
    #[error("stored object is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// They are, but not an object's.
    #[error("stored object has no metadata")]
    NoMetadata,
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
        let bytes = with_version(&self.object.bytes, self.gap, self.comma, revision);
        Object { revision, bytes, ..self.object }
    }
}

fn with_version(stored: &[u8], gap: usize, comma: Comma, revision: u64) -> Bytes {
    let (before, after) = (comma == Comma::Before, comma == Comma::After);
    let number = revision.to_string();
    let mut bytes = BytesMut::with_capacity(stored.len() + number.len() + 21);
    bytes.put_slice(&stored[..gap]);
    bytes.put_slice(if before { b",\"resourceVersion\":\"" } else { b"\"resourceVersion\":\"" });
    bytes.put_slice(number.as_bytes());
    bytes.put_slice(if after { b"\"," } else { b"\"" });
    bytes.put_slice(&stored[gap..]);
    bytes.freeze()
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

    /// The shared form of what the store has at `revision`.
    ///
    /// Objects of built-in kinds are served as they are stored and are looked at, not parsed; those of custom resources
    /// become what their schema says today.
    pub fn stored(stored: &[u8], revision: u64, strategy: Option<&StrategyRef>) -> Result<Self, Unreadable> {
        if let Some(StrategyRef::BuiltIn(rules)) = strategy
            && let Some(Scan { namespace, name, labels, gap }) = scan(stored)
        {
            let bytes = with_version(stored, gap, Comma::After, revision);
            let (fields, value) = Default::default();
            return Ok(Self { namespace, name, revision, bytes, labels, fields, rules: Some(*rules), value });
        }
        let value: Value = serde_json::from_slice(stored)?;
        if !value.get("metadata").is_some_and(Value::is_object) {
            return Err(Unreadable::NoMetadata);
        }
        Ok(Self::new(value, revision, strategy.map(|strategy| &**strategy)))
    }

    fn of(value: &Value, bytes: Bytes, revision: u64, strategy: Option<&dyn Strategy>) -> Self {
        Self {
            namespace: meta::namespace(value).to_owned(),
            name: meta::name(value).to_owned(),
            revision,
            bytes,
            labels: meta::labels(value),
            fields: OnceLock::from(strategy.map(|s| s.selectable_fields(value)).unwrap_or_default()),
            rules: None,
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

    /// The value of selectable field `name`; every object has `metadata.name` and `metadata.namespace`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            name => self.fields().iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str()),
        }
    }

    fn fields(&self) -> &[(String, String)] {
        self.fields.get_or_init(|| {
            self.rules.map(|rules| rules.selectable_fields(&self.parse())).unwrap_or_default()
        })
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
            assert_eq!((drafted.revision, drafted.fields()), (1234, parsed.fields()));
        }
        assert!(Draft::new(&json!({"kind": "X"}), None).is_none());
    }

    #[test]
    fn what_is_looked_at_is_what_is_parsed() {
        let strategy = StrategyRef::built_in("", "pods").unwrap();
        let stored = |metadata: Value| {
            let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                "spec": {"nodeName": "n1", "restartPolicy": "Never"}, "status": {"phase": "Running"}});
            let bytes = serde_json::to_vec(&value).unwrap();
            let object = Object::stored(&bytes, 77, Some(&strategy)).unwrap();
            (object, Object::new(value, 77, Some(&*strategy)))
        };
        for metadata in [
            json!({"name": "a", "namespace": "n", "labels": {"x": "y"}, "managedFields": [{"manager": "m"}], "uid": "u"}),
            json!({"name": "a", "resourceVersion": "3", "uid": "u"}),
            json!({"name": "a"}),
            json!({}),
        ] {
            let (looked_at, parsed) = stored(metadata);
            assert_eq!(looked_at.bytes, parsed.bytes);
            assert_eq!((looked_at.key(), &looked_at.labels), (parsed.key(), &parsed.labels));
            assert_eq!(looked_at.field("spec.nodeName"), Some("n1"));
            assert_eq!((looked_at.revision, looked_at.fields()), (77, parsed.fields()));
        }
        for (bytes, text) in
            [(&b"{"[..], "is not JSON"), (b"[]", "no metadata"), (b"{\"metadata\": 1}", "no metadata")]
        {
            let error = Object::stored(bytes, 1, Some(&strategy)).err().unwrap();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
