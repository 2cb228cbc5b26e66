//! Where ResourceQuotas are kept: read from the cache, written to the store by compare-and-swap.
//!
//! Called by `xebec_admission::quota::Reserver`. Not through the registry: the registry asks admission, which asks here.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use xebec_admission::quota::{QuotaStore, StoreRefusal};
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_identity::ObjectReader;
use xebec_store::{Expect, Store, StoreError};

use crate::registry::{CACHE_PATIENCE, store_error};
use crate::watch::{Caches, set_resource_version};

/// The cluster's quotas.
pub(super) struct Quotas {
    store: Arc<dyn Store>,
    caches: Arc<Caches>,
}

impl Quotas {
    pub(super) fn new(store: Arc<dyn Store>, caches: Arc<Caches>) -> Self {
        Self { store, caches }
    }

    async fn wait(&self, revision: u64) -> Result<(), StoreRefusal> {
        if self.caches.reached(revision, CACHE_PATIENCE).await {
            return Ok(());
        }
        let why = format!("the caches did not reach revision {revision} in time");
        Err(StoreRefusal::Api(ApiError::timeout(why)))
    }
}

#[async_trait]
impl QuotaStore for Quotas {
    /// The cache is as new as the last write made here and the last conflict: both are waited for.
    async fn list(&self, namespace: &str) -> Result<Vec<Value>, ApiError> {
        let stored = self.caches.list("", "resourcequotas", Some(namespace));
        Ok(stored.iter().map(|quota| Value::clone(quota)).collect())
    }

    async fn update_status(&self, mut quota: Value) -> Result<Value, StoreRefusal> {
        let Some(cache) = self.caches.of("", "resourcequotas") else { return Err(StoreRefusal::Conflict) };
        let Ok(expected) = meta::resource_version(&quota).parse() else { return Err(StoreRefusal::Conflict) };
        let key = cache.key(meta::namespace(&quota), meta::name(&quota));
        meta::remove(&mut quota, "/metadata/resourceVersion");
        let bytes = serde_json::to_vec(&quota)
            .map_err(|error| StoreRefusal::Api(ApiError::internal(error.to_string())))?;
        match self.store.put(&key, Bytes::from(bytes), Expect::Revision(expected)).await {
            Ok(revision) => {
                self.wait(revision).await?;
                set_resource_version(&mut quota, revision);
                Ok(quota)
            }
            Err(StoreError::Conflict { current, .. }) => {
                match current {
                    Some(entry) => self.wait(entry.mod_revision).await?,
                    // Deleted: the cache will say so once it is at the store's head.
                    None => {
                        if let Ok(head) = self.store.head().await {
                            let _ = self.caches.reached(head, CACHE_PATIENCE).await;
                        }
                    }
                }
                Err(StoreRefusal::Conflict)
            }
            Err(error) => Err(StoreRefusal::Api(store_error(error))),
        }
    }
}
