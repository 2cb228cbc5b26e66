//! Which schema a request matches and which flow it belongs to. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::config::{Config, Distinguisher, Schema};

/// What classification goes by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digest<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// The verb.
    pub verb: &'a str,
    /// Whether it is about an API resource; otherwise `path` is what counts.
    pub is_resource: bool,
    /// API group.
    pub group: &'a str,
    /// Resource.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// The path.
    pub path: &'a str,
}

/// The schema of a request and the hash of its flow; none only when there is no catch-all.
#[must_use]
pub fn classify<'c>(config: &'c Config, digest: &Digest<'_>) -> Option<(&'c Schema, u64)> {
    let schema =
        config.schemas.iter().find(|schema| schema.rules.iter().any(|rule| matches(rule, digest)))?;
    let flow = match schema.distinguisher {
        Distinguisher::None => "",
        Distinguisher::ByUser => digest.user,
        Distinguisher::ByNamespace => digest.namespace,
    };
    let mut hasher = DefaultHasher::new();
    (&schema.name, flow).hash(&mut hasher);
    Some((schema, hasher.finish()))
}

fn matches(rule: &Value, digest: &Digest<'_>) -> bool {
    let any = |name: &str, matches: &dyn Fn(&Value) -> bool| {
        rule[name].as_array().is_some_and(|list| list.iter().any(matches))
    };
    any("subjects", &|subject| is_subject(subject, digest))
        && if digest.is_resource {
            any("resourceRules", &|rule| is_resource(rule, digest))
        } else {
            any("nonResourceRules", &|rule| is_path(rule, digest))
        }
}

fn is_subject(subject: &Value, digest: &Digest<'_>) -> bool {
    let name_is = |value: &Value, name: &str| value["name"] == "*" || value["name"] == name;
    match subject["kind"].as_str() {
        Some("User") => name_is(&subject["user"], digest.user),
        Some("Group") => {
            subject["group"]["name"] == "*"
                || digest.groups.iter().any(|group| subject["group"]["name"] == group.as_str())
        }
        Some("ServiceAccount") => {
            let account =
                digest.user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            account.is_some_and(|(namespace, name)| {
                subject["serviceAccount"]["namespace"] == namespace
                    && name_is(&subject["serviceAccount"], name)
            })
        }
        _ => false,
    }
}

/// Whether a list holds the text or the wildcard.
fn holds(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == "*" || item == text))
}

fn is_resource(rule: &Value, digest: &Digest<'_>) -> bool {
    let whole = if digest.subresource.is_empty() {
        digest.resource.to_owned()
    } else {
        format!("{}/{}", digest.resource, digest.subresource)
    };
    let here = if digest.namespace.is_empty() {
        rule["clusterScope"] == true
    } else {
        holds(&rule["namespaces"], digest.namespace)
    };
    here && holds(&rule["verbs"], digest.verb)
        && holds(&rule["apiGroups"], digest.group)
        && holds(&rule["resources"], &whole)
}

fn is_path(rule: &Value, digest: &Digest<'_>) -> bool {
    let is = |url: &str| match url.strip_suffix('*') {
        Some(start) => digest.path.starts_with(start),
        None => url == digest.path,
    };
    let urls = rule["nonResourceURLs"].as_array();
    holds(&rule["verbs"], digest.verb)
        && urls.is_some_and(|urls| urls.iter().any(|url| url.as_str().is_some_and(is)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects;

    fn config() -> Config {
        let schemas: Vec<Value> =
            objects::mandatory_schemas().into_iter().chain(objects::suggested_schemas()).collect();
        let levels: Vec<Value> =
            objects::mandatory_levels().into_iter().chain(objects::suggested_levels()).collect();
        Config::new(&schemas, &levels)
    }

    #[test]
    fn the_suggested_schemas_tell_who_is_who() {
        let config = config();
        let lease = Digest {
            is_resource: true,
            verb: "update",
            group: "coordination.k8s.io",
            resource: "leases",
            namespace: "kube-system",
            ..Digest::default()
        };
        let pods = Digest { is_resource: true, verb: "list", resource: "pods", ..Digest::default() };
        let path = |path| Digest { verb: "get", path, ..Digest::default() };
        for (user, group, digest, schema) in [
            ("admin", "system:masters", pods, "exempt"),
            ("system:anonymous", "system:unauthenticated", path("/livez"), "probes"),
            ("system:anonymous", "system:unauthenticated", path("/version"), "global-default"),
            ("system:kube-scheduler", "system:authenticated", lease, "system-leader-election"),
            ("system:kube-scheduler", "system:authenticated", pods, "kube-scheduler"),
            ("system:node:n", "system:nodes", lease, "system-node-high"),
            (
                "system:node:n",
                "system:nodes",
                Digest { resource: "nodes", subresource: "status", ..pods },
                "system-node-high",
            ),
            ("system:node:n", "system:nodes", pods, "system-nodes"),
            (
                "system:serviceaccount:kube-system:x",
                "system:serviceaccounts",
                lease,
                "system-leader-election",
            ),
            (
                "system:serviceaccount:kube-system:x",
                "system:serviceaccounts",
                pods,
                "kube-system-service-accounts",
            ),
            ("system:serviceaccount:team:x", "system:serviceaccounts", pods, "service-accounts"),
            ("alice", "system:authenticated", pods, "global-default"),
            ("nobody", "none", pods, ""),
        ] {
            let groups = [group.to_owned()];
            let digest = Digest { user, groups: &groups, ..digest };
            let found = classify(&config, &digest).map_or("", |(schema, _)| &schema.name);
            assert_eq!(found, schema, "{digest:?}");
        }
    }

    #[test]
    fn flows_are_told_apart_as_the_schema_says() {
        let config = config();
        let groups = ["system:authenticated".to_owned()];
        let of = |user, namespace| {
            let digest = Digest {
                user,
                groups: &groups,
                is_resource: true,
                verb: "get",
                resource: "pods",
                namespace,
                ..Digest::default()
            };
            classify(&config, &digest).unwrap().1
        };
        assert_eq!(of("alice", "a"), of("alice", "b"));
        assert_ne!(of("alice", "a"), of("bob", "a"));
        assert_ne!(of("system:kube-scheduler", "a"), of("system:kube-scheduler", "b"));
    }
}
