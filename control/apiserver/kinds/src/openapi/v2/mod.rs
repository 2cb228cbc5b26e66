//! The OpenAPI v2 document: one for everything, as JSON and as protobuf.
//!
//! Enters: the v3 documents of the groups. Leaves: both forms of one swagger document, each built once when first
//! asked for. Called by the API server's discovery. kubectl reads the protobuf form where no single group's v3
//! document will do, above all to validate a `kind: List`.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Documents, hash_of};

mod convert;
mod gnostic;
mod wire;

#[cfg(test)]
mod tests;

/// One form of the document.
#[derive(Clone)]
pub struct Form {
    /// The document itself.
    pub body: Bytes,
    /// What names its content, for its ETag (without the quotes).
    pub hash: String,
}

impl Form {
    fn of(body: Vec<u8>) -> Self {
        Self { hash: hash_of(&body), body: Bytes::from(body) }
    }
}

/// A document as JSON.
pub(super) fn json(document: &Value) -> Form {
    Form::of(serde_json::to_vec(document).unwrap_or_default())
}

/// A document as the message `openapi.v2.Document`.
pub(super) fn protobuf(document: &Value) -> Form {
    Form::of(gnostic::document(document))
}

/// A document made elsewhere (with other servers' groups merged in) as JSON; `tag` is what it was made from.
#[must_use]
pub fn form_json(document: &Value, tag: &str) -> Form {
    let body = serde_json::to_vec(document).unwrap_or_default();
    Form { hash: hash_of(tag.as_bytes()), body: Bytes::from(body) }
}

/// The same as the message `openapi.v2.Document`.
#[must_use]
pub fn form_protobuf(document: &Value, tag: &str) -> Form {
    Form {
        hash: hash_of(format!("protobuf {tag}").as_bytes()),
        body: Bytes::from(gnostic::document(document)),
    }
}

/// One document of these v3 documents.
pub(super) fn document<'a>(v3: impl Iterator<Item = &'a Bytes>) -> Value {
    convert::merge(v3.map(|body| serde_json::from_slice(body).unwrap_or_default()))
}

/// What a custom resource adds to the document.
#[derive(Clone, Debug, Default)]
pub struct Addition {
    /// The v3 document of its group and version, for its paths.
    pub v3: Value,
    /// The definitions of its kind and list, in v2 form.
    pub definitions: Map<String, Value>,
}

/// Both forms of a document with these added. A path or definition that is there already stays as it is.
///
/// Takes as long as building the whole document: keep it off threads that must not block, and keep what it makes.
pub fn with(built_in: &Documents, additions: &[Addition]) -> (Form, Form) {
    let mut whole: Value = serde_json::from_slice(&built_in.v2_json().body).unwrap_or_default();
    for addition in additions {
        let paths = convert::paths(&addition.v3);
        for (key, new) in [("paths", &paths), ("definitions", &addition.definitions)] {
            let Some(known) = whole.get_mut(key).and_then(Value::as_object_mut) else { continue };
            for (name, value) in new {
                known.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    (json(&whole), protobuf(&whole))
}
