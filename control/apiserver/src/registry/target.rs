//! Which object of which resource a request is about, and where it is stored.

use std::sync::Arc;

use xebec_api::resource::{self, Resource};
use xebec_api::status::ApiError;
use xebec_kinds::Strategy;

use crate::watch::{Cache, Caches};

/// An object or collection as the URL names it, with its storage.
#[derive(Clone)]
pub struct Target {
    /// The resource in the version asked for.
    pub served: &'static Resource,
    /// The resource in the version it is stored in.
    pub stored: &'static Resource,
    /// Where it is cached.
    pub cache: Arc<Cache>,
    /// The kind's rules.
    pub strategy: &'static dyn Strategy,
    /// Namespace, empty for none.
    pub namespace: String,
    /// Name, empty for collections.
    pub name: String,
}

/// The stored form of a served resource: events live in the core group, autoscalers in v2.
#[must_use]
pub fn stored_as(served: &'static Resource) -> &'static Resource {
    let stored = match (served.group, served.plural) {
        ("events.k8s.io", "events") => resource::lookup("", "v1", "events"),
        ("autoscaling", "horizontalpodautoscalers") => resource::lookup("autoscaling", "v2", served.plural),
        _ => None,
    };
    stored.unwrap_or(served)
}

impl Target {
    /// The target of `served` in the caches; none when the resource is not stored.
    #[must_use]
    pub fn new(caches: &Caches, served: &'static Resource, namespace: &str, name: &str) -> Option<Self> {
        let stored = stored_as(served);
        let cache = Arc::clone(caches.of(stored.group, stored.plural)?);
        let strategy = cache.strategy?;
        Some(Self { served, stored, cache, strategy, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// A target by group and plural, in the version it is stored in.
    pub fn find(
        caches: &Caches,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Self, ApiError> {
        resource::table()
            .iter()
            .find(|r| r.group == group && r.plural == plural && r.storage && r.default_on)
            .map(stored_as)
            .and_then(|served| Self::new(caches, served, namespace, name))
            .ok_or_else(ApiError::generic_404)
    }

    /// The same resource, another object.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned(), ..self.clone() }
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
