//! The plug-ins together, in upstream's order.

use std::sync::Arc;

use serde_json::Value;
use xebec_api::status::ApiError;

use crate::policy::Policies;
use crate::webhook::Webhooks;
use crate::{Attributes, Record, Reinvocation, Resolver, World};

/// Which of the four plug-ins run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enabled {
    /// MutatingAdmissionPolicy.
    pub mutating_policies: bool,
    /// MutatingAdmissionWebhook.
    pub mutating_webhooks: bool,
    /// ValidatingAdmissionPolicy.
    pub validating_policies: bool,
    /// ValidatingAdmissionWebhook.
    pub validating_webhooks: bool,
}

impl Default for Enabled {
    /// All of them, as upstream.
    fn default() -> Self {
        Self {
            mutating_policies: true,
            mutating_webhooks: true,
            validating_policies: true,
            validating_webhooks: true,
        }
    }
}

/// Dynamic admission of one API server.
pub struct Dynamic {
    world: World,
    enabled: Enabled,
    policies: Policies,
    webhooks: Webhooks,
}

impl Dynamic {
    /// Dynamic admission over the cluster's objects; `resolver` finds the Services of webhooks.
    #[must_use]
    pub fn new(world: World, resolver: Arc<dyn Resolver>, enabled: Enabled) -> Self {
        Self { world, enabled, policies: Policies::new(), webhooks: Webhooks::new(resolver) }
    }

    /// Mutating policies, then mutating webhooks. `object` is changed in place, in the version it came in; on a
    /// CONNECT it is the connection's options, on a DELETE there is none.
    ///
    /// Errors are what the client is answered: 400, 403, 404, 422, 500, 504 or what a webhook chose.
    pub async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        mut object: Option<&mut Value>,
        state: &mut Reinvocation,
        record: &dyn Record,
    ) -> Result<(), ApiError> {
        if attributes.configures_admission() {
            return Ok(());
        }
        if self.enabled.mutating_policies && !attributes.is_review() {
            self.policies.mutate(&self.world, attributes, object.as_deref_mut(), state).await?;
        }
        if self.enabled.mutating_webhooks {
            self.webhooks.mutate(&self.world, attributes, object, state, record).await?;
        }
        Ok(())
    }

    /// Validating policies, then validating webhooks.
    pub async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        record: &dyn Record,
    ) -> Result<(), ApiError> {
        if attributes.configures_admission() {
            return Ok(());
        }
        if self.enabled.validating_policies && !attributes.is_review() {
            self.policies.validate(&self.world, attributes, object, record).await?;
        }
        if self.enabled.validating_webhooks {
            self.webhooks.validate(&self.world, attributes, object, record).await?;
        }
        Ok(())
    }
}
