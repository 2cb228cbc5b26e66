//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook.
//!
//! Enters: a request. Leaves: the changed object, or the refusal. `config` (which webhooks there are) -> `crate::matching`
//! (which are concerned) -> `review` (question) -> `client` (the call; `connect`, `verify`, `failure` beneath it) ->
//! `review` (answer) -> `mutating` or `validating` (what follows from it). Called by [`crate::Dynamic`].

mod call;
mod client;
mod config;
mod connect;
mod error;
mod failure;
mod mutating;
mod review;
#[cfg(test)]
mod tests;
mod validating;
mod verify;

use std::sync::Arc;

use serde_json::Value;
use xebec_api::status::ApiError;

pub use client::{CallFailure, ClientConfig, MAX_ANSWER, WebhookClient};
pub use config::Flavor;
pub(crate) use mutating::patch_text;

use crate::cache::Cached;
use crate::cel::{Input, Verdict};
use crate::matching::Matched;
use crate::versions::Versioned;
use crate::{Attributes, Record, Resolver, World};
use config::Hook;

/// The two webhook plug-ins.
pub(crate) struct Webhooks {
    client: WebhookClient,
    mutating: Cached<Vec<Arc<Hook>>>,
    validating: Cached<Vec<Arc<Hook>>>,
}

impl Webhooks {
    pub(crate) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self {
            client: WebhookClient::new(resolver),
            mutating: Cached::new(&[Flavor::Mutating.plural()]),
            validating: Cached::new(&[Flavor::Validating.plural()]),
        }
    }

    /// The webhooks of a flavour, in the order they are called.
    fn hooks(&self, flavor: Flavor, world: &World) -> Arc<Vec<Arc<Hook>>> {
        let cached = match flavor {
            Flavor::Mutating => &self.mutating,
            Flavor::Validating => &self.validating,
        };
        cached.get(world.reader.as_ref(), |objects, _| {
            let configurations = objects.iter().flatten().map(Arc::as_ref);
            config::hooks(configurations).into_iter().map(Arc::new).collect()
        })
    }
}

/// Everything about one request that the webhooks of a plug-in share.
struct Round<'a> {
    world: &'a World,
    client: &'a WebhookClient,
    attributes: &'a Attributes<'a>,
    record: &'a dyn Record,
    flavor: Flavor,
}

impl Round<'_> {
    /// As what the webhook's rules and selectors match.
    fn matched(&self, hook: &Hook, object: Option<&Value>) -> Result<Option<Matched>, ApiError> {
        let (reader, types) = (self.world.reader.as_ref(), self.world.types.as_ref());
        hook.criteria.matches(self.attributes, object, reader, types).map_err(|error| match error {
            crate::matching::MatchError::Api(error) => error,
            other => ApiError::internal(other),
        })
    }

    /// Whether its match conditions hold, or 403 when they cannot be told and the policy is to fail.
    fn conditions_hold(&self, hook: &Hook, matched: &Matched, objects: &Versioned) -> Result<bool, ApiError> {
        let Some(conditions) = hook.conditions() else { return Ok(true) };
        let kind = match self.flavor {
            Flavor::Mutating => "admit",
            Flavor::Validating => "validate",
        };
        let (metrics, operation) = (&self.world.metrics, self.attributes.operation);
        let input = Input::new(self.attributes, matched, objects, &self.world.authorizer);
        let outcome = conditions.evaluate(&input, hook.ignores_failure);
        for _ in 0..outcome.errors {
            metrics.match_condition_error(&hook.name, "webhook", kind, operation);
        }
        match outcome.verdict {
            Verdict::Matches => Ok(true),
            Verdict::Excluded => {
                metrics.match_condition_exclusion(&hook.name, "webhook", kind, operation);
                Ok(false)
            }
            Verdict::Failed(why) => {
                let (group, plural) = (&self.attributes.resource.group, &self.attributes.resource.resource);
                Err(ApiError::forbidden(group, plural, &self.attributes.name, why))
            }
        }
    }
}
