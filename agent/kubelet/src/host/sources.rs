//! Where volumes and environments get their contents: the public API. Enters: names. Leaves: objects, fresh.
//!
//! Every mount asks anew, as upstream's `Get` strategy: a pod never sees an older version than its creator did.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest as Request, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret, ServiceAccount,
};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use xebec_host::volumes::{SourceError, Sources, Token, TokenRequest, TokenSource};

/// The API server as a source.
#[derive(Clone)]
pub struct KubeSources {
    client: Client,
}

impl KubeSources {
    /// Reads as the node's user.
    pub fn new(client: Client) -> Self {
        KubeSources { client }
    }
}

fn api(error: kube::Error) -> SourceError {
    match error {
        kube::Error::Api(status) => SourceError::Api(status.message.clone()),
        other => SourceError::Api(other.to_string()),
    }
}

#[async_trait]
impl TokenSource for KubeSources {
    async fn token(&self, request: &TokenRequest) -> Result<Token, SourceError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &request.namespace);
        let issued = Timestamp::now();
        let body = Request {
            spec: Some(TokenRequestSpec {
                // none at all stands for the server's own
                audiences: Some(request.audience.iter().cloned().collect()),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(request.pod_name.clone()),
                    uid: Some(request.pod_uid.clone()),
                }),
                expiration_seconds: Some(request.expiration_seconds),
            }),
            ..Request::default()
        };
        let answer: Request = accounts
            .create_subresource("token", &request.service_account, &PostParams::default(), &body)
            .await
            .map_err(api)?;
        let status = answer.status.unwrap_or_default();
        match (status.token, status.expiration_timestamp) {
            (Some(token), Some(expires)) => Ok(Token { token, issued, expires: expires.0 }),
            _ => Err(SourceError::Api("the answer to a token request has no token".to_owned())),
        }
    }
}

#[async_trait]
impl Sources for KubeSources {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, SourceError> {
        let found = Api::<ConfigMap>::namespaced(self.client.clone(), namespace).get_opt(name).await;
        Ok(found.map_err(api)?.map(Arc::new))
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, SourceError> {
        let found = Api::<Secret>::namespaced(self.client.clone(), namespace).get_opt(name).await;
        Ok(found.map_err(api)?.map(Arc::new))
    }

    async fn claimed_volume(
        &self,
        namespace: &str,
        claim: &str,
    ) -> Result<Arc<PersistentVolume>, SourceError> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let missing = || SourceError::NotFound { kind: "persistentvolumeclaim", name: claim.to_owned() };
        let found = claims.get_opt(claim).await.map_err(api)?.ok_or_else(missing)?;
        let bound = found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        let volume = found.spec.and_then(|spec| spec.volume_name).filter(|name| bound && !name.is_empty());
        let volume = volume.ok_or_else(|| SourceError::Unbound(claim.to_owned()))?;
        let found = Api::<PersistentVolume>::all(self.client.clone()).get_opt(&volume).await.map_err(api)?;
        let missing = || SourceError::NotFound { kind: "persistentvolume", name: volume.clone() };
        found.map(Arc::new).ok_or_else(missing)
    }
}
