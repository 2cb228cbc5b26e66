//! Which built-in resources are served: the defaults, changed by `--runtime-config`. Pure.
//!
//! Enters: `key=value` pairs. Leaves: rows of the resource table, or why the pairs are wrong. Called by whoever reads
//! the options. Authority: k8s.io/apiserver/pkg/server/resourceconfig/helpers.go, pkg/server/options/api_enablement.go.

use std::collections::BTreeMap;

use xebec_api::resource::{self, Resource};

/// The keys that choose by stability, in the order they apply.
const SELECTORS: [&str; 4] = ["api/all", "api/ga", "api/beta", "api/alpha"];

/// Why `--runtime-config` is refused, in upstream's words where upstream has any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeConfigError {
    /// Everything is turned off and nothing on.
    #[error("invalid key with only api/all=false")]
    Nothing,
    /// A key is neither a selector nor `group/version[/resource]`.
    #[error("runtime-config invalid key {0}")]
    Key(String),
    /// Groups nobody knows, separated by commas.
    #[error("unknown api groups {0}")]
    Groups(String),
    /// A version the group does not have here.
    #[error("group version {0} that has not been registered")]
    Version(String),
    /// A resource the version does not have. Upstream lets it pass without a word.
    #[error("{key}: group version {group_version} has no resource {resource:?}")]
    Resource {
        /// The key.
        key: String,
        /// The group and version it names.
        group_version: String,
        /// The resource it names.
        resource: String,
    },
    /// A resource that is no lower-case plural.
    #[error(
        "invalid key {key}: group/version/resource and resource is always lowercase plural, not {resource:?}"
    )]
    Case {
        /// The key.
        key: String,
        /// The resource it names.
        resource: String,
    },
    /// A selector's value is not `true` or `false`.
    #[error("invalid value {key}={value}")]
    Selector {
        /// The selector.
        key: String,
        /// Its value.
        value: String,
    },
    /// A value that is no truth value of Go's `strconv.ParseBool`.
    #[error("invalid value of {key}: {value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
}

/// The built-in resources that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    served: Vec<&'static Resource>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { served: resource::defaults().collect() }
    }
}

impl RuntimeConfig {
    /// Reads pairs such as `policy/v1beta1=true`, `batch/v1beta1` (true), `/v1/events=false` (the core group) and
    /// `api/beta=true`. Of equal keys the last one counts; more specific keys win over less specific ones.
    ///
    /// Only what can be served can be named: a version this server has no form of is refused like an unknown one.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Self, RuntimeConfigError> {
        let pairs = pairs.into_iter().filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let overrides: BTreeMap<&str, &str> = pairs.map(|(key, value)| (key.trim(), value.trim())).collect();
        if overrides.len() == 1 && overrides.get(SELECTORS[0]) == Some(&"false") {
            return Err(RuntimeConfigError::Nothing);
        }
        let mut preferences = preferences(&overrides)?;
        let mut rows: Vec<(&'static Resource, bool)> =
            resource::servable().map(|row| (row, row.default_on)).collect();
        for key in SELECTORS {
            let Some(value) = overrides.get(key) else { continue };
            let wanted = match *value {
                "true" => true,
                "false" => false,
                value => {
                    return Err(RuntimeConfigError::Selector {
                        key: key.to_owned(),
                        value: value.to_owned(),
                    });
                }
            };
            rows.iter_mut().filter(|(row, _)| selects(key, row.version)).for_each(|(_, on)| *on = wanted);
        }
        // Whole versions first, so that single resources have the last word.
        preferences.sort_by_key(|preference| preference.resource.is_some());
        for preference in &preferences {
            rows.iter_mut().filter(|(row, _)| preference.names(row)).for_each(|(_, on)| *on = preference.on);
        }
        Ok(Self { served: rows.into_iter().filter_map(|(row, on)| on.then_some(row)).collect() })
    }

    /// The rows that are served, in the table's order.
    #[must_use]
    pub fn served(&self) -> &[&'static Resource] {
        &self.served
    }
}

/// What a key other than a selector says.
struct Preference<'a> {
    group: &'a str,
    version: &'a str,
    resource: Option<&'a str>,
    on: bool,
}

impl Preference<'_> {
    fn names(&self, row: &Resource) -> bool {
        (row.group, row.version) == (self.group, self.version)
            && self.resource.is_none_or(|resource| row.plural == resource)
    }
}

fn preferences<'a>(
    overrides: &BTreeMap<&'a str, &'a str>,
) -> Result<Vec<Preference<'a>>, RuntimeConfigError> {
    let mut named = Vec::new();
    for (key, value) in overrides.iter().filter(|(key, _)| !SELECTORS.contains(*key)) {
        let parts: Vec<&str> = key.split('/').collect();
        let (group, version, resource) = match parts.as_slice() {
            [group, version] => (*group, *version, None),
            [group, version, resource] => (*group, *version, Some(*resource)),
            _ => return Err(RuntimeConfigError::Key((*key).to_owned())),
        };
        named.push((*key, *value, group, version, resource));
    }
    let unknown: Vec<&str> = named
        .iter()
        .map(|(_, _, group, ..)| *group)
        .filter(|group| !resource::table().iter().any(|row| row.group == *group))
        .collect();
    if !unknown.is_empty() {
        return Err(RuntimeConfigError::Groups(unknown.join(",")));
    }
    named
        .into_iter()
        .map(|(key, value, group, version, resource)| {
            preference(key, value, Preference { group, version, resource, on: true })
        })
        .collect()
}

fn preference<'a>(
    key: &str,
    value: &str,
    mut named: Preference<'a>,
) -> Result<Preference<'a>, RuntimeConfigError> {
    let whole = Preference { resource: None, ..named };
    let group_version = || resource::api_version(named.group, named.version);
    if !resource::servable().any(|row| whole.names(row)) {
        return Err(RuntimeConfigError::Version(group_version()));
    }
    named.on = match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => return Err(RuntimeConfigError::Value { key: key.to_owned(), value: value.to_owned() }),
    };
    if let Some(resource) = named.resource {
        let (key, resource) = (key.to_owned(), resource.to_owned());
        if resource.chars().any(char::is_uppercase) {
            return Err(RuntimeConfigError::Case { key, resource });
        }
        if !resource::servable().any(|row| named.names(row)) {
            return Err(RuntimeConfigError::Resource { key, group_version: group_version(), resource });
        }
    }
    Ok(named)
}

/// Whether a selector means this version: `v1` is GA, `v1beta1` beta, `v1alpha1` alpha.
fn selects(selector: &str, version: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = version.strip_prefix('v') else { return selector == "api/all" };
    match selector {
        "api/all" => true,
        "api/ga" => number(rest),
        selector => {
            let level = selector.trim_start_matches("api/");
            rest.split_once(level).is_some_and(|(major, minor)| number(major) && number(minor))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is served besides the defaults, and which defaults are not.
    fn changes(pairs: &[&str]) -> (Vec<String>, Vec<String>) {
        let config = RuntimeConfig::parse(pairs.iter().copied()).unwrap();
        let defaults = RuntimeConfig::default();
        let names = |some: &[&'static Resource], but: &[&'static Resource]| {
            let only = some.iter().filter(|row| !but.contains(row));
            only.map(|row| format!("{}/{}", row.api_version(), row.plural)).collect()
        };
        (names(config.served(), defaults.served()), names(defaults.served(), config.served()))
    }

    fn error(pairs: &[&str]) -> String {
        RuntimeConfig::parse(pairs.iter().copied()).unwrap_err().to_string()
    }

    #[test]
    fn older_forms_are_off_until_they_are_named() {
        let none: Vec<String> = Vec::new();
        assert_eq!(changes(&[]), (none.clone(), none.clone()));
        assert_eq!(changes(&["", "api/ga=true", "api/alpha=true"]), (none.clone(), none.clone()));
        let budgets = vec!["policy/v1beta1/poddisruptionbudgets".to_owned()];
        for on in [
            "policy/v1beta1",
            "policy/v1beta1=true",
            " policy/v1beta1 = 1 ",
            "policy/v1beta1/poddisruptionbudgets=t",
        ] {
            assert_eq!(changes(&[on]), (budgets.clone(), none.clone()), "{on}");
        }
        assert_eq!(
            changes(&["policy/v1beta1=false", "policy/v1beta1=true"]).0,
            budgets,
            "the last one counts"
        );
        for all in ["api/all=true", "api/beta=true"] {
            assert_eq!(changes(&[all]).0.len(), 3, "{all}");
            assert_eq!(changes(&[all, "batch/v1beta1=false"]).0.len(), 2, "{all}");
        }
    }

    #[test]
    fn defaults_can_be_turned_off() {
        assert_eq!(changes(&["batch/v1/cronjobs=false"]).1, ["batch/v1/cronjobs"]);
        assert_eq!(changes(&["batch/v1=false", "batch/v1/jobs=true"]).1, ["batch/v1/cronjobs"]);
        assert_eq!(changes(&["/v1/events=false"]).1, ["v1/events"]);
        let apps = RuntimeConfig::parse(["api/all=false", "apps/v1=true"]).unwrap();
        assert!(apps.served().iter().all(|row| row.group == "apps") && apps.served().len() == 5);
    }

    #[test]
    fn bad_pairs_are_named() {
        assert_eq!(error(&["api/all=false"]), "invalid key with only api/all=false");
        assert_eq!(error(&["v1=true"]), "runtime-config invalid key v1");
        assert_eq!(error(&["a/b/c/d"]), "runtime-config invalid key a/b/c/d");
        assert_eq!(error(&["x/v1", "y.io/v1=true"]), "unknown api groups x,y.io");
        let unregistered = |text: &str| format!("group version {text} that has not been registered");
        assert_eq!(error(&["policy/v1beta2=true"]), unregistered("policy/v1beta2"));
        assert_eq!(error(&["resource.k8s.io/v1beta1=true"]), unregistered("resource.k8s.io/v1beta1"));
        assert_eq!(error(&["/v2"]), unregistered("v2"));
        assert_eq!(error(&["api/beta=yes"]), "invalid value api/beta=yes");
        assert_eq!(error(&["api/beta"]), "invalid value api/beta=");
        assert_eq!(
            error(&["policy/v1beta1=maybe"]),
            "invalid value of policy/v1beta1: maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
        assert_eq!(
            error(&["policy/v1beta1/PodDisruptionBudget"]),
            "invalid key policy/v1beta1/PodDisruptionBudget: group/version/resource and resource is always lowercase \
             plural, not \"PodDisruptionBudget\""
        );
        assert_eq!(
            error(&["policy/v1beta1/pods"]),
            "policy/v1beta1/pods: group version policy/v1beta1 has no resource \"pods\""
        );
    }

    #[test]
    fn versions_are_told_apart_by_their_form() {
        for (version, selector) in
            [("v1", "api/ga"), ("v12", "api/ga"), ("v1beta1", "api/beta"), ("v2alpha3", "api/alpha")]
        {
            let matching: Vec<&str> = SELECTORS.into_iter().filter(|key| selects(key, version)).collect();
            assert_eq!(matching, ["api/all", selector], "{version}");
        }
        assert!(!selects("api/beta", "v1beta") && !selects("api/ga", "v") && selects("api/all", "x"));
    }
}
