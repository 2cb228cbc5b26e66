//! The registry: every verb on every stored object, the same for all kinds.
//!
//! Enters: decoded objects and options from `serve`, with the caller's identity. Leaves: objects, written through
//! admission and the kind's strategy into the store, or an [`ApiError`]. What differs between kinds stands in
//! `xebec-kinds` (pure) and in the few files here that need other objects: `alloc` (Service addresses and ports),
//! `devices`, `namespace`, `pod`, `scale`, `token`.

mod alloc;
mod apply;
mod change;
mod convert;
mod create;
mod delete;
mod delete_plan;
mod devices;
mod expressions;
mod fieldset;
mod last_applied;
mod managed;
mod merge_schema;
mod metadata;
mod namespace;
mod past;
mod patch;
mod pod;
mod read;
mod requester;
mod resume;
mod scale;
mod target;
mod token;
mod typed;
mod update;
mod updater;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use xebec_api::status::ApiError;
use xebec_identity::User;
use xebec_identity::token::TokenSigner;
use xebec_store::{Entry, Expect, Store, StoreError};

use crate::admission::Admission;
use crate::resources::Resources;
use crate::watch::{Caches, Draft, Object};

pub use alloc::{AllocError, Allocators};
pub(crate) use apply::{merged, untyped};
pub use change::{Editor, Written};
pub use convert::{from_storage, to_storage};
pub use delete::{DeleteOptions, Deleted};
pub use managed::manager_of;
pub(crate) use merge_schema::root as merge_root;
pub use merge_schema::{MergeSchema, Node};
pub use patch::Patch;
pub use read::{ListOptions, ListPage, VersionMatch, parse_version};
pub use target::Target;
pub(crate) use typed::{complaint_text, path_of};
pub use update::{Sub, UpdateOptions};

/// Longest wait for the caches to reach a revision a read or write needs.
pub const CACHE_PATIENCE: Duration = Duration::from_secs(3);

/// How long the caches may stand still below the store's head before a write of our own moves them.
const NUDGE_AFTER: Duration = Duration::from_millis(250);
/// The key that write goes to; no resource is called so.
const NUDGE_KEY: &str = "/registry/xebec/progress";

/// Tells the time; injected so that decisions can be tested.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything a write needs to know about its request.
pub struct WriteContext {
    /// Who writes.
    pub user: User,
    /// How an object that exists is written, in authorizers' words: `update` or `patch`.
    pub verb: &'static str,
    /// Only try: everything happens but the store write.
    pub dry_run: bool,
    /// Name fields are owned under; derived from the User-Agent when the client gave none.
    pub field_manager: String,
    /// The write is a server-side apply, which settles field ownership itself.
    pub applying: bool,
    /// The subresource fields are owned through where the object is written by another's rules (scale); else empty.
    pub through: &'static str,
    /// Collected for the response's Warning headers.
    pub warnings: Arc<Mutex<Vec<String>>>,
    /// Collected for the request's audit event.
    pub audit_annotations: Arc<Mutex<BTreeMap<String, String>>>,
    /// The request's own options (`fieldManager`, `fieldValidation`), as the client gave them.
    pub options: BTreeMap<&'static str, String>,
    /// When admission has to be done; none for writes of the server itself.
    pub deadline: Option<tokio::time::Instant>,
}

impl WriteContext {
    /// The subresource fields are owned through by a write of `sub`.
    #[must_use]
    pub fn subresource(&self, sub: Sub) -> &'static str {
        if self.through.is_empty() { sub.name() } else { self.through }
    }

    /// A context for `user`.
    #[must_use]
    pub fn new(user: User, field_manager: String, dry_run: bool) -> Self {
        Self {
            user,
            verb: "update",
            dry_run,
            field_manager,
            applying: false,
            through: "",
            warnings: Arc::default(),
            audit_annotations: Arc::default(),
            options: BTreeMap::new(),
            deadline: None,
        }
    }
}

/// The generic registry.
pub struct Registry {
    store: Arc<dyn Store>,
    caches: Arc<Caches>,
    resources: Arc<Resources>,
    admission: Admission,
    allocators: Allocators,
    signer: Arc<TokenSigner>,
    clock: Clock,
}

impl Registry {
    /// Puts the registry together.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        caches: Arc<Caches>,
        resources: Arc<Resources>,
        admission: Admission,
        allocators: Allocators,
        signer: Arc<TokenSigner>,
        clock: Clock,
    ) -> Self {
        Self { store, caches, resources, admission, allocators, signer, clock }
    }

    /// The caches reads come from.
    #[must_use]
    pub fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }

    /// What is served.
    #[must_use]
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// Admission, for requests that do not come through the registry's writes (CONNECT).
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The store behind, for watches that begin before the cache's log.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The allocation state of Service addresses and ports.
    #[must_use]
    pub fn allocators(&self) -> &Allocators {
        &self.allocators
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Waits until the caches hold everything the store has acknowledged.
    pub async fn settle(&self) -> Result<(), ApiError> {
        let head = self.store.head().await.map_err(store_error)?;
        let before = self.caches.applied();
        if self.caches.reached(head, NUDGE_AFTER).await {
            return Ok(());
        }
        if self.caches.applied() != before {
            return self.settle_at(head).await;
        }
        // The head may be somebody else's write outside of our keys (a shared etcd), which our watch never shows: a
        // write of our own takes the watch past it.
        let nudge = self.store.put(NUDGE_KEY, Bytes::from_static(b"{}"), Expect::Any);
        let revision = nudge.await.map_err(store_error)?;
        self.settle_at(revision).await
    }

    /// Waits until the caches hold everything up to `revision`.
    pub async fn settle_at(&self, revision: u64) -> Result<(), ApiError> {
        if self.caches.reached(revision, CACHE_PATIENCE).await {
            return Ok(());
        }
        let applied = self.caches.applied();
        Err(ApiError::timeout(format!("Too large resource version: {revision}, current: {applied}")))
    }

    /// The stored object right now.
    async fn current(&self, target: &Target) -> Result<Option<Arc<Object>>, ApiError> {
        self.settle().await?;
        target.read().await
    }

    /// Writes `value` under the target's key; the written object at its new revision, readable by everyone.
    async fn put(&self, target: &Target, mut value: Value, expect: Expect) -> Result<Written, PutError> {
        let metadata = value.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(no_metadata)?;
        metadata.remove("resourceVersion");
        let (bytes, left) = match &target.custom {
            // A custom resource's cache decodes what is stored with rules of its own: no draft of it is of use.
            Some(custom) => (Bytes::from(custom.encode(value.clone()).await?.to_string()), None),
            None => {
                let draft = Draft::new(&value, target.cache.strategy.as_deref()).ok_or_else(no_metadata)?;
                (draft.stored().clone(), Some(self.caches.leave(draft)))
            }
        };
        let key = target.cache.key(&target.namespace, &target.name);
        let revision = match self.store.put(&key, bytes, expect).await {
            Ok(revision) => revision,
            Err(StoreError::Conflict { current, .. }) => return Err(PutError::Conflict(current)),
            Err(error) => return Err(PutError::Api(store_error(error))),
        };
        self.settle_at(revision).await?;
        crate::watch::set_resource_version(&mut value, revision);
        let stored = left.and_then(|_done| target.cache.get(&target.namespace, &target.name));
        let stored = stored.filter(|object| object.revision == revision);
        Ok(Written { value, stored, created: expect == Expect::Absent, deleted: false })
    }
}

/// Why a write did not happen.
pub(crate) enum PutError {
    /// Somebody else wrote first; what is there now.
    Conflict(Option<Entry>),
    /// Anything else.
    Api(ApiError),
}

impl From<ApiError> for PutError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

fn no_metadata() -> ApiError {
    ApiError::internal("an object without metadata cannot be stored")
}

/// What a store failure is to a client.
pub fn store_error(error: StoreError) -> ApiError {
    crate::serve::respond::store_error(&error)
}
