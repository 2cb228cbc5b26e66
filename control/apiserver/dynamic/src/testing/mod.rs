//! What this crate's tests run in: objects in memory, a few types, a webhook server on loopback.

mod server;
mod types;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde_json::{Value, json};
use xebec_api::meta;
use xebec_identity::{Authorizer, ObjectReader, User};

pub(crate) use server::{Identity, Reply, Webhook};
pub(crate) use types::TestTypes;

use crate::{
    Attributes, Dynamic, Enabled, Kind, NoMetrics, Operation, ResolveError, Resolver, Resource, World,
};

/// Objects in memory, found by kind.
#[derive(Default)]
pub(crate) struct Objects {
    objects: RwLock<Vec<Arc<Value>>>,
    changes: AtomicU64,
}

impl Objects {
    pub(crate) fn add(&self, object: Value) {
        let same =
            |other: &Arc<Value>| other["kind"] == object["kind"] && meta::key(other) == meta::key(&object);
        let mut objects = self.objects.write();
        objects.retain(|other| !same(other));
        objects.push(Arc::new(object));
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn clear(&self) {
        self.objects.write().clear();
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

fn is(object: &Value, group: &str, plural: &str) -> bool {
    let kind = Kind::of(object);
    let lower = kind.kind.to_lowercase();
    let of_kind = match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{lower}s"),
    };
    kind.group == group && of_kind == plural
}

impl ObjectReader for Objects {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let listed = self.list(group, plural, Some(namespace));
        listed.into_iter().find(|object| meta::name(object) == name)
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let objects = self.objects.read();
        let wanted = |object: &&Arc<Value>| {
            is(object, group, plural) && namespace.is_none_or(|n| meta::namespace(object) == n)
        };
        objects.iter().filter(wanted).cloned().collect()
    }

    fn version(&self, _: &str, _: &str) -> Option<u64> {
        Some(self.changes.load(Ordering::SeqCst))
    }
}

/// Services by `namespace/name:port`.
#[derive(Default)]
pub(crate) struct Services(pub(crate) RwLock<Vec<(String, String)>>);

impl Resolver for Services {
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<String, ResolveError> {
        let wanted = format!("{namespace}/{name}:{port}");
        let services = self.0.read();
        let found = services.iter().find(|(service, _)| *service == wanted);
        found
            .map(|(_, address)| address.clone())
            .ok_or_else(|| ResolveError(format!("service {name:?} not found")))
    }
}

/// Everything a test needs.
pub(crate) struct Bench {
    pub(crate) objects: Arc<Objects>,
    pub(crate) services: Arc<Services>,
    pub(crate) dynamic: Dynamic,
    pub(crate) user: User,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let objects = Arc::new(Objects::default());
        for (name, labels) in [("default", json!({})), ("prod", json!({"env": "prod"}))] {
            objects.add(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
        }
        let services = Arc::new(Services::default());
        let world = World {
            reader: objects.clone(),
            types: Arc::new(TestTypes),
            authorizer: Arc::new(Authorizer::new(objects.clone())),
            metrics: Arc::new(NoMetrics),
        };
        let dynamic = Dynamic::new(world, services.clone(), Enabled::default());
        Self { objects, services, dynamic, user: User::new("alice", &["devs"]) }
    }

    /// The attributes of a write of a Deployment in `namespace`.
    pub(crate) fn attributes(&self, operation: Operation, namespace: &str) -> Attributes<'_> {
        deployment_attributes(&self.user, operation, namespace)
    }
}

/// The attributes of a write of a Deployment in `namespace`.
pub(crate) fn deployment_attributes<'a>(
    user: &'a User,
    operation: Operation,
    namespace: &str,
) -> Attributes<'a> {
    Attributes {
        user,
        operation,
        kind: Kind::new("apps", "v1", "Deployment"),
        resource: Resource::new("apps", "v1", "deployments"),
        subresource: String::new(),
        namespace: namespace.to_owned(),
        name: "web".to_owned(),
        dry_run: false,
        options: json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}),
        old_object: None,
        deadline: None,
    }
}

/// A small Deployment.
pub(crate) fn deployment(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"app": "web"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}},
    })
}
