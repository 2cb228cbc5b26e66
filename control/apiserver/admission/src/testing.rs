//! A small cluster for the plug-ins' tests.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;
use serde_json::Value;
use xebec_api::meta;
use xebec_identity::{ObjectReader, User};

use crate::{Call, Config, Operation, Request};

static USER: LazyLock<User> = LazyLock::new(|| User::new("alice", &["system:authenticated"]));

/// Objects by group, resource, namespace and name.
type Objects = BTreeMap<(String, String, String, String), Arc<Value>>;

/// The objects plug-ins read, and their configuration.
#[derive(Default)]
pub struct World {
    objects: RwLock<Objects>,
    pub config: Config,
}

impl World {
    pub fn put(&self, group: &str, plural: &str, object: Value) {
        let key = (
            group.to_owned(),
            plural.to_owned(),
            meta::namespace(&object).to_owned(),
            meta::name(&object).to_owned(),
        );
        self.objects.write().insert(key, Arc::new(object));
    }

    pub fn call<'a>(&'a self, request: Request<'a>, old: Option<&'a Value>) -> Call<'a> {
        Call { request, old, reader: self, config: &self.config }
    }
}

impl ObjectReader for World {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (group.to_owned(), plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.read().get(&key).cloned()
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let objects = self.objects.read();
        let chosen = objects.iter().filter(|((g, p, n, _), _)| {
            g == group && p == plural && namespace.is_none_or(|wanted| wanted == n)
        });
        chosen.map(|(_, object)| Arc::clone(object)).collect()
    }
}

/// A request by alice.
pub fn request<'a>(
    operation: Operation,
    group: &'a str,
    plural: &'a str,
    namespace: &'a str,
    name: &'a str,
) -> Request<'a> {
    Request {
        operation,
        user: &USER,
        group,
        version: "v1",
        kind: "",
        plural,
        subresource: "",
        namespace,
        name,
        dry_run: false,
    }
}
