//! May this user do that? Enters: [`Attributes`] of one request. Leaves: a [`Decision`].
//!
//! Members of `system:masters` may do anything; then the authorizers of the configuration are asked in its order
//! ([`chain`], which follows the configuration's file), by default the [`node`] authorizer for kubelets and [`rbac`] for
//! everyone. The first that allows or denies decides; the
//! reasons of those without an opinion are joined. The API server calls [`Authorizer::decide`] for each request and the
//! escalation checks of [`escalation`] on each write of a role or binding.

use std::sync::Arc;

use parking_lot::RwLock;
use xebec_api::selector::{FieldOperator, FieldRequirement, Requirement};
use xebec_api::status::ApiError;

use crate::authn::config::ConfigError;
use crate::{GROUP_MASTERS, ObjectReader, User};

mod chain;
mod conditions;
pub mod config;
mod escalation;
mod node;
mod rbac;
mod references;
mod review;
mod rules;
pub mod selectors;
pub mod webhook;

pub use config::{AuthorizationConfiguration, ModeFlags};
pub use escalation::EscalationError;
pub use node::ANNOUNCER;
pub use review::RulesReview;
pub use rules::{Rule, covers};
pub use webhook::{AccessWebhook, FailurePolicy, WebhookOptions};

pub(crate) use rbac::RBAC_GROUP;

use chain::{Chain, Step};

/// What a request wants to do.
///
/// Authority: `k8s.io/apiserver/pkg/authorization/authorizer.Attributes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// Who asks.
    pub user: User,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection` or a special verb; for
    /// non-resource requests the HTTP method in lower case.
    pub verb: String,
    /// API group, `""` for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource name.
    pub resource: String,
    /// Subresource or `""`.
    pub subresource: String,
    /// Namespace or `""`.
    pub namespace: String,
    /// Object name or `""`; a `list` or `watch` with the field selector `metadata.name=x` carries `x`.
    pub name: String,
    /// The URL path.
    pub path: String,
    /// Whether the request addresses a resource (else only `path` and `verb` count).
    pub is_resource: bool,
    /// What `list`, `watch` and `deletecollection` demand of fields, all of it; see [`selectors`].
    pub field_selector: Vec<FieldRequirement>,
    /// What `list`, `watch` and `deletecollection` demand of labels, all of it; see [`selectors`].
    pub label_selector: Vec<Requirement>,
}

impl Attributes {
    /// The attributes of a resource request.
    pub fn resource(
        user: &User,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            group: group.to_owned(),
            version: "*".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    /// The attributes of a request for a path that is no resource.
    pub fn path(user: &User, verb: &str, path: &str) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            path: path.to_owned(),
            ..Attributes::default()
        }
    }

    /// The same attributes for a subresource.
    #[must_use]
    pub fn with_subresource(mut self, subresource: &str) -> Attributes {
        subresource.clone_into(&mut self.subresource);
        self
    }

    /// The sentence of a 403: `User "x" cannot list resource "pods" in API group "" in the namespace "y"`.
    ///
    /// Authority: `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.forbiddenMessage`.
    pub fn forbidden_message(&self) -> String {
        let (user, verb) = (&self.user.name, &self.verb);
        if !self.is_resource {
            return format!("User {user:?} cannot {verb} path {:?}", self.path);
        }
        let resource = if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        };
        let group = &self.group;
        if self.namespace.is_empty() {
            format!(
                "User {user:?} cannot {verb} resource {resource:?} in API group {group:?} at the cluster scope"
            )
        } else {
            let namespace = &self.namespace;
            format!(
                "User {user:?} cannot {verb} resource {resource:?} in API group {group:?} in the namespace {namespace:?}"
            )
        }
    }

    /// The 403 of a decision that does not allow it, with the decision's reason.
    #[must_use]
    pub fn forbidden(&self, decision: &Decision) -> ApiError {
        let mut message = self.forbidden_message();
        if !decision.reason().is_empty() {
            message.push_str(": ");
            message.push_str(decision.reason());
        }
        let (group, resource) = if self.is_resource { (&*self.group, &*self.resource) } else { ("", "") };
        ApiError::forbidden(group, resource, &self.name, message)
    }

    /// Whether the field selector demands `field = value`.
    pub(crate) fn selects(&self, field: &str, value: &str) -> bool {
        self.field_selector
            .iter()
            .any(|term| term.operator == FieldOperator::Equals && term.field == field && term.value == value)
    }
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, and why (may be empty).
    Allow(String),
    /// Refused for good: no later authorizer is asked.
    Deny(String),
    /// Not allowed by anyone, and why (may be empty); the request is refused with 403.
    NoOpinion(String),
}

impl Decision {
    /// Whether the request may proceed.
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }

    /// The reason, possibly empty.
    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason) => reason,
        }
    }
}

/// A decision, and what went wrong on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// What counts.
    pub decision: Decision,
    /// Why an authorizer could not say what it should have; empty if all could. A request that is not allowed is then
    /// answered 500, since asking again may help.
    pub error: String,
}

impl From<Decision> for Evaluation {
    fn from(decision: Decision) -> Evaluation {
        Evaluation { decision, error: String::new() }
    }
}

/// Answers whether requests may proceed, from the roles, bindings and pods the reader holds now, and from webhooks.
pub struct Authorizer {
    reader: Arc<dyn ObjectReader>,
    rbac: rbac::Rbac,
    node_rules: Vec<Rule>,
    chain: RwLock<Arc<Chain>>,
    /// The configuration at the start of the server.
    first: AuthorizationConfiguration,
}

impl Authorizer {
    /// An authorizer over the cluster's objects, in upstream's default mode `Node,RBAC`.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Authorizer {
        let node_rules = crate::bootstrap::node_rules();
        let rbac = rbac::Rbac::new(Arc::clone(&reader));
        let chain = RwLock::new(Arc::new(Chain::usual()));
        Authorizer { rbac, reader, node_rules, chain, first: AuthorizationConfiguration::default() }
    }

    /// An authorizer with the chain of a configuration that was found in order; webhooks' kubeconfigs are read now.
    pub async fn configured(
        reader: Arc<dyn ObjectReader>,
        config: &AuthorizationConfiguration,
    ) -> Result<Authorizer, ConfigError> {
        let chain = RwLock::new(Arc::new(Chain::new(config).await?));
        Ok(Authorizer { chain, first: config.clone(), ..Authorizer::new(reader) })
    }

    /// The authorizers in force.
    fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.chain.read())
    }

    /// Decides one request, asking webhooks where the chain has them; without any it never waits.
    pub async fn decide(&self, attributes: &Attributes) -> Decision {
        self.evaluate(attributes).await.decision
    }

    /// The same, with what went wrong.
    pub async fn evaluate(&self, attributes: &Attributes) -> Evaluation {
        let mut reasons = Reasons::default();
        if attributes.user.in_group(GROUP_MASTERS) {
            return Decision::Allow(String::new()).into();
        }
        for step in &self.chain().steps {
            let evaluation = match step {
                Step::Webhook(webhook, conditions) => match conditions.hold(&webhook::spec(attributes, "v1"))
                {
                    Ok(true) => webhook.authorize(attributes).await,
                    Ok(false) => Decision::NoOpinion(String::new()).into(),
                    Err(reason) => webhook.failed(&reason),
                },
                local => self.locally(local, attributes).into(),
            };
            if let Some(decided) = reasons.add(evaluation) {
                return decided;
            }
        }
        reasons.undecided()
    }

    /// Decides one request without the webhooks: they are passed over as if they had no opinion.
    ///
    /// For code that cannot wait; what decides about a request of a client must ask [`Authorizer::decide`].
    pub fn decide_without_webhooks(&self, attributes: &Attributes) -> Decision {
        let mut reasons = Reasons::default();
        if attributes.user.in_group(GROUP_MASTERS) {
            return Decision::Allow(String::new());
        }
        for step in &self.chain().steps {
            if let Some(decided) = reasons.add(self.locally(step, attributes).into()) {
                return decided.decision;
            }
        }
        reasons.undecided().decision
    }

    fn locally(&self, step: &Step, attributes: &Attributes) -> Decision {
        match step {
            Step::AlwaysAllow => Decision::Allow(String::new()),
            Step::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".to_owned()),
            Step::Node => node::authorize(self.reader.as_ref(), &self.node_rules, attributes),
            Step::Rbac => self.rbac.authorize(attributes),
            Step::Webhook(..) => Decision::NoOpinion(String::new()),
        }
    }
}

/// The reasons and errors of those without an opinion, joined when nobody has one.
#[derive(Default)]
struct Reasons {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Reasons {
    /// The evaluation, if it decides.
    fn add(&mut self, evaluation: Evaluation) -> Option<Evaluation> {
        let Decision::NoOpinion(reason) = evaluation.decision else { return Some(evaluation) };
        for (text, kept) in [(reason, &mut self.reasons), (evaluation.error, &mut self.errors)] {
            if !text.is_empty() {
                kept.push(text);
            }
        }
        None
    }

    fn undecided(self) -> Evaluation {
        let error = if self.errors.is_empty() { String::new() } else { rbac::aggregate(&self.errors) };
        Evaluation { decision: Decision::NoOpinion(self.reasons.join("\n")), error }
    }
}

#[cfg(test)]
mod tests;
