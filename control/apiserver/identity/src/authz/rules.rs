//! One policy rule: which requests it allows, and which other rules it covers.
//!
//! Authority: `k8s.io/component-helpers/auth/rbac/validation` and `pkg/apis/rbac/v1/evaluation_helpers.go`.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::Attributes;
use crate::{items, strings};

/// A rule of a Role or ClusterRole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Verbs, `*` for all.
    pub verbs: Vec<String>,
    /// API groups, `*` for all, `""` is core.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// `plural`, `plural/sub`, `*/sub` or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names the rule is limited to; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths, `*` at the end for a prefix.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

fn has(set: &[String], wanted: &str) -> bool {
    set.iter().any(|s| s == wanted)
}

/// `*` or the value itself.
fn has_or_all(set: &[String], wanted: &str) -> bool {
    set.iter().any(|s| s == "*" || s == wanted)
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == "*"
        || pattern == path
        || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
}

impl Rule {
    /// The rule in an element of `rules`; unknown fields are ignored.
    pub fn from_value(value: &Value) -> Rule {
        Rule {
            verbs: strings(value, "/verbs"),
            api_groups: strings(value, "/apiGroups"),
            resources: strings(value, "/resources"),
            resource_names: strings(value, "/resourceNames"),
            non_resource_urls: strings(value, "/nonResourceURLs"),
        }
    }

    /// The rules of a Role or ClusterRole as stored.
    pub fn all_of(role: &Value) -> Vec<Rule> {
        items(role, "/rules").map(Rule::from_value).collect()
    }

    /// Whether the rule allows the request.
    pub fn allows(&self, attributes: &Attributes) -> bool {
        if !has_or_all(&self.verbs, &attributes.verb) {
            return false;
        }
        if !attributes.is_resource {
            return self.non_resource_urls.iter().any(|pattern| path_matches(pattern, &attributes.path));
        }
        has_or_all(&self.api_groups, &attributes.group)
            && self.resource_matches(&attributes.resource, &attributes.subresource)
            && (self.resource_names.is_empty() || has(&self.resource_names, &attributes.name))
    }

    fn resource_matches(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|own| {
            if own == "*" {
                return true;
            }
            match own.split_once('/') {
                _ if subresource.is_empty() => own == resource,
                Some((kind, sub)) => sub == subresource && (kind == "*" || kind == resource),
                None => false,
            }
        })
    }

    /// Whether holding this rule implies holding `sub`, a rule with at most one value per field.
    fn covers_one(&self, sub: &Rule) -> bool {
        let all = |own: &[String], wanted: &[String]| has(own, "*") || wanted.iter().all(|w| has(own, w));
        let names = if sub.resource_names.is_empty() {
            self.resource_names.is_empty()
        } else {
            self.resource_names.is_empty() || sub.resource_names.iter().all(|n| has(&self.resource_names, n))
        };
        names
            && all(&self.verbs, &sub.verbs)
            && all(&self.api_groups, &sub.api_groups)
            && sub.resources.iter().all(|resource| self.covers_resource(resource))
            && sub
                .non_resource_urls
                .iter()
                .all(|path| self.non_resource_urls.iter().any(|own| path_matches(own, path)))
    }

    fn covers_resource(&self, resource: &str) -> bool {
        self.resources.iter().any(|own| {
            own == "*"
                || own == resource
                || resource
                    .split_once('/')
                    .is_some_and(|(_, sub)| own.strip_prefix("*/").is_some_and(|own_sub| own_sub == sub))
        })
    }

    /// The rule as single grants: one verb, one group, one resource and at most one name (or one path) each.
    fn singles(&self) -> Vec<Rule> {
        let one = |s: &String| vec![s.clone()];
        let mut singles = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let rule = Rule {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..Rule::default()
                    };
                    if self.resource_names.is_empty() {
                        singles.push(rule);
                        continue;
                    }
                    for name in &self.resource_names {
                        singles.push(Rule { resource_names: one(name), ..rule.clone() });
                    }
                }
            }
        }
        for path in &self.non_resource_urls {
            for verb in &self.verbs {
                singles.push(Rule { verbs: one(verb), non_resource_urls: one(path), ..Rule::default() });
            }
        }
        singles
    }
}

/// The single grants in `wanted` that `held` does not imply; empty means all are covered.
///
/// Authority: `validation.Covers`.
pub fn covers(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let singles = wanted.iter().flat_map(Rule::singles);
    singles.filter(|single| !held.iter().any(|own| own.covers_one(single))).collect()
}

/// Single grants on the same resource (and name) as one rule with several verbs, in order of first appearance.
pub(super) fn compact(singles: Vec<Rule>) -> Vec<Rule> {
    let mut compacted: Vec<Rule> = Vec::new();
    for single in singles {
        let same = |r: &&mut Rule| {
            single.non_resource_urls.is_empty()
                && r.api_groups == single.api_groups
                && r.resources == single.resources
                && r.resource_names == single.resource_names
                && r.non_resource_urls.is_empty()
        };
        match compacted.iter_mut().find(same) {
            Some(rule) => rule.verbs.extend(single.verbs),
            None => compacted.push(single),
        }
    }
    compacted
}

/// A list as Go's `%q` writes it: `["a" "b"]`.
pub(super) fn quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|s| format!("{s:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown = parts.iter().filter(|(_, list)| !list.is_empty());
        let shown: Vec<String> = shown.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}
