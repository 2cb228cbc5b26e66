//! The table of every built-in resource: names, scope, verbs, subresources.
//!
//! Enters: `data/api-resources.tsv`, compiled in. Leaves: static rows, looked up by path or by kind.
//! Called by discovery, routing, authorization, the registry and the clients' defaults.

use base64::Engine;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A part of an object served at its own path, such as `pods/log`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subresource {
    /// The last segment of the path: `status`, `scale`, `exec`.
    pub name: &'static str,
    /// The kind that is read and written there.
    pub kind: &'static str,
    /// The group of that kind; empty is core.
    pub group: &'static str,
    /// The version of that kind.
    pub version: &'static str,
    /// The verbs it answers.
    pub verbs: Vec<&'static str>,
}

/// One resource in one version of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// The API group; empty is core.
    pub group: &'static str,
    /// The version, e.g. `v1`.
    pub version: &'static str,
    /// The kind, e.g. `Pod`.
    pub kind: &'static str,
    /// The plural in paths, e.g. `pods`.
    pub plural: &'static str,
    /// The singular, e.g. `pod`.
    pub singular: String,
    /// The short names, e.g. `po`.
    pub short_names: Vec<&'static str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
    /// The verbs it answers.
    pub verbs: Vec<&'static str>,
    /// The categories it belongs to, e.g. `all`.
    pub categories: Vec<&'static str>,
    /// Whether its objects are stored (false: reviews and the like, answered on the spot).
    pub storage: bool,
    /// Whether it is served by default in 1.36 (otherwise it needs `--runtime-config` or an old client).
    pub default_on: bool,
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// The kind of its lists: `PodList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether it answers the verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The group and version its objects are stored in.
    ///
    /// Events of both groups are one store, kept as core/v1; every HorizontalPodAutoscaler is kept as autoscaling/v2;
    /// what only the clients of 1.20 speak is kept as v1.
    pub fn storage_version(&self) -> (&'static str, &'static str) {
        match (self.group, self.plural) {
            ("events.k8s.io", "events") => ("", "v1"),
            ("autoscaling", "horizontalpodautoscalers") => ("autoscaling", "v2"),
            ("policy", "poddisruptionbudgets")
            | ("discovery.k8s.io", "endpointslices")
            | ("batch", "cronjobs") => (self.group, "v1"),
            (group, _) => (group, self.version),
        }
    }

    /// Whether it is off by default and nothing but another form of a resource that is on, so that serving it takes
    /// a conversion only.
    pub fn is_older_form(&self) -> bool {
        let (group, version) = self.storage_version();
        !self.default_on && lookup(group, version, self.plural).is_some_and(|stored| stored.default_on)
    }

    /// Whether it can be served: by default, or as an older form of what is.
    pub fn is_servable(&self) -> bool {
        self.default_on || self.is_older_form()
    }

    /// The hash discovery shows, so that clients notice a change of storage version; empty when nothing is stored.
    pub fn storage_version_hash(&self) -> String {
        if !self.storage {
            return String::new();
        }
        let (group, version) = self.storage_version();
        storage_version_hash(group, version, self.kind)
    }
}

/// base64 of the first eight bytes of sha256("group/version/Kind"); also for custom resources.
pub fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}").as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// `v1` for core, else `group/version`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Splits an apiVersion into group and version: `apps/v1` to (`apps`, `v1`), `v1` to (``, `v1`).
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The one copy of `text` that lives as long as the process.
///
/// For names that come with custom resources (groups, kinds, plurals, verbs), which are few and come back unchanged:
/// what stays in memory is bounded by the number of different names this process has ever served, and a change of a
/// definition that keeps its names adds nothing.
pub fn intern(text: &str) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    texts.insert(kept);
    kept
}

/// The one copy of a resource's description that lives as long as the process; equal descriptions are one.
///
/// A row of the built-in table is returned as that row. See [`intern`] for the bound.
pub fn intern_resource(resource: Resource) -> &'static Resource {
    static RESOURCES: LazyLock<Mutex<HashSet<&'static Resource>>> = LazyLock::new(Mutex::default);
    if let Some(row) =
        lookup(resource.group, resource.version, resource.plural).filter(|row| **row == resource)
    {
        return row;
    }
    let mut resources = RESOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = resources.get(&resource) {
        return known;
    }
    let kept: &'static Resource = Box::leak(Box::new(resource));
    resources.insert(kept);
    kept
}

struct Table {
    rows: Vec<Resource>,
    by_path: HashMap<(&'static str, &'static str, &'static str), usize>,
    by_kind: HashMap<(&'static str, &'static str, &'static str), usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let rows: Vec<Resource> =
        include_str!("../data/api-resources.tsv").lines().skip(1).filter_map(row).collect();
    let by_path = rows.iter().enumerate().map(|(i, r)| ((r.group, r.version, r.plural), i)).collect();
    let by_kind = rows.iter().enumerate().map(|(i, r)| ((r.group, r.version, r.kind), i)).collect();
    Table { rows, by_path, by_kind }
});

/// Every row, those on by default and the others (see [`Resource::default_on`]).
pub fn table() -> &'static [Resource] {
    &TABLE.rows
}

/// The rows served by default.
pub fn defaults() -> impl Iterator<Item = &'static Resource> {
    table().iter().filter(|r| r.default_on)
}

/// The rows that can be served: those served by default, and their older forms.
pub fn servable() -> impl Iterator<Item = &'static Resource> {
    table().iter().filter(|r| r.is_servable())
}

/// The resource at `/apis/group/version/plural`.
pub fn lookup(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    TABLE.by_path.get(&(group, version, plural)).map(|i| &TABLE.rows[*i])
}

/// The resource of a kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    TABLE.by_kind.get(&(group, version, kind)).map(|i| &TABLE.rows[*i])
}

/// The resource of a kind given by its apiVersion.
pub fn by_api_version(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = split_api_version(api_version);
    by_kind(group, version, kind)
}

/// The first row of a group's plural, whatever the version: default-on and newer versions come first in the table.
pub fn preferred(group: &str, plural: &str) -> Option<&'static Resource> {
    let mut rows = table().iter().filter(|r| r.group == group && r.plural == plural);
    let first = rows.clone().next();
    // Both autoscaling versions are on; v2 is the one stored and preferred.
    rows.rfind(|r| r.default_on).or(first)
}

fn row(line: &'static str) -> Option<Resource> {
    let columns: Vec<&'static str> = line.split('\t').collect();
    let [group, version, kind, plural, short, namespaced, subs, storage, verbs, categories, on, ..] =
        columns.as_slice()
    else {
        return None;
    };
    let list = |text: &'static str| text.split(',').filter(|s| !s.is_empty()).collect::<Vec<_>>();
    Some(Resource {
        group,
        version,
        kind,
        plural,
        singular: kind.to_lowercase(),
        short_names: list(short),
        namespaced: *namespaced == "true",
        subresources: subs.split(' ').filter_map(|s| subresource(s, group, version, kind)).collect(),
        verbs: list(verbs),
        categories: list(categories),
        storage: storage.starts_with("etcd"),
        default_on: *on == "yes",
    })
}

/// Reads `name[verbs]`, `name:Kind[verbs]` or `name:group/version.Kind[verbs]`.
fn subresource(
    text: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
) -> Option<Subresource> {
    let (head, verbs) = text.strip_suffix(']')?.split_once('[')?;
    let (name, target) = head.split_once(':').unwrap_or((head, kind));
    let (group, version, kind) = match target.split_once('/') {
        Some((group, rest)) => {
            let (version, kind) = rest.split_once('.')?;
            (group, version, kind)
        }
        None => (group, version, target),
    };
    Some(Subresource { name, kind, group, version, verbs: verbs.split(',').collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_match_the_reference() {
        assert_eq!(defaults().count(), 68);
        assert_eq!(defaults().filter(|r| r.storage).count(), 60);
        assert_eq!(defaults().map(|r| r.subresources.len()).sum::<usize>(), 45);
        assert_eq!(table().len(), 102);
        assert_eq!(TABLE.by_path.len(), 102);
    }

    #[test]
    fn older_forms_can_be_served() {
        let older: Vec<String> = servable()
            .filter(|row| !row.default_on)
            .map(|row| format!("{} {}", row.api_version(), row.kind))
            .collect();
        assert_eq!(
            older,
            [
                "batch/v1beta1 CronJob",
                "discovery.k8s.io/v1beta1 EndpointSlice",
                "policy/v1beta1 PodDisruptionBudget"
            ]
        );
        let budgets = |version| lookup("policy", version, "poddisruptionbudgets").unwrap();
        assert_eq!(budgets("v1beta1").storage_version_hash(), budgets("v1").storage_version_hash());
    }

    #[test]
    fn pods() {
        let pods = lookup("", "v1", "pods").unwrap();
        assert_eq!((pods.kind, pods.singular.as_str(), pods.api_version().as_str()), ("Pod", "pod", "v1"));
        assert!(pods.namespaced && pods.storage && pods.has_verb("watch"));
        let eviction = pods.subresource("eviction").unwrap();
        assert_eq!((eviction.group, eviction.version, eviction.kind), ("policy", "v1", "Eviction"));
        assert_eq!(eviction.verbs, ["create"]);
        assert_eq!(pods.subresource("exec").unwrap().kind, "PodExecOptions");
        assert_eq!(pods.subresource("status").unwrap().kind, "Pod");
        assert_eq!(pods.storage_version_hash(), "xPOwRZ+Yhw8=");
    }

    #[test]
    fn descriptions_are_kept_once() {
        let pods = lookup("", "v1", "pods").unwrap();
        assert!(std::ptr::eq(intern_resource(pods.clone()), pods));
        let mut custom = pods.clone();
        custom.group = intern(&["stable", "example.com"].join("."));
        let kept = intern_resource(custom.clone());
        assert!(std::ptr::eq(intern_resource(custom.clone()), kept));
        custom.categories = vec![intern("fleet")];
        assert!(!std::ptr::eq(intern_resource(custom), kept));
        assert!(std::ptr::eq(intern("stable.example.com"), kept.group));
    }

    #[test]
    fn others() {
        let scale = lookup("apps", "v1", "deployments").unwrap().subresource("scale").unwrap().clone();
        assert_eq!((scale.group, scale.version, scale.kind), ("autoscaling", "v1", "Scale"));
        assert!(!by_api_version("authorization.k8s.io/v1", "SubjectAccessReview").unwrap().storage);
        assert!(!lookup("resource.k8s.io", "v1beta1", "deviceclasses").unwrap().default_on);
        assert_eq!(preferred("autoscaling", "horizontalpodautoscalers").unwrap().version, "v2");
        assert_eq!(
            lookup("events.k8s.io", "v1", "events").unwrap().storage_version_hash(),
            lookup("", "v1", "events").unwrap().storage_version_hash()
        );
        assert_eq!(split_api_version("apps/v1"), ("apps", "v1"));
    }
}
