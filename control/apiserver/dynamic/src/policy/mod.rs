//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy.
//!
//! Enters: a request. Leaves: the changed object, or the refusal. `source` (which policies are bound) ->
//! `crate::matching` (which are concerned) -> `params` -> `validator` or `mutator` (the compiled expressions, in
//! `crate::cel`) -> `validating` or `mutating` (what follows). Called by [`crate::Dynamic`].

mod decision;
mod mutating;
mod mutator;
mod params;
mod source;
#[cfg(test)]
mod tests;
mod validating;
mod validator;

use std::sync::Arc;

use serde_json::Value;
use xebec_api::status::ApiError;

use crate::{Attributes, World};
use mutator::Mutator;
use source::Source;
use validator::Validator;

/// The two policy plug-ins.
pub(crate) struct Policies {
    validating: Source<Validator>,
    mutating: Source<Mutator>,
}

impl Policies {
    pub(crate) fn new() -> Self {
        Self {
            validating: Source::new(
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
                Validator::compile,
            ),
            mutating: Source::new(
                "mutatingadmissionpolicies",
                "mutatingadmissionpolicybindings",
                Mutator::compile,
            ),
        }
    }
}

/// The Namespace a request's object is in, as expressions see it; none for cluster-scoped objects, 404 when it is gone.
fn namespace_object(world: &World, attributes: &Attributes<'_>) -> Result<Option<Arc<Value>>, ApiError> {
    if attributes.namespace.is_empty() || attributes.is_namespace() {
        return Ok(None);
    }
    let name = &attributes.namespace;
    let found = world.reader.get("", "namespaces", "", name);
    found.map(Some).ok_or_else(|| ApiError::not_found("", "namespaces", name))
}
