//! Webhook configurations, read once per change. Pure.

use std::sync::OnceLock;

use serde_json::Value;
use xebec_api::meta;

use super::client::ClientConfig;
use crate::cel::Conditions;
use crate::matching::Criteria;

/// Which of the two webhook plug-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// MutatingAdmissionWebhook.
    Mutating,
    /// ValidatingAdmissionWebhook.
    Validating,
}

impl Flavor {
    /// The plural of its configurations.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Mutating => "mutatingwebhookconfigurations",
            Self::Validating => "validatingwebhookconfigurations",
        }
    }

    /// The `type` label of its metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

/// One entry of a configuration's `webhooks`.
#[derive(Debug)]
pub(crate) struct Hook {
    /// Name of the configuration it stands in.
    pub(crate) configuration: String,
    /// Its own name; not unique within the configuration.
    pub(crate) name: String,
    /// Unique: configuration, name, and its number among equal names.
    pub(crate) id: String,
    /// What it concerns.
    pub(crate) criteria: Criteria,
    /// Where it is, or why that cannot be told.
    pub(crate) client: ClientConfig,
    /// `failurePolicy: Ignore`.
    pub(crate) ignores_failure: bool,
    /// Whether it may be called for requests that store nothing.
    pub(crate) dry_runnable: bool,
    /// Whether it says anything about side effects.
    pub(crate) side_effects_known: bool,
    /// Longest time for an answer, in seconds.
    pub(crate) timeout_seconds: u32,
    /// AdmissionReview versions it understands, in its order of preference.
    pub(crate) review_versions: Vec<String>,
    /// `reinvocationPolicy: IfNeeded`.
    pub(crate) reinvocable: bool,
    /// Further conditions, `(name, expression)`.
    conditions: Vec<(String, String)>,
    /// The same, compiled when they are first needed.
    compiled: OnceLock<Conditions>,
}

impl Hook {
    /// Its match conditions; none when it has none.
    pub(crate) fn conditions(&self) -> Option<&Conditions> {
        (!self.conditions.is_empty())
            .then(|| self.compiled.get_or_init(|| Conditions::for_webhook(&self.conditions)))
    }
}

/// The webhooks of all configurations, in the order they are called: by configuration name, then as listed.
pub(crate) fn hooks<'a>(configurations: impl IntoIterator<Item = &'a Value>) -> Vec<Hook> {
    let mut sorted: Vec<&Value> = configurations.into_iter().collect();
    sorted.sort_by(|a, b| meta::name(a).cmp(meta::name(b)));
    let mut hooks = Vec::new();
    for configuration in sorted {
        let listed = configuration["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (index, webhook) in listed.iter().enumerate() {
            let same = |other: &&Value| other["name"] == webhook["name"];
            let number = listed[..index].iter().filter(same).count();
            hooks.push(hook(meta::name(configuration), webhook, number));
        }
    }
    hooks
}

fn hook(configuration: &str, webhook: &Value, number: usize) -> Hook {
    let name = webhook["name"].as_str().unwrap_or_default();
    let side_effects = webhook["sideEffects"].as_str();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    Hook {
        configuration: configuration.to_owned(),
        name: name.to_owned(),
        id: format!("{configuration}/{name}/{number}"),
        criteria: Criteria::of_webhook(webhook),
        client: ClientConfig::parse(&webhook["clientConfig"]),
        ignores_failure: webhook["failurePolicy"] == "Ignore",
        dry_runnable: matches!(side_effects, Some("None" | "NoneOnDryRun")),
        side_effects_known: side_effects.is_some(),
        timeout_seconds: webhook["timeoutSeconds"].as_u64().and_then(|s| u32::try_from(s).ok()).unwrap_or(10),
        review_versions: texts(&webhook["admissionReviewVersions"]),
        reinvocable: webhook["reinvocationPolicy"] == "IfNeeded",
        conditions: crate::matching::named_expressions(&webhook["matchConditions"]),
        compiled: OnceLock::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ordered_by_configuration_then_as_listed() {
        let configuration = |name: &str, webhooks: &[&str]| {
            let webhooks: Vec<Value> = webhooks.iter().map(|name| json!({ "name": name })).collect();
            json!({"metadata": {"name": name}, "webhooks": webhooks})
        };
        let (b, a) = (configuration("b", &["x", "a", "x"]), configuration("a", &["z"]));
        let ids: Vec<String> = hooks([&b, &a]).into_iter().map(|hook| hook.id).collect();
        assert_eq!(ids, ["a/z/0", "b/x/0", "b/a/0", "b/x/1"]);
    }

    #[test]
    fn what_is_not_said_has_upstreams_defaults() {
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [{"name": "w"}]});
        let hook = hooks([&configuration]).remove(0);
        assert!(!hook.ignores_failure && !hook.reinvocable && !hook.dry_runnable && !hook.side_effects_known);
        assert_eq!(hook.timeout_seconds, 10);
        assert!(hook.criteria.equivalent);
    }
}
