//! Which objects of a resource a request is about: namespace, labels, fields; and which page of them.

use xebec_api::selector::{FieldSelector, LabelSelector};

use super::Object;

/// A request's choice among the objects of one resource.
#[derive(Clone)]
pub struct Selection {
    /// Only this namespace; none for all of them or for cluster-scoped resources.
    pub namespace: Option<String>,
    /// Label selector, if one was given.
    pub labels: Option<LabelSelector>,
    /// Field selector, if one was given.
    pub fields: Option<FieldSelector>,
}

impl Selection {
    /// Everything in `namespace`, or everywhere.
    #[must_use]
    pub fn everything(namespace: Option<String>) -> Self {
        Self { namespace, labels: None, fields: None }
    }

    /// Whether `object` is chosen.
    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        self.namespace.as_ref().is_none_or(|ns| *ns == object.namespace)
            && self.labels.as_ref().is_none_or(|labels| labels.matches(&object.labels))
            && self.fields.as_ref().is_none_or(|fields| fields.matches(|name| object.field(name)))
    }

    /// The key suffix of the one object of a namespace that can be chosen, where its name is demanded.
    #[must_use]
    pub fn only(&self) -> Option<String> {
        let name = self.fields.as_ref()?.exact("metadata.name")?;
        Some(format!("{}/{name}", self.namespace.as_ref()?))
    }

    /// Whether nothing but the namespace is chosen by.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }
}

/// A page of a list; by default the whole of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut<'a> {
    /// Only what follows this key suffix: the last of the page before.
    pub after: Option<&'a str>,
    /// The most objects, 0 for all.
    pub limit: usize,
    /// How many objects follow `after`, where the page before knew; then nothing has to be counted.
    pub left: Option<u64>,
}

impl Cut<'_> {
    /// How many follow a page of `taken` objects when at least one does; none if that has to be counted.
    #[must_use]
    pub fn rest(&self, taken: usize) -> Option<u64> {
        self.left.map(|left| left.saturating_sub(taken as u64).max(1))
    }
}
