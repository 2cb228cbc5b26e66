//! The audit policy: how much of a request is written down.
//!
//! Enters: the file's text, then a request's attributes. Leaves: a [`Verdict`]: the level of the first rule that
//! matches, the stages left out, and whether managedFields are. Pure.
//!
//! Authority: `k8s.io/apiserver/pkg/audit/policy/{checker,reader}.go`, `apis/audit/validation`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use xebec_api::config_file::{self, ConfigError};
use xebec_api::field::{FieldError, Path};
use xebec_identity::Attributes;

use crate::event::Stage;

const API_VERSION: &str = "audit.k8s.io/v1";
const KIND: &str = "Policy";

/// How much is written down; each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when and the outcome.
    Metadata,
    /// The request's object too.
    Request,
    /// The response's object too.
    RequestResponse,
}

/// A policy; the first rule that matches holds, and a request no rule matches is not written down.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    /// A policy may carry a name, which means nothing here.
    #[serde(default)]
    metadata: Metadata,
    /// The rules, in order.
    #[serde(default)]
    pub rules: Vec<PolicyRule>,
    /// Stages left out for all rules.
    #[serde(default)]
    pub omit_stages: Vec<String>,
    /// Whether managedFields are left out of objects, unless a rule says otherwise.
    #[serde(default)]
    pub omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Metadata {}

/// One rule; what is not given matches everything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRule {
    /// The level of what matches.
    #[serde(default)]
    pub level: String,
    /// User names.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, any of them.
    #[serde(default)]
    pub user_groups: Vec<String>,
    /// Verbs.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// Resources, any of them.
    #[serde(default)]
    pub resources: Vec<GroupResources>,
    /// Namespaces; `""` is what lives in none.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Paths, `*` at the end for a prefix.
    #[serde(default, rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
    /// Stages left out.
    #[serde(default)]
    pub omit_stages: Vec<String>,
    /// Whether managedFields are left out; absent means what the policy says.
    #[serde(default)]
    pub omit_managed_fields: Option<bool>,
}

/// Resources of one group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupResources {
    /// The group, `""` is core.
    #[serde(default)]
    pub group: String,
    /// `pods`, `pods/log`, `*`, `*/status` or `pods/*`; none means all of the group.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Names of objects; none means all.
    #[serde(default)]
    pub resource_names: Vec<String>,
}

/// Why a policy is refused; an operator must correct it.
#[derive(Debug, thiserror::Error)]
#[error("audit policy: {0}")]
pub struct PolicyError(#[from] ConfigError);

/// What the policy says about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How much is written down.
    pub level: Level,
    /// Stages that are not.
    pub omit_stages: BTreeSet<Stage>,
    /// Whether managedFields are left out of objects.
    pub omit_managed_fields: bool,
}

fn parse_level(level: &str) -> Option<Level> {
    Some(match level {
        "None" => Level::None,
        "Metadata" => Level::Metadata,
        "Request" => Level::Request,
        "RequestResponse" => Level::RequestResponse,
        _ => return None,
    })
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == wanted)
}

impl Policy {
    /// Reads and checks a policy's text; unknown fields are refused, as is a policy without rules.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let policy: Policy = config_file::parse(text, &[API_VERSION], KIND, |policy: &Self| {
            (&policy.api_version, &policy.kind)
        })?;
        if policy.rules.is_empty() {
            return Err(ConfigError::Form("loaded illegal policy with 0 rules".to_owned()).into());
        }
        ConfigError::unless_empty(policy.validate())?;
        Ok(policy)
    }

    /// Reads a policy file.
    pub fn load(path: &std::path::Path) -> Result<Policy, PolicyError> {
        Policy::parse(&std::fs::read_to_string(path).map_err(ConfigError::file(path))?)
    }

    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        check_stages(&self.omit_stages, &Path::new("omitStages"), &mut errors);
        for (index, rule) in self.rules.iter().enumerate() {
            rule.validate(&Path::new("rules").index(index), &mut errors);
        }
        errors
    }

    /// What is to be written down of a request.
    pub fn evaluate(&self, attributes: &Attributes) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(attributes)) else {
            return Verdict { omit_managed_fields: self.omit_managed_fields, ..Verdict::default() };
        };
        let stages = self.omit_stages.iter().chain(&rule.omit_stages);
        Verdict {
            level: parse_level(&rule.level).unwrap_or_default(),
            omit_stages: stages.filter_map(|name| Stage::parse(name)).collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

fn check_stages(stages: &[String], at: &Path, errors: &mut Vec<FieldError>) {
    for (index, stage) in stages.iter().enumerate() {
        if Stage::parse(stage).is_none() {
            let allowed = ["Panic", "RequestReceived", "ResponseComplete", "ResponseStarted"];
            errors.push(FieldError::not_supported(&at.index(index), stage, &allowed));
        }
    }
}

impl PolicyRule {
    fn validate(&self, at: &Path, errors: &mut Vec<FieldError>) {
        let level_at = at.child("level");
        if self.level.is_empty() {
            errors.push(FieldError::required(&level_at, ""));
        } else if parse_level(&self.level).is_none() {
            let allowed = ["Metadata", "None", "Request", "RequestResponse"];
            errors.push(FieldError::not_supported(&level_at, &self.level, &allowed));
        }
        let names_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if names_resources && !self.non_resource_urls.is_empty() {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&at.child("nonResourceURLs"), &self.non_resource_urls, detail));
        }
        for (index, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let at = at.child("nonResourceURLs").index(index);
            if !url.starts_with('/') {
                let detail = "non-resource URL rules must begin with a '/' character";
                errors.push(FieldError::invalid(&at, url, detail));
            }
            if url.trim_end_matches('*').contains('*') || url.ends_with("**") {
                let detail = "non-resource URL wildcards '*' must be the final character of the rule";
                errors.push(FieldError::invalid(&at, url, detail));
            }
        }
        for (index, group) in self.resources.iter().enumerate() {
            let at = at.child("resources").index(index);
            if group.group.contains('/') || group.group.chars().any(char::is_uppercase) {
                let detail = "must be a group without its version, such as apps";
                errors.push(FieldError::invalid(&at.child("group"), &group.group, detail));
            }
            if !group.resource_names.is_empty() && group.resources.is_empty() {
                let detail = "using resourceNames requires at least one resource";
                errors.push(FieldError::invalid(&at.child("resourceNames"), &group.resource_names, detail));
            }
        }
        check_stages(&self.omit_stages, &at.child("omitStages"), errors);
    }

    /// Whether the rule holds for a request.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        let user = &attributes.user;
        if !self.users.is_empty() && !has(&self.users, &user.name) {
            return false;
        }
        if !self.user_groups.is_empty() && !user.groups.iter().any(|group| has(&self.user_groups, group)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, &attributes.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return self.matches_resource(attributes);
        }
        if !self.non_resource_urls.is_empty() {
            return !attributes.is_resource
                && self.non_resource_urls.iter().any(|own| path_matches(own, &attributes.path));
        }
        true
    }

    fn matches_resource(&self, attributes: &Attributes) -> bool {
        if !attributes.is_resource
            || (!self.namespaces.is_empty() && !has(&self.namespaces, &attributes.namespace))
        {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|group| group.matches(attributes))
    }
}

impl GroupResources {
    fn matches(&self, attributes: &Attributes) -> bool {
        if self.group != attributes.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !has(&self.resource_names, &attributes.name) {
            return false;
        }
        let (resource, sub) = (attributes.resource.as_str(), attributes.subresource.as_str());
        self.resources.iter().any(|own| match own.split_once('/') {
            _ if own == "*" => true,
            None => sub.is_empty() && own == resource,
            Some(("*", own_sub)) if !sub.is_empty() && own_sub == sub => true,
            Some((own_resource, "*")) => own_resource == resource,
            Some((own_resource, own_sub)) => own_resource == resource && own_sub == sub,
        })
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == "*"
        || pattern == path
        || pattern.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use xebec_identity::User;

    use super::*;

    fn policy(rules: &str) -> Result<Policy, PolicyError> {
        Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}"))
    }

    fn ann() -> User {
        User::new("ann", &["devs", "system:authenticated"])
    }

    fn on(resource: &str, namespace: &str, name: &str) -> Attributes {
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes::resource(&ann(), "get", "", resource, namespace, name).with_subresource(sub)
    }

    /// A rule, a request, whether the rule holds for it.
    #[test]
    fn rules_match_as_upstreams() {
        let path = |path: &str| Attributes::path(&ann(), "get", path);
        let cases = [
            ("{}", on("pods", "a", "x"), true),
            ("{}", path("/healthz"), true),
            ("{users: [ann, bob]}", on("pods", "a", "x"), true),
            ("{users: [bob]}", on("pods", "a", "x"), false),
            ("{userGroups: [ops, devs]}", on("pods", "a", "x"), true),
            ("{userGroups: [ops]}", on("pods", "a", "x"), false),
            ("{verbs: [list]}", on("pods", "a", "x"), false),
            ("{verbs: [get]}", path("/x"), true),
            ("{namespaces: [a]}", on("pods", "a", "x"), true),
            ("{namespaces: [b]}", on("pods", "a", "x"), false),
            ("{namespaces: [\"\"]}", on("nodes", "", "x"), true),
            ("{namespaces: [a]}", path("/x"), false),
            ("{resources: [{group: \"\"}]}", on("pods", "a", "x"), true),
            ("{resources: [{group: apps}]}", on("pods", "a", "x"), false),
            ("{resources: [{resources: [pods]}]}", on("pods", "a", "x"), true),
            ("{resources: [{resources: [pods]}]}", on("pods/log", "a", "x"), false),
            ("{resources: [{resources: [pods/log]}]}", on("pods/log", "a", "x"), true),
            ("{resources: [{resources: ['*']}]}", on("pods/log", "a", "x"), true),
            ("{resources: [{resources: ['*/log']}]}", on("pods/log", "a", "x"), true),
            ("{resources: [{resources: ['*/log']}]}", on("pods", "a", "x"), false),
            ("{resources: [{resources: ['pods/*']}]}", on("pods/exec", "a", "x"), true),
            ("{resources: [{resources: ['pods/*']}]}", on("pods", "a", "x"), true),
            ("{resources: [{resources: ['pods/*']}]}", on("services", "a", "x"), false),
            ("{resources: [{resources: [pods], resourceNames: [x]}]}", on("pods", "a", "x"), true),
            ("{resources: [{resources: [pods], resourceNames: [y]}]}", on("pods", "a", "x"), false),
            ("{nonResourceURLs: [/healthz]}", path("/healthz"), true),
            ("{nonResourceURLs: ['/api*']}", path("/apis/x"), true),
            ("{nonResourceURLs: ['*']}", path("/x"), true),
            ("{nonResourceURLs: ['*']}", on("pods", "a", "x"), false),
        ];
        for (rule, attributes, wanted) in cases {
            let rule = rule.strip_suffix('}').unwrap();
            let comma = if rule.len() > 1 { ", " } else { "" };
            let policy = policy(&format!("rules: [{rule}{comma}level: Metadata}}]")).unwrap();
            let level = if wanted { Level::Metadata } else { Level::None };
            assert_eq!(policy.evaluate(&attributes).level, level, "{rule}: {attributes:?}");
        }
    }

    #[test]
    fn the_first_match_holds_and_omissions_add_up() {
        let policy = policy(
            "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n- {level: None, users: [bob]}\n- {level: Request, omitStages: [Panic], omitManagedFields: false, resources: [{resources: [secrets]}]}\n- {level: RequestResponse}",
        )
        .unwrap();
        let secrets = policy.evaluate(&on("secrets", "a", "x"));
        assert_eq!((secrets.level, secrets.omit_managed_fields), (Level::Request, false));
        assert_eq!(
            secrets.omit_stages.into_iter().collect::<Vec<_>>(),
            [Stage::RequestReceived, Stage::Panic]
        );
        let pods = policy.evaluate(&on("pods", "a", "x"));
        assert_eq!((pods.level, pods.omit_managed_fields), (Level::RequestResponse, true));
        let mut bob = on("pods", "a", "x");
        bob.user.name = "bob".to_owned();
        assert_eq!(policy.evaluate(&bob).level, Level::None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (rules, wanted) in [
            ("rules: []", "loaded illegal policy with 0 rules"),
            ("rules: [{}]", "rules[0].level: Required value"),
            ("rules: [{level: All}]", "rules[0].level: Unsupported value: \"All\""),
            (
                "rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]",
                "both regular resources and non-resource",
            ),
            ("rules: [{level: None, nonResourceURLs: [a]}]", "must begin with a '/' character"),
            ("rules: [{level: None, nonResourceURLs: ['/a*b']}]", "must be the final character"),
            ("rules: [{level: None, resources: [{resourceNames: [x]}]}]", "requires at least one resource"),
            ("rules: [{level: None, resources: [{group: apps/v1}]}]", "rules[0].resources[0].group"),
            ("omitStages: [Later]\nrules: [{level: None}]", "omitStages[0]: Unsupported value: \"Later\""),
            ("rules: [{level: None, user: [x]}]", "user"),
        ] {
            let error = policy(rules).unwrap_err().to_string();
            assert!(error.contains(wanted), "{rules}: {error}");
        }
        assert!(Policy::parse("kind: Policy\nrules: [{level: None}]").is_err());
    }
}
