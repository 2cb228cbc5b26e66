//! Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch.
//!
//! Enters: the current object and the patch body. Leaves: the patched object, or why it cannot be patched.
//! Called by the registry's PATCH and by clients that compute writes. Server-side apply is another mechanism.

mod strategic;

pub use strategic::{strategic_merge, strategic_merge_for};

use serde_json::Value;

/// Upstream's bound on the operations of one JSON patch.
pub const MAX_OPERATIONS: usize = 10_000;

/// Bound on what the `copy` operations of one JSON patch may add, in bytes of JSON, roughly.
pub const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Bound on what the `move` operations of one JSON patch may carry about, in bytes of JSON, roughly.
pub const MAX_MOVED: usize = 16 * MAX_COPIED;

/// Why a patch was refused. All but [`PatchError::Test`] and [`PatchError::Apply`] are the client's malformed request
/// (400); those two mean that the patch does not fit the object as it is now (422).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The body is no JSON patch.
    #[error("error decoding patch: {0}")]
    Decode(String),
    /// More operations than [`MAX_OPERATIONS`].
    #[error("the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// The copies are larger than [`MAX_COPIED`].
    #[error(
        "the accumulated size of the copy operations in the patch exceeds the limit of {MAX_COPIED} bytes"
    )]
    CopiesTooLarge,
    /// An operation does not fit the object.
    #[error("the server rejected our request due to an error in our request: {0}")]
    Apply(String),
    /// A `test` operation failed.
    #[error("testing path {0} failed")]
    Test(String),
    /// The result nests too deeply to be stored.
    #[error("the patched object nests deeper than {} levels", crate::schema::MAX_DEPTH)]
    TooDeep,
    /// The patch, or the object, is no JSON object.
    #[error("cannot merge: {0} is not a JSON object")]
    NotAnObject(&'static str),
    /// The type has no merge table: use a JSON merge patch.
    #[error("the type {0} has no strategic merge patch")]
    UnknownType(String),
    /// A directive is unknown.
    #[error("unknown patch type found: {0}")]
    BadDirective(String),
    /// A directive's value has the wrong form.
    #[error("invalid patch format of {0}")]
    BadFormat(&'static str),
    /// A patch changes a field that its own `$retainKeys` does not list.
    #[error("cannot have both $retainKeys and other keys: {0} is not listed")]
    NotRetained(String),
    /// An element of a merged list lacks its key.
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The key.
        key: String,
        /// The element, as JSON.
        element: String,
    },
    /// The order of the patch's list contradicts its `$setElementOrder`.
    #[error("the order in patch list {field}: {patch} doesn't match $setElementOrder list: {order}")]
    OrderMismatch {
        /// The list's field.
        field: String,
        /// The patch's list, as JSON.
        patch: String,
        /// The order given, as JSON.
        order: String,
    },
}

/// Applies an RFC 6902 patch; the object is unchanged (a copy is made) when an operation fails.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(count));
    }
    let operations: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|e| PatchError::Decode(e.to_string()))?;
    let mut result = object.clone();
    let mut cost = Cost::default();
    for operation in &operations.0 {
        cost.add(operation, &result)?;
        json_patch::patch(&mut result, std::slice::from_ref(operation)).map_err(|e| match e.kind {
            json_patch::PatchErrorKind::TestFailed => PatchError::Test(operation.path().to_string()),
            _ => PatchError::Apply(format!(
                "{} operation at {:?}: {}",
                name(operation),
                operation.path().as_str(),
                e.kind
            )),
        })?;
    }
    if crate::schema::is_shallow(&result) { Ok(result) } else { Err(PatchError::TooDeep) }
}

/// What a patch has cost so far: checked before each operation, so that no operation can build a giant.
#[derive(Default)]
struct Cost {
    copied: usize,
    moved: usize,
}

impl Cost {
    fn add(&mut self, operation: &json_patch::PatchOperation, object: &Value) -> Result<(), PatchError> {
        let (path, placed) = match operation {
            json_patch::PatchOperation::Add(add) => (&add.path, Some(&add.value)),
            json_patch::PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
            json_patch::PatchOperation::Copy(copy) => (&copy.path, object.pointer(copy.from.as_str())),
            json_patch::PatchOperation::Move(from) => (&from.path, object.pointer(from.from.as_str())),
            json_patch::PatchOperation::Remove(_) | json_patch::PatchOperation::Test(_) => return Ok(()),
        };
        let Some(placed) = placed else { return Ok(()) };
        match operation {
            json_patch::PatchOperation::Copy(_) => self.copied += rough_size(placed),
            json_patch::PatchOperation::Move(_) => self.moved += rough_size(placed),
            _ => {}
        }
        if self.copied > MAX_COPIED || self.moved > MAX_MOVED {
            return Err(PatchError::CopiesTooLarge);
        }
        let level = path.as_str().matches('/').count();
        if level + depth(placed) > crate::schema::MAX_DEPTH + 1 { Err(PatchError::TooDeep) } else { Ok(()) }
    }
}

/// How many levels of lists and maps a value has.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn name(operation: &json_patch::PatchOperation) -> &'static str {
    match operation {
        json_patch::PatchOperation::Add(_) => "add",
        json_patch::PatchOperation::Remove(_) => "remove",
        json_patch::PatchOperation::Replace(_) => "replace",
        json_patch::PatchOperation::Move(_) => "move",
        json_patch::PatchOperation::Copy(_) => "copy",
        json_patch::PatchOperation::Test(_) => "test",
    }
}

/// About how many bytes of JSON a value takes.
fn rough_size(value: &Value) -> usize {
    match value {
        Value::String(s) => s.len() + 2,
        Value::Array(list) => 2 + list.iter().map(|v| 1 + rough_size(v)).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(k, v)| k.len() + 4 + rough_size(v)).sum::<usize>(),
        _ => 8,
    }
}

/// Applies an RFC 7386 patch in place: null removes, objects merge, everything else replaces.
pub fn merge_patch(object: &mut Value, patch: &Value) {
    json_patch::merge(object, patch);
}

#[cfg(test)]
mod tables_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rfc6902() {
        let object = json!({"a": {"b": [1, 2]}, "c/d": 1});
        let patch = json!([
            {"op": "test", "path": "/a/b/0", "value": 1},
            {"op": "add", "path": "/a/b/-", "value": 3},
            {"op": "remove", "path": "/a/b/0"},
            {"op": "replace", "path": "/c~1d", "value": 2},
            {"op": "copy", "from": "/a", "path": "/e"},
            {"op": "move", "from": "/c~1d", "path": "/f"},
        ]);
        assert_eq!(
            json_patch(&object, &patch).unwrap(),
            json!({"a": {"b": [2, 3]}, "e": {"b": [2, 3]}, "f": 2})
        );
    }

    #[test]
    fn rfc6902_failures() {
        let object = json!({"a": 1});
        let one = |op: Value| json_patch(&object, &json!([op])).unwrap_err();
        assert_eq!(one(json!({"op": "test", "path": "/a", "value": 2})), PatchError::Test("/a".into()));
        assert!(matches!(one(json!({"op": "remove", "path": "/x"})), PatchError::Apply(_)));
        assert!(matches!(one(json!({"op": "bake", "path": "/x"})), PatchError::Decode(_)));
        assert!(matches!(json_patch(&object, &json!({})), Err(PatchError::Decode(_))));
        let many = Value::Array(vec![json!({"op": "test", "path": "/a", "value": 1}); MAX_OPERATIONS + 1]);
        assert!(matches!(json_patch(&object, &many), Err(PatchError::TooManyOperations(_))));
    }

    #[test]
    fn copies_cannot_explode() {
        let object = json!({"a": {"x": "y".repeat(1000)}});
        let doubling: Vec<Value> =
            (0..40).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/n{i}")})).collect();
        let error = json_patch(&object, &Value::Array(doubling)).unwrap_err();
        assert!(matches!(error, PatchError::CopiesTooLarge | PatchError::TooDeep));
    }

    #[test]
    fn moves_cannot_dig() {
        let deep = (0..90).fold(json!({}), |inner, _| json!({"a": inner}));
        let object = json!({"x": deep, "y": deep});
        let path = format!("/x{}/b", "/a".repeat(90));
        let patch = json!([{"op": "move", "from": "/y", "path": path}]);
        assert_eq!(json_patch(&object, &patch), Err(PatchError::TooDeep));
    }

    #[test]
    fn rfc7386() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2], "d": 1});
        merge_patch(
            &mut object,
            &json!({"a": {"b": null, "e": {"f": null, "g": 1}}, "l": [3], "d": {"x": 1}}),
        );
        assert_eq!(object, json!({"a": {"c": 2, "e": {"g": 1}}, "l": [3], "d": {"x": 1}}));
    }
}
