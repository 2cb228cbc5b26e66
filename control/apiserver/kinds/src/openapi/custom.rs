//! Documents about custom resources: the parts that are the same for all of them.
//!
//! Enters: the resource rows and schemas a definition makes (xebec-crd). Leaves: a v3 document of their group and
//! version, paths for both forms, and the v2 document with everything merged in. Called by xebec-crd and the API
//! server's discovery.

use std::sync::LazyLock;

use serde_json::{Map, Value};
use xebec_api::resource::Resource;

use super::{frame, hash_of, paths, schemas};

static SHARED: LazyLock<Map<String, Value>> = LazyLock::new(schemas::shared);

/// A custom resource in one version.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// Its row.
    pub resource: &'a Resource,
    /// The kind of its lists.
    pub list_kind: &'a str,
}

/// The v3 document of a group and version: the schemas of its kinds and lists, by name, and what they refer to.
pub fn document(resources: &[Described<'_>], own: Map<String, Value>) -> Value {
    let mut all = SHARED.clone();
    all.extend(own);
    let mut found = Map::new();
    for described in resources {
        found.extend(paths::of_custom(described.resource, described.list_kind, &all));
    }
    frame(found, all)
}

/// The hash that names a document's content, as [`super::Documents::v3_index`] uses it.
pub fn hash(body: &[u8]) -> String {
    hash_of(body)
}
