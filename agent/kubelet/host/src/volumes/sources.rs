//! Where the contents of volumes and environments come from. The kubelet implements [`Sources`] over its cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PersistentVolume, Secret};

/// Why a source could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// The object does not exist; `kind` is lower case, as upstream's message has it.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap`, `secret`, `persistentvolumeclaim`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The API server said no or did not answer; retry.
    #[error("{0}")]
    Api(String),
    /// The claim is not bound to a volume yet; retry.
    #[error("PersistentVolumeClaim is not bound: {0:?}")]
    Unbound(String),
}

/// A token asked for on behalf of a pod (TokenRequest API).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenRequest {
    /// The pod's namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// The pod the token is bound to.
    pub pod_name: String,
    /// Its UID.
    pub pod_uid: String,
    /// The audience; `None` is the API server's own.
    pub audience: Option<String>,
    /// Wanted life in seconds, at least 600.
    pub expiration_seconds: i64,
}

/// A token and its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The JWT.
    pub token: String,
    /// When it was asked for.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// Mints service account tokens.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// Asks for a new token; callers cache.
    async fn token(&self, request: &TokenRequest) -> Result<Token, SourceError>;
}

/// Everything a pod's volumes and environment are made from.
///
/// `None` from the object calls means that the object surely does not exist.
#[async_trait]
pub trait Sources: TokenSource {
    /// A ConfigMap.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, SourceError>;
    /// A Secret.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, SourceError>;
    /// The PersistentVolume a claim is bound to; [`SourceError::Unbound`] while it is not.
    async fn claimed_volume(
        &self,
        namespace: &str,
        claim: &str,
    ) -> Result<Arc<PersistentVolume>, SourceError>;
}

/// ConfigMaps and Secrets of one namespace by name, as fetched; absent means that it does not exist.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

impl Objects {
    /// Fetches a ConfigMap into the set, if it exists.
    pub async fn load_config_map(
        &mut self,
        sources: &dyn Sources,
        namespace: &str,
        name: &str,
    ) -> Result<(), SourceError> {
        if !self.config_maps.contains_key(name)
            && let Some(found) = sources.config_map(namespace, name).await?
        {
            self.config_maps.insert(name.to_owned(), found);
        }
        Ok(())
    }

    /// Fetches a Secret into the set, if it exists.
    pub async fn load_secret(
        &mut self,
        sources: &dyn Sources,
        namespace: &str,
        name: &str,
    ) -> Result<(), SourceError> {
        if !self.secrets.contains_key(name)
            && let Some(found) = sources.secret(namespace, name).await?
        {
            self.secrets.insert(name.to_owned(), found);
        }
        Ok(())
    }
}

/// Fetches what a container's environment refers to.
pub async fn fetch_objects(
    namespace: &str,
    container: &Container,
    sources: &dyn Sources,
) -> Result<Objects, SourceError> {
    let mut objects = Objects::default();
    for from in container.env_from.iter().flatten() {
        if let Some(reference) = &from.config_map_ref {
            objects.load_config_map(sources, namespace, &reference.name).await?;
        }
        if let Some(reference) = &from.secret_ref {
            objects.load_secret(sources, namespace, &reference.name).await?;
        }
    }
    for from in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        if let Some(reference) = &from.config_map_key_ref {
            objects.load_config_map(sources, namespace, &reference.name).await?;
        }
        if let Some(reference) = &from.secret_key_ref {
            objects.load_secret(sources, namespace, &reference.name).await?;
        }
    }
    Ok(objects)
}
