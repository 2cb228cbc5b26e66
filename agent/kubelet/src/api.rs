//! What the pod workers write to the API server, as one small trait. Enters: patches and deletions. Leaves:
//! requests of the public API, through kube-rs.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::Value;

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiFailure {
    /// There is no such object, or a namesake with another UID took its place; do not retry.
    #[error("the object is gone: {0}")]
    Gone(String),
    /// The server refuses the request as it stands; retrying the same does not help.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server cannot be reached or is busy; retry.
    #[error("the server does not answer: {0}")]
    Unavailable(String),
}

impl From<kube::Error> for ApiFailure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let text = status.message.clone();
                match status.code {
                    404 => ApiFailure::Gone(text),
                    409 if text.contains("UID") || text.contains("uid") => ApiFailure::Gone(text),
                    409 | 429 | 500.. => ApiFailure::Unavailable(text),
                    _ => ApiFailure::Refused(text),
                }
            }
            other => ApiFailure::Unavailable(other.to_string()),
        }
    }
}

/// The pod workers' view of the API server.
#[async_trait]
pub trait PodApi: Send + Sync + 'static {
    /// Patches the status subresource (strategic merge); returns the pod as stored.
    async fn patch_status(&self, namespace: &str, name: &str, patch: &Value) -> Result<Pod, ApiFailure>;
    /// Deletes the pod at once if it still has this UID.
    async fn delete_now(&self, namespace: &str, name: &str, uid: &str) -> Result<(), ApiFailure>;
    /// Creates a mirror pod; one that exists is left alone.
    async fn create(&self, pod: &Pod) -> Result<(), ApiFailure>;
    /// Reads a Secret (pull credentials).
    async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, ApiFailure>;
    /// Reads a RuntimeClass.
    async fn runtime_class(&self, name: &str) -> Result<RuntimeClass, ApiFailure>;
}

#[async_trait]
impl PodApi for Client {
    async fn patch_status(&self, namespace: &str, name: &str, patch: &Value) -> Result<Pod, ApiFailure> {
        let api: Api<Pod> = Api::namespaced(self.clone(), namespace);
        Ok(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?)
    }

    async fn delete_now(&self, namespace: &str, name: &str, uid: &str) -> Result<(), ApiFailure> {
        let api: Api<Pod> = Api::namespaced(self.clone(), namespace);
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        api.delete(name, &params).await?;
        Ok(())
    }

    async fn create(&self, pod: &Pod) -> Result<(), ApiFailure> {
        let namespace = crate::spec::namespace(pod);
        let api: Api<Pod> = Api::namespaced(self.clone(), namespace);
        match api.create(&PostParams::default(), pod).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, ApiFailure> {
        let api: Api<Secret> = Api::namespaced(self.clone(), namespace);
        Ok(api.get(name).await?)
    }

    async fn runtime_class(&self, name: &str) -> Result<RuntimeClass, ApiFailure> {
        Ok(Api::<RuntimeClass>::all(self.clone()).get(name).await?)
    }
}
