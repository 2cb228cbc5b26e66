//! Which object of which resource a request is about, and where it is stored.

use std::sync::Arc;

use serde_json::Value;
use xebec_api::resource::Resource;
use xebec_api::status::ApiError;

use super::merge_schema::{self, Node};
use crate::resources::{Custom, Kind, Resources, StrategyRef};
use crate::watch::{Cache, Cut, Listed, Object, Selection};

/// An object or collection as the URL names it, with its storage.
#[derive(Clone)]
pub struct Target {
    /// The resource in the version asked for.
    pub served: &'static Resource,
    /// The resource in the version its rules work on (see [`Kind::stored`]).
    pub stored: &'static Resource,
    /// Where it is cached.
    pub cache: Arc<Cache>,
    /// The kind's rules.
    pub strategy: StrategyRef,
    /// Set for custom resources.
    pub custom: Option<Arc<dyn Custom>>,
    /// Namespace, empty for none.
    pub namespace: String,
    /// Name, empty for collections.
    pub name: String,
}

impl Target {
    /// The target of `kind`; none when the resource is not stored.
    #[must_use]
    pub fn new(kind: &Kind, namespace: &str, name: &str) -> Option<Self> {
        Some(Self {
            served: kind.served,
            stored: kind.stored,
            cache: Arc::clone(kind.cache.as_ref()?),
            strategy: kind.strategy.clone(),
            custom: kind.custom.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// A target by group and plural, in the version it is stored in.
    pub fn find(
        resources: &Resources,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Self, ApiError> {
        resources
            .any_version(group, plural)
            .and_then(|kind| Self::new(&kind, namespace, name))
            .ok_or_else(ApiError::generic_404)
    }

    /// The same resource, another object.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned(), ..self.clone() }
    }

    /// How the fields of its objects merge, in the version asked for.
    #[must_use]
    pub fn merge_root(&self) -> Node<'_> {
        match &self.custom {
            Some(custom) => custom.merge_schema().root(),
            None => merge_schema::root(self.served),
        }
    }

    /// The cached object, in the version the rules work on.
    pub async fn read(&self) -> Result<Option<Arc<Object>>, ApiError> {
        match (self.cache.get(&self.namespace, &self.name), &self.custom) {
            (Some(object), Some(custom)) => Ok(custom.decode(vec![object]).await?.pop()),
            (object, _) => Ok(object),
        }
    }

    /// Cached objects in the version the rules work on.
    pub async fn decode(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, ApiError> {
        match &self.custom {
            Some(custom) => custom.decode(objects).await,
            None => Ok(objects),
        }
    }

    /// The chosen objects as [`Cache::list`] finds them, in the version the rules work on.
    pub async fn select(&self, selection: &Selection, cut: Cut<'_>) -> Result<Listed, ApiError> {
        let (choice, limit) = self.asks(selection, cut.limit);
        let listed = self.cache.list(&choice, Cut { limit, ..cut });
        self.choose(selection, cut.limit, listed).await
    }

    /// What to ask for so that [`Target::choose`] can choose: everything where fields exist in the served version only.
    pub(super) fn asks(&self, selection: &Selection, limit: usize) -> (Selection, usize) {
        let late = self.custom.as_ref().is_some_and(|custom| custom.selects_decoded());
        if late && !selection.is_whole() {
            return (Selection::everything(selection.namespace.clone()), 0);
        }
        (selection.clone(), limit)
    }

    /// Brings what [`Target::asks`] asked for into the version the rules work on, and chooses what was left to choose.
    pub(super) async fn choose(
        &self,
        selection: &Selection,
        limit: usize,
        mut listed: Listed,
    ) -> Result<Listed, ApiError> {
        let mut chosen = self.decode(std::mem::take(&mut listed.objects)).await?;
        if !selection.is_whole() {
            chosen.retain(|object| selection.matches(object));
        }
        if limit > 0 && chosen.len() > limit {
            listed.remaining = u64::try_from(chosen.len() - limit).unwrap_or(u64::MAX);
            chosen.truncate(limit);
            listed.last_key = chosen.last().map(|object| object.key());
        }
        listed.objects = chosen;
        Ok(listed)
    }

    /// Whether it is this resource of the core group.
    #[must_use]
    pub fn is_core(&self, plural: &str) -> bool {
        self.stored.group.is_empty() && self.stored.plural == plural
    }

    /// The kind of its lists.
    #[must_use]
    pub fn list_kind(&self) -> String {
        let own = self.custom.as_ref().and_then(|custom| custom.list_kind()).map(str::to_owned);
        own.unwrap_or_else(|| self.served.list_kind())
    }

    /// An object in the version the store holds.
    pub async fn encode(&self, value: Value) -> Result<Value, ApiError> {
        match &self.custom {
            Some(custom) => custom.encode(value).await,
            None => Ok(value),
        }
    }

    /// 404 for this object.
    #[must_use]
    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(self.served.group, self.served.plural, &self.name)
    }

    /// 409 with `message` for this object.
    #[must_use]
    pub fn conflict(&self, message: &str) -> ApiError {
        ApiError::conflict(self.served.group, self.served.plural, &self.name, message)
    }

    /// 403 with `message` for this object.
    #[must_use]
    pub fn forbidden(&self, message: &str) -> ApiError {
        ApiError::forbidden(self.served.group, self.served.plural, &self.name, message)
    }

    /// 409: somebody wrote since the client read.
    #[must_use]
    pub fn modified(&self) -> ApiError {
        self.conflict(
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }
}
