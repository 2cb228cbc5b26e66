//! The metadata the server itself is responsible for. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::{meta, names, time};

/// Fields a client never sets on an existing object: taken over from the stored one.
const KEPT: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
    "generation",
];

/// The object's metadata, made if absent.
pub fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let slot = &mut value["metadata"];
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("just made an object"),
    }
}

/// Fills in what a new object gets: uid, creation time; drops what only the server says.
pub fn fill_for_create(value: &mut Value, now: Timestamp, uid: String) {
    let metadata = metadata(value);
    for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(field);
    }
    metadata.insert("creationTimestamp".to_owned(), Value::String(time::format_rfc3339_seconds(now)));
    metadata.insert("uid".to_owned(), Value::String(uid));
}

/// Takes over what an update must not change.
pub fn keep_for_update(value: &mut Value, old: &Value) {
    let metadata = metadata(value);
    metadata.remove("selfLink");
    for field in KEPT {
        match old["metadata"].get(field) {
            Some(kept) => metadata.insert(field.to_owned(), kept.clone()),
            None => metadata.remove(field),
        };
    }
}

/// Removes maps and lists that say nothing (`labels: {}`), as the typed server drops them.
pub fn drop_empty(value: &mut Value) {
    let metadata = metadata(value);
    for field in [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "generateName",
        "selfLink",
    ] {
        let empty = match metadata.get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            metadata.remove(field);
        }
    }
}

/// Finalizers must not be added once the object is being deleted.
#[must_use]
pub fn check_finalizers(new: &Value, old: &Value) -> Vec<FieldError> {
    if meta::deletion_timestamp(old).is_none() {
        return Vec::new();
    }
    let before = meta::finalizers(old);
    let added: Vec<&str> = meta::finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
    if added.is_empty() {
        return Vec::new();
    }
    let quoted: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        quoted.join(", ")
    );
    vec![FieldError::forbidden(&Path::new("metadata").child("finalizers"), detail)]
}

/// A name from `generateName`.
#[must_use]
pub fn generated_name(base: &str) -> String {
    names::generate_name(base, &mut rand::rng())
}

/// The resourceVersion in the object, if it names one.
#[must_use]
pub fn wanted_version(value: &Value) -> Option<&str> {
    Some(meta::resource_version(value)).filter(|rv| !rv.is_empty() && *rv != "0")
}

/// Whether two objects are the same but for their bookkeeping (managedFields' times, resourceVersion).
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    same_but(a, b, "", |key, a, b| {
        key == "metadata"
            && same_but(a, b, "resourceVersion", |key, a, b| key == "managedFields" && same_entries(a, b))
    })
}

fn same_entries(a: &Value, b: &Value) -> bool {
    match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_but(a, b, "time", |_, _, _| false))
        }
        _ => false,
    }
}

/// Whether the values are equal, or objects that are equal but for field `ignored` and fields that `alike` finds so.
fn same_but(a: &Value, b: &Value, ignored: &str, alike: impl Fn(&str, &Value, &Value) -> bool) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let mut a = a.iter().filter(|(key, _)| *key != ignored);
    let mut b = b.iter().filter(|(key, _)| *key != ignored);
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some((key, a)), Some((other, b))) if key == other && (a == b || alike(key, a, b)) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_servers_fields() {
        let old = json!({"metadata": {"uid": "u", "creationTimestamp": "t", "generation": 3}});
        let mut new = json!({"metadata": {"uid": "forged", "deletionTimestamp": "x", "labels": {"a": "b"}}});
        keep_for_update(&mut new, &old);
        assert_eq!(
            new,
            json!({"metadata": {"uid": "u", "creationTimestamp": "t", "generation": 3, "labels": {"a": "b"}}})
        );
    }

    #[test]
    fn no_new_finalizers_while_deleting() {
        let old = json!({"metadata": {"deletionTimestamp": "2026-11-24T02:00:00Z", "finalizers": ["a"]}});
        assert!(check_finalizers(&json!({"metadata": {"finalizers": []}}), &old).is_empty());
        let errors = check_finalizers(&json!({"metadata": {"finalizers": ["a", "x/b"]}}), &old);
        assert_eq!(
            errors[0].to_string(),
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
             found new finalizers []string{\"x/b\"}"
        );
    }

    #[test]
    fn sameness_ignores_bookkeeping() {
        let a =
            json!({"metadata": {"resourceVersion": "1", "managedFields": [{"manager": "m", "time": "1"}]}});
        let b =
            json!({"metadata": {"resourceVersion": "2", "managedFields": [{"manager": "m", "time": "2"}]}});
        assert!(same(&a, &b));
        assert!(!same(&a, &json!({"metadata": {"managedFields": [{"manager": "n"}]}})));
    }
}
