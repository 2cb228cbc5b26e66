//! Webhooks and policies, with what they need of this server.
//!
//! Enters: the registry's attributes and objects. Leaves: what `xebec-dynamic-admission` makes of them. `types` shows it
//! the served kinds, `merge` applies configurations, `services` finds webhooks, `typecheck` keeps policies' status.
//! Called by [`super::Admission`].

mod merge;
mod metrics;
mod services;
mod typecheck;
mod types;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use xebec_admission::Plugin;
use xebec_dynamic_admission as dynamic;
use xebec_dynamic_admission::{Dynamic, Enabled, Kind, Record, Resource, World};
use xebec_identity::Authorizer;

use super::{Attributes, Operation};
use crate::registry::{DeleteOptions, WriteContext};
use crate::resources::Resources;
use crate::watch::Caches;

pub(crate) use metrics::Counters;
pub(crate) use services::Services;
pub(crate) use typecheck::start as start_type_checking;
pub(crate) use types::ServedTypes;

/// Dynamic admission over this server's objects.
pub(super) fn new(
    caches: Arc<Caches>,
    resources: Arc<Resources>,
    authorizer: Arc<Authorizer>,
    metrics: Arc<Counters>,
    enabled: Enabled,
) -> Dynamic {
    let services = Arc::new(services::Services::new(Arc::clone(&caches)));
    let types = Arc::new(ServedTypes::new(resources));
    Dynamic::new(World { reader: caches, types, authorizer, metrics }, services, enabled)
}

/// Which of the plug-ins of this folder run.
pub(super) fn plugins(plugins: &BTreeSet<Plugin>) -> Enabled {
    Enabled {
        mutating_policies: plugins.contains(&Plugin::MutatingAdmissionPolicy),
        mutating_webhooks: plugins.contains(&Plugin::MutatingAdmissionWebhook),
        validating_policies: plugins.contains(&Plugin::ValidatingAdmissionPolicy),
        validating_webhooks: plugins.contains(&Plugin::ValidatingAdmissionWebhook),
    }
}

/// The request as webhooks and policies see it.
pub(super) fn attributes<'a>(
    attributes: &Attributes<'a>,
    old: Option<&'a Value>,
    options: Value,
) -> dynamic::Attributes<'a> {
    let served = attributes.served;
    let own = served.subresource(attributes.subresource);
    let kind = match own.filter(|own| !own.kind.is_empty()) {
        Some(own) => Kind::new(own.group, own.version, own.kind),
        None => Kind::new(served.group, served.version, served.kind),
    };
    // Upstream's attributes of a Namespace say it is in itself.
    let namespace = if served.plural == "namespaces" { attributes.name } else { attributes.namespace };
    dynamic::Attributes {
        user: attributes.user,
        operation: match attributes.operation {
            Operation::Create => dynamic::Operation::Create,
            Operation::Update => dynamic::Operation::Update,
            Operation::Delete => dynamic::Operation::Delete,
            Operation::Connect => dynamic::Operation::Connect,
        },
        kind,
        resource: Resource::new(served.group, served.version, served.plural),
        subresource: attributes.subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: if attributes.name_generated { String::new() } else { attributes.name.to_owned() },
        dry_run: attributes.context.dry_run || options["dryRun"].is_array(),
        options,
        old_object: old,
        deadline: attributes.context.deadline,
    }
}

/// The options of a create or update; null for a connection.
pub(super) fn options(attributes: &Attributes<'_>) -> Value {
    let kind = match attributes.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let context = attributes.context;
    let mut options = typed(kind, context.dry_run);
    for (name, value) in &context.options {
        options.insert((*name).to_owned(), json!(value));
    }
    Value::Object(options)
}

/// The options of a delete.
pub(super) fn delete_options(context: &WriteContext, options: &DeleteOptions) -> Value {
    let mut value = typed("DeleteOptions", context.dry_run || options.dry_run);
    if let Some(seconds) = options.grace {
        value.insert("gracePeriodSeconds".to_owned(), json!(seconds));
    }
    if let Some(policy) = options.propagation_name() {
        value.insert("propagationPolicy".to_owned(), json!(policy));
    }
    let mut preconditions = Map::new();
    for (name, wanted) in [("uid", &options.uid), ("resourceVersion", &options.resource_version)] {
        if let Some(wanted) = wanted {
            preconditions.insert(name.to_owned(), json!(wanted));
        }
    }
    if !preconditions.is_empty() {
        value.insert("preconditions".to_owned(), Value::Object(preconditions));
    }
    Value::Object(value)
}

fn typed(kind: &str, dry_run: bool) -> Map<String, Value> {
    let mut options = Map::new();
    options.insert("kind".to_owned(), json!(kind));
    options.insert("apiVersion".to_owned(), json!("meta.k8s.io/v1"));
    if dry_run {
        options.insert("dryRun".to_owned(), json!(["All"]));
    }
    options
}

/// Warnings and annotations go to the request.
impl Record for WriteContext {
    fn warn(&self, text: &str) {
        self.warnings.lock().push(text.to_owned());
    }

    fn annotate(&self, key: &str, value: &str) {
        self.audit_annotations.lock().entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
}
