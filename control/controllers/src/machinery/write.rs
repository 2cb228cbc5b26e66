//! Writes through the public API, each failure naming the operation and the object.
//!
//! Enters: typed objects and patches. Leaves: HTTP requests of the shared `kube::Client`. Called by the controllers'
//! wiring, never by a plan.

use std::fmt::Debug;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::Request;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cache::Key;

/// A write that the API server refused or that did not reach it; a reconcile is retried with back-off.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {kind} {key}: {source}")]
pub struct Failed {
    /// The verb.
    pub operation: &'static str,
    /// The object's kind.
    pub kind: String,
    /// The object's key.
    pub key: String,
    /// Why.
    #[source]
    pub source: Box<kube::Error>,
}

impl Failed {
    fn status(&self) -> Option<&kube::core::Status> {
        match &*self.source {
            kube::Error::Api(status) => Some(status),
            _ => None,
        }
    }

    /// Somebody else wrote first: read again.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|s| s.code == 409 && s.reason != "AlreadyExists")
    }

    /// The object is gone.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|s| s.code == 404)
    }

    /// The name is taken.
    pub fn already_exists(&self) -> bool {
        self.status().is_some_and(|s| s.reason == "AlreadyExists")
    }

    /// The object can never be accepted as it is.
    pub fn is_invalid(&self) -> bool {
        self.status().is_some_and(|s| s.code == 422)
    }

    /// The namespace is going away, so that nothing can be created in it.
    pub fn namespace_terminating(&self) -> bool {
        self.status().is_some_and(|s| {
            s.code == 403
                && (s.message.contains("because it is being terminated")
                    || s.details.iter().flat_map(|d| &d.causes).any(|c| c.reason == "NamespaceTerminating"))
        })
    }

    /// The server's message, as Events and conditions quote it.
    pub fn reason_text(&self) -> String {
        self.status().map_or_else(|| self.source.to_string(), |s| s.message.clone())
    }
}

/// The way to the API server.
#[derive(Clone)]
pub struct Writer {
    client: Client,
}

/// What can be written: every k8s-openapi kind.
pub trait Written: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug {}
impl<K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug> Written for K {}

fn request<K: Written>(key: &Key) -> Request {
    let namespace = Some(key.namespace.as_str()).filter(|n| !n.is_empty());
    Request::new(K::url_path(&(), namespace))
}

impl Writer {
    /// A writer over a client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    async fn send<K: Written, T: DeserializeOwned>(
        &self,
        operation: &'static str,
        key: &Key,
        built: Result<http_request::Built, kube::Error>,
    ) -> Result<T, Failed> {
        let outcome = match built {
            Ok(request) => self.client.request::<T>(request).await,
            Err(error) => Err(error),
        };
        outcome.map_err(|source| Failed {
            operation,
            kind: K::kind(&()).into_owned(),
            key: key.to_string(),
            source: Box::new(source),
        })
    }

    /// Creates an object and answers it as stored.
    pub async fn create<K: Written>(&self, object: &K) -> Result<K, Failed> {
        let key = Key::of(object);
        let built = body(object).and_then(|b| {
            request::<K>(&key).create(&PostParams::default(), b).map_err(kube::Error::BuildRequest)
        });
        self.send::<K, K>("create", &key, built).await
    }

    /// Reads an object from the server itself, for decisions a cache may not make (as deleting by owner).
    pub async fn get<K: Written>(&self, key: &Key) -> Result<K, Failed> {
        let built = request::<K>(key).get(&key.name, &Default::default()).map_err(kube::Error::BuildRequest);
        self.send::<K, K>("get", key, built).await
    }

    /// Replaces an object, if its resourceVersion is still current.
    pub async fn replace<K: Written>(&self, object: &K) -> Result<K, Failed> {
        let key = Key::of(object);
        let built = body(object).and_then(|b| {
            request::<K>(&key)
                .replace(&key.name, &PostParams::default(), b)
                .map_err(kube::Error::BuildRequest)
        });
        self.send::<K, K>("update", &key, built).await
    }

    /// Replaces an object through a subresource (`status`, `finalize`), if its resourceVersion is still current.
    pub async fn replace_sub<K: Written>(&self, subresource: &'static str, object: &K) -> Result<K, Failed> {
        let key = Key::of(object);
        let built = body(object).and_then(|b| {
            request::<K>(&key)
                .replace_subresource(subresource, &key.name, &PostParams::default(), b)
                .map_err(kube::Error::BuildRequest)
        });
        self.send::<K, K>(subresource, &key, built).await
    }

    /// Replaces an object's status, if its resourceVersion is still current.
    pub async fn replace_status<K: Written>(&self, object: &K) -> Result<K, Failed> {
        self.replace_sub("status", object).await
    }

    /// Applies a strategic merge patch.
    pub async fn patch<K: Written>(&self, key: &Key, patch: Value) -> Result<K, Failed> {
        let built = request::<K>(key)
            .patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .map_err(kube::Error::BuildRequest);
        self.send::<K, K>("patch", key, built).await
    }

    /// Applies a strategic merge patch to the status.
    pub async fn patch_status<K: Written>(&self, key: &Key, patch: Value) -> Result<K, Failed> {
        let built = request::<K>(key)
            .patch_subresource("status", &key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .map_err(kube::Error::BuildRequest);
        self.send::<K, K>("patch status of", key, built).await
    }

    /// Applies (server-side) what `manager` wants of an object, taking over what others set otherwise; creates it if need be.
    pub async fn apply<K: Written>(&self, manager: &str, key: &Key, wanted: &Value) -> Result<K, Failed> {
        let built = request::<K>(key)
            .patch(&key.name, &PatchParams::apply(manager).force(), &Patch::Apply(wanted))
            .map_err(kube::Error::BuildRequest);
        self.send::<K, K>("apply", key, built).await
    }

    /// Deletes exactly the object with this UID; another one of that name is a conflict.
    pub async fn delete<K: Written>(
        &self,
        key: &Key,
        uid: &str,
        propagation: PropagationPolicy,
        grace_seconds: Option<u32>,
    ) -> Result<(), Failed> {
        let params = DeleteParams {
            grace_period_seconds: grace_seconds,
            propagation_policy: Some(propagation),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        let built = request::<K>(key).delete(&key.name, &params).map_err(kube::Error::BuildRequest);
        self.send::<K, Value>("delete", key, built).await.map(drop)
    }

    /// Deletes exactly this object in the background, its pod's own grace kept.
    pub async fn delete_object<K: Written>(&self, object: &K) -> Result<(), Failed> {
        let uid = object.uid().unwrap_or_default();
        self.delete::<K>(&Key::of(object), &uid, PropagationPolicy::Background, None).await
    }
}

/// The serialised object, with its kind (k8s-openapi writes it).
fn body<K: Serialize>(object: &K) -> Result<Vec<u8>, kube::Error> {
    serde_json::to_vec(object).map_err(kube::Error::SerdeError)
}

/// The request type kube builds, named so that this module alone knows it.
mod http_request {
    pub type Built = http::Request<Vec<u8>>;
}
