//! What dynamic admission needs of the rest of the API server, as traits.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use xebec_api::status::ApiError;
use xebec_identity::{Authorizer, ObjectReader};

use crate::{Kind, Metrics, Resource};

/// How fields a kind does not have are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// They are dropped.
    Lenient,
    /// They are an error.
    Strict,
}

/// The API's types: versions, defaults, merging.
#[async_trait]
pub trait Types: Send + Sync {
    /// The resources that are the same objects in other versions or groups, itself included, in order of preference.
    fn equivalents(&self, resource: &Resource, subresource: &str) -> Vec<Resource>;

    /// The kind read and written at a resource; none when it is not served.
    fn kind_for(&self, resource: &Resource, subresource: &str) -> Option<Kind>;

    /// The resource of a kind and whether its objects live in namespaces; none when it is not served.
    fn resource_for(&self, kind: &Kind) -> Option<(Resource, bool)>;

    /// An object in another version of its kind (the same version: a copy). May call a conversion webhook.
    async fn convert(&self, object: &Value, to: &Kind) -> Result<Value, ApiError>;

    /// An object as decoding into its kind and defaulting would leave it, or what is wrong with it.
    fn decode(&self, kind: &Kind, object: Value, decoding: Decoding) -> Result<Value, String>;

    /// `live` with `patch` merged into it by the rules of server-side apply (list keys, sets, atomics), without field
    /// ownership. The error tells why the patch does not fit; a patch that would replace an atomic list, map or struct
    /// is refused with `invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: <paths>`.
    fn merge(&self, kind: &Kind, live: &Value, patch: &Value) -> Result<Value, MergeError>;

    /// The kind's structural OpenAPI schema with references resolved, for type checking; none if unknown.
    fn schema(&self, kind: &Kind) -> Option<Arc<Value>>;
}

/// Why a patch was not merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The kind has no schema here.
    #[error("the kind has no schema")]
    UnknownKind,
    /// The patch does not fit.
    #[error("{0}")]
    Refused(String),
}

/// A Service cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolveError(pub String);

/// Finds Services, for webhooks inside the cluster.
pub trait Resolver: Send + Sync {
    /// `host:port` of one place that answers for the Service's port now; another one at each call. The error is
    /// upstream's text: `service "x" not found`, `no endpoints available for service "x"`.
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<String, ResolveError>;
}

/// Everything together.
#[derive(Clone)]
pub struct World {
    /// The cluster's objects: configurations, policies, namespaces, parameters.
    pub reader: Arc<dyn ObjectReader>,
    /// The API's types.
    pub types: Arc<dyn Types>,
    /// Answers CEL's `authorizer`.
    pub authorizer: Arc<Authorizer>,
    /// Counters.
    pub metrics: Arc<dyn Metrics>,
}
