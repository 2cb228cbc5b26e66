//! What the author of a definition is warned of.

use serde_json::Value;

use super::Definition;
use crate::value::unrecognized_format;

/// One warning for each schema whose format no server checks, in the order of versions.
pub(super) fn of(crd: &Value) -> Vec<String> {
    formats(crd).into_iter().map(warning).collect()
}

/// The same, for formats the old definition does not have.
pub(super) fn of_update(crd: &Value, old: &Value) -> Vec<String> {
    let before = formats(old);
    formats(crd).into_iter().filter(|format| !before.contains(format)).map(warning).collect()
}

fn warning(format: String) -> String {
    format!("unrecognized format {}", xebec_api::gotext::quote(&format))
}

fn formats(crd: &Value) -> Vec<String> {
    let definition = Definition::read(crd);
    let mut versions: Vec<_> = definition.versions.iter().collect();
    // What all versions share upstream holds once.
    let shared = versions.windows(2).all(|pair| pair[0].schema_source == pair[1].schema_source);
    if shared {
        versions.truncate(1);
    }
    let mut found = Vec::new();
    for schema in versions.iter().filter_map(|version| version.schema.as_deref()) {
        schema.any(&mut |schema| {
            found.extend(unrecognized_format(schema).map(str::to_owned));
            false
        });
    }
    found
}
