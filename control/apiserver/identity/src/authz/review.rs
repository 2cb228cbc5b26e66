//! What may I do? The answer of a SelfSubjectRulesReview.

use serde_json::{Value, json};

use super::rbac::aggregate;
use super::{Authorizer, Rule};
use crate::User;

/// The rules a user holds in a namespace.
///
/// Authority: `authorization.k8s.io/v1 SubjectRulesReviewStatus`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesReview {
    /// Rules on resources.
    pub resource_rules: Vec<Rule>,
    /// Rules on paths.
    pub non_resource_rules: Vec<Rule>,
    /// Whether the user may hold rights that are not listed.
    pub incomplete: bool,
    /// What could not be resolved; empty if everything was.
    pub evaluation_error: String,
}

impl RulesReview {
    /// The review's `status`.
    pub fn to_status(&self) -> Value {
        let resource = self.resource_rules.iter().map(|rule| {
            let mut shown =
                json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                shown["resourceNames"] = json!(rule.resource_names);
            }
            shown
        });
        let paths = self.non_resource_rules.iter();
        let paths = paths.map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        let mut status = json!({
            "resourceRules": resource.collect::<Vec<_>>(),
            "nonResourceRules": paths.collect::<Vec<_>>(),
            "incomplete": self.incomplete,
        });
        if !self.evaluation_error.is_empty() {
            status["evaluationError"] = json!(self.evaluation_error);
        }
        status
    }
}

impl Authorizer {
    /// The rules a user holds in a namespace (SelfSubjectRulesReview).
    ///
    /// A node's rights depend on its pods and are not enumerated: its review is incomplete, as upstream's.
    pub fn rules_for(&self, user: &User, namespace: &str) -> RulesReview {
        let (held, mut errors) = self.rbac.rules_for(user, namespace);
        let is_node = user.node_name().is_some();
        if is_node {
            errors.insert(0, "node authorizer does not support user rule resolution".to_owned());
        }
        let mut review = RulesReview {
            incomplete: is_node,
            evaluation_error: if errors.is_empty() { String::new() } else { aggregate(&errors) },
            ..RulesReview::default()
        };
        for rule in held {
            if !rule.non_resource_urls.is_empty() {
                review.non_resource_rules.push(rule.clone());
            }
            if !rule.resources.is_empty() {
                review.resource_rules.push(rule);
            }
        }
        review
    }
}
