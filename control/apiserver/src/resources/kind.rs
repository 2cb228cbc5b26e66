//! One served version of one resource, with everything that is particular to it.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use xebec_api::field::FieldError;
use xebec_api::resource::Resource;
use xebec_api::schema::Finding;
use xebec_api::status::ApiError;
use xebec_crd::definition::{CustomResourceDefinition, Definition};
use xebec_kinds::Strategy;

use crate::registry::MergeSchema;
use crate::watch::{Cache, Caches, Object};

/// A kind's rules: those compiled in, or those a definition made.
#[derive(Clone)]
pub enum StrategyRef {
    /// Of the built-in table.
    BuiltIn(&'static dyn Strategy),
    /// Of a custom resource.
    Custom(Arc<dyn Strategy>),
}

impl StrategyRef {
    /// The rules of a built-in resource; none when the table does not have it. The rules of definitions are not among
    /// those of `xebec-kinds`: they need all that is known of schemas.
    #[must_use]
    pub fn built_in(group: &str, plural: &str) -> Option<Self> {
        if (group, plural) == ("apiextensions.k8s.io", "customresourcedefinitions") {
            return Some(Self::BuiltIn(&CustomResourceDefinition));
        }
        xebec_kinds::strategy(group, plural).map(Self::BuiltIn)
    }
}

impl Deref for StrategyRef {
    type Target = dyn Strategy;

    fn deref(&self) -> &(dyn Strategy + 'static) {
        match self {
            Self::BuiltIn(strategy) => *strategy,
            Self::Custom(strategy) => &**strategy,
        }
    }
}

/// The Scale of a custom resource's objects.
pub trait Scaled: Send + Sync {
    /// The Scale of an object, for GET; 500 when the object does not say how many replicas it wants.
    fn read(&self, object: &Value) -> Result<Value, ApiError>;

    /// The Scale a write begins with and is answered by: replicas that are missing read as 0.
    fn shown(&self, object: &Value) -> Result<Value, ApiError>;

    /// The object with the replicas of a Scale somebody wrote; 400 or 422 when it names none that can be.
    fn scaled(&self, object: &Value, wanted: &Value) -> Result<Value, ApiError>;
}

/// What a custom resource does where built-in kinds are alike.
///
/// Its rules ([`Kind::strategy`]) work on the served version; the store holds the definition's storage version, so
/// objects are converted on the way out ([`Custom::decode`]) and in ([`Custom::encode`]).
#[async_trait]
pub trait Custom: Send + Sync {
    /// Drops fields the schema does not have and tells which; coerces or refuses malformed metadata.
    fn check_fields(&self, value: &mut Value) -> Vec<Finding>;

    /// How fields merge in server-side apply.
    fn merge_schema(&self) -> &MergeSchema;

    /// Stored objects as the served version, in their order; the same `Arc` where nothing has to be done. An object
    /// that cannot be converted is an error: 500 with the converter's words.
    async fn decode(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, ApiError>;

    /// An object of the served version as it is stored.
    async fn encode(&self, value: Value) -> Result<Value, ApiError>;

    /// The scale subresource, if it has one.
    fn scale(&self) -> Option<&dyn Scaled>;

    /// Whether selectors must look at decoded objects, because decoding may change labels and fields.
    fn selects_decoded(&self) -> bool {
        false
    }

    /// Whether a cached object is stored in the version objects are stored in now; writing one that is not stores it
    /// anew even when nothing else changes (storage migration).
    fn is_current(&self, _stored: &Object) -> bool {
        true
    }

    /// The errors of an update and what to warn of; `None`: the strategy's own check is all there is.
    fn check_update(&self, _value: &Value, _old: &Value) -> Option<(Vec<FieldError>, Vec<String>)> {
        None
    }

    /// The kind of lists, where it is not the kind with `List` behind it.
    fn list_kind(&self) -> Option<&str> {
        None
    }

    /// The warning of every answer.
    fn deprecation(&self) -> Option<&str> {
        None
    }

    /// The hash discovery shows, where it is not that of this version.
    fn storage_version_hash(&self) -> Option<&str> {
        None
    }

    /// Whether the definition goes: nothing new is created.
    fn is_terminating(&self) -> bool {
        false
    }

    /// Whether discovery and OpenAPI tell of it: not before its definition is established.
    fn is_discovered(&self) -> bool {
        true
    }

    /// The definition behind it, for its documents.
    fn definition(&self) -> Option<&Arc<Definition>> {
        None
    }
}

/// One served version of one resource.
pub struct Kind {
    /// The resource in this version.
    pub served: &'static Resource,
    /// The version the rules work on: the stored one for built-in kinds, the served one for custom resources.
    pub stored: &'static Resource,
    /// The kind's rules.
    pub strategy: StrategyRef,
    /// Where its objects are; none for virtual resources (reviews).
    pub cache: Option<Arc<Cache>>,
    /// Set for custom resources.
    pub custom: Option<Arc<dyn Custom>>,
}

impl Kind {
    /// A row of the built-in table.
    #[must_use]
    pub fn built_in(served: &'static Resource, stored: &'static Resource, caches: &Caches) -> Self {
        let cache = caches.of(stored.group, stored.plural);
        let strategy = match StrategyRef::built_in(stored.group, stored.plural) {
            Some(strategy) => strategy,
            None => unreachable!("every row of the table has a strategy, a test of xebec-kinds sees to it"),
        };
        Self { served, stored, strategy, cache: cache.filter(|_| stored.storage), custom: None }
    }
}
