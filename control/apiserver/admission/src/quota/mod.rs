//! ResourceQuota: what a namespace may hold.
//!
//! Enters: a write that has passed everything else. Leaves: 403 when a quota would be exceeded, or a [`Reservation`] on
//! the quotas' `status.used`, made before the object is written so that no two writes can take the same last place.
//! [`check`] decides (pure), [`Reserver`] reserves. Authority: k8s.io/apiserver/pkg/admission/plugin/resourcequota.

mod check;
mod reserve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_quota::{Evaluator, ResourceList, ScopeSelector};

use crate::{Operation, Request};

pub use reserve::{QuotaStore, Reservation, Reserver, StoreRefusal};

/// A resource that may only be used where a quota covers it (`limitedResources` of the plug-in's configuration).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitedResource {
    /// The group of the objects.
    pub api_group: String,
    /// Their resource.
    pub resource: String,
    /// Parts of the names of quota resources that are limited.
    pub match_contains: Vec<String>,
    /// Objects these select are limited.
    pub match_scopes: Vec<ScopeSelector>,
}

/// What one write asks of the quotas of its namespace.
#[derive(Clone, Debug)]
pub struct Demand {
    group: String,
    plural: String,
    subresource: String,
    namespace: String,
    name: String,
    dry_run: bool,
    evaluator: Evaluator,
    object: Arc<Value>,
    old: Option<Arc<Value>>,
    now: Timestamp,
}

impl Demand {
    /// The demand of a write; none when quotas have nothing to say about it.
    pub fn of(request: &Request<'_>, object: &Value, old: Option<&Value>, now: Timestamp) -> Option<Self> {
        if !Self::is_counted(request, object, old) {
            return None;
        }
        let evaluator = Evaluator::of(request.group, request.plural)?;
        let own = [request.name, meta::name(object), meta::generate_name(object)];
        Some(Self {
            group: request.group.to_owned(),
            plural: request.plural.to_owned(),
            subresource: request.subresource.to_owned(),
            namespace: request.namespace.to_owned(),
            name: own.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown").to_owned(),
            dry_run: request.dry_run,
            evaluator,
            object: Arc::new(object.clone()),
            old: old.map(|old| Arc::new(old.clone())),
            now,
        })
    }

    /// Whether a write may change what its namespace uses.
    pub fn is_counted(request: &Request<'_>, object: &Value, old: Option<&Value>) -> bool {
        let created = match request.operation {
            Operation::Create => true,
            Operation::Update => false,
            Operation::Delete | Operation::Connect => return false,
        };
        let namespace_itself = request.group.is_empty() && request.plural == "namespaces";
        !request.namespace.is_empty()
            && !namespace_itself
            && Evaluator::of(request.group, request.plural)
                .is_some_and(|evaluator| evaluator.handles(created, request.subresource, object, old))
    }

    fn forbidden(&self, why: String) -> ApiError {
        ApiError::forbidden(&self.group, &self.plural, &self.name, why)
    }

    fn usage(&self, object: &Value) -> ResourceList {
        self.evaluator.usage(object, self.now)
    }
}
