//! What may I do? The answer of a SelfSubjectRulesReview.

use serde_json::{Value, json};

use super::chain::Step;
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

/// What an authorizer that allows everything grants.
fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

impl Authorizer {
    /// The rules a user holds in a namespace (SelfSubjectRulesReview).
    ///
    /// Each authorizer in force adds what it knows. A node's rights depend on its pods and are not enumerated, those a
    /// webhook grants are not known: such a review is incomplete, as upstream's.
    pub fn rules_for(&self, user: &User, namespace: &str) -> RulesReview {
        let (mut held, mut errors) = (Vec::new(), Vec::new());
        let mut incomplete = false;
        for step in &self.chain().steps {
            let unknown = match step {
                Step::AlwaysAllow => {
                    held.extend(everything());
                    None
                }
                Step::Rbac => {
                    let (rules, failures) = self.rbac.rules_for(user, namespace);
                    held.extend(rules);
                    errors.extend(failures);
                    None
                }
                Step::Node => user.node_name().map(|_| "node"),
                Step::Webhook(..) => Some("webhook"),
                Step::AlwaysDeny => None,
            };
            if let Some(authorizer) = unknown {
                incomplete = true;
                errors.push(format!("{authorizer} authorizer does not support user rule resolution"));
            }
        }
        let mut review = RulesReview {
            incomplete,
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
