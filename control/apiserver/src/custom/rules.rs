//! The rules of all versions of a definition, and those by which stored objects are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use xebec_api::meta;
use xebec_api::resource::intern;
use xebec_crd::definition::Definition;
use xebec_crd::resource::{CustomStrategy, ServingError};
use xebec_kinds::{Facts, Strategy};

/// The rules of every version of a definition.
pub(super) struct Rules {
    pub(super) definition: Arc<Definition>,
    /// By version; every one objects are or were stored in is among them, the API server sees to that.
    versions: BTreeMap<&'static str, Arc<CustomStrategy>>,
    /// The version objects are stored in.
    pub(super) storage_version: &'static str,
    storage: Arc<CustomStrategy>,
}

impl Rules {
    /// The rules of a definition whose names are accepted.
    pub(super) fn new(definition: Arc<Definition>) -> Result<Self, ServingError> {
        let none = || ServingError::NoVersion { name: definition.name.clone(), version: String::new() };
        let storage_version = intern(&definition.storage().ok_or_else(none)?.name);
        let mut versions = BTreeMap::new();
        for version in &definition.versions {
            let strategy = CustomStrategy::new(&definition, &version.name, &intern)?;
            versions.insert(intern(&version.name), Arc::new(strategy));
        }
        let storage = versions.get(storage_version).cloned().ok_or_else(none)?;
        Ok(Self { definition, versions, storage_version, storage })
    }

    /// Each version with its rules.
    pub(super) fn versions(&self) -> impl Iterator<Item = (&'static str, &Arc<CustomStrategy>)> {
        self.versions.iter().map(|(version, strategy)| (*version, strategy))
    }

    /// The rules of the version objects are stored in.
    pub(super) fn storage(&self) -> &CustomStrategy {
        &self.storage
    }

    /// The rules an object was written by: of its own version.
    fn of(&self, object: &Value) -> &CustomStrategy {
        let (_, version) = xebec_api::resource::split_api_version(meta::api_version(object));
        self.versions.get(version).unwrap_or(&self.storage)
    }
}

/// How the cache reads what is stored: by the rules of each object's own version. Fields are selectable by any version
/// that says so; where versions disagree about what they hold, selection happens after conversion.
pub(super) struct Stored(pub(super) Arc<Rules>);

impl Strategy for Stored {
    fn facts(&self) -> &Facts {
        self.0.storage.facts()
    }

    fn decoded(&self, object: &mut Value) {
        self.0.of(object).decoded(object);
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> =
            self.0.versions.values().flat_map(|strategy| strategy.selectable_fields(object)).collect();
        fields.sort();
        fields.dedup();
        fields
    }
}

/// Whether an object's JSON says it is of this version. Keys are sorted where the server wrote them, so the first tells
/// nearly always.
pub(super) fn is_of(json: &[u8], api_version: &str) -> bool {
    const FIRST: &[u8] = b"{\"apiVersion\":\"";
    if let Some(rest) = json.strip_prefix(FIRST) {
        return rest.strip_prefix(api_version.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'"'));
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed<'a> {
        #[serde(borrow)]
        api_version: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Typed<'_>>(json).is_ok_and(|typed| typed.api_version == api_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_without_the_rest() {
        for (json, expected) in [
            (r#"{"apiVersion":"g/v1","kind":"A"}"#, true),
            (r#"{"apiVersion":"g/v11","kind":"A"}"#, false),
            (r#"{"a":{"apiVersion":"g/v2"},"apiVersion":"g/v1"}"#, true),
            (r#"{"a":{"apiVersion":"g/v1"},"apiVersion":"g/v2"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(is_of(json.as_bytes(), "g/v1"), expected, "{json}");
        }
    }
}
