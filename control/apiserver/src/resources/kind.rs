//! One served version of one resource, with everything that is particular to it.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use xebec_api::resource::Resource;
use xebec_api::schema::Finding;
use xebec_api::status::ApiError;
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

impl Deref for StrategyRef {
    type Target = dyn Strategy;

    fn deref(&self) -> &(dyn Strategy + 'static) {
        match self {
            Self::BuiltIn(strategy) => *strategy,
            Self::Custom(strategy) => &**strategy,
        }
    }
}

/// Where a custom resource keeps what its scale subresource shows, as paths of field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wanted number: `.spec.replicas`.
    pub spec_replicas: Vec<String>,
    /// The present number: `.status.replicas`.
    pub status_replicas: Vec<String>,
    /// The pods' selector as text: `.status.labelSelector`.
    pub label_selector: Option<Vec<String>>,
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

    /// The scale subresource's fields, if it has one.
    fn scale(&self) -> Option<&ScalePaths>;

    /// The schema of this version, whole and without references, for type checking of policies.
    fn openapi_schema(&self) -> Option<Arc<Value>> {
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
        let strategy = match xebec_kinds::strategy(stored.group, stored.plural) {
            Some(strategy) => StrategyRef::BuiltIn(strategy),
            None => unreachable!("every row of the table has a strategy, a test of xebec-kinds sees to it"),
        };
        Self { served, stored, strategy, cache: cache.filter(|_| stored.storage), custom: None }
    }
}
