//! Tables and metadata-only objects: what `kubectl get` and metadata informers read. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_kinds::Strategy;

/// How much of each object a Table's rows carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// From the query parameter `includeObject`.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// A Table of these objects.
#[must_use]
pub fn table(
    version: &str,
    strategy: &dyn Strategy,
    objects: &[Value],
    metadata: Value,
    include: Include,
    now: Timestamp,
) -> Value {
    let columns = strategy.column_definitions();
    let rows: Vec<Value> =
        objects.iter().map(|object| row(version, strategy, object, include, now)).collect();
    json!({
        "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

fn row(version: &str, strategy: &dyn Strategy, object: &Value, include: Include, now: Timestamp) -> Value {
    let cells = strategy.row(object, now);
    match include {
        Include::None => json!({ "cells": cells }),
        Include::Metadata => json!({"cells": cells, "object": partial(version, object)}),
        Include::Object => json!({"cells": cells, "object": object}),
    }
}

/// The object's metadata alone.
#[must_use]
pub fn partial(version: &str, object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

/// The metadata of a Table over one object.
#[must_use]
pub fn single_metadata(object: &Value) -> Value {
    json!({"resourceVersion": object["metadata"]["resourceVersion"]})
}
