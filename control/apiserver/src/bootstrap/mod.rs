//! What every cluster has from its first second: namespaces, roles, the `kubernetes` Service, priority classes.
//!
//! Enters: the configuration. Leaves: objects in the store, written through the registry like any other. Called once
//! by `ApiServer::build`; what exists is left as it is, except for the server's own address and missing RBAC rules. Some of
//! it is kept afterwards, too ([`keep`]).

mod kubernetes;
mod lease;
mod objects;
mod rbac;

use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use xebec_api::meta;
use xebec_api::resource;
use xebec_api::status::{ApiError, Reason};
use xebec_identity::User;

use crate::config::Config;
use crate::registry::{Registry, Sub, Target, UpdateOptions, WriteContext};

/// An object every cluster has could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name}: {error}")]
pub struct BootstrapError {
    kind: String,
    name: String,
    error: ApiError,
}

/// How an object that exists is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    /// It stays as it is.
    Keep,
    /// Everything but its metadata becomes what is wanted.
    Overwrite,
    /// Its spec becomes what is wanted, unless an operator has taken it over.
    OverwriteIfAutomatic,
    /// Its ports and type become what is wanted.
    Correct,
    /// Missing rules and subjects are added (unless an operator said no).
    Extend,
    /// A range of the second family is added to the first one.
    Widen,
}

/// Writes everything.
pub async fn run(registry: &Registry, config: &Config) -> Result<(), BootstrapError> {
    let context = own_context();
    foundations(registry).await?;
    for object in xebec_identity::bootstrap::objects() {
        ensure(registry, &context, object, Existing::Extend).await?;
    }
    for class in objects::priority_classes() {
        ensure(registry, &context, class, Existing::Keep).await?;
    }
    for object in objects::flow_control() {
        ensure(registry, &context, object, Existing::OverwriteIfAutomatic).await?;
    }
    kubernetes::reconcile(registry, kubernetes::Place::of(config), Existing::Correct).await?;
    let read = |name: &str| std::fs::read_to_string(config.pki_dir.join(name)).unwrap_or_default();
    let authentication = objects::authentication(&read("ca.crt"), &read("front-proxy-ca.crt"));
    ensure(registry, &context, authentication, Existing::Overwrite).await
}

/// Keeps, until `stop`, what must not go away while the server runs: the `kubernetes` Service and what it stands on, and
/// the server's own Lease.
pub fn keep(registry: &Arc<Registry>, config: &Config, stop: &CancellationToken) {
    kubernetes::keep(Arc::clone(registry), config, stop.clone());
    lease::keep(Arc::clone(registry), stop.clone());
}

/// The system's namespaces and the range of Services' addresses: they come back when somebody deletes them.
async fn foundations(registry: &Registry) -> Result<(), BootstrapError> {
    let context = own_context();
    for namespace in objects::namespaces() {
        ensure(registry, &context, namespace, Existing::Keep).await?;
    }
    let ranges: Vec<String> = registry.allocators().ranges().iter().map(ToString::to_string).collect();
    ensure(registry, &context, objects::service_cidr(&ranges), Existing::Widen).await
}

/// The server writes as itself.
fn own_context() -> WriteContext {
    WriteContext::new(User::system_master("system:apiserver"), "kube-apiserver".to_owned(), false)
}

async fn ensure(
    registry: &Registry,
    context: &WriteContext,
    wanted: Value,
    existing: Existing,
) -> Result<(), BootstrapError> {
    let (kind, name) = (meta::kind(&wanted).to_owned(), meta::key(&wanted));
    let failed = |error: ApiError| BootstrapError { kind: kind.clone(), name: name.clone(), error };
    let (group, version) = resource::split_api_version(meta::api_version(&wanted));
    let target = registry
        .resources()
        .own_kind(group, version, &kind)
        .and_then(|kind| Target::new(&kind, meta::namespace(&wanted), meta::name(&wanted)))
        .ok_or_else(|| failed(ApiError::generic_404()))?;
    let create = target.cache.get(&target.namespace, &target.name).is_none();
    if create {
        match registry.create(context, &target, wanted.clone()).await {
            Ok(_) => {
                debug!(kind, name, "created");
                return Ok(());
            }
            Err(error) if error.reason == Reason::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let editor = |old: &Value| {
        Ok::<Value, ApiError>(match existing {
            Existing::Keep => old.clone(),
            Existing::Overwrite => objects::overwritten(old, &wanted),
            Existing::Correct => objects::corrected(old, &wanted),
            Existing::OverwriteIfAutomatic => objects::updated_if_automatic(old, &wanted),
            Existing::Extend => rbac::extended(old, &wanted),
            Existing::Widen => objects::widened(old, &wanted),
        })
    };
    // Most of the time there is nothing to do, which takes no write to find out.
    let present = target.cache.get(&target.namespace, &target.name).map(|object| object.value());
    let due = present.is_none_or(|present| editor(&present).is_ok_and(|new| new != *present));
    if existing == Existing::Keep || !due {
        return Ok(());
    }
    registry
        .update(context, &target, Sub::Main, UpdateOptions::default(), &editor)
        .await
        .map(drop)
        .map_err(failed)
}
