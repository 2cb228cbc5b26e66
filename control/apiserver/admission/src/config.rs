//! The plug-ins' configuration: `--admission-control-config-file` and the older flags.
//!
//! Enters: an AdmissionConfiguration as JSON. Leaves: a [`Config`], or which key of which plug-in is wrong.

use serde_json::Value;
use xebec_api::meta;
use xebec_quota::ScopeSelector;

use crate::nodes::NodeSelectors;
use crate::pod_security::{Level, LevelVersion, PodSecurityConfig, Policy, Version};
use crate::quota::LimitedResource;
use crate::rate_limit::{EventLimit, LimitKind};
use crate::tolerations::TolerationConfig;

/// What the operator chose for the plug-ins.
#[derive(Debug)]
pub struct Config {
    /// PodSecurity.
    pub pod_security: PodSecurityConfig,
    /// PodNodeSelector.
    pub node_selectors: NodeSelectors,
    /// PodTolerationRestriction.
    pub tolerations: TolerationConfig,
    /// EventRateLimit.
    pub event_limits: Vec<EventLimit>,
    /// ResourceQuota: what may not be used without a quota.
    pub limited: Vec<LimitedResource>,
    /// DefaultTolerationSeconds: `--default-not-ready-toleration-seconds`.
    pub not_ready_seconds: i64,
    /// DefaultTolerationSeconds: `--default-unreachable-toleration-seconds`.
    pub unreachable_seconds: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pod_security: PodSecurityConfig::default(),
            node_selectors: NodeSelectors::new(),
            tolerations: TolerationConfig::default(),
            event_limits: Vec::new(),
            limited: Vec::new(),
            not_ready_seconds: 300,
            unreachable_seconds: 300,
        }
    }
}

/// What is wrong with an admission configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is no AdmissionConfiguration.
    #[error(
        "the admission configuration must be an AdmissionConfiguration of apiserver.config.k8s.io/v1, not {0}"
    )]
    Kind(String),
    /// A plug-in's part.
    #[error("plug-in {plugin:?}, {key}: {problem}")]
    Plugin {
        /// Its name.
        plugin: String,
        /// Which key.
        key: String,
        /// What would be right.
        problem: String,
    },
}

fn wrong(plugin: &str, key: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Plugin { plugin: plugin.to_owned(), key: key.to_owned(), problem: problem.into() }
}

fn strings(value: &Value, at: &str) -> Vec<String> {
    meta::list_at(value, at).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Refuses keys nobody reads, so that a misspelt exemption is no silent one.
fn only(plugin: &str, path: &str, value: &Value, known: &[&str]) -> Result<(), ConfigError> {
    let mut keys = value.as_object().into_iter().flatten().map(|(key, _)| key);
    match keys.find(|key| !known.contains(&key.as_str())) {
        Some(key) => {
            let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            Err(wrong(plugin, &at, format!("unknown key; known are {}", known.join(", "))))
        }
        None => Ok(()),
    }
}

impl Config {
    /// Reads an AdmissionConfiguration; `open` reads the file a plug-in's `path` names.
    pub fn from_value(
        value: &Value,
        open: &dyn Fn(&str) -> Result<Value, String>,
    ) -> Result<Self, ConfigError> {
        let (api_version, kind) = (meta::api_version(value), meta::kind(value));
        let known = matches!(api_version, "apiserver.config.k8s.io/v1" | "apiserver.k8s.io/v1alpha1");
        if kind != "AdmissionConfiguration" || !known {
            return Err(ConfigError::Kind(format!("{api_version} {kind}")));
        }
        let mut config = Self::default();
        for plugin in meta::list_at(value, "/plugins") {
            let (name, path) = (meta::str_at(plugin, "/name"), meta::str_at(plugin, "/path"));
            only(name, "", plugin, &["name", "path", "configuration"])?;
            let own = if plugin["configuration"].is_object() {
                plugin["configuration"].clone()
            } else if path.is_empty() {
                continue;
            } else {
                open(path).map_err(|problem| wrong(name, "path", problem))?
            };
            match name {
                "PodSecurity" => config.pod_security = pod_security(&own)?,
                "PodNodeSelector" => config.node_selectors = node_selectors(&own)?,
                "PodTolerationRestriction" => {
                    only(name, "", &own, &["apiVersion", "kind", "default", "whitelist"])?;
                    config.tolerations = TolerationConfig {
                        default: meta::list_at(&own, "/default").to_vec(),
                        whitelist: meta::list_at(&own, "/whitelist").to_vec(),
                    };
                }
                "EventRateLimit" => config.event_limits = event_limits(&own)?,
                "ResourceQuota" => config.limited = limited(&own)?,
                _ => return Err(wrong(name, "name", "this plug-in takes no configuration")),
            }
        }
        Ok(config)
    }
}

fn pod_security(own: &Value) -> Result<PodSecurityConfig, ConfigError> {
    const NAME: &str = "PodSecurity";
    only(NAME, "", own, &["apiVersion", "kind", "defaults", "exemptions"])?;
    let modes = ["enforce", "enforce-version", "audit", "audit-version", "warn", "warn-version"];
    only(NAME, "defaults", &own["defaults"], &modes)?;
    only(NAME, "exemptions", &own["exemptions"], &["usernames", "namespaces", "runtimeClasses"])?;
    let mode = |name: &str| {
        let text = |key: &str| own["defaults"][key].as_str().filter(|text| !text.is_empty());
        let versioned = format!("{name}-version");
        let problem = |key: &str, why: &str| wrong(NAME, &format!("defaults.{key}"), why);
        let level = Level::parse(text(name).unwrap_or("privileged")).map_err(|why| problem(name, why))?;
        let version = Version::parse(text(&versioned).unwrap_or("latest"));
        Ok(LevelVersion { level, version: version.map_err(|why| problem(&versioned, why))? })
    };
    Ok(PodSecurityConfig {
        defaults: Policy { enforce: mode("enforce")?, audit: mode("audit")?, warn: mode("warn")? },
        users: strings(own, "/exemptions/usernames"),
        namespaces: strings(own, "/exemptions/namespaces"),
        runtime_classes: strings(own, "/exemptions/runtimeClasses"),
    })
}

fn node_selectors(own: &Value) -> Result<NodeSelectors, ConfigError> {
    only("PodNodeSelector", "", own, &["podNodeSelectorPluginConfig"])?;
    Ok(meta::string_map_at(own, "/podNodeSelectorPluginConfig"))
}

fn event_limits(own: &Value) -> Result<Vec<EventLimit>, ConfigError> {
    const NAME: &str = "EventRateLimit";
    only(NAME, "", own, &["apiVersion", "kind", "limits"])?;
    let mut limits = Vec::new();
    for (i, limit) in meta::list_at(own, "/limits").iter().enumerate() {
        let at = |key: &str| format!("limits[{i}].{key}");
        only(NAME, &format!("limits[{i}]"), limit, &["type", "qps", "burst", "cacheSize"])?;
        let kind = match meta::str_at(limit, "/type") {
            "Server" => LimitKind::Server,
            "Namespace" => LimitKind::Namespace,
            "User" => LimitKind::User,
            "SourceAndObject" => LimitKind::SourceAndObject,
            _ => {
                let right = "must be Server, Namespace, User or SourceAndObject";
                return Err(wrong(NAME, &at("type"), right));
            }
        };
        let positive = |key: &str| {
            let number = meta::int_at(limit, &format!("/{key}")).and_then(|n| u32::try_from(n).ok());
            number.filter(|n| *n > 0).ok_or_else(|| wrong(NAME, &at(key), "must be positive"))
        };
        let size = meta::int_at(limit, "/cacheSize").filter(|n| *n > 0).unwrap_or(4096);
        let size = usize::try_from(size).unwrap_or(4096);
        limits.push(EventLimit::new(kind, positive("qps")?, positive("burst")?, size));
    }
    Ok(limits)
}

fn limited(own: &Value) -> Result<Vec<LimitedResource>, ConfigError> {
    const NAME: &str = "ResourceQuota";
    only(NAME, "", own, &["apiVersion", "kind", "limitedResources"])?;
    let mut limited = Vec::new();
    for (i, one) in meta::list_at(own, "/limitedResources").iter().enumerate() {
        let known = ["apiGroup", "resource", "matchContains", "matchScopes"];
        only(NAME, &format!("limitedResources[{i}]"), one, &known)?;
        let resource = meta::str_at(one, "/resource").to_owned();
        if resource.is_empty() {
            return Err(wrong(NAME, &format!("limitedResources[{i}].resource"), "must be given"));
        }
        limited.push(LimitedResource {
            api_group: meta::str_at(one, "/apiGroup").to_owned(),
            resource,
            match_contains: strings(one, "/matchContains"),
            match_scopes: meta::list_at(one, "/matchScopes").iter().map(ScopeSelector::from_value).collect(),
        });
    }
    Ok(limited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(plugin: &str, own: Value) -> Result<Config, String> {
        let value = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
            "plugins": [{"name": plugin, "configuration": own}]});
        Config::from_value(&value, &|_| Err("no such file".to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn each_plug_in() {
        let config = read(
            "PodSecurity",
            json!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
                "defaults": {"enforce": "baseline", "enforce-version": "v1.30"}, "exemptions": {"namespaces": ["a"]}}),
        )
        .unwrap();
        assert_eq!(config.pod_security.defaults.enforce.to_string(), "baseline:v1.30");
        assert_eq!(config.pod_security.namespaces, ["a"]);
        let config = read(
            "ResourceQuota",
            json!({"limitedResources": [{"resource": "pods", "matchScopes": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["x"]}]}]}),
        )
        .unwrap();
        assert_eq!(config.limited[0].match_scopes[0].values, ["x"]);
        let limits = json!({"limits": [{"type": "Server", "qps": 5, "burst": 10}]});
        assert_eq!(read("EventRateLimit", limits).unwrap().event_limits.len(), 1);
    }

    #[test]
    fn mistakes_are_named() {
        for (plugin, own, expected) in [
            (
                "PodSecurity",
                json!({"defaults": {"enforce": "x"}}),
                "plug-in \"PodSecurity\", defaults.enforce: must be one of privileged, baseline, restricted",
            ),
            (
                "PodSecurity",
                json!({"exemptions": {"users": []}}),
                "plug-in \"PodSecurity\", exemptions.users: unknown key; known are usernames, namespaces, runtimeClasses",
            ),
            (
                "EventRateLimit",
                json!({"limits": [{"type": "Server", "qps": 0, "burst": 1}]}),
                "plug-in \"EventRateLimit\", limits[0].qps: must be positive",
            ),
            ("Priority", json!({}), "plug-in \"Priority\", name: this plug-in takes no configuration"),
        ] {
            assert_eq!(read(plugin, own).unwrap_err(), expected);
        }
        let other = Config::from_value(&json!({"kind": "X"}), &|_| Err(String::new())).unwrap_err();
        assert!(matches!(other, ConfigError::Kind(_)));
    }
}
