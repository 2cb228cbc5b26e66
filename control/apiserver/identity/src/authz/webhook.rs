//! Somebody else decides: a SubjectAccessReview posted to a webhook (`--authorization-webhook-config-file`).
//!
//! Enters: [`Attributes`]. Leaves: the webhook's [`Decision`], or what its failure policy says when it cannot be
//! asked. Answers are remembered, allowed and refused ones for times of their own; failures are not.
//!
//! Authority: `k8s.io/apiserver/plugin/pkg/authorizer/webhook`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Attributes, Decision, Evaluation, selectors};
use crate::remote::{Remote, RemoteError};
use crate::text;
use crate::ttl::TtlCache;

/// Answers remembered at most.
const CACHE_LIMIT: usize = 8192;
/// Attributes longer than this, together, are asked about every time, in bytes.
///
/// Authority: `plugin/pkg/authorizer/webhook.maxControllerAttrCacheSize`.
const MAX_CACHED: usize = 10_000;

/// What a webhook that cannot be asked means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The next authorizer is asked.
    #[default]
    NoOpinion,
    /// The request is refused.
    Deny,
}

/// How a webhook is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Its name, for messages.
    pub name: String,
    /// `v1` or `v1beta1` of authorization.k8s.io.
    pub version: String,
    /// How long one question may take.
    pub timeout: Duration,
    /// How long an allowed answer is remembered; zero never.
    pub authorized_ttl: Duration,
    /// How long any other answer is remembered; zero never.
    pub unauthorized_ttl: Duration,
    /// What its failure means.
    pub failure_policy: FailurePolicy,
}

impl WebhookOptions {
    /// Upstream's defaults for the flags `--authorization-webhook-*`.
    pub fn new(name: &str) -> WebhookOptions {
        WebhookOptions {
            name: name.to_owned(),
            version: "v1".to_owned(),
            timeout: Duration::from_secs(30),
            authorized_ttl: Duration::from_secs(300),
            unauthorized_ttl: Duration::from_secs(30),
            failure_policy: FailurePolicy::NoOpinion,
        }
    }
}

/// A webhook that decides.
pub struct AccessWebhook {
    remote: Remote,
    options: WebhookOptions,
    cache: TtlCache<String, Decision>,
}

impl AccessWebhook {
    /// The webhook of a kubeconfig file.
    pub async fn load(path: &Path, options: WebhookOptions) -> Result<AccessWebhook, RemoteError> {
        let remote = Remote::from_kubeconfig(path, options.timeout).await?;
        Ok(AccessWebhook { remote, options, cache: TtlCache::new(CACHE_LIMIT) })
    }

    /// The name, for messages.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// What a failure means, and why it came to it.
    pub(super) fn failed(&self, reason: &str) -> Evaluation {
        tracing::warn!(webhook = self.options.name, reason, "authorization webhook failed");
        let decision = match self.options.failure_policy {
            FailurePolicy::NoOpinion => Decision::NoOpinion(String::new()),
            FailurePolicy::Deny => Decision::Deny(String::new()),
        };
        Evaluation { decision, error: reason.to_owned() }
    }

    /// Decides one request.
    pub(super) async fn authorize(&self, attributes: &Attributes) -> Evaluation {
        let spec = spec(attributes, &self.options.version);
        let key = spec.to_string();
        if let Some(decision) = self.cache.get(&key) {
            return decision.into();
        }
        let review = json!({
            "apiVersion": format!("authorization.k8s.io/{}", self.options.version),
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": spec,
        });
        let status = match self.remote.post(&review).await {
            Ok(answer) => answer["status"].clone(),
            Err(error) => return self.failed(&error.to_string()),
        };
        let reason = text(&status, "/reason").to_owned();
        let decision = match (status["allowed"] == true, status["denied"] == true) {
            (true, true) => {
                let error = "webhook subject access review returned both allow and deny response".to_owned();
                return Evaluation { decision: Decision::Deny(reason), error };
            }
            (true, false) => Decision::Allow(reason),
            (false, true) => Decision::Deny(reason),
            (false, false) => Decision::NoOpinion(reason),
        };
        if key.len() < MAX_CACHED {
            let ttl =
                if decision.allowed() { self.options.authorized_ttl } else { self.options.unauthorized_ttl };
            self.cache.insert(key, decision.clone(), ttl);
        }
        decision.into()
    }
}

fn put(object: &mut Value, field: &str, value: &str) {
    if !value.is_empty() {
        object[field] = json!(value);
    }
}

/// The `spec` of the review; also what matchConditions see as `request`.
pub(super) fn spec(attributes: &Attributes, version: &str) -> Value {
    let user = &attributes.user;
    let mut spec = json!({});
    put(&mut spec, "user", &user.name);
    put(&mut spec, "uid", &user.uid);
    if !user.groups.is_empty() {
        spec[if version == "v1beta1" { "group" } else { "groups" }] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    if !attributes.is_resource {
        spec["nonResourceAttributes"] = json!({"path": attributes.path, "verb": attributes.verb});
        return spec;
    }
    let mut resource = json!({});
    for (field, value) in [
        ("namespace", &attributes.namespace),
        ("verb", &attributes.verb),
        ("group", &attributes.group),
        ("version", &attributes.version),
        ("resource", &attributes.resource),
        ("subresource", &attributes.subresource),
        ("name", &attributes.name),
    ] {
        put(&mut resource, field, value);
    }
    for (field, requirements) in [
        ("fieldSelector", selectors::shown_fields(&attributes.field_selector)),
        ("labelSelector", selectors::shown_labels(&attributes.label_selector)),
    ] {
        if !requirements.is_empty() {
            resource[field] = json!({"requirements": requirements});
        }
    }
    spec["resourceAttributes"] = resource;
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::User;

    #[test]
    fn reviews_say_all_that_is_known() {
        let mut user = User::new("ann", &["devs"]);
        user.extra.insert("k".to_owned(), vec!["v".to_owned()]);
        let mut attributes = Attributes::resource(&user, "list", "apps", "deployments", "a", "x");
        attributes.version = "v1".to_owned();
        attributes.field_selector = selectors::fields("metadata.name=x,spec.a!=b");
        attributes.label_selector = selectors::labels("a=b,c,!d,e notin (f),g>1");
        let wanted = json!({
            "user": "ann", "groups": ["devs"], "extra": {"k": ["v"]},
            "resourceAttributes": {
                "namespace": "a", "verb": "list", "group": "apps", "version": "v1", "resource": "deployments", "name": "x",
                "fieldSelector": {"requirements": [
                    {"key": "metadata.name", "operator": "In", "values": ["x"]},
                    {"key": "spec.a", "operator": "NotIn", "values": ["b"]}]},
                "labelSelector": {"requirements": [
                    {"key": "a", "operator": "In", "values": ["b"]},
                    {"key": "c", "operator": "Exists"},
                    {"key": "d", "operator": "DoesNotExist"},
                    {"key": "e", "operator": "NotIn", "values": ["f"]}]},
            },
        });
        assert_eq!(spec(&attributes, "v1"), wanted);
        let old = spec(&attributes, "v1beta1");
        assert_eq!((&old["group"], old.get("groups")), (&json!(["devs"]), None));
        let path = Attributes::path(&User::new("ann", &[]), "get", "/metrics");
        assert_eq!(
            spec(&path, "v1"),
            json!({"user": "ann", "nonResourceAttributes": {"path": "/metrics", "verb": "get"}})
        );
        attributes.field_selector = selectors::fields("nonsense!");
        assert_eq!(spec(&attributes, "v1")["resourceAttributes"].get("fieldSelector"), None);
    }
}
