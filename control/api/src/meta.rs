//! Small accessors over an object's JSON: metadata in, plain Rust values out.
//!
//! Missing or mistyped fields read as empty. Called by nearly everyone.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

static NULL: Value = Value::Null;

/// The string at a JSON pointer, empty when absent.
pub fn str_at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a JSON pointer.
pub fn int_at(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// The boolean at a JSON pointer, false when absent.
pub fn bool_at(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The elements of the list at a JSON pointer, none when absent.
pub fn list_at<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The map of strings at a JSON pointer, empty when absent; values that are no strings are left out.
pub fn string_map_at(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let Some(map) = object.pointer(pointer).and_then(Value::as_object) else { return BTreeMap::new() };
    map.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

/// `apiVersion`.
pub fn api_version(object: &Value) -> &str {
    str_at(object, "/apiVersion")
}

/// `kind`.
pub fn kind(object: &Value) -> &str {
    str_at(object, "/kind")
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    str_at(object, "/metadata/name")
}

/// `metadata.generateName`.
pub fn generate_name(object: &Value) -> &str {
    str_at(object, "/metadata/generateName")
}

/// `metadata.namespace`; empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    str_at(object, "/metadata/namespace")
}

/// `namespace/name`, or the name alone.
pub fn key(object: &Value) -> String {
    match (namespace(object), name(object)) {
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    str_at(object, "/metadata/uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    str_at(object, "/metadata/resourceVersion")
}

/// `metadata.generation`, 0 when absent.
pub fn generation(object: &Value) -> i64 {
    int_at(object, "/metadata/generation").unwrap_or_default()
}

/// `metadata.creationTimestamp`.
pub fn creation_timestamp(object: &Value) -> Option<jiff::Timestamp> {
    crate::time::parse_rfc3339(str_at(object, "/metadata/creationTimestamp"))
}

/// `metadata.deletionTimestamp`: set once the object is being deleted.
pub fn deletion_timestamp(object: &Value) -> Option<jiff::Timestamp> {
    crate::time::parse_rfc3339(str_at(object, "/metadata/deletionTimestamp"))
}

/// Whether the object is being deleted.
pub fn is_being_deleted(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null())
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> BTreeMap<String, String> {
    string_map_at(object, "/metadata/labels")
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(key)?.as_str()
}

/// `metadata.annotations`.
pub fn annotations(object: &Value) -> BTreeMap<String, String> {
    string_map_at(object, "/metadata/annotations")
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    list_at(object, "/metadata/finalizers").iter().filter_map(Value::as_str).collect()
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> &[Value] {
    list_at(object, "/metadata/ownerReferences")
}

/// The owner reference with `controller: true`.
pub fn controller_of(object: &Value) -> Option<&Value> {
    owner_references(object).iter().find(|r| r["controller"] == true)
}

/// Whether an owner reference names this uid.
pub fn is_owned_by(object: &Value, owner_uid: &str) -> bool {
    !owner_uid.is_empty() && owner_references(object).iter().any(|r| r["uid"] == owner_uid)
}

/// An owner reference with `controller` and `blockOwnerDeletion` set, to the owner as it is stored.
pub fn new_controller_reference(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// The value at a JSON pointer, null when absent.
pub fn at<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    object.pointer(pointer).unwrap_or(&NULL)
}

fn segments(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~"))
}

/// Sets the value at a JSON pointer (`/metadata/uid`), making the maps on the way; whatever is no map is replaced.
///
/// An index into an existing list is followed; an index beyond its end leaves the object as it is.
pub fn set(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    let mut place = object;
    for segment in segments(pointer) {
        if place.is_array() {
            let Some(next) = segment.parse::<usize>().ok().and_then(|i| place.get_mut(i)) else { return };
            place = next;
            continue;
        }
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(segment).or_insert(Value::Null);
    }
    *place = value.into();
}

/// Sets a string at a JSON pointer.
pub fn set_str(object: &mut Value, pointer: &str, text: &str) {
    set(object, pointer, text);
}

/// Sets the value only where nothing (or null) is; returns whether it did.
pub fn set_default(object: &mut Value, pointer: &str, value: impl Into<Value>) -> bool {
    let absent = object.pointer(pointer).is_none_or(Value::is_null);
    if absent {
        set(object, pointer, value);
    }
    absent
}

/// Removes the value at a JSON pointer and returns it.
pub fn remove(object: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, last) = pointer.rsplit_once('/')?;
    let last = last.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent)? {
        Value::Object(map) => map.remove(&last),
        Value::Array(list) => {
            let index = last.parse::<usize>().ok().filter(|i| *i < list.len())?;
            Some(list.remove(index))
        }
        _ => None,
    }
}

/// Adds a finalizer; returns whether it was missing.
pub fn add_finalizer(object: &mut Value, finalizer: &str) -> bool {
    if finalizers(object).contains(&finalizer) {
        return false;
    }
    if let Some(list) = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
        list.push(finalizer.into());
    } else {
        set(object, "/metadata/finalizers", json!([finalizer]));
    }
    true
}

/// Removes a finalizer (and the list, once empty); returns whether it was there.
pub fn remove_finalizer(object: &mut Value, finalizer: &str) -> bool {
    let Some(list) = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) else {
        return false;
    };
    let before = list.len();
    list.retain(|f| f != finalizer);
    let (removed, empty) = (list.len() != before, list.is_empty());
    if empty {
        remove(object, "/metadata/finalizers");
    }
    removed
}

/// The condition of that type in `status.conditions`.
pub fn condition<'a>(object: &'a Value, condition_type: &str) -> Option<&'a Value> {
    list_at(object, "/status/conditions").iter().find(|c| c["type"] == condition_type)
}

/// Whether the condition of that type has status `True`.
pub fn is_condition_true(object: &Value, condition_type: &str) -> bool {
    condition(object, condition_type).is_some_and(|c| c["status"] == "True")
}

/// Drops nulls and the maps that become empty by it from a whole value, as Go's `omitempty` would on nil pointers.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The 32-bit FNV-1a hash.
pub fn hash_fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// Maps each character of a text onto the 27 of [`crate::names::GENERATED_ALPHABET`], as upstream's SafeEncodeString.
pub fn safe_encode_string(text: &str) -> String {
    let alphabet = crate::names::GENERATED_ALPHABET;
    text.bytes().map(|b| alphabet[usize::from(b) % alphabet.len()] as char).collect()
}

/// A short stable name for some content: the hash of its JSON, with `collisions` mixed in, in the safe alphabet.
///
/// For pod-template-hash and controller-revision-hash. The value differs from upstream's, which hashes Go's own
/// printed form; nothing compares the two, since a controller only compares with what it wrote itself.
pub fn content_hash(content: &Value, collisions: Option<i64>) -> String {
    let mut bytes = canonical_json(content).into_bytes();
    if let Some(count) = collisions {
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    safe_encode_string(&hash_fnv32a(&bytes).to_string())
}

/// The JSON text with sorted keys, so that equal values give equal text whatever order they were built in.
pub fn canonical_json(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let ordered: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, sorted(v))).collect();
                Value::Object(ordered.into_iter().map(|(k, v)| (k.clone(), v)).collect())
            }
            Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "a", "namespace": "b", "uid": "u1", "labels": {"x": "y", "app.io/n": "z"},
                "finalizers": ["f"], "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
                "ownerReferences": [{"uid": "o1", "name": "p"}, {"uid": "o2", "controller": true}],
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    #[test]
    fn reads() {
        let p = pod();
        assert_eq!((name(&p), namespace(&p), uid(&p), key(&p).as_str()), ("a", "b", "u1", "b/a"));
        assert_eq!(labels(&p)["x"], "y");
        assert_eq!(label(&p, "app.io/n"), Some("z"));
        assert_eq!(controller_of(&p).unwrap()["uid"], "o2");
        assert!(is_owned_by(&p, "o1") && !is_owned_by(&p, "o3") && !is_owned_by(&p, ""));
        assert!(!is_being_deleted(&p) && deletion_timestamp(&p).is_none());
        assert_eq!(generation(&p), 3);
        assert!(is_condition_true(&p, "Ready") && condition(&p, "Other").is_none());
        assert_eq!(name(&json!({"metadata": {"name": 3}})), "");
    }

    #[test]
    fn writes() {
        let mut p = json!({});
        set_str(&mut p, "/metadata/uid", "u");
        set(&mut p, "/metadata/labels/app.io~1name", "web");
        set(&mut p, "/spec/replicas", 3);
        assert_eq!(
            p,
            json!({"metadata": {"uid": "u", "labels": {"app.io/name": "web"}}, "spec": {"replicas": 3}})
        );
        assert!(!set_default(&mut p, "/spec/replicas", 1) && set_default(&mut p, "/spec/paused", false));
        assert_eq!(remove(&mut p, "/metadata/labels/app.io~1name"), Some(json!("web")));
        assert_eq!(remove(&mut p, "/nothing/here"), None);
        let mut list = json!({"a": [{"b": 1}]});
        set(&mut list, "/a/0/b", 2);
        set(&mut list, "/a/5/b", 2);
        assert_eq!(list, json!({"a": [{"b": 2}]}));
    }

    #[test]
    fn finalizer_changes() {
        let mut p = pod();
        assert!(add_finalizer(&mut p, "g") && !add_finalizer(&mut p, "g"));
        assert!(
            remove_finalizer(&mut p, "f") && remove_finalizer(&mut p, "g") && !remove_finalizer(&mut p, "g")
        );
        assert!(p["metadata"].get("finalizers").is_none());
    }

    #[test]
    fn hashes() {
        assert_eq!(hash_fnv32a(b""), 0x811c_9dc5);
        assert_eq!(hash_fnv32a(b"a"), 0xe40c_292c);
        assert_eq!(hash_fnv32a(b"foobar"), 0xbf9c_f968);
        assert_eq!(safe_encode_string("0123456789"), "456789bcdf");
        let a = content_hash(&json!({"a": 1, "b": [1, 2]}), None);
        let b = content_hash(&json!({"b": [1, 2], "a": 1}), None);
        assert_eq!(a, b);
        assert_ne!(a, content_hash(&json!({"a": 1, "b": [2, 1]}), None));
        assert_ne!(a, content_hash(&json!({"a": 1, "b": [1, 2]}), Some(1)));
        assert!(crate::names::is_dns1123_label(&a).is_empty());
    }
}
