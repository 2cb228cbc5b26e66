//! Rules: operations, groups, versions, resources, scope, names. Pure.

use serde_json::Value;

use crate::{Attributes, Resource};

/// Which scope of resources a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Both.
    All,
    /// Cluster-scoped ones; Namespaces are.
    Cluster,
    /// Namespaced ones.
    Namespaced,
    /// A scope this server does not know: matches nothing.
    Unknown,
}

/// One `RuleWithOperations`, or a policy's `NamedRuleWithOperations`.
#[derive(Clone, Debug)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<(String, String)>,
    scope: Scope,
    names: Vec<String>,
}

impl Rule {
    /// Reads a list of rules.
    #[must_use]
    pub fn list(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().map(Self::parse).collect()
    }

    fn parse(rule: &Value) -> Self {
        let list = |field: &str| -> Vec<String> {
            let items = rule[field].as_array().into_iter().flatten();
            items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let split = |text: String| match text.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources").into_iter().map(split).collect(),
            scope: match rule["scope"].as_str().unwrap_or("*") {
                "*" => Scope::All,
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::Unknown,
            },
            names: list("resourceNames"),
        }
    }

    /// Whether the rule matches the request, were it about `resource`.
    #[must_use]
    pub fn matches(&self, attributes: &Attributes<'_>, resource: &Resource) -> bool {
        self.in_scope(attributes, resource)
            && wildcard(&self.operations, attributes.operation.as_str())
            && wildcard(&self.groups, &resource.group)
            && wildcard(&self.versions, &resource.version)
            && self.names_resource(&resource.resource, &attributes.subresource)
            && (self.names.is_empty() || self.names.contains(&attributes.name))
    }

    fn in_scope(&self, attributes: &Attributes<'_>, resource: &Resource) -> bool {
        // A request about a Namespace carries that namespace's name, and is cluster-scoped nevertheless.
        let cluster = attributes.namespace.is_empty() || *resource == Resource::new("", "v1", "namespaces");
        match self.scope {
            Scope::All => true,
            Scope::Cluster => cluster,
            Scope::Namespaced => !cluster,
            Scope::Unknown => false,
        }
    }

    fn names_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|(wanted, wanted_sub)| {
            (wanted == "*" || wanted == resource) && (wanted_sub == "*" || wanted_sub == subresource)
        })
    }

    /// The groups, versions and resources it names, for type checking.
    pub(crate) fn names_of(&self) -> (&[String], &[String], &[(String, String)]) {
        (&self.groups, &self.versions, &self.resources)
    }
}

fn wildcard(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || item == wanted)
}
